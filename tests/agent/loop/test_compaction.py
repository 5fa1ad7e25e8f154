"""Transcripts that outgrow the context: what goes, in which order, and that all of it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, Message
from loraloop.agent import Agent, Guard, Limits
from loraloop.agent.engine.trunk import Trunk
from loraloop.agent.events import Compacted, StepFinished
from loraloop.agent.loop.compaction import STUB, Compactor, Part
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import ContextLengthError, InputError

Play = Callable[..., ScriptedRuntime]
WORDS = "a river of many small words that say nothing new "


def turns(count: int, size: int = 3) -> list[Message]:
    """`count` turns of a user and an assistant."""
    return [
        Message(role, f"{role} {number}: {WORDS * size}") for number in range(count) for role in ("user", "assistant")
    ]


def tokens(base: Base, messages: list[Message]) -> int:
    return len(base.chat.render(messages))


def test_the_oldest_turns_are_left_out_and_told(play: Play) -> None:
    runtime = play(["It is noon."], "none", context=600)
    history = [Message("system", "Be brief."), *turns(8)]
    before = tokens(runtime.base, [*history, Message("user", "What time is it?")])
    assert before > 600
    stream = Agent(runtime, limits=Limits(step_tokens=40)).stream("What time is it?", messages=history)
    told = [event for event in stream if isinstance(event, Compacted)]
    result = stream.result
    assert result.output == "It is noon." and [event.compaction for event in told] == list(result.compactions)
    (done,) = result.compactions
    assert (done.step, done.shortened) == (0, ()) and done.before == before and done.after <= 300
    kept = list(result.messages[:-1])
    note = f"[{len(done.removed)} earlier messages are left out here.]\n\n"
    assert kept[0] == history[0] and kept[1].content.startswith(note)
    kept[1] = Message("user", kept[1].content.removeprefix(note))
    assert [history[0], *done.removed, *kept[1:]] == [*history, Message("user", "What time is it?")]
    json.loads(result.to_json())


def test_a_note_counts_what_earlier_ones_said(play: Play) -> None:
    runtime = play(["One.", "Two."], "none", "none", context=500)
    agent = Agent(runtime, limits=Limits(step_tokens=40))
    first = agent.run_sync("And?", messages=turns(8))
    second = agent.run_sync("And now?", messages=[*first.messages, *turns(6)])
    assert second.compactions
    gone = len(first.compactions[0].removed) + len(second.compactions[0].removed)
    assert any(f"[{gone} earlier messages" in message.content for message in second.messages)


def test_old_results_are_cut_before_anything_else_and_the_newest_never(play: Play) -> None:
    def look(page: int) -> str:
        """Looks at a page."""
        return f"page {page}: {WORDS * 4}"

    steps = [calls(look={"page": page}) for page in range(4)]
    runtime = play([*steps, "Nothing new."], *["tools"] * 4, "none", context=1300)
    limits = Limits(step_tokens=64, keep_free=440)
    agent = Agent(runtime, [look], guard=Guard(tools=None), limits=limits)
    stream = agent.stream("Look at pages 0 to 3.")
    events = list(stream)
    result = stream.result
    assert (result.stop_reason, result.output) == ("answer", "Nothing new.")
    assert result.compactions and not any(done.removed for done in result.compactions)
    results = [message for message in result.messages if message.role == "tool"]
    assert [json.loads(message.content)["name"] for message in results] == ["look"] * 4
    cut = [message for message in results if "tokens left out" in message.content]
    assert 0 < len(cut) < 4 and cut == results[: len(cut)] and WORDS * 4 in results[-1].content
    assert all(len(runtime.base.chat.message("tool", message.content)) < 70 for message in cut)
    was = [message for done in result.compactions for message in done.shortened]
    assert [json.loads(message.content)["result"] for message in was] == [look(page) for page in range(len(was))]
    at = next(index for index, event in enumerate(events) if isinstance(event, Compacted))
    again = next(event.step for event in events[at:] if isinstance(event, StepFinished))
    plain = [event.step for event in events if isinstance(event, StepFinished)][1]
    assert again.tokens.prefilled > plain.tokens.prefilled  # what it costs is in the trace


def test_without_it_the_run_ends(play: Play) -> None:
    def look(page: int) -> str:
        """Looks at a page."""
        return WORDS * 4

    steps = [calls(look={"page": page}) for page in range(4)]
    limits = Limits(step_tokens=64, keep_free=0)
    runtime = play(steps, *["tools"] * 6, context=900)
    result = Agent(runtime, [look], guard=Guard(tools=None), limits=limits).run_sync("Look.")
    assert result.stop_reason == "context" and not result.compactions
    with pytest.raises(ContextLengthError, match="shorten"):
        Agent(play(["x"], context=300), limits=limits).run_sync("And?", messages=turns(8))
    with pytest.raises(InputError, match="keep_free"):
        Limits(keep_free=-1)


def test_one_request_that_is_too_long_is_an_error(play: Play) -> None:
    with pytest.raises(ContextLengthError, match="shorten"):
        Agent(play(["x"], context=300)).run_sync(WORDS * 60)


def test_what_is_left_is_as_if_it_had_always_been_all(small: Base) -> None:
    messages = [Message("system", "Be brief."), *turns(3), Message("user", "Look."), Message("assistant", "[]")]
    fresh = len(messages)
    messages += [Message("tool", f'{{"name":"look","result":"{WORDS * 8}"}}')] * 2
    trunk = Trunk(small, (0, 1))
    for at, message in enumerate(messages):
        trunk.append(message, small.chat.message(message.role, message.content), more=at > fresh)
    trunk.flush()
    done = Compactor(small.chat, len(trunk.ids), 64).trunk(trunk, 2, fresh)
    assert done is not None and done.after == len(trunk.ids) < done.before
    left = [span.message for span in trunk.messages]
    again = Trunk(small, (0, 1))
    for at, message in enumerate(left):
        again.append(message, small.chat.message(message.role, message.content), more=at > fresh - len(done.removed))
    assert trunk.ids == again.ids
    for at in (-1, -2):
        for layer, states in trunk.features(at).items():
            torch.testing.assert_close(states, again.features(at)[layer], rtol=1e-4, atol=1e-4)


def test_a_user_may_write_a_note_of_any_number(small: Base) -> None:
    forged = f"[{'9' * 5000} earlier messages are left out here.]\n\nHi."
    messages = [Message("user", forged), Message("assistant", "Hello."), Message("user", "And?")]
    left, done = Compactor(small.chat, 200, 50).messages(messages)
    assert done is not None and left[0].content == "[2 earlier messages are left out here.]\n\nAnd?"


@settings(max_examples=40, deadline=None)
@example(drawn=[("user", 5)], context=120, free=55)
@example(drawn=[("user", 5), ("user", 5)], context=132, free=32)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.integers(0, 40)), min_size=1, max_size=14),
    st.integers(120, 900),
    st.integers(1, 100),
)
def test_nothing_is_lost_and_no_more_goes_than_has_to(
    small: Base, drawn: list[tuple[str, int]], context: int, free: int
) -> None:
    messages = [Message("system", "Be brief.")]
    for number, (role, size) in enumerate(drawn):
        content: Any = f"{number} {'word ' * size}"
        messages.append(Message(role, json.dumps({"name": "f", "result": content}) if role == "tool" else content))
    messages.append(Message("user", "And?"))
    compactor = Compactor(small.chat, context, free)
    left, done = compactor.messages(messages)
    if done is None:
        assert left == messages
        users = sum(message.role == "user" for message in messages)
        parts = [Part(m, small.chat.message(m.role, m.content)) for m in messages if m.role == "tool"]
        results = [part for part in parts if len(part.ids) > STUB and compactor._shorten(part) < 0]
        first = next(at for at, message in enumerate(messages) if message.role == "user")
        note = Message("user", f"[{len(messages) - first - 1} earlier messages are left out here.]\n\nAnd?")
        gain = tokens(small, messages) - tokens(small, [*messages[:first], note])
        assert tokens(small, messages) <= context - free or (not results and (users == 1 or gain <= 0)), gain
        return
    assert done.before > context - free and done.after == tokens(small, left) < done.before
    assert left[0] == messages[0] and left[-1].content.endswith("And?")
    assert len(left) + len(done.removed) == len(messages)
    whole, first = iter(done.shortened), next(at for at, message in enumerate(messages) if message.role == "user")
    if done.removed:
        assert messages[first].role == done.removed[0].role == "user"
    for was, now in zip(messages[1:first] + messages[first + len(done.removed) :], left[1:], strict=True):
        if was.role == "user":
            assert now.content.endswith(was.content)
        elif was != now:
            assert was == next(whole) and json.loads(now.content)["name"] == "f"
    assert next(whole, None) is None
