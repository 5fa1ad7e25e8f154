"""What tools are told besides their arguments: the caller's dependencies, the step, what the limits leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, ToolRetry
from loraloop.tool_schemas.tools.context import Context
from loraloop.tool_schemas.tools.tool import Tool

MakeRuntime = Callable[..., Runtime]


@dataclass
class Shop:
    stock: dict[str, int]


def look(context: Context[Shop], fruit: Literal["pear"]) -> int:
    """Looks."""
    return context.deps.stock[fruit]


def test_the_context_is_no_argument() -> None:
    made = Tool.from_function(look)
    assert (made.binding.context, made.binding.deps, list(made.parameters["properties"])) == (
        "context",
        Shop,
        ["fruit"],
    )
    assert made.call({"fruit": "pear"}, Context(Shop({"pear": 3}))) == 3
    with pytest.raises(ToolError, match="takes a context"):
        made.call({"fruit": "pear"})


def test_a_tool_gets_the_runs_own(make_runtime: MakeRuntime) -> None:
    seen: list[Context[Shop]] = []

    async def act(fruit: Literal["pear"], *, context: Context[Shop]) -> int:
        seen.append(context)
        if context.attempt == 1:
            raise ToolRetry("once more")
        return context.deps.stock[fruit]

    limits = Limits(step_tokens=60, max_steps=5, max_tool_calls=4, run_tokens=1000, deadline=500)
    shop = Shop({"pear": 3})
    result = Agent(make_runtime("tools"), [act], limits=limits, policy=Policy(max_calls=1)).run_sync(
        "go", tool_choice="required", deps=shop
    )
    first = seen[0]
    assert first.deps is shop and (first.run_id, first.step, first.attempt) == (result.run_id, 0, 1)
    assert (first.left.steps, first.left.calls) == (4, 3) and first.cancelled is False
    assert first.left.tokens == 1000 - result.steps[0].tokens.generated
    assert first.left.seconds is not None and 0 < first.left.seconds < 500
    assert [context.attempt for context in seen[1:2]] in ([], [2])


def test_a_tool_sees_that_its_run_was_cancelled(make_runtime: MakeRuntime) -> None:
    seen: list[bool] = []

    def act(context: Context[None], fruit: Literal["pear"]) -> None:
        seen.append(context.cancelled)
        stream.cancel()
        seen.append(context.cancelled)

    agent = Agent(make_runtime("tools"), [act], limits=Limits(step_tokens=60), policy=Policy(max_calls=1))
    with agent.stream("go", tool_choice="required") as stream:
        list(stream)
    assert seen == [False, True] and stream.result.stop_reason == "cancelled"
    assert Context(None, signal=lambda: True).cancelled and not Context(None).cancelled


def test_deps_that_are_not_what_a_tool_says_are_refused(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime(), [look])
    with pytest.raises(InputError, match="tool 'look' needs deps of the type Shop, and none were given"):
        agent.run_sync("go")
    with pytest.raises(InputError, match="and dict was given"):
        agent.run_sync("go", deps={"pear": 3})
    with pytest.raises(InputError, match="the agent needs deps of the type Shop"):
        Agent(make_runtime(), deps_type=Shop).iter("go")
    with pytest.raises(InputError, match="the agent needs deps of the type dict, and list was given"):
        Agent(make_runtime(), deps_type=dict[str, int]).run_sync("go", deps=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("annotation", [Context, Context[Any], Context[dict[str, int]], Annotated[Context[None], "x"]])
def test_every_form_of_the_annotation(annotation: Any) -> None:
    def act(x: int, there: Any) -> Any:
        """Acts."""
        return there.deps, x

    act.__annotations__["there"] = annotation
    made = Tool.from_function(act)
    assert made.binding.context == "there" and made.call({"x": 1}, Context(None)) == (None, 1)
    assert made.binding.deps is (type(None) if annotation == Annotated[Context[None], "x"] else None)


def test_what_cannot_be_filled_is_refused() -> None:
    def twice(a: Context[Shop], b: Context[Shop]) -> None:
        """Acts."""

    def placed(a: Context[Shop], /) -> None:
        """Acts."""

    with pytest.raises(SchemaError, match="a and b take a context"):
        Tool.from_function(twice)
    with pytest.raises(SchemaError, match="drop the '/'"):
        Tool.from_function(placed)
