"""Replies to other frameworks: whose step it is, what comes out of it, and that answered calls are not made again."""

from __future__ import annotations

from typing import Any

import pytest

from loraloop import Guard, Limits, Policy
from loraloop.adapters.base import Message
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.values.calls import call_key
from loraloop.agent.values.output_type import OutputType
from loraloop.integrations.conversation import ConversationBuilder, tool_of
from loraloop.integrations.reply import Reply, Replying, ReplyRequest
from loraloop.testing import ScriptedRuntime, calls, code, text, verdict
from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError, UnknownNameError
from loraloop.tool_schemas.tools.calls import Call

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
DOUBLE, HALVE = tool_of("double", "Doubles.", NUMBER), tool_of("halve", "Halves.", NUMBER)
ASKED = (Message("user", "Double 2."),)
MADE = Call("double", {"n": 2})


def replied(runtime: ScriptedRuntime, **fields: Any) -> tuple[list[str], Reply]:
    pieces = list(Replying(runtime, ReplyRequest(**{"messages": ASKED, **fields})))
    reply = pieces.pop()
    assert isinstance(reply, Reply)
    runtime.assert_finished()
    return [piece for piece in pieces if isinstance(piece, str)], reply


def test_calls_are_the_frameworks_to_run() -> None:
    runtime = ScriptedRuntime(calls(double={"n": 2}))
    shown, reply = replied(runtime, tools=(DOUBLE, HALVE), system="Be exact.")
    assert (shown, reply.text, reply.calls) == ([], "", (MADE,)) and reply.run.stop_reason == "tool_call"
    assert runtime.turns[0].messages[0].content.startswith("Be exact.\n\n# Tools\n")
    assert reply.read == len(runtime.base.chat.render(runtime.turns[0].messages)) and reply.written > reply.forced > 0


def test_no_call_leaves_the_word_to_the_base() -> None:
    shown, reply = replied(ScriptedRuntime(calls(), "Which number?"), tools=(DOUBLE,))
    assert "".join(shown) == reply.text == "Which number?" and not reply.calls
    assert [step.skill for step in reply.run.steps] == ["tools", "none"]


def test_a_program_is_text() -> None:
    shown, reply = replied(ScriptedRuntime(code("x = 1")))
    assert "".join(shown) == reply.text == "```python\nx = 1\n```"


def test_a_program_that_cannot_fit_is_cut_like_text() -> None:
    shown, reply = replied(ScriptedRuntime(code("x = 1")), max_tokens=5)
    assert (shown, reply.text, reply.run.stop_reason) == ([], "", "max_tokens")
    with pytest.raises(LimitError, match="needs at least"):
        replied(ScriptedRuntime(code("x = 1")), max_tokens=5, policy=Policy(skills=("code",)))


def test_a_short_reply_leaves_room_for_the_verdict_on_its_request() -> None:
    shown, reply = replied(ScriptedRuntime(verdict(), "Hello."), guard=Guard(), max_tokens=1)
    assert ("".join(shown), reply.text, reply.run.stop_reason) == ("H", "H", "max_tokens")
    assert [gate.outcome for gate in reply.run.gates] == ["safe"]


