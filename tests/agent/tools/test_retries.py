"""Tools that ask for another try: feedback that is bounded, told apart from failures, and in the trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.agent.events import ToolCallFinished
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolRetry
from loraloop.tool_schemas.tools.tool import Tool, tool

MakeRuntime = Callable[..., Runtime]
EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
LIMITS = Limits(step_tokens=40, max_steps=5)
ONE = Policy(max_calls=1)


def run(make_runtime: MakeRuntime, function: Callable[..., Any], limits: Limits = LIMITS, **options: Any) -> Any:
    """One required call of a tool without arguments, and what follows of it; repeats call again."""
    made = Tool("act", "Acts.", EMPTY, function, **options)
    return Agent(make_runtime("tools"), [made], limits=limits, policy=ONE).run_sync("go", tool_choice="required")


def test_a_tool_may_ask_for_another_try(make_runtime: MakeRuntime) -> None:
    asked: list[int] = []

    def act() -> str:
        asked.append(1)
        if len(asked) < 2:
            raise ToolRetry("the line was busy")
        return "done"

    result = run(make_runtime, act)
    first, second = result.steps[:2]
    (call,) = first.calls[:1]
    assert call.retry and call.error == "the line was busy" and call.result is None
    told = next(m for m in result.messages if m.role == "tool")
    assert json.loads(told.content) == {"name": "act", "retry": "the line was busy"}
    assert (second.skill, second.decided_by, second.routed) == ("tools", "retry", "none")
    assert first.decided_by == "router" and first.routed == "tools"


def test_tries_are_bounded_for_each_tool(make_runtime: MakeRuntime) -> None:
    def act() -> str:
        raise ToolRetry

    for limits, options, most in ((LIMITS, {"retries": 0}, 0), (Limits(step_tokens=40, tool_retries=1), {}, 1)):
        result = run(make_runtime, act, limits, **options)
        calls = [call for step in result.steps for call in step.calls if not call.repeated]
        assert [call.retry for call in calls] == [True] * min(most, len(calls) - 1) + [False]
        assert calls[-1].error is not None and calls[-1].error.endswith("(no try is left)")
        after = [step.decided_by for step in result.steps]
        assert after.count("retry") == most


def test_a_failure_is_no_retry(make_runtime: MakeRuntime) -> None:
    def act() -> str:
        raise ValueError("broken")

    result = run(make_runtime, act)
    assert [call.retry for call in result.steps[0].calls] == [False] * len(result.steps[0].calls)
    assert json.loads(result.messages[-2].content).get("error") == "ValueError: broken"
    assert all(step.decided_by != "retry" for step in result.steps)


def test_an_async_tool_may_ask_too(make_runtime: MakeRuntime) -> None:
    async def act() -> str:
        raise ToolRetry("later")

    made = Tool("act", "Acts.", EMPTY, act)
    stream = Agent(make_runtime("tools"), [made], limits=LIMITS, policy=ONE).stream("go", tool_choice="required")
    calls = [event.call for event in stream if isinstance(event, ToolCallFinished)]
    assert calls[0].retry and calls[0].error == "later"


def test_bounds_are_checked() -> None:
    with pytest.raises(InputError, match="tool_retries is -1"):
        Limits(tool_retries=-1)
    with pytest.raises(SchemaError, match="retries is -1"):
        Tool("act", retries=-1)

    @tool(retries=3)
    def act(x: int) -> int:
        """Acts."""
        return x

    assert act.retries == 3
