"""Scripted runtimes and routers: what is written, and what a wrong script is told."""

from __future__ import annotations

import pytest

from loraloop.adapters.skill.contracts import Answer, Verdict
from loraloop.agent import Agent, Guard, Limits, Policy
from loraloop.agent.events import TokenGenerated
from loraloop.testing import ScriptedRouter, ScriptedRuntime, ScriptError, answer, calls, code, text, verdict
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.calls import Call


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def test_every_kind_of_step_takes_its_skill() -> None:
    runtime = ScriptedRuntime(verdict(), calls(add={"a": 1, "b": 2}), answer("Ada.", ["2"]))
    result = Agent(runtime, [add], guard=Guard(trust_passages=True)).run_sync("Who?", passages=["Bob.", "Ada."])
    assert [step.skill for step in result.steps] == ["safety", "tools", "retrieval"]
    assert (result.output, result.citations) == ("Ada.", ("2",))
    assert result.steps[1].calls[0].result == 3 and runtime.router.screened == 2
    runtime.say(code("print(1)"), verdict("crime"))
    assert Agent(runtime).run_sync("Print one.").stop_reason == "code"
    assert Agent(runtime).run_sync("Rob a bank.").category == "crime"
    runtime.assert_finished()


def test_values_of_the_contracts_are_steps_too() -> None:
    call = Call("add", {"a": 1, "b": 2})
    runtime = ScriptedRuntime(Verdict(False), [call], call, Answer(False), "Done.")
    agent = Agent(runtime, [add], policy=Policy(repeat_calls=True), guard=Guard(trust_passages=True))
    result = agent.run_sync("Go.", passages=["x"])
    assert [step.outcome for step in result.steps] == ["safe", "calls", "calls", "not_answerable", "text"]
    with pytest.raises(InputError, match="not a step of a script"):
        ScriptedRuntime(5)  # type: ignore[arg-type]


def test_a_typed_answer_is_decoded_under_its_type() -> None:
    assert Agent(ScriptedRuntime("[1,2]"), output_type=list[int]).run_sync("List.").value == [1, 2]
    with pytest.raises(ScriptError, match="cannot write here"):
        Agent(ScriptedRuntime("one"), output_type=list[int]).run_sync("List.")


def test_a_script_that_is_too_short_or_too_long_says_so() -> None:
    with pytest.raises(ScriptError, match="has 1 steps, and the run needs one more"):
        Agent(ScriptedRuntime(calls(add={"a": 1, "b": 2})), [add]).run_sync("Go.")
    runtime = ScriptedRuntime("One.", "Two.")
    Agent(runtime).run_sync("Go.")
    with pytest.raises(ScriptError, match="1 steps more than the runs:\n  any skill: Two"):
        runtime.assert_finished()


def test_a_step_of_another_skill_is_an_error() -> None:
    runtime = ScriptedRuntime(calls(), router=ScriptedRouter())
    with pytest.raises(ScriptError, match="for the skill 'tools', but this step of the run is on 'none'"):
        Agent(runtime, [add]).run_sync("Go.")
    with pytest.raises(ScriptError, match="'tools', which cannot be chosen here: it is masked"):
        Agent(ScriptedRuntime(calls())).run_sync("Go.")


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('[{"name":"ad","arguments":{"a":1,"b":2}}]', "the step's form has"),
        ('[{"name":"add","arguments":{"a":1,"b":"x"}}]', "the step's form allows '-'"),
        ('[{"name":"add","arguments":{"a":1,"b":2}}', "it cannot end there"),
    ],
)
def test_a_text_that_the_grammar_forbids_is_an_error(written: str, why: str) -> None:
    with pytest.raises(ScriptError, match=why):
        Agent(ScriptedRuntime(text(written, "tools")), [add]).run_sync("Go.")


def test_without_its_grammar_an_invalid_text_is_repaired() -> None:
    runtime = ScriptedRuntime(text("nonsense", "tools", enforced=False), calls(add={"a": 1, "b": 2}), "Three.")
    result = Agent(runtime, [add]).run_sync("Go.")
    assert [step.outcome for step in result.steps] == ["invalid", "calls", "text"]
    assert "not valid JSON" in runtime.turns[1].extra_prompt and runtime.turns[0].messages[-1].content == "Go."


def test_limits_and_events_are_the_real_ones() -> None:
    stream = Agent(ScriptedRuntime("Twelve bytes"), limits=Limits(step_tokens=6)).stream("Go.")
    told = "".join(event.text for event in stream if isinstance(event, TokenGenerated))
    assert (told, stream.result.stop_reason, stream.result.output) == ("Twelve", "max_tokens", "Twelve")


def test_text_beyond_ascii_and_special_tokens() -> None:
    text = "Grüße 👋 <|im_end|> ok"
    assert Agent(ScriptedRuntime(text)).run_sync("Go.").output == text
