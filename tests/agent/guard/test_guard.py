"""The guard's gates: what each does at its place, what it notes, and what becomes of texts it cannot decide about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from loraloop.adapters.base import Message
from loraloop.agent import Agent, Deny, Gate, Guard, Limits, Policy
from loraloop.agent.bare import Unrouted
from loraloop.agent.guard.gates import UNDECIDED, WITHHELD
from loraloop.testing import ScriptedRouter, ScriptedRuntime, answer, calls, text, verdict
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.tool_schemas.tools.tool import tool

Play = Callable[..., ScriptedRuntime]


@tool(effects=False)
def look(word: str) -> str:
    """Looks a word up."""
    return f"about {word}"


@tool
def send(to: str) -> str:
    """Sends something to somebody."""
    return f"sent to {to}"


WITHHOLD = Guard(tools=Gate(then="withhold"))


def gates(result: Any) -> list[tuple[str, str, str]]:
    return [(record.place, record.outcome, record.tool) for record in result.gates]


def tool_messages(result: Any) -> list[dict[str, Any]]:
    return [json.loads(message.content) for message in result.messages if message.role == "tool"]


def test_every_decision_is_noted_with_its_place_and_thresholds() -> None:
    runtime = ScriptedRuntime(verdict(), calls(look={"word": "a"}), "About a.")
    stream = Agent(runtime, [look]).stream("What is a?")
    events = [event for event in stream if event.type in ("Screened", "Gated")]
    assert [event.type for event in events] == ["Screened", "Gated", "Screened", "Gated"]
    first, second = stream.result.gates
    assert (first.place, first.outcome, first.screen, first.screen_from) == ("input", "safe", 0.9, 0.5)
    assert first.unsafe is not None and first.unsafe_from is None and not first.undecided
    assert (second.place, second.outcome, second.screen, second.tool) == ("tools", "passed", 0.1, "look")
    assert second.unsafe is None
    assert json.loads(stream.result.to_json())["gates"][0]["place"] == "input"
    assert json.loads(events[1].to_json())["gate"]["outcome"] == "safe"


def test_an_unsafe_request_is_refused_with_the_guards_words() -> None:
    runtime = ScriptedRuntime(verdict("crime"))
    result = Agent(runtime, guard=Guard(refusal="No.")).run_sync("How do I rob a bank?")
    assert (result.stop_reason, result.output, result.category) == ("refused", "No.", "crime")
    assert gates(result) == [("input", "refused", "")]
    assert result.messages[-1].origin is not None and result.messages[-1].origin.kind == "guard"


def test_an_unsafe_result_ends_the_run_or_is_withheld() -> None:
    steps = (calls(look={"word": "a"}), verdict("injection"), "I could not look it up.")
    refused = Agent(ScriptedRuntime(*steps), [look], guard=Guard(tools=Gate())).run_sync("What is a?")
    assert (refused.stop_reason, gates(refused)[-1]) == ("refused", ("tools", "refused", "look"))
    runtime = ScriptedRuntime(*steps)
    result = Agent(runtime, [look]).run_sync("What is a?")
    assert result.stop_reason == "answer" and gates(result)[-1] == ("tools", "withheld", "look")
    assert tool_messages(result) == [{"name": "look", "error": WITHHELD}]
    assert result.steps[0].calls[0].result == "about a", "the trace has it"
    assert all("about a" not in message.content for message in runtime.turns[-1].messages), "the model never read on"
    assert runtime.turns[-1].messages[-1].trusted


def test_each_result_of_a_step_is_judged_by_itself() -> None:
    runtime = ScriptedRuntime(
        calls(("look", {"word": "a"}), ("look", {"word": "b"}), ("look", {"word": "c"})),
        verdict("injection"),
        verdict(),
        "Done.",
        router=ScriptedRouter(["tools", "none"], unsafe=[False, True, False, True]),
    )
    result = Agent(runtime, [look], guard=WITHHOLD).run_sync("What are a, b and c?")
    assert [record.outcome for record in result.gates] == ["passed", "passed", "withheld", "safe"]
    assert runtime.turns[1].messages[-1].content.endswith('"about a"}'), "the verdict stands on the result it judges"
    assert [entry.get("result") for entry in tool_messages(result)] == [None, "about b", "about c"]
    assert [message.content for message in result.messages[-2:-1]] == ['{"name":"look","result":"about c"}']


@pytest.mark.parametrize("place", ["input", "tools"])
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_what_a_gate_cannot_decide_is_stopped_or_passes_as_it_says(place: str, fail: str) -> None:
    unreadable = text('{"verdict":"perhaps"}', "safety", enforced=False)
    call = calls(look={"word": "a"})
    steps = [unreadable, call, "Done."] if place == "input" else [call, unreadable, "Done."]
    flags = [True, False] if place == "input" else [False, True]
    runtime = ScriptedRuntime(*steps, router=ScriptedRouter(["tools", "none"], unsafe=flags))
    result = Agent(runtime, [look], guard=Guard(**{place: Gate(fail=fail)})).run_sync("What is a?")  # type: ignore[arg-type]
    record = next(record for record in result.gates if record.undecided)
    if fail == "open":
        assert record.outcome == "passed" and (result.stop_reason, result.output) == ("answer", "Done.")
    else:
        assert record.outcome == "refused" and (result.stop_reason, result.category) == ("refused", UNDECIDED)


def test_a_verdict_that_is_cut_off_is_undecided() -> None:
    for fail, stop in (("closed", "refused"), ("open", "max_tokens")):
        runtime = ScriptedRuntime(verdict("crime"), "A long text that goes on and on and on.")
        agent = Agent(runtime, guard=Guard(input=Gate(fail=fail)), limits=Limits(run_tokens=12))  # type: ignore[arg-type]
        result = agent.run_sync("Hm?")
        assert result.stop_reason == stop and result.gates[0].undecided


def test_a_gate_that_could_never_decide_is_refused_unless_it_is_open() -> None:
    without = ScriptedRuntime("Hi.", skills={"tools": "calls"})
    with pytest.raises(InputError, match="at input cannot decide: this runtime has no skill that writes verdicts"):
        Agent(without, guard=Guard())
    result = Agent(without, guard=Guard(input=Gate(fail="open"), tools=None)).run_sync("Hello")
    assert [(record.outcome, record.undecided) for record in result.gates] == [("passed", True)]
    unscreened = ScriptedRuntime(router=Unrouted())
    with pytest.raises(InputError, match="no router with a screen"):
        Agent(unscreened, guard=Guard(output=Gate()))
    assert Agent(unscreened, guard=Guard(input=Gate(screen=0), tools=None)).guard is not None
    assert (
        Agent(without).run_sync("Hello", guard=Guard(input=None, tools=None), policy=Policy())
        if without.say("Hi.")
        else True
    )


def test_all_is_judged_without_a_screen() -> None:
    runtime = ScriptedRuntime(verdict("crime"), router=Unrouted())
    result = Agent(runtime, guard=Guard(input=Gate(screen=0), tools=None)).run_sync("Hello")
    assert result.stop_reason == "refused" and result.gates[0].screen is None


def test_the_gates_own_screen_threshold_counts() -> None:
    for least, asked in ((0.95, False), (0.05, True)):
        runtime = ScriptedRuntime(*([verdict()] if asked else []), "Hi.", router=ScriptedRouter(unsafe=[not asked]))
        result = Agent(runtime, guard=Guard(input=Gate(screen=least))).run_sync("Hello")
        assert (result.gates[0].outcome == "safe") is asked and result.gates[0].screen_from == least


def test_places_are_switched_alone() -> None:
    steps = (calls(look={"word": "a"}), "Done.")
    runtime = ScriptedRuntime(*steps, router=ScriptedRouter(["tools", "none"], unsafe=[True, True]))
    result = Agent(runtime, [look], guard=Guard(input=None, tools=None)).run_sync("What is a?")
    assert result.gates == () and result.stop_reason == "answer" and runtime.router.screened == 0  # type: ignore[attr-defined]


class Harsh(ScriptedRouter):
    """Screens everything and has the safety skill asked."""

    def screen(self, features: Any) -> Any:
        from loraloop.router.decision import ScreenResult

        return ScreenResult(0.9, True, 0.5)


def test_the_output_is_held_back_until_it_is_judged() -> None:
    for category, stop in (("", "answer"), ("privacy", "refused")):
        runtime = ScriptedRuntime("The key is 4417.", verdict(category))
        runtime.router = ScriptedRouter(unsafe=[True])
        stream = Agent(runtime, guard=Guard(input=None, tools=None, output=Gate())).stream("What is the key?")
        events = list(stream)
        kinds = [event.type for event in events if event.type in ("TokenGenerated", "Gated", "Refused")]
        told = "".join(event.text for event in events if event.type == "TokenGenerated")  # type: ignore[attr-defined]
        result = stream.result
        assert result.stop_reason == stop
        if category:
            assert kinds == ["Gated", "Refused"] and told == "" and result.output == Guard().refusal
            assert [message.content for message in result.messages][-1] == Guard().refusal
            assert "4417" not in result.messages[-1].content and len(result.messages) == 2
            assert (result.steps[-1].outcome, result.steps[-1].text) == ("stopped", "The key is 4417.")
        else:
            assert kinds == ["Gated", "TokenGenerated"] and told == result.output == "The key is 4417."


class Slow(Harsh):
    """Takes until the deadline of a run is over."""

    def screen(self, features: Any) -> Any:
        time.sleep(0.4)
        return super().screen(features)


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_the_deadline_ends_the_judging_of_an_output(fail: Any) -> None:
    runtime = ScriptedRuntime("The key is 4417.", verdict(""), router=Slow())
    guard = Guard(input=None, tools=None, output=Gate(fail=fail))
    result = Agent(runtime, guard=guard, limits=Limits(deadline=0.3)).run_sync("What is the key?")
    assert (result.stop_reason, result.output, result.gates) == ("deadline", "", ())
    assert "4417" not in "".join(message.content for message in result.messages)


def test_what_meets_a_limit_is_judged_too_and_answers_are_judged_by_their_words() -> None:
    guard = Guard(input=None, tools=None, output=Gate(screen=0))
    runtime = ScriptedRuntime("The key is 4417, as everybody knows.", verdict("privacy"))
    result = Agent(runtime, guard=guard, limits=Limits(step_tokens=30)).run_sync("What is the key?")
    assert result.stop_reason == "refused" and "4417" not in result.output
    runtime = ScriptedRuntime(answer("Ada."), verdict("privacy"))
    result = Agent(runtime, guard=guard).run_sync("Who?", passages=["It was Ada."])
    assert (result.stop_reason, result.output, result.citations) == ("refused", Guard().refusal, ())
    assert runtime.turns[-1].messages[-1] == Message("user", "Ada.")


def test_calls_are_told_but_not_judged_by_the_gate_before_the_output() -> None:
    runtime = ScriptedRuntime(calls(look={"word": "a"}), "It is a.", verdict())
    guard = Guard(input=None, tools=None, output=Gate(screen=0))
    stream = Agent(runtime, [look], guard=guard).stream("What is a?")
    told = [event.text for event in stream if event.type == "TokenGenerated"]  # type: ignore[attr-defined]
    assert told == ['[{"name":"look","arguments":{"word":"a"}}]', "It is a."]
    assert gates(stream.result) == [("output", "safe", "")]


def test_an_undecided_output_is_stopped_or_given_out_as_the_gate_says() -> None:
    for fail, stop in (("closed", "refused"), ("open", "answer")):
        runtime = ScriptedRuntime("Hello.", text('{"verdict":"perhaps"}', "safety", enforced=False))
        guard = Guard(input=None, tools=None, output=Gate(screen=0, fail=fail))  # type: ignore[arg-type]
        result = Agent(runtime, guard=guard).run_sync("Hi")
        assert result.stop_reason == stop and result.gates[0].undecided


def test_a_caller_who_takes_over_a_verdicts_step_is_in_the_trace() -> None:
    runtime = ScriptedRuntime("Hello.", router=ScriptedRouter(unsafe=[True]))
    with Agent(runtime).iter("Hi") as steps:
        for pending in steps:
            assert pending.skill == "safety"
            pending.use("none")
    assert gates(steps.result) == [("input", "overruled", "")] and steps.result.output == "Hello."


def test_an_edited_result_is_screened_again() -> None:
    runtime = ScriptedRuntime(
        calls(look={"word": "a"}), "Fine.", router=ScriptedRouter(["tools", "none"], [False, True])
    )
    with Agent(runtime, [look], guard=WITHHOLD).iter("What is a?") as steps:
        for pending in steps:
            if pending.decision.by == "screen":
                pending.edit('{"name":"look","result":"checked"}')
    assert [record.outcome for record in steps.result.gates] == ["passed", "passed"]
    assert tool_messages(steps.result) == [{"name": "look", "result": "checked"}]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Gate(screen=2), "screen is 2"),
        (lambda: Gate(unsafe_from=True), "unsafe_from is True"),
        (lambda: Gate(fail="ajar"), "fail is 'ajar'"),
        (lambda: Gate(then="shout"), "then is 'shout'"),
        (lambda: Guard(input=0.5), "give a Gate"),
        (lambda: Guard(output=Gate(then="withhold")), "works for tools only"),
        (lambda: Guard(after_untrusted="plan"), "did you mean 'planned'"),
        (lambda: Guard(allow="look"), "give a list of names"),
        (lambda: Guard(refusal=" "), "refusal is ' '"),
        (lambda: Guard(refusal=5), "refusal is 5: give the text"),
        (lambda: Guard(planned_from=-1), "planned_from is -1"),
    ],
)
def test_settings_that_mean_nothing_say_what_to_do(make: Callable[[], object], match: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=match):
        make()


class Noting(ScriptedRouter):
    """Notes the last message that each screen is about, and finds those with a word in it unsafe."""

    def __init__(self, word: str = "bomb") -> None:
        super().__init__()
        self.word, self.read = word, list[str]()

    def features(self, kept: Any, messages: Any = ()) -> Any:
        self.read.append(messages[-1].content)
        return super().features(kept)

    def screen(self, features: Any) -> Any:
        self.unsafe.append(self.word in self.read[-1])
        return super().screen(features)


def test_passages_beside_the_users_words_are_not_judged_with_them() -> None:
    guard, router = Guard(tools=None), Noting()
    runtime = ScriptedRuntime("It was in 1942.", router=router)
    result = Agent(runtime, guard=guard).run_sync("When was it?", passages=["The bomb fell in 1942."])
    assert router.read[0] == "When was it?" and result.output == "It was in 1942."
    assert [record.outcome for record in result.gates] == ["passed"]
    unsafe = ScriptedRuntime(verdict("crime"), router=Noting())
    refused = Agent(unsafe, guard=guard).run_sync("How do I build a bomb?", passages=["Nothing about that."])
    assert refused.stop_reason == "refused"
    (judged,) = unsafe.turns
    assert [message.content for message in judged.messages] == ["How do I build a bomb?"]
    assert "Nothing about that." in refused.messages[0].content  # the transcript keeps them


def test_the_runtimes_own_words_about_a_call_are_not_judged() -> None:
    router = Noting("denied")
    router.script.extend(["tools"])
    policy = Policy(needs_approval="send", approve=lambda call, context: Deny("no bomb"))
    runtime = ScriptedRuntime(calls(send={"to": "ann"}), "It was not sent.", router=router)
    result = Agent(runtime, [send], policy=policy).run_sync("Send it.")
    assert result.output == "It was not sent." and len(result.gates) == 1
    (told,) = [message for message in result.messages if message.role == "tool"]
    assert told.origin is not None and told.origin.kind == "runtime" and told.trusted


def test_a_note_of_what_was_left_out_is_not_judged() -> None:
    router = Noting()
    runtime = ScriptedRuntime("Fine.", router=router)
    noted = "[2 earlier messages are left out here.]\n\nHow are you?"
    Agent(runtime).run_sync(noted)
    assert router.read[0] == "How are you?"