def test_a_form_and_stops_keep_the_code_skill_out() -> None:
    output = OutputType.of({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    runtime = ScriptedRuntime('{"n":4}')
    assert replied(runtime, output=output)[1].text == '{"n":4}'
    for fields in ({"output": output}, {"sampling": Sampling(stop=("END",))}):
        runtime = ScriptedRuntime(code("x = 1"))
        with pytest.raises(AssertionError, match="is for the skill 'code'"):
            list(Replying(runtime, ReplyRequest(ASKED, **fields)))  # type: ignore[arg-type]


def test_a_stop_ends_the_text() -> None:
    shown, reply = replied(ScriptedRuntime(text("One. END Two.", enforced=False)), sampling=Sampling(stop=("END",)))
    assert "".join(shown) == reply.text == "One. " and reply.run.stop_reason == "answer"


def test_a_call_that_was_answered_is_not_made_again() -> None:
    answered = {call_key(MADE)}
    _, reply = replied(ScriptedRuntime(calls(double={"n": 2}), "It is 4."), tools=(DOUBLE,), answered=answered)
    assert (reply.text, reply.calls) == ("It is 4.", ())
    # What the call took is told too.
    _, alone = replied(ScriptedRuntime(calls(double={"n": 2})), tools=(DOUBLE,))
    assert [step.outcome for step in reply.run.steps] == ["tool_call", "text"] and reply.written > alone.written > 0
    assert reply.reused == alone.reused == 0, "what it has read itself was in no cache"
    # Where a call is required, another tool is called.
    required = Policy(tool_choice="required")
    runtime = ScriptedRuntime(calls(double={"n": 2}), calls(halve={"n": 4}))
    assert replied(runtime, tools=(DOUBLE, HALVE), answered=answered, policy=required)[1].calls == (
        Call("halve", {"n": 4}),
    )
    # What else was called with it, stays.
    runtime = ScriptedRuntime(calls(double={"n": 2}, halve={"n": 4}))
    assert replied(runtime, tools=(DOUBLE, HALVE), answered=answered)[1].calls == (Call("halve", {"n": 4}),)
    # Where the caller names the tool, or allows it, the call is made.
    for policy in (Policy(tool_choice="double"), Policy(repeat_calls=True)):
        runtime = ScriptedRuntime(calls(double={"n": 2}))
        assert replied(runtime, tools=(DOUBLE, HALVE), answered=answered, policy=policy)[1].calls == (MADE,)


def test_after_a_tool_that_asked_for_another_try_the_tools_skill_goes_first() -> None:
    talk = ConversationBuilder()
    talk.user("Double 2.")
    talk.calls([MADE])
    talk.result(MADE, error="busy", retry=True)
    runtime = ScriptedRuntime(text('[{"name":"double","arguments":{"n":2}}]', "tools"))
    _, reply = replied(
        runtime, messages=tuple(talk.messages), tools=(DOUBLE,), answered=talk.answered, retry=talk.retry
    )
    assert talk.retry and not talk.answered and reply.calls == (MADE,)
    assert reply.run.steps[0].decided_by == "policy"


def test_a_request_is_screened_where_the_policy_says_so() -> None:
    shown, reply = replied(ScriptedRuntime(verdict("crime")), guard=Guard(refusal="No."))
    assert shown == ["No."] and reply.text == "No." and reply.run.stop_reason == "refused"
    assert replied(ScriptedRuntime("Yes."))[1].text == "Yes."


def test_a_forced_skill_without_what_it_works_on_is_passed_over() -> None:
    for skill in ("tools", "retrieval"):
        runtime = ScriptedRuntime(text("Yes.", "none"))
        assert replied(runtime, policy=Policy(skills=(skill,)))[1].text == "Yes."


def test_calls_that_were_cut_are_nothing() -> None:
    shown, reply = replied(ScriptedRuntime(calls(double={"n": 12345678901})), tools=(DOUBLE,), max_tokens=45)
    assert (shown, reply.text, reply.calls) == ([], "", ()) and reply.run.stop_reason == "max_tokens"


def test_a_cancelled_one_ends() -> None:
    replying = Replying(ScriptedRuntime("A long answer."), ReplyRequest(ASKED))
    pieces = iter(replying)
    next(pieces)
    replying.cancel()
    *_, reply = pieces
    assert isinstance(reply, Reply) and reply.run.stop_reason == "cancelled"


def test_one_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(LimitError, match="longer than 1e-06 s"):
        list(Replying(ScriptedRuntime("Hello."), ReplyRequest(ASKED, timeout=1e-6)))


def test_a_second_run_has_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, deadlines = iter((0.0, 25.0)), list[float | None]()

    class Seen(Limits):
        def __init__(self, **fields: Any) -> None:
            deadlines.append(fields["deadline"])
            super().__init__(**fields)

    monkeypatch.setattr("loraloop.integrations.reply.monotonic", lambda: next(clock))
    monkeypatch.setattr("loraloop.integrations.reply.Limits", Seen)
    runtime = ScriptedRuntime(calls(double={"n": 2}), "It is 4.")
    _, reply = replied(runtime, tools=(DOUBLE,), answered={call_key(MADE)}, timeout=60.0)
    assert reply.text == "It is 4." and deadlines == [60.0, 35.0]


def test_what_cannot_be_asked_says_so() -> None:
    runtime = ScriptedRuntime()
    messages = (*ASKED, Message("assistant", "4"))
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (InputError, "nothing to reply to", {"messages": ()}),
        (InputError, "nothing to reply to", {"messages": messages}),
        (SchemaError, "two tools", {"messages": ASKED, "tools": (DOUBLE, DOUBLE)}),
        (InputError, "has no tools", {"messages": ASKED, "policy": Policy(tool_choice="required")}),
        (UnknownNameError, "did you mean 'tools'", {"messages": ASKED, "policy": Policy(skills=("tols",))}),
    ]
    for kind, words, fields in wrong:
        with pytest.raises(kind, match=words):
            Replying(runtime, ReplyRequest(**fields))


def test_a_conversation_is_in_the_form_that_skills_know() -> None:
    talk = ConversationBuilder()
    talk.user("Double 2.")
    talk.user("Please.")
    talk.calls([MADE])
    talk.result(MADE, {"is": 4})
    talk.result(MADE, error="busy")
    talk.assistant(" ")
    assert [(each.role, each.content) for each in talk.messages] == [
        ("user", "Double 2.\n\nPlease."),
        ("assistant", '[{"name":"double","arguments":{"n":2}}]'),
        ("tool", '{"name":"double","result":{"is":4}}'),
        ("tool", '{"name":"double","error":"busy"}'),
    ]
    assert talk.answered == {call_key(MADE)}
    talk.user("And 3?")
    assert not talk.answered
    assert tool_of("double", "Doubles.", NUMBER) is tool_of("double", "Doubles.", dict(NUMBER))
