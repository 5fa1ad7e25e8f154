"""A user's program over the public API, as a type checker sees it. `make types` reads this file; nothing runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, assert_type

from pydantic import BaseModel, Field

from loraloop import (
    Agent,
    Bank,
    Base,
    Context,
    Document,
    Forbid,
    Hook,
    Limits,
    LoraloopError,
    McpServer,
    Message,
    PassageIndex,
    Policy,
    Router,
    RunResult,
    Runtime,
    Sampling,
    Sandbox,
    Skill,
    Tool,
    ToolRetry,
    library,
    load_tools,
    run_python,
    tool,
)
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent import (
    CallRecord,
    Memory,
    OutputType,
    Pending,
    Retriever,
    RunSteps,
    RunStream,
    SandboxResult,
    Step,
    StepFacts,
    Tokens,
)
from loraloop.agent.events import Event, RunFinished, StepFinished, TokenGenerated
from loraloop.router import Route
from loraloop.testing import (
    ScriptedRouter,
    ScriptedRuntime,
    Turn,
    answer,
    assert_called,
    assert_not_called,
    assert_routes,
    calls,
    forbid_real_model,
    text,
)
from loraloop.tool_schemas import Bearer, Grammar, Regex, http_tool, mcp_tools, openai_tools

# --- tools --------------------------------------------------------------------------------------------------------


@dataclass
class Shop:
    stock: dict[str, int]


class Order(BaseModel):
    """An order."""

    fruit: str
    amount: Annotated[int, Field(ge=1)]


def get_stock(context: Context[Shop], fruit: Literal["pears", "apples"]) -> int:
    """Get the stock."""
    assert_type(context.cancelled, bool)
    if context.cancelled or context.left.calls == 0:
        raise ToolRetry("later")
    assert_type(context.deps, Shop)
    assert_type((context.run_id, context.step, context.attempt), tuple[str, int, int])
    return context.deps.stock[fruit]


async def find(context: Context[Shop], name: str) -> list[str]:
    """Find something."""
    await asyncio.sleep(0)
    return [name for name in context.deps.stock if name == name]


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(name="later", strict=False, timeout=2.0, retries=1)
async def wait(seconds: float) -> None:
    """Wait."""


def of_tools(folder: Path) -> list[Tool]:
    assert_type(add, Tool)
    assert_type(wait, Tool)
    assert_type(Tool.from_model(Order, lambda order: order.amount), Tool)
    assert_type(Tool.from_function(get_stock, description="Other words."), Tool)
    assert_type(load_tools(folder), tuple[Tool, ...])
    service = http_tool(
        "ask", "Asks.", {"type": "object", "properties": {}}, method="GET", url="https://example.org/x",
        auth=Bearer("KEY"),
    )  # fmt: skip
    assert_type(service, Tool)
    assert_type(openai_tools([add]), list[dict[str, Any]])
    with McpServer.stdio("server", ["--quiet"]) as server:
        return [*server.tools, *mcp_tools(server)]


# --- policies, hooks, retrievers ------------------------------------------------------------------------------------


def decide(facts: StepFacts) -> str | list[str] | Forbid | None:
    assert_type(facts.route, Route)
    assert_type(facts.steps, tuple[Step, ...])
    match facts.after:
        case "tool":
            return Forbid("code")
        case "dropped":
            return ["retrieval", "none"]
        case _:
            return "code" if facts.index else None


def policies() -> Policy:
    Policy(decide=lambda facts: facts.index)  # type: ignore[arg-type, return-value]
    return Policy(skills=("code", "none"), forbid=frozenset({"safety"}), decide=decide, tool_choice="auto")


def note(event: Event) -> None:
    assert_type((event.run_id, event.type, event.to_json()), tuple[str, str, str])


async def note_step(event: StepFinished) -> None:
    assert_type(event.step, Step)


class Found:
    """A retriever of the user's own: it has only to fit."""

    def retrieve(self, question: str, k: int) -> Sequence[Passage]:
        return [Passage("1", question)][:k]


def retrievers(index: PassageIndex) -> list[Retriever]:
    assert_type(index.retrieve("x", k=2), list[Passage])
    return [Found(), index]


# --- runs ---------------------------------------------------------------------------------------------------------


