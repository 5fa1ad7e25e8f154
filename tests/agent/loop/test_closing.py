"""A skill that closes runs speaks in the place of the base: after results, failures and denials, and to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loraloop.adapters.base.prompting import SMALL
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.contracts import Passage
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Policy, RunResult
from loraloop.agent.loop.prompts import closing_fact, titles_of
from loraloop.agent.values.calls import Deny
from loraloop.testing import ScriptedRuntime, calls, text
from loraloop.tool_schemas.errors import SkillError
from loraloop.tool_schemas.tools.tool import Tool, tool

Closing = Callable[..., ScriptedRuntime]
PARK = Tool(
    "park_car",
    "Parks a car.",
    {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    lambda zone: f"parked in {zone}",
)
CALL = calls(park_car={"zone": "A7"})


def add_skill(runtime: ScriptedRuntime, name: str, contract: str, **fields: Any) -> None:
    plain = blank_skill(runtime.base, name, contract)
    if name in runtime.bank:
        runtime.bank.remove(name)
    runtime.bank.add(Skill(plain.card.model_copy(update=fields), plain.tensors))


def closing(*steps: Any, closes: bool = True, talks: bool = False) -> ScriptedRuntime:
    """A scripted runtime whose tools skill asks, with a text skill that the router does not know."""
    runtime = ScriptedRuntime(*steps)
    add_skill(runtime, "tools", "calls", asks=True)
    add_skill(runtime, "closer", "text", closes=closes, talks=talks)
    choose = runtime.router.choose

    def without_it(features: Any, state: Any) -> Any:
        route = choose(features, state)
        return replace(route, skill="none") if route.skill == "closer" else route

    runtime.router.choose = without_it  # type: ignore[method-assign]
    return runtime


def last(runtime: ScriptedRuntime, result: RunResult[Any]) -> tuple[str, str, str]:
    """The skill of a run's last step, who decided it, and what it was shown in its branch alone."""
    step = result.steps[-1]
    assert result.output == step.text and result.stop_reason == "answer"
    assert not any(
        turn.extra_prompt in message.content
        for turn in runtime.turns
        for message in result.messages
        if turn.extra_prompt
    )
    extra = runtime.turns[-1].extra_prompt.split("<|im_start|>")[1:-1]
    return step.skill, step.decided_by, "".join(extra).removeprefix("user\n").removesuffix("<|im_end|>\n")


def test_it_says_what_came_of_results() -> None:
    runtime = closing(CALL, calls(), text("It is parked in A7.", "closer"))
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Park in A7.")
    assert [step.outcome for step in result.steps] == ["calls", "no_call", "text"]
    assert last(runtime, result) == ("closer", "loop", "")


@pytest.mark.parametrize(("found", "speaker"), [("parked in A7", "none"), (["a", "b"], "closer"), ("", "closer")])
def test_results_that_a_small_base_is_told_in_words_it_says_itself(found: Any, speaker: str) -> None:
    runtime = closing(CALL, calls(), text("It is parked in A7.", speaker))
    runtime.base.prompting = SMALL
    result: RunResult[Any] = Agent(runtime, [replace(PARK, function=lambda zone: found)]).run_sync("Park in A7.")
    skill, _, extra_prompt = last(runtime, result)
    assert skill == speaker and ("The result is parked in A7." in extra_prompt) == (speaker == "none")


def test_it_says_that_a_tool_failed() -> None:
    @tool
    def park_car(zone: str) -> str:
        """Parks a car."""
        raise ValueError("the zone is full")

    runtime = closing(CALL, calls(), text("The zone is full.", "closer"))
    result: RunResult[Any] = Agent(runtime, [park_car]).run_sync("Park in A7.")
    assert result.steps[0].calls[0].error and last(runtime, result) == ("closer", "loop", "")


def test_it_says_that_a_call_was_denied() -> None:
    runtime = closing(CALL, calls(), text("You declined that.", "closer"))
    result: RunResult[Any] = Agent(runtime, [PARK], policy=Policy(needs_approval={"park_car"})).run_sync("Park in A7.")
    assert result.pending is not None
    result = Agent(runtime, [PARK]).resume_sync(result.pending, {result.pending.written.calls[0].id: Deny("not now")})
    assert result.steps[0].calls[0].approval == "denied" and last(runtime, result) == ("closer", "loop", "")


def test_it_asks_for_what_is_missing() -> None:
    runtime = closing(text('[{"name":"park_car","arguments":{"zone":null}}]', "tools"), text("Which zone?", "closer"))
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Park the car.")
    assert last(runtime, result) == ("closer", "ask", "Missing: zone")


def test_it_says_what_is_not_in_the_documents_by_their_names() -> None:
    passages = [
        Passage("1", "Two hours.", "Parking"),
        Passage("2", "No.", source="rules.md"),
        Passage("3", "", "Parking"),
    ]
    runtime = closing(calls(), text('{"answerable":false}', "retrieval"), text("Not in Parking.", "closer"))
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Is there wifi?", passages=passages)
    assert [step.outcome for step in result.steps] == ["no_call", "not_answerable", "text"]
    assert last(runtime, result) == ("closer", "loop", "Not in the documents: Parking, rules.md")


