"""Date notes in runs: where they stand, what they count from, and that nothing else in a transcript changes."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent import Agent, Limits, Runtime, Tracer
from loraloop.agent.dates.notes import with_date_notes
from loraloop.agent.job import Journal
from loraloop.agent.loop.compaction import Compactor
from loraloop.agent.messages import is_date_note
from loraloop.agent.sessions.sessions import Sessions
from loraloop.integrations.reply import Replying, ReplyRequest
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError

Play = Callable[..., ScriptedRuntime]
DAY = datetime.date(2026, 3, 18)  # a Wednesday
TODAY = "You book rooms. Today is Wednesday, 18 March 2026."
NOTE = Message("system", "Dates: tomorrow = 2026-03-19 (Thursday)")


def clock() -> datetime.date:
    return DAY


def book(day: str) -> str:
    """Books a room."""
    return f"booked {day}"


def shown(messages: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def notes(messages: Any) -> list[str]:
    return [message.content for message in messages if is_date_note(message)]


@pytest.mark.parametrize("settings", [{"instructions": TODAY}, {"clock": clock}])
def test_a_note_stands_directly_before_the_message(play: Play, settings: dict[str, Any]) -> None:
    runtime = play(["Fine."], "none")
    result = Agent(runtime, **settings).run_sync("A room for tomorrow, please.")
    assert shown(result.messages[-3:]) == [
        ("system", NOTE.content), ("user", "A room for tomorrow, please."), ("assistant", "Fine.")
    ]  # fmt: skip
    assert result.messages[-3].origin == Origin("runtime") and result.messages[-3].trusted
    assert runtime.turns[0].messages[-1].content == "A room for tomorrow, please."


def test_a_run_that_goes_on_knows_the_day_that_its_transcript_states() -> None:
    class Going(Journal):
        interrupted: Any = SimpleNamespace(messages=(Message("system", TODAY), Message("user", "A room, please.")))

    assert Agent(ScriptedRuntime()).job("A room, please.", journal=Going()).today == DAY


def test_a_clock_may_return_a_datetime_and_goes_before_the_instructions(play: Play) -> None:
    late = datetime.datetime(2026, 12, 31, 23, 59)
    result = Agent(play(["Fine."], "none"), instructions=TODAY, clock=lambda: late).run_sync("And tomorrow?")
    assert notes(result.messages) == ["Dates: tomorrow = 2027-01-01 (Friday)"]


def test_an_unusable_clock_is_refused(play: Play) -> None:
    with pytest.raises(InputError, match=r"clock returned '2026-03-18'"):
        Agent(play([]), clock=lambda: "2026-03-18").run_sync("Tomorrow?")  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"give a function that returns a date, such as datetime.date.today"):
        Agent(play([]), clock=DAY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"instructions": "You book rooms."},
        {"instructions": "Today is 2026-03-18. Today is 2026-03-19."},
        {"instructions": "The contract ends on 2026-03-18."},
        {"instructions": TODAY, "dates": False},
        {"clock": clock, "dates": False},
    ],
)
def test_without_a_date_there_is_no_note(play: Play, settings: dict[str, Any]) -> None:
    assert notes(Agent(play(["Fine."], "none"), **settings).run_sync("A room for tomorrow.").messages) == []


@pytest.mark.parametrize("prompt", ["I may go.", "Book room 12 at 5 pm.", "On 2026-03-20, please.", "Every Monday."])
def test_without_calendar_words_every_token_is_the_same(make_runtime: Callable[..., Runtime], prompt: str) -> None:
    trunks = []
    for dates in (True, False):
        runtime = make_runtime("none")
        Agent(runtime, instructions=TODAY, dates=dates, limits=Limits(step_tokens=4)).run_sync(prompt)
        trunks.append(runtime.engine.store._kept[-1].ids)
    assert trunks[0] == trunks[1] and len(trunks[0]) > 20


def test_follow_ups_count_from_what_was_spoken_of(play: Play) -> None:
    runtime = play(
        [calls(("book", {"day": "2026-03-27"})), "Done.", "Moved.", "And moved."], "tools", "none", "none", "none"
    )
    agent = Agent(runtime, [book], TODAY)
    first = agent.run_sync("Book it for next Friday.")
    second = agent.run_sync("Make it the day after that.", messages=first.messages)
    third = agent.run_sync("No, two days later.", messages=second.messages)
    assert notes(third.messages) == [
        "Dates: next Friday = 2026-03-27 (Friday)",
        "Dates: the day after that = 2026-03-28 (Saturday)",
        "Dates: two days later = 2026-03-30 (Monday)",
    ]
    assert third.messages[: len(first.messages)] == first.messages


def test_a_list_of_dates_is_nothing_to_count_from() -> None:
    asked, later = Message("user", "What is free?"), Message("user", "The day after that.")
    one, both = '{"free": ["2026-04-02"]}', '{"free": ["2026-04-02", "2026-04-03"]}'
    assert notes(with_date_notes([asked, Message("tool", one), later], DAY)) == [
        "Dates: The day after that = 2026-04-03 (Friday)"
    ]
    assert notes(with_date_notes([asked, Message("tool", both), later], DAY)) == []
    wished = Message("user", "What is free tomorrow?")
    assert notes(with_date_notes([wished, Message("tool", both), later], DAY)) == [
        NOTE.content, "Dates: The day after that = 2026-03-20 (Friday)"
    ]  # fmt: skip


def test_passages_get_no_note(play: Play) -> None:
    result = Agent(play(["Fine."], "none"), instructions=TODAY).run_sync(
        "When do you open?", passages=["We open tomorrow."]
    )
    assert notes(result.messages) == []


def test_a_history_of_no_known_origin_gets_its_notes() -> None:
    """A client that keeps the conversation sends no notes back; the transcript is the one that the server computed."""
    talk = [Message("user", "A room tomorrow?"), Message("assistant", "Yes."), Message("user", "And on Friday?")]
    noted = with_date_notes(talk, DAY)
    assert [message.role for message in noted] == ["system", "user", "assistant", "system", "user"]
    assert noted[:2] == with_date_notes(talk[:1], DAY)
    assert with_date_notes(noted, DAY) == noted
    lost = tuple(Message(message.role, message.content) for message in noted)
    again = with_date_notes(lost, DAY)
    assert again == noted and [message.origin for message in again if is_date_note(message)] == [Origin("runtime")] * 2


def test_what_a_run_left_gets_no_later_note() -> None:
    told = Message("user", "A room tomorrow?", Origin("user"))
    later = Message("user", "Thanks.", Origin("user"))
    assert with_date_notes([told, Message("assistant", "Yes."), later], DAY) == (
        told,
        Message("assistant", "Yes."),
        later,
    )


_TALK = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "tool"]),
        st.sampled_from(
            ["tomorrow", "the day after that", "nothing", "2026-05-01", "from Monday to Friday", "in 2 weeks"]
        ),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(talk=_TALK, day=st.dates(datetime.date(2000, 1, 1), datetime.date(2100, 1, 1)))
def test_notes_only_add_messages(talk: list[tuple[str, str]], day: datetime.date) -> None:
    messages = [Message("system", "Be kind."), *(Message(role, text) for role, text in talk)]
    noted = with_date_notes(messages, day)
    assert [message for message in noted if not is_date_note(message)] == messages
    for place, message in enumerate(noted):
        assert not is_date_note(message) or noted[place + 1].role == "user"
    assert with_date_notes(noted, day) == noted == with_date_notes(messages, day)
    assert with_date_notes(messages, None) == tuple(messages)
    whole = len(noted)
    for end in range(1, len(messages)):  # what stands before does not depend on what follows
        shorter = with_date_notes(messages[:end], day)
        assert noted[: min(len(shorter), whole)] == shorter


def test_a_session_keeps_its_notes(play: Play, tmp_path: Path) -> None:
    runtime = play(["Fine.", "Moved."], "none", "none")
    agent = Agent(runtime, instructions=TODAY, sessions=Sessions(tmp_path / "s.db"))
    agent.run_sync("A room for tomorrow.", session="a")
    second = agent.run_sync("The day after, please.", session="a")
    expected = [NOTE.content, "Dates: The day after = 2026-03-20 (Friday)"]
    assert notes(second.messages) == expected
    kept = Sessions(tmp_path / "s.db")["a"].messages
    assert kept == second.messages and [each.origin for each in kept if is_date_note(each)] == [Origin("runtime")] * 2


def test_a_request_that_is_given_up_takes_its_note_along(play: Play, tmp_path: Path) -> None:
    store = Sessions(tmp_path / "s.db")
    agent = Agent(play(["Fine."], "none"), instructions=TODAY, sessions=store)
    agent.run_sync("Hello.", session="a")
    before = store["a"].messages
    stream = agent.stream("A room for tomorrow.", session="a")
    for event in stream:
        if type(event).__name__ == "RunStarted":
            break
    stream.close()
    assert notes(store["a"].messages) == [NOTE.content]
    store["a"].give_up()
    assert store["a"].messages == before


def test_a_paused_run_goes_on_with_its_note(play: Play) -> None:
    from loraloop.agent import Approve, PendingRun, Policy

    runtime = play([calls(("book", {"day": "2026-03-19"})), "Booked."], "tools", "none")
    agent = Agent(runtime, [book], TODAY, policy=Policy(needs_approval=frozenset({"book"})))
    paused = agent.run_sync("A room for tomorrow.")
    assert paused.pending is not None
    again = PendingRun.from_json(paused.pending.to_json())
    result = agent.resume_sync(again, {again.waiting[0].id: Approve()})
    assert notes(result.messages) == [NOTE.content] and result.output == "Booked."


def test_compaction_keeps_a_note_with_its_message(small: Base) -> None:
    messages: list[Message] = [Message("system", TODAY)]
    for number in range(6):
        messages += [Message("user", f"{number}: tomorrow {'and so on ' * 12}"), Message("assistant", "Yes. " * 20)]
    noted = with_date_notes([*messages, Message("user", "And tomorrow?")], DAY)
    kept, done = Compactor(small.chat, 1600, 200).messages(noted)
    assert done is not None and len(done.removed) > 0 and 1 < len(notes(kept)) < 7
    for place, message in enumerate(kept):
        if message.role == "user":
            assert is_date_note(kept[place - 1])
    assert not is_date_note(done.removed[-1])
    assert kept[2].content.startswith(f"[{len(done.removed)} earlier messages are left out here.]")


def test_the_guard_reads_no_note(play: Play) -> None:
    runtime = play(["Fine."], "none", unsafe=[False])
    result = Agent(runtime, instructions=TODAY).run_sync("A room for tomorrow.")
    assert len(result.gates) == 1 and result.gates[0].place == "input"


def test_a_trace_shows_the_note(play: Play) -> None:
    from rich.console import Console

    from loraloop.render.trace import trace_tree

    tracer = Tracer(keep=1)
    Agent(play(["Fine."], "none"), instructions=TODAY, hooks=[tracer]).run_sync("A room for tomorrow.")
    assert tracer.last is not None and notes(tracer.last.messages) == [NOTE.content]
    assert json.loads(tracer.last.to_json())["messages"][1]["origin"]["kind"] == "runtime"
    console = Console(width=120)
    with console.capture() as out:
        console.print(trace_tree(tracer.last))
    assert f"note: {NOTE.content}" in out.get()


def test_a_reply_to_a_framework_has_notes(make_runtime: Any) -> None:
    request = ReplyRequest((Message("user", "A room for tomorrow."),), system=TODAY)
    assert shown(Replying(make_runtime(), request).messages)[1] == ("system", NOTE.content)
    assert notes(Replying(make_runtime(), ReplyRequest(request.messages, system="Hello.")).messages) == []


def test_a_note_survives_json(play: Play) -> None:
    first = Agent(play(["Fine."], "none"), clock=clock).run_sync("A room for tomorrow.")
    kept = [Message(**asdict(message)) for message in first.messages]
    plain = [Message(each["role"], each["content"]) for each in map(asdict, first.messages)]
    for history in (first.messages, kept, plain):
        runtime = play(["Good."], "none")
        second = Agent(runtime, instructions="Be brief.", clock=clock).run_sync("Thanks.", messages=history)
        assert notes(second.messages) == [NOTE.content]
        assert second.messages[0].content == "Be brief."


def test_the_time_grows_as_the_conversation_does() -> None:
    def seconds(turns: int) -> float:
        messages = [Message("user", "Hi there"), Message("assistant", "Hello.")] * turns
        start = perf_counter()
        assert with_date_notes(messages, DAY) == tuple(messages)
        return perf_counter() - start

    seconds(1)
    assert seconds(6400) < 40 * min(seconds(400) for _ in range(3))
