"""Runs that go on after a pause: they count on, know what they knew, and end as if there had been no pause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Agent, Approve, Guard, Limits, PendingRun, Policy, RunResult, Runtime, Sampling, Step
from loraloop.testing import ScriptedRuntime, answer, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import ToolRetry

ORDER = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["to", "amount"],
    "additionalProperties": False,
}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
PAY, LOOK = ("pay", {"to": "ann", "amount": 50}), ("look", {"to": "ann", "amount": 1})


class Bank:
    """A tool that pays and one that looks; what was done is in `done`."""

    def __init__(self, **options: Any) -> None:
        self.done: list[tuple[str, int]] = []
        self.tools = [
            Tool("pay", "Pays.", ORDER, self.pay, **{"requires_approval": True, **options}),
            Tool("look", "Looks.", ORDER, lambda to, amount: f"{to} has {amount}"),
        ]

    def pay(self, to: str, amount: int) -> str:
        self.done.append((to, amount))
        return f"paid {amount} to {to}"


def paused(bank: Bank, *steps: Any, **options: Any) -> RunResult[Any]:
    """A run that pauses: by default one call that waits and one that does not."""
    return Agent(ScriptedRuntime(*(steps or (calls(PAY, LOOK),))), bank.tools, **options).run_sync("go")


def pending_of(result: RunResult[Any]) -> PendingRun:
    """The paused run, which can be read from its JSON too."""
    assert result.stop_reason == "approval" and result.pending is not None
    assert PendingRun.from_json(result.pending.to_json()) == result.pending
    return result.pending


def timeless(steps: tuple[Step, ...]) -> list[Step]:
    """Steps without what differs from run to run, and without who approved what."""
    return [
        replace(
            step,
            ms={},
            tokens=replace(step.tokens, prefilled=0, reused=0),
            calls=tuple(replace(call, ms=0.0, approval="") for call in step.calls),
        )
        for step in steps
    ]


def test_limits_go_on_counting() -> None:
    bank = Bank()
    limits = Limits(max_steps=2, max_tool_calls=2)
    pending = pending_of(paused(bank, calls(LOOK), calls(PAY), limits=limits))
    yes = {"call_1_0": Approve()}
    assert Agent(ScriptedRuntime(), bank.tools, limits=limits).resume_sync(pending, yes).stop_reason == "max_steps"
    more = replace(limits, max_steps=5)
    third = calls(("look", {"to": "bob", "amount": 1}))
    result = Agent(ScriptedRuntime(third), bank.tools, limits=more).resume_sync(pending, yes)
    assert result.stop_reason == "max_tool_calls"
    spent = sum(step.tokens.generated for step in (*pending.steps, pending.step))
    short = Limits(run_tokens=spent + 3)
    result = Agent(ScriptedRuntime("A long answer."), bank.tools, limits=short).resume_sync(pending, yes)
    assert result.stop_reason == "max_tokens" and sum(step.tokens.generated for step in result.steps) == spent + 3
    late = replace(pending, state=replace(pending.state, spent=replace(pending.state.spent, seconds=100.0)))
    result = Agent(ScriptedRuntime(), bank.tools, limits=Limits(deadline=100)).resume_sync(late, yes)
    assert result.stop_reason == "deadline" and result.steps[-1].calls[0].error == "timed out after 0 s"


def test_what_was_answered_before_the_pause_is_not_asked_again() -> None:
    bank = Bank()
    pending = pending_of(paused(bank, calls(LOOK), calls(PAY)))
    result = Agent(ScriptedRuntime(calls(LOOK), "Done."), bank.tools).resume_sync(pending, {"call_1_0": Approve()})
    assert [step.outcome for step in result.steps] == ["calls", "calls", "repeated", "text"]


def test_a_policy_may_forbid_more_after_the_pause() -> None:
    pending = pending_of(paused(Bank()))
    policy = Policy(forbid=frozenset({"tools"}))
    result = Agent(ScriptedRuntime("Done."), Bank().tools, policy=policy).resume_sync(pending, {"call_0_0": Approve()})
    assert "tools" in result.steps[1].route.masked


def test_tries_go_on_counting_and_an_approved_call_may_ask_for_another() -> None:
    def busy(to: str, amount: int) -> str:
        raise ToolRetry("busy")

    pay = Tool("pay", "Pays.", ORDER, busy, requires_approval=True, retries=1)
    agent = Agent(ScriptedRuntime(calls(PAY), calls(PAY), "No."), [pay])
    first = pending_of(agent.run_sync("go"))
    second = pending_of(agent.resume_sync(first, {"call_0_0": Approve()}))
    assert second.steps[0].calls[0].retry and second.step.decided_by == "retry" and second.state.retries == {"pay": 1}
    result = agent.resume_sync(second, {"call_1_0": Approve()})
    assert result.steps[1].calls[0].error == "busy (no try is left)" and result.output == "No."


def test_choices_masks_and_citations_outlast_the_pause() -> None:
    bank = Bank()
    policy = Policy(skills=("retrieval", "tools", "retrieval"), after_answer="route")
    steps = (answer("Ann.", ["1"]), calls(PAY))
    runtime = ScriptedRuntime(*steps)
    first = Agent(runtime, bank.tools, policy=policy).run_sync("Who?", passages=["Ann lives here."])
    pending = pending_of(first)
    assert first.citations == ("1",)
    state = pending.state
    assert state.next.choices == ("retrieval",) and state.next.masked == {"retrieval"} and state.ending.output == "Ann."
    assert pending.passages[0].text == "Ann lives here."
    # the forced skill is masked by now, so the router chooses; its policy is gone, the choices are not made twice
    result = Agent(ScriptedRuntime("Done."), bank.tools, policy=policy).resume_sync(pending, {"call_1_0": Approve()})
    assert [step.skill for step in result.steps] == ["retrieval", "tools", "none"]
    assert result.citations == ("1",) and result.cited == pending.passages


async def test_it_goes_on_in_every_way_that_a_run_begins() -> None:
    pending = pending_of(paused(Bank()))
    yes = {"call_0_0": Approve()}

    def agent() -> Agent:
        return Agent(ScriptedRuntime("Done."), Bank().tools)

    wanted = await agent().resume(pending, yes)
    stream = agent().resume_stream(pending, yes)
    assert [event.type async for event in stream][-1] == "RunFinished"
    for result in (stream.result, await asyncio.to_thread(agent().resume_sync, pending, yes)):
        assert timeless(result.steps) == timeless(wanted.steps) and result.messages == wanted.messages


def test_what_the_guard_decided_outlasts_the_pause() -> None:
    bank = Bank()
    first = paused(bank, guard=Guard())
    assert [(gate.place, gate.outcome) for gate in first.gates] == [("input", "passed")]
    agent = Agent(ScriptedRuntime("Paid."), bank.tools)
    result = agent.resume_sync(pending_of(first), {"call_0_0": Approve()}, guard=Guard(tools=None))
    assert result.gates == first.gates and result.stop_reason == "answer"
    assert [message.origin.kind for message in result.messages if message.origin] == [
        "system", "user", "skill", "tool", "tool", "skill",
    ]  # fmt: skip
    kept = Agent(ScriptedRuntime("Paid."), bank.tools).resume_sync(pending_of(first), {"call_0_0": Approve()})
    assert [gate.place for gate in kept.gates] == ["input", "tools", "tools"], "a gate that nobody took away stays"


def test_a_run_with_pauses_equals_one_without_on_a_script() -> None:
    script = (calls(LOOK), calls(PAY, LOOK), calls(("pay", {"to": "bob", "amount": 1})), "Done.")
    plain = Agent(ScriptedRuntime(*script), Bank(requires_approval=False).tools).run_sync("go")
    agent = Agent(ScriptedRuntime(*script), Bank().tools)  # its trunk is kept
    apart: list[Agent] = [Agent(ScriptedRuntime(*script[n:]), Bank().tools) for n in (0, 2, 3)]
    for agents in ([agent] * 3, apart):
        result = agents[0].run_sync("go")
        for following in agents[1:]:
            pending = pending_of(result)
            result = following.resume_sync(pending, {call.id: Approve() for call in pending.waiting})
        assert result.messages == plain.messages and timeless(result.steps) == timeless(plain.steps)
        assert (result.output, result.stop_reason) == (plain.output, plain.stop_reason)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_run_with_a_pause_equals_one_without_where_tokens_are_drawn(
    make_runtime: Callable[..., Runtime], temperature: float
) -> None:
    """On random weights, whose tokens are no text that a tokenizer would read back: the very tokens are kept."""

    def agent(waits: bool) -> Agent:
        act = Tool("act", "Acts.", NUMBER, lambda n: f"did {n}", requires_approval=waits)
        sampling = Sampling(temperature=temperature, seed=5)
        limits = Limits(step_tokens=80, max_steps=4)
        policy = Policy(max_calls=1, min_calls=1)
        return Agent(make_runtime("tools", "prose"), [act], sampling=sampling, limits=limits, policy=policy)

    plain = agent(False).run_sync("go")
    first = agent(True)
    pending = pending_of(first.run_sync("go"))
    elsewhere = agent(True)
    elsewhere.runtime.router = first.runtime.router  # the script of the routes goes on
    result = elsewhere.resume_sync(pending, {call.id: Approve() for call in pending.waiting})
    assert result.messages == plain.messages and timeless(result.steps) == timeless(plain.steps)
    assert plain.steps[0].calls and len(plain.steps[-1].text) > 5


def test_a_run_with_a_pause_equals_one_without_on_the_real_base(base: Base) -> None:
    def get_stock(fruit: str) -> int:
        """Get how much of a fruit is in stock.

        Args:
            fruit: The fruit.
        """
        return 12

    limits, waits = Limits(step_tokens=24, max_steps=2), Policy(needs_approval="get_stock")
    asked = "How many pears are in stock?"
    here, elsewhere = Runtime.load(base), Runtime.load(base)
    plain = Agent(here, [get_stock], limits=limits).run_sync(asked, tool_choice="required")
    first = Agent(here, [get_stock], limits=limits, policy=waits).run_sync(asked, tool_choice="required")
    pending = pending_of(first)
    again = Agent(elsewhere, [get_stock], limits=limits, policy=waits)
    result = again.resume_sync(pending, {call.id: Approve() for call in pending.waiting})
    assert result.messages == plain.messages and timeless(result.steps) == timeless(plain.steps)
    assert result.output == plain.output and plain.steps[0].calls[0].result == 12
