"""Tool choice, bounds on parallel calls, and tools that are not strict: in real decoding on random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.agent import Agent, Limits, Policy, Runtime, Sampling
from loraloop.agent.events import Routed
from loraloop.agent.values.tool_choice import choice_of
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.tool_schemas.tools.tool import Tool

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=150, max_steps=2)


def pick(color: Literal["red", "green"], count: Literal[1, 2]) -> str:
    """Picks."""
    return f"{count} {color}"


def turn(side: Literal["left", "right"]) -> str:
    """Turns."""
    return side


def names(step: Any) -> list[str]:
    return [call["name"] for call in json.loads(step.text)]


# --- what is called ---


@pytest.mark.parametrize("seed", range(6))
def test_required_begins_with_a_call_whatever_the_router_says(make_runtime: MakeRuntime, seed: int) -> None:
    runtime = make_runtime("prose", "none")
    agent = Agent(runtime, [pick, turn], limits=SHORT, sampling=Sampling(temperature=1.0, seed=seed))
    first, *rest = agent.run_sync("go", tool_choice="required").steps
    assert first.skill == "tools" and first.outcome == "calls" and len(first.calls) >= 1
    assert (first.decided_by, dict(first.route.runners_up)["prose"]) == ("policy", 0.8)
    assert all(step.decided_by == "router" for step in rest)


def test_the_routers_own_choice_stays_the_routers(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime("tools"), [pick], limits=Limits(max_steps=1))
    events = list(agent.stream("go", tool_choice="required"))
    (routed,) = [event for event in events if isinstance(event, Routed)]
    assert (routed.skill, routed.decided_by) == ("tools", "router")


@pytest.mark.parametrize("seed", range(6))
def test_a_named_tool_is_called_alone_and_then_any(make_runtime: MakeRuntime, seed: int) -> None:
    seen = set()
    agent = Agent(
        make_runtime("none", *["tools"] * 9),
        [pick, turn],
        limits=Limits(max_steps=6),
        sampling=Sampling(temperature=1.5, seed=seed),
        policy=Policy(repeat_calls=True, min_calls=1, max_calls=2),
    )
    choice = {"type": "function", "function": {"name": "turn"}}
    steps = agent.run_sync("go", tool_choice=choice).steps
    assert set(names(steps[0])) == {"turn"}
    for step in steps[1:]:
        seen.update(names(step))
    assert "pick" in seen


def test_none_calls_nothing_in_the_whole_run(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("tools", "tools")
    step = Agent(runtime, [pick], limits=SHORT, policy=Policy(tool_choice="none")).run_sync("go").steps[0]
    assert step.skill == "none" and "tools" in step.route.masked
    assert all("tools" in state.masked and state.tools for state in runtime.router.states)


def test_required_comes_after_the_screen(make_runtime: MakeRuntime) -> None:
    for seed in range(20):  # random weights find some texts unsafe
        agent = Agent(
            make_runtime("prose", unsafe=[True]), [pick], limits=SHORT, sampling=Sampling(temperature=1.0, seed=seed)
        )
        steps = agent.run_sync("go", tool_choice="required").steps
        if steps[0].outcome == "safe":
            assert [step.skill for step in steps] == ["safety", "tools"] and steps[1].outcome == "calls"
            return
    pytest.fail("no verdict was safe")


def test_a_forced_skill_that_calls_writes_the_required_call(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime("prose"), [pick], limits=Limits(max_steps=1))
    step = agent.run_sync("go", tool_choice="required", skill="tools").steps[0]
    assert step.outcome == "calls" and step.decided_by == "policy"


@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 1), (2, 3), (3, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_parallel_calls_keep_their_bounds(make_runtime: MakeRuntime, least: int, most: int, seed: int) -> None:
    agent = Agent(
        make_runtime("tools"),
        [pick, turn],
        limits=Limits(max_steps=1),
        sampling=Sampling(temperature=1.5, seed=seed),
        policy=Policy(min_calls=least, max_calls=most),
    )
    assert least <= len(names(agent.run_sync("go").steps[0])) <= most


# --- what is refused ---


def test_a_choice_that_cannot_be_kept_is_refused(make_runtime: MakeRuntime, small: Base, small_bank: Bank) -> None:
    agent = Agent(make_runtime(), [pick, turn])
    with pytest.raises(UnknownNameError, match="did you mean 'pick'"):
        agent.run_sync("go", tool_choice="pik")
    with pytest.raises(UnknownNameError, match="did you mean 'required'"):
        agent.run_sync("go", tool_choice="requird")
    with pytest.raises(InputError, match="has no tools"):
        Agent(make_runtime()).run_sync("go", tool_choice="required")
    with pytest.raises(InputError, match="'tools', which calls tools, is forced"):
        agent.run_sync("go", tool_choice="none", skill="tools")
    with pytest.raises(InputError, match="'code' is forced"):
        agent.run_sync("go", tool_choice="required", skill="code")
    with pytest.raises(InputError, match="tools is forbidden"):
        Agent(make_runtime(), [pick], policy=Policy(tool_choice="pick", forbid=frozenset({"tools"})))
    with pytest.raises(InputError, match="allow no call"):
        Agent(make_runtime(), [pick], policy=Policy(tool_choice="required"), limits=Limits(max_tool_calls=0))
    with pytest.raises(InputError, match="raise max_tool_calls"):
        Agent(make_runtime(), [pick], policy=Policy(min_calls=4), limits=Limits(max_tool_calls=3))


def test_a_tool_cannot_take_a_word_of_the_choice(make_runtime: MakeRuntime) -> None:
    for word in ("auto", "required", "none"):
        with pytest.raises(InputError, match="rename the tool"):
            Agent(make_runtime(), [Tool(word)])


def test_unusable_forms_and_bounds_are_refused() -> None:
    for wrong in ("", 3, None, {}, {"type": "tool", "name": "pick"}, {"type": "function", "function": {}}):
        with pytest.raises(InputError, match="tool_choice is"):
            choice_of(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tool_choice is"):
        Policy(tool_choice={"type": "function", "function": {"name": "none"}})
    assert choice_of({"type": "function", "name": "pick"}) == "pick"
    for bounds in ({"min_calls": 3, "max_calls": 2}, {"min_calls": -1}, {"max_calls": 0}, {"repairs": -1}):
        with pytest.raises(InputError):
            Policy(**bounds)


# --- not strict ---

LOOSE = {
    "type": "object",
    "properties": {"even": {"type": "integer", "multipleOf": 2}},
    "required": ["even"],
    "uniqueItems": True,  # no grammar would take it
}


@pytest.mark.parametrize("seed", range(4))
def test_a_tool_that_is_not_strict_gets_valid_arguments_or_none(make_runtime: MakeRuntime, seed: int) -> None:
    seen: list[Any] = []
    tool = Tool("even", "", LOOSE, lambda **arguments: seen.append(arguments), strict=False)
    agent = Agent(
        make_runtime("tools"),
        [tool],
        limits=Limits(max_steps=6),
        sampling=Sampling(temperature=1.0, seed=seed),
        policy=Policy(max_calls=1),
    )
    result = agent.run_sync("go", tool_choice="required")
    tries = [step for step in result.steps if step.skill == "tools"]
    assert all(isinstance(json.loads(step.text)[0]["arguments"], dict) for step in tries)
    assert {step.outcome for step in tries[:-1]} <= {"invalid"}
    assert [step.decided_by for step in tries] == ["router", "repair", "repair"][: len(tries)]
    assert all(step.error.startswith("$[0].arguments") for step in tries if step.outcome == "invalid")
    assert bool(seen) == (tries[-1].outcome == "calls")
    assert seen or (result.messages[-1].role == "user" and not result.complete)
    assert all(arguments["even"] % 2 == 0 for arguments in seen)
