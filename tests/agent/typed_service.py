"""What a program in service uses, as a type checker sees it. `make types` reads this file; nothing runs it."""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_type

from loraloop import (
    Agent,
    Approve,
    Context,
    Deny,
    Gate,
    Guard,
    Limits,
    Policy,
    RunResult,
    Runtime,
    Sessions,
    Tracer,
    tool,
)
from loraloop.agent import (
    Differences,
    GateRecord,
    GuardFacts,
    OpenTelemetry,
    PendingCall,
    PendingRun,
    Replayed,
    RunStream,
    Trace,
    diff,
    replay,
)
from loraloop.agent.sessions.sessions import Session


@tool(requires_approval=True, idempotent=True, effects=True)
def pay(to: str, amount: int) -> str:
    return "paid"


@tool(requires_approval=lambda arguments: arguments["amount"] > 100, sequential=True)
def order(amount: int) -> str:
    return "ordered"


def decide(call: PendingCall, context: Context[object]) -> Approve | Deny | None:
    return Deny("too much") if call.arguments["amount"] > 1000 else Approve(arguments={**call.arguments, "amount": 1})


async def decide_later(call: PendingCall, context: Context[object]) -> Approve | Deny | None:
    return None


def of_approval(runtime: Runtime) -> RunResult[int] | None:
    agent = Agent(runtime, [pay, order], output_type=int, policy=Policy(needs_approval={"pay"}, approve=decide))
    Agent(runtime, policy=Policy(needs_approval="*", approve=decide_later), limits=Limits(concurrent_calls=2))
    result = agent.run_sync("Pay Ann.")
    assert_type(result.pending, PendingRun | None)
    if result.pending is None:
        return None
    kept = PendingRun.from_json(result.pending.to_json())
    assert_type(agent.resume_stream(kept, kept.denied("no")), RunStream[int])
    agent.resume_sync(kept, {"call_0_0": True})  # type: ignore[dict-item]
    return agent.resume_sync(kept, {call.id: Approve() for call in kept.waiting})


async def of_approval_elsewhere(agent: Agent[str], pending: PendingRun) -> None:
    assert_type(await agent.resume(pending, {"call_0_0": Deny("no")}), RunResult[str])


def allow(facts: GuardFacts) -> Collection[str] | None:
    return ["pay"] if facts.index else None


def of_guards(runtime: Runtime) -> tuple[GateRecord, ...]:
    guard = Guard(
        input=Gate(screen=0.2), tools=Gate(then="withhold", fail="open"), allow=allow, after_untrusted="planned"
    )
    Guard(after_untrusted="sometimes")  # type: ignore[arg-type]
    Gate(then="ask")  # type: ignore[arg-type]
    result = Agent(runtime, [pay], guard=guard).run_sync("Pay.", guard=Guard(output=Gate()))
    assert_type([message.trusted for message in result.messages], list[bool])
    return result.gates


def of_sessions(runtime: Runtime) -> None:
    with Sessions("shop.db") as store:
        agent = Agent(runtime, [pay], sessions=store)
        session = store.session("anna")
        assert_type(session, Session)
        assert_type(agent.run_sync("Pay.", session=session), RunResult[None])
        agent.run_sync("Pay.", session=3)  # type: ignore[call-overload]
        session.resume(agent, on_unfinished="run_again")
        assert_type([turn.prompt for turn in session.turns], list[str])


def of_traces(runtime: Runtime, old: Trace) -> Differences:
    tracer = Tracer("traces/", mask=str.lower)
    Agent(runtime, hooks=[tracer, OpenTelemetry(content=False), print]).run_sync("Hi.")
    assert_type(replay(tracer.last, runtime), Replayed)
    return diff(old, tracer.last)
