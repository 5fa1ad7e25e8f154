"""A policy that decides every step: what it is told, what it may give, and what the trace says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from loraloop.agent import Agent, Limits, Policy, Runtime, StepFacts
from loraloop.tool_schemas.errors import InputError, UnknownNameError

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=60, max_steps=4)


def pick(color: Literal["red", "green"]) -> str:
    """Picks."""
    return color


def test_it_decides_each_step_and_is_told_what_can_be_chosen(make_runtime: MakeRuntime) -> None:
    seen: list[StepFacts] = []

    def decide(facts: StepFacts) -> str:
        seen.append(facts)
        return "tools" if "tools" in facts.open else "none"

    runtime = make_runtime("code", "code", "code")
    result = Agent(runtime, [pick], limits=SHORT, policy=Policy(decide=decide, min_calls=1)).run_sync("Pick.")
    assert [step.decided_by for step in result.steps] == ["policy"] * len(result.steps)
    assert result.steps[0].skill == "tools" and seen[0].steps == () and seen[0].after == "user"
    assert seen[0].route.skill == "code" and {"none", "code", "tools"} <= set(seen[0].open)
    assert "retrieval" not in seen[0].open, "there are no passages"
    assert [len(facts.steps) for facts in seen] == list(range(len(seen)))
    assert all(
        "tools" not in facts.open for facts, step in zip(seen, result.steps, strict=True) if step.skill == "none"
    )


def test_none_leaves_the_choice_to_the_router_and_forced_skills_come_first(make_runtime: MakeRuntime) -> None:
    result = Agent(make_runtime("code"), limits=SHORT, policy=Policy(decide=lambda facts: None)).run_sync("Hi")
    assert result.steps[0].skill == "code" and result.steps[0].decided_by == "router"
    policy = Policy(skills=("code",), decide=lambda facts: "none")
    assert Agent(make_runtime(), limits=SHORT, policy=policy).run_sync("Hi").steps[0].skill == "code"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("tools", InputError, "'tools', which this step cannot take"),
        ("cod", UnknownNameError, "did you mean 'code'"),
        ({"tools": 1.0, "code": 0.5}, InputError, "give a skill, a list of them"),
    ],
)
def test_what_cannot_be_chosen_is_an_error(
    make_runtime: MakeRuntime, given: Any, error: type[Exception], message: str
) -> None:
    agent = Agent(make_runtime(), limits=SHORT, policy=Policy(decide=lambda facts: given))
    with pytest.raises(error, match=message):
        agent.run_sync("Hi")
