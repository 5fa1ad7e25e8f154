"""What a type checker sees of a run's result. `make types` reads this file; nothing runs it."""

from __future__ import annotations

import enum
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from loraloop import Agent, Context, RunResult, Runtime
from loraloop.agent import RunSteps


class City(BaseModel):
    name: str


class Colour(enum.Enum):
    RED = "red"


def of_runs(agent: Agent[None]) -> None:
    assert_type(agent.run_sync("x"), RunResult[None])
    assert_type(agent.run_sync("x", output_type=City, tool_choice="none").value, City | None)
    assert_type(agent.run_sync("x", output_type=list[int]), RunResult[list[int]])
    assert_type(agent.run_sync("x", output_type=Literal["a", "b"]), RunResult[Any])
    assert_type(agent.run_sync("x", output_type={"type": "object"}), RunResult[Any])


async def of_agents(runtime: Runtime) -> None:
    assert_type(Agent(runtime), Agent[None])
    agent = Agent(runtime, output_type=Colour, python=True)
    assert_type(agent.run_sync("x"), RunResult[Colour])
    assert_type(agent.stream("x").result, RunResult[Colour])
    assert_type(await agent.run("x", skill="code"), RunResult[Colour])


def of_deps(runtime: Runtime, agent: Agent[City, Colour]) -> None:
    assert_type(agent.run_sync("x", deps=Colour.RED), RunResult[City])
    assert_type(agent.iter("x", deps=Colour.RED), RunSteps[City])
    agent.run_sync("x", deps="red")  # type: ignore[call-overload]
    assert_type(Agent(runtime, deps_type=Colour), Agent[None, Colour])
    assert_type(Agent(runtime, output_type=City, deps_type=Colour), Agent[City, Colour])


def of_tools(context: Context[Colour]) -> None:
    assert_type(context.deps, Colour)


def without_parameters(result: RunResult) -> str:
    return result.output
