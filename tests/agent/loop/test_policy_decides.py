"""A policy's `decide`: forces, orders or forbids skills step by step; the router's choice stays in the trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from loraloop.agent import Agent, Forbid, Limits, Policy, Runtime, StepFacts
from loraloop.agent.events import Routed
from loraloop.tool_schemas.errors import InputError, UnknownNameError

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=90, max_steps=3)


def pick(color: Literal["red", "green"]) -> str:
    """Picks."""
    return color


def first(make_runtime: MakeRuntime, wish: Any, *skills: str) -> Any:
    """The first step of a run whose policy always wants the same."""
    policy = Policy(decide=lambda facts: wish, max_calls=1)
    return Agent(make_runtime(*skills), [pick], limits=SHORT, policy=policy).run_sync("go").steps[0]


def test_it_is_told_the_facts(make_runtime: MakeRuntime) -> None:
    seen: list[StepFacts] = []
    policy = Policy(decide=seen.append, forbid=frozenset({"code"}), min_calls=1, max_calls=1)
    result = Agent(make_runtime("tools"), [pick], limits=SHORT, policy=policy).run_sync("go")
    one, two = seen[:2]
    assert (one.index, one.prompt, one.message.content, one.after, one.route.skill) == (0, "go", "go", "user", "tools")
    assert {"code", "retrieval"} <= one.masked and one.steps == ()
    assert (two.index, two.after, two.message.role, two.steps) == (1, "tool", "tool", result.steps[:1])
    assert [step.decided_by for step in result.steps] == ["router"] * len(result.steps)


def test_it_forces(make_runtime: MakeRuntime) -> None:
    step = first(make_runtime, "prose", "tools")
    assert (step.skill, step.decided_by, step.routed) == ("prose", "policy", "tools")


def test_it_orders(make_runtime: MakeRuntime) -> None:
    step = first(make_runtime, ["retrieval", "prose", "none"], "tools")  # there are no passages
    assert (step.skill, step.decided_by, step.routed) == ("prose", "policy", "tools")
    assert first(make_runtime, ["retrieval"], "prose").decided_by == "router"


def test_it_forbids_for_one_step(make_runtime: MakeRuntime) -> None:
    step = first(make_runtime, Forbid("tools"), "tools", "prose")
    assert (step.skill, step.decided_by, step.routed) == ("prose", "policy", "tools") and "tools" in step.route.masked
    assert first(make_runtime, Forbid("tools"), "prose", "prose").decided_by == "router"


def test_events_tell_both_choices(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime("tools"), [pick], limits=SHORT, policy=Policy(decide=lambda facts: "prose"))
    routed = next(event for event in agent.stream("go") if isinstance(event, Routed))
    assert (routed.skill, routed.decided_by, routed.routed) == ("prose", "policy", "tools")


def test_what_means_nothing_is_an_error(make_runtime: MakeRuntime) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'prose'"):
        first(make_runtime, "prse")
    with pytest.raises(UnknownNameError, match="did you mean 'code'"):
        first(make_runtime, Forbid("cod"))
    with pytest.raises(InputError, match="decide returned 3"):
        first(make_runtime, 3)
    with pytest.raises(InputError, match="none cannot be forbidden"):
        Forbid("none")