def of_runs(runtime: Runtime) -> None:
    agent = Agent(
        runtime,
        [get_stock, find, add, {"name": "asked", "parameters": {"type": "object"}}],
        "Help.",
        output_type=Order,
        deps_type=Shop,
        limits=Limits(max_steps=3, deadline=10.0),
        policy=policies(),
        sampling=Sampling(temperature=0.7, seed=1),
        hooks=[note, Hook(note_step, (StepFinished,), fatal=True)],
        retriever=Found(),
        python=Sandbox(timeout=2.0),
    )
    assert_type(agent, Agent[Order, Shop])
    shop = Shop({})
    result = agent.run_sync("x", deps=shop, messages=[Message("user", "y")], passages=["z", Passage("2", "w")])
    assert_type(result, RunResult[Order])
    assert_type(result.value, Order | None)
    assert_type(result.steps[0].calls, tuple[CallRecord, ...])
    assert_type(result.steps[0].tokens, Tokens)
    assert_type(result.cited, tuple[Passage, ...])
    assert_type(agent.run_sync("x", deps=shop, output_type=list[int]).value, list[int] | None)
    assert_type(agent.run_sync("x", deps=shop, output_type=OutputType.of(Regex("[a-z]+"))), RunResult[Any])
    agent.run_sync("x", deps=3)  # type: ignore[call-overload]
    agent.run_sync("x", dps=shop)  # type: ignore[call-overload]
    agent.run_sync(["x"])  # type: ignore[call-overload]
    Agent(runtime, limit=Limits())  # type: ignore[call-overload]
    agent.add_documents([Document("a", "b"), Path("docs")])


def of_streams(agent: Agent[Order]) -> str:
    stream = agent.stream("x")
    assert_type(stream, RunStream[Order])
    streamed = ""
    for event in stream:
        assert_type(event, Event)
        if isinstance(event, TokenGenerated):
            streamed += event.text
        elif isinstance(event, RunFinished):
            assert_type(event.result.output, str)
    stream.cancel()
    assert_type(stream.result, RunResult[Order])
    return streamed


def of_steps(agent: Agent[Order]) -> None:
    with agent.iter("x") as steps:
        assert_type(steps, RunSteps[Order])
        for pending in steps:
            assert_type(pending, Pending)
            pending.use("code")
            pending.mask_tools("add")
            pending.tell("Be short.")
            assert_type((pending.skill, pending.probability, pending.messages), tuple[str, float, tuple[Message, ...]])
        assert_type(steps.finish(), RunResult[Order])


async def of_async(agent: Agent[Order]) -> None:
    assert_type(await agent.run("x"), RunResult[Order])
    async for event in agent.stream("x"):
        assert_type(event, Event)
    async for pending in agent.iter("x"):
        pending.stop()


# --- runtimes, skills, sandbox ----------------------------------------------------------------------------------------


def of_runtimes(folder: Path) -> None:
    base = Base.load("smollm2-135m", quantize="int4")
    assert_type(base, Base)
    bank = Bank(base, slots=4, rank={16: 3, 64: 1})
    assert_type(bank.add(folder), str)
    assert_type(bank.add(Skill.load(folder)), str)
    with bank.using("code") as slot:
        assert_type(slot, int)
    runtime = Runtime(base, bank, Router.load(), reuse=100)
    assert_type(runtime.memory(), Memory)
    assert_type(runtime.memory().trunks.bytes, int)
    assert_type(runtime.grammar({"type": "string"}), Grammar)
    assert_type(Runtime.load(skills=["tools", folder], router=ScriptedRouter()), Runtime)
    assert_type(sorted(library()), list[str])


def of_sandboxes() -> SandboxResult:
    run_python("x", timeot=1)  # type: ignore[call-arg]
    assert_type(run_python("x", timeout=1, scratch_mb=8).stdout, str)
    return Sandbox(memory_mb=64, allow_unconfined=True).run("x")


# --- tests of programs ------------------------------------------------------------------------------------------------


def of_testing() -> None:
    with forbid_real_model():
        runtime = ScriptedRuntime(calls(add={"a": 1, "b": 2}), answer("x"), text("y", "code"), "z")
        agent = Agent(runtime, [add])
        assert_type(agent, Agent[None])
        result = agent.run_sync("x")
        assert_routes(result, ["tools", "none"])
        assert_called(result, "add", {"a": 1})
        assert_not_called(result, "sub")
        assert_type(runtime.turns, list[Turn])
        runtime.assert_finished()


def of_errors(agent: Agent[None]) -> str:
    try:
        return agent.run_sync("x").output
    except LoraloopError as error:
        return str(error)


def of_options() -> None:
    assert_type(tool(add_up)(1, 2), Any)
    assert_type(tool(add_up, timeout=1.0, name="sum"), Tool)
    tool(add_up, timeot=1.0)  # type: ignore[call-overload]


def add_up(numbers: list[int]) -> int:
    return sum(numbers)