def test_no_program_is_written_for_a_question_that_the_documents_do_not_answer() -> None:
    declined = text('{"answerable":false}', "retrieval")
    runtime = closing(declined, calls(), text("print(3)", "code"))
    with pytest.raises(AssertionError, match="code"):  # the router would take it
        Agent(runtime, [PARK]).run_sync("In how many rates?", passages=[Passage("1", "Two hours.", "Parking")])
    runtime = closing(declined, calls(), text("Not in Parking.", "closer"))
    passages = [Passage("1", "Two hours.", "Parking")]
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("In how many rates?", passages=passages)
    assert "code" in runtime.skills and "code" in result.steps[-1].route.masked
    assert last(runtime, result) == ("closer", "loop", "Not in the documents: Parking")


def test_it_says_that_nothing_was_done_where_no_valid_call_was_written() -> None:
    wrong = text('[{"name":"park_car","arguments":{}}]', "tools", enforced=False)
    runtime = closing(wrong, text("Nothing was done.", "closer"))
    result: RunResult[Any] = Agent(runtime, [PARK], policy=Policy(repairs=0)).run_sync("Park the car.")
    assert [step.outcome for step in result.steps] == ["invalid", "text"]
    assert last(runtime, result) == ("closer", "loop", "Not done")


def test_plain_talk_is_the_bases() -> None:
    runtime = closing(calls(), "Hello!")
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Hi!")
    assert result.steps[-1].skill == "none" and result.steps[-1].decided_by == "router"
    later = closing(CALL, calls(), text("Parked.", "closer"), calls(), "You're welcome!")
    first: RunResult[Any] = Agent(later, [PARK]).run_sync("Park in A7.")
    thanked: RunResult[Any] = Agent(later, [PARK]).run_sync("Thanks!", messages=first.messages)
    assert first.steps[-1].skill == "closer" and thanked.steps[-1].skill == "none"


def test_one_that_talks_has_plain_talk_too() -> None:
    runtime = closing(calls(), text("Hello!", "closer"), talks=True)
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Hi!")
    assert [step.outcome for step in result.steps] == ["no_call", "text"]
    assert last(runtime, result) == ("closer", "loop", "")
    runtime = closing(text("Hello!", "closer"), talks=True)
    passages = [Passage("p1", "Parking is free.", "Rules")]
    assert Agent(runtime).run_sync("Hi!", passages=passages).steps[-1].skill == "closer"
    bare: RunResult[Any] = Agent(closing("Hello!", talks=True)).run_sync("Hi!")
    assert bare.steps[-1].skill == "none", "without tools and documents there is nothing that it learned"
    typed = Agent(closing(calls(), "7", talks=True), [PARK], output_type=int).run_sync("What is 3 + 4?")
    assert typed.steps[-1].skill == "none"


def test_an_answer_of_a_form_is_the_bases() -> None:
    runtime = closing(CALL, calls(), "7")
    result = Agent(runtime, [PARK], output_type=int).run_sync("Park in A7, and say where.")
    assert result.steps[-1].skill == "none" and result.value == 7


def test_the_caller_may_keep_it_out() -> None:
    for policy in (
        Policy(forbid={"closer"}),
        Policy(decide=lambda facts: "none" if facts.message.role == "tool" else None),
    ):
        runtime = closing(CALL, calls(), "Parked.") if policy.forbid else closing(CALL, "Parked.")
        result: RunResult[Any] = Agent(runtime, [PARK], policy=policy).run_sync("Park in A7.")
        assert result.steps[-1].skill == "none" and result.output == "Parked."
        assert "user" in runtime.turns[-1].extra_prompt, "the base is told to answer"


def test_a_text_skill_that_does_not_say_so_closes_nothing() -> None:
    runtime = closing(CALL, calls(), "Parked.", closes=False)
    assert runtime.closer is None
    result: RunResult[Any] = Agent(runtime, [PARK]).run_sync("Park in A7.")
    assert result.steps[-1].skill == "none"


def test_a_forced_one_that_has_nothing_to_close_is_told_nothing() -> None:
    runtime = closing(text("Hello!", "closer"))
    result: RunResult[Any] = Agent(runtime).run_sync("Hi!", skill="closer")
    assert last(runtime, result) == ("closer", "policy", "")


def test_only_text_closes() -> None:
    plain = blank_skill(ScriptedRuntime().base, "tools", "calls").card
    with pytest.raises(SkillError, match="only text closes a run"):
        Card.checked({**plain.model_dump(mode="json"), "closes": True})


def test_only_one_that_closes_talks() -> None:
    plain = blank_skill(ScriptedRuntime().base, "answer", "text").card
    with pytest.raises(SkillError, match="only a skill that closes runs talks"):
        Card.checked({**plain.model_dump(mode="json"), "talks": True})


def test_many_documents_are_counted() -> None:
    titles = titles_of([Passage(str(n), "x", f"Page {n}") for n in range(9)])
    assert titles == [*(f"Page {n}" for n in range(6)), "3 more"]
    assert closing_fact([], ("a", "b"), ()) == "Missing: a, b"
