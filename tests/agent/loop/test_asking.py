"""What is missing for a call: the tools skill writes null in its place, and the base asks the user for that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loraloop.adapters.base.prompting import READING
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.contracts import Passage
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Policy, RunResult, Runtime
from loraloop.agent.bare import bare_runtime
from loraloop.agent.loop.outcome import Facts, outcome_of
from loraloop.testing import ScriptedRuntime, answer, calls, text
from loraloop.testing.script import ScriptError
from loraloop.tool_schemas.tools.tool import Tool

ZONE = {"type": "string", "description": "Where to park, as the signs say it."}
PARK = Tool(
    "park_car",
    "Parks a car in a zone.",
    {
        "type": "object",
        "properties": {"parking_zone": ZONE, "hours": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["parking_zone", "hours"],
    },
    lambda **_: "parked",
)
ASK = calls(park_car={"parking_zone": None, "hours": None})


def asking(*steps: Any) -> ScriptedRuntime:
    """A scripted runtime whose tools skill may ask back."""
    runtime = ScriptedRuntime(*steps)
    plain = blank_skill(runtime.base, "tools", "calls")
    runtime.bank.remove("tools")
    runtime.bank.add(Skill(plain.card.model_copy(update={"asks": True}), plain.tensors))
    return runtime


def test_the_base_asks_for_what_nobody_said() -> None:
    runtime = asking(ASK, "Where, and for how long?")
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Park the car.")
    asked, answered = result.steps
    assert (asked.outcome, asked.kept, asked.asked) == ("ask", False, ("parking_zone", "hours"))
    assert (answered.skill, answered.decided_by, answered.outcome) == ("none", "ask", "text")
    assert (result.stop_reason, result.output, result.complete) == ("answer", "Where, and for how long?", True)
    told = runtime.turns[-1].extra_prompt
    assert "the parking zone (Where to park, as the signs say it) and the hours" in told
    assert [message.role for message in result.messages] == ["system", "user", "assistant"]
    assert not any("null" in message.content or "missing" in message.content for message in result.messages)
    runtime.say(calls(park_car={"parking_zone": "A7", "hours": 2}), calls(), "It is parked.")
    again = Agent(runtime, [PARK]).run_sync("In A7, two hours.", messages=result.messages)
    assert again.steps[0].outcome == "calls" and again.output == "It is parked."


def test_words_of_the_prompting_are_the_bases() -> None:
    runtime = asking(ASK, "Where?")
    runtime.base.prompting = type(READING)(ask="Frag nach {arguments}.")
    Agent(runtime, [PARK]).run_sync("Park the car.")
    assert "Frag nach the parking zone" in runtime.turns[-1].extra_prompt


@pytest.mark.parametrize(
    ("agent", "options"),
    [({}, {"tool_choice": "required"}), ({"policy": Policy(min_calls=1)}, {}), ({"output_type": int}, {})],
)
def test_nothing_is_asked_where_a_call_or_a_form_is_required(agent: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(ScriptError, match="cannot write here"):
        Agent(asking(ASK), [PARK], **agent).run_sync("Park the car.", **options)


def test_a_skill_that_has_not_learned_it_cannot_ask() -> None:
    with pytest.raises(ScriptError, match="cannot write here"):
        Agent(ScriptedRuntime(ASK), [PARK]).run_sync("Park the car.")


def test_the_table_of_what_is_asked() -> None:
    wrote = '[{"name":"park_car","arguments":{"parking_zone":null,"hours":null,"note":"a van"}}]'
    outcome = outcome_of("calls", wrote, Facts(tools=(PARK,)))
    assert (outcome.name, outcome.keep, outcome.stop, outcome.mask) == ("ask", False, None, True)
    assert outcome.ask == ("parking_zone", "hours")
    assert not outcome.calls
    for wrong in (wrote.replace('"a van"', "null"), '{"ask":["hours"]}'):
        assert outcome_of("calls", wrong, Facts(tools=(PARK,), repairs=1)).again


@pytest.mark.parametrize("required", [True, False])
def test_null_is_invalid_where_the_user_cannot_be_asked(required: bool) -> None:
    """The grammar does not allow it there, but a tool that is not strict takes any object."""
    wrote = '[{"name":"park_car","arguments":{"parking_zone":"A7","hours":null}}]'
    facts = Facts(tools=(replace(PARK, strict=False),), asks=False, required=required, repairs=1)
    wrong = outcome_of("calls", wrote, facts)
    assert (wrong.name, wrong.keep, wrong.again, wrong.ask) == ("invalid", False, True, ())
    assert "in the place of hours, and the user cannot be asked" in wrong.error
    last = outcome_of("calls", wrote, replace(facts, repairs=0))
    assert (last.name, last.stop) == ("invalid", "invalid" if required else None) and not last.ask


def test_a_step_that_has_to_call_is_told_what_is_missing_and_writes_it_again() -> None:
    loose = replace(PARK, strict=False)
    right = calls(park_car={"parking_zone": "A7", "hours": 2})
    runtime = asking(calls(park_car={"parking_zone": "A7", "hours": None}), right, calls(), "It is parked.")
    result: RunResult[Any] = Agent(runtime, [loose]).run_sync("Park in A7 for 2 hours.", tool_choice="required")
    assert [step.outcome for step in result.steps] == ["invalid", "calls", "no_call", "text"]
    assert "hours" in result.steps[0].error and result.steps[0].asked == ()


def test_a_tool_that_is_not_strict_lets_a_skill_ask_that_has_not_learned_it() -> None:
    runtime = ScriptedRuntime(calls(park_car={"parking_zone": "A7", "hours": None}), "For how long?")
    result: RunResult[Any] = Agent(runtime, [replace(PARK, strict=False)]).run_sync("Park in A7.")
    assert result.steps[0].asked == ("hours",) and result.output == "For how long?"


def test_what_follows_a_result_is_a_call_or_the_answer_whatever_the_router_says() -> None:
    runtime = asking(calls(park_car={"parking_zone": "A7", "hours": 2}), calls(), "It is parked.")
    choose = runtime.router.choose

    def wrong(features: Any, state: Any) -> Any:
        route = choose(features, state)
        return route if state.after == "user" else replace(route, skill="code")

    runtime.router.choose = wrong  # type: ignore[method-assign]
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Park the car in A7, two hours.")
    assert [step.outcome for step in result.steps] == ["calls", "no_call", "text"] and result.output == "It is parked."


@pytest.mark.parametrize("holds", [True, False])
def test_an_answer_from_passages_waits_for_no_call(holds: bool) -> None:
    """Only where the passages hold no answer, the skill for calls is asked."""
    first = answer("Ten euros an hour.", ["p1"]) if holds else answer()
    runtime = asking(first) if holds else asking(first, calls(), text("I do not know."))
    choose = runtime.router.choose

    def documents(features: Any, state: Any) -> Any:
        route = choose(features, state)
        return replace(route, skill="retrieval") if state.after == "user" else route

    runtime.router.choose = documents  # type: ignore[method-assign]
    passages = [Passage("p1", "A zone costs ten euros an hour.")]
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("What does a zone cost?", passages=passages)
    skills = [step.skill for step in result.steps]
    assert skills == (["retrieval"] if holds else ["retrieval", "tools", "none"])
    assert result.citations == (("p1",) if holds else ())


def test_a_base_without_a_tools_skill_calls_under_the_grammar(make_runtime: Any) -> None:
    """It is told in its branch how calls are written, and answers in words once it calls nothing."""
    base = make_runtime().base
    runtime, told = bare_runtime(base), []
    plain = runtime.engine.generate

    def spied(branch: Any, request: Any) -> Any:
        told.append(base.tokenizer.decode(list(request.invocation)))
        return plain(branch, request)

    runtime.engine.generate = spied  # type: ignore[method-assign]
    result = Agent(runtime, [PARK]).run_sync("Park the car.")
    assert result.steps[0].skill == "tools" and base.prompting.call_form in told[0]
    assert not any(base.prompting.call_form in message.content for message in result.messages)


def test_a_runtime_without_a_tools_skill_has_the_base_call(tiny_base: Any, tmp_path: Any) -> None:
    from loraloop.agent.bare import Unrouted

    folder = blank_skill(tiny_base, "mine").save(tmp_path / "mine")
    runtime = Runtime.load(tiny_base, skills=[folder], router=Unrouted())
    assert runtime.with_contract("calls") == ("tools",)
