"""Calls that wait for approval: runs that pause before them, go on elsewhere, and end as if there had been no pause."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent import (
    Agent,
    Approve,
    Deny,
    Limits,
    PendingCall,
    PendingRun,
    Policy,
    RunResult,
)
from loraloop.agent.events import ApprovalRequested, RunFinished, RunStarted, StepFinished, ToolCallStarted
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.tools.approval import auto_approve
from loraloop.testing import ScriptedRuntime, calls, code, text
from loraloop.tool_schemas import Tool, tool
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError
from loraloop.tool_schemas.tools.context import Context

ORDER = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["to", "amount"],
    "additionalProperties": False,
}
PAY, LOOK = ("pay", {"to": "ann", "amount": 50}), ("look", {"to": "ann", "amount": 1})
WAIT = 5.0


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


def told(result: RunResult[Any]) -> list[Any]:
    """What the transcript holds of the calls."""
    return [json.loads(message.content) for message in result.messages if message.role == "tool"]


def test_a_run_pauses_before_anything_of_the_step_has_run() -> None:
    bank = Bank()
    agent = Agent(ScriptedRuntime(calls(LOOK), calls(PAY, ("look", {"to": "bob", "amount": 2}))), bank.tools)
    events = list(agent.stream("go"))
    (asked,) = [event for event in events if isinstance(event, ApprovalRequested)]
    assert [(call.id, call.name, call.arguments) for call in asked.calls] == [("call_1_0", *PAY)]
    assert sum(isinstance(event, ToolCallStarted) for event in events) == 1 and not bank.done
    assert sum(isinstance(event, StepFinished) for event in events) == 1
    last = events[-1]
    assert isinstance(last, RunFinished) and last.result.complete and last.result.messages[-1].role == "assistant"
    pending = pending_of(last.result)
    assert [(call.id, call.open) for call in pending.calls] == [("call_1_0", True), ("call_1_1", False)]
    assert pending.waiting == asked.calls and pending.step.outcome == "calls" and not pending.step.calls
    assert json.loads(last.to_json())["result"]["pending"]["version"] == 2


def test_what_is_approved_runs_elsewhere_and_the_run_goes_on() -> None:
    first, second = Bank(), Bank()
    pending = pending_of(paused(first))
    events = list(Agent(ScriptedRuntime("Done."), second.tools).resume_stream(pending, {"call_0_0": Approve()}))
    start, last = events[0], events[-1]
    assert isinstance(start, RunStarted) and start.resumed and start.run_id == pending.run_id
    assert isinstance(last, RunFinished)
    result = last.result
    assert (result.output, result.stop_reason, result.run_id) == ("Done.", "answer", pending.run_id)
    assert second.done == [("ann", 50)] and not first.done
    assert [call.approval for call in result.steps[0].calls] == ["approved", ""]
    assert [step.index for step in result.steps] == [0, 1] and result.pending is None
    assert [event.step.index for event in events if isinstance(event, StepFinished)] == [0, 1]


def test_what_is_denied_does_not_run_and_the_model_is_told() -> None:
    bank = Bank()
    pending = pending_of(paused(bank))
    runtime = ScriptedRuntime(calls(PAY), "I could not pay.")  # the model tries once more, which is no use
    result = Agent(runtime, bank.tools).resume_sync(pending, {"call_0_0": Deny("too much")})
    assert not bank.done and result.output == "I could not pay."
    assert told(result) == [
        {"name": "pay", "error": "denied by the user: too much"},
        {"name": "look", "result": "ann has 1"},
    ]
    assert result.steps[0].calls[0].approval == "denied" and result.steps[1].outcome == "repeated"
    assert Deny().error == "denied by the user"


def test_arguments_may_be_edited_and_the_model_is_told() -> None:
    bank = Bank()
    pending = pending_of(paused(bank))
    runtime = ScriptedRuntime(calls(PAY, ("pay", {"to": "ann", "amount": 5})), "Done.")
    edited = Approve(arguments={"to": "ann", "amount": 5})
    result = Agent(runtime, bank.tools).resume_sync(pending, {"call_0_0": edited})
    assert bank.done == [("ann", 5)]
    assert told(result)[0] == {"name": "pay", "arguments": {"to": "ann", "amount": 5}, "result": "paid 5 to ann"}
    call = result.steps[0].calls[0]
    assert (call.arguments, call.wanted, call.approval) == ({"to": "ann", "amount": 5}, PAY[1], "edited")
    assert result.steps[1].outcome == "repeated"  # neither as it was written nor as it ran


@pytest.mark.parametrize(
    ("decisions", "error", "says"),
    [
        ({}, InputError, r"no decision about call_0_0 \(pay .*Approve\(\) or Deny"),
        ([Approve()], InputError, r"decisions is \[Approve.*: give a mapping of calls' ids"),
        ({"call_0_9": Approve()}, UnknownNameError, "Known: call_0_0, call_0_1"),
        ({"call_0_0": True}, InputError, r"True is not an answer about call_0_0 \(pay\): give Approve\(\)"),
        ({"call_0_0": Approve(arguments={"to": "ann"})}, SchemaError, r"edited arguments of call_0_0 .*amount"),
    ],
)
def test_unusable_decisions_are_errors_that_name_the_call(
    decisions: dict[str, Any], error: type[Exception], says: str
) -> None:
    bank = Bank()
    pending = pending_of(paused(bank))
    with pytest.raises(error, match=says):
        Agent(ScriptedRuntime("Done."), bank.tools).resume_sync(pending, decisions)
    assert not bank.done


def test_what_changed_since_the_pause_is_an_error_unless_it_does_not_matter() -> None:
    bank = Bank()
    pending, yes = pending_of(paused(bank)), {"call_0_0": Approve()}
    pay, look = bank.tools
    cents = {**ORDER, "properties": {**ORDER["properties"], "amount": {"type": "integer", "maximum": 9}}}
    small = replace(pay, parameters=cents)
    with pytest.raises(UnknownNameError, match=r"call_0_0 cannot run any more.*known: look.*or deny the call"):
        Agent(ScriptedRuntime(), [look]).resume_sync(pending, yes)
    with pytest.raises(SchemaError, match=r"\$.amount: call_0_0 cannot run any more.*schema of 'pay' has changed"):
        Agent(ScriptedRuntime(), [small, look]).resume_sync(pending, yes)
    with pytest.raises(InputError, match="has no implementation"):
        Agent(ScriptedRuntime(), [replace(pay, function=None), look]).resume_sync(pending, yes)
    with pytest.raises(InputError, match="paused on another base"):
        Agent(ScriptedRuntime(), bank.tools).resume_sync(
            replace(pending, asked=replace(pending.asked, architecture="another")), yes
        )
    with pytest.raises(InputError, match=r"dict is not a pending run: pass RunResult.pending"):
        Agent(ScriptedRuntime(), bank.tools).resume_sync(pending.to_dict(), yes)  # type: ignore[arg-type]
    no = {"call_0_0": Deny()}
    assert Agent(ScriptedRuntime("Done."), [look]).resume_sync(pending, no).output == "Done."
    edited = {"call_0_0": Approve(arguments={"to": "ann", "amount": 9})}
    assert Agent(ScriptedRuntime("Done."), [small, look]).resume_sync(pending, edited).output == "Done."
    assert bank.done == [("ann", 9)]


@pytest.mark.parametrize("whose", ["the run's", "the agent's"])
def test_a_run_with_an_output_type_is_not_resumed_without_one(whose: str) -> None:
    bank, own = Bank(), {"output_type": list[int]}
    agent = Agent(ScriptedRuntime(calls(PAY)), bank.tools, **(own if whose == "the agent's" else {}))
    pending = PendingRun.from_json(pending_of(agent.run_sync("go", **(own if whose == "the run's" else {}))).to_json())
    decisions = {"call_0_0": Approve()}
    with pytest.raises(InputError, match="has an output_type: give output_type=… again"):
        Agent(ScriptedRuntime("[50]"), bank.tools).resume_sync(pending, decisions)
    assert not bank.done
    assert Agent(ScriptedRuntime("[50]"), bank.tools).resume_sync(pending, decisions, **own).value == [50]


def test_a_call_that_needs_approval_only_since_the_pause_pauses_again() -> None:
    bank = Bank()
    pending = pending_of(paused(bank))
    pay, look = bank.tools
    stricter = [pay, replace(look, requires_approval=True)]
    again = pending_of(Agent(ScriptedRuntime(), stricter).resume_sync(pending, {"call_0_0": Approve()}))
    assert [call.id for call in again.waiting] == ["call_0_1"] and not bank.done
    assert again.calls[0].approval == Approve()
    result = Agent(ScriptedRuntime("Done."), stricter).resume_sync(again, {"call_0_1": Deny()})
    assert bank.done == [("ann", 50)] and [call.approval for call in result.steps[0].calls] == ["approved", "denied"]
    assert len(result.steps) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a pending run"),
        ('{"version": 1}', "of version 1, and this loraloop reads version 2: resume it with the loraloop that wrote"),
        ('{"version": 2}', r"damaged: \$.run_id"),
    ],
)
def test_what_is_no_pending_run_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        PendingRun.from_json(text)


def test_nothing_is_no_pending_run() -> None:
    with pytest.raises(InputError, match="not JSON"):
        PendingRun.from_json(None)  # type: ignore[arg-type]


def test_a_damaged_pending_run_is_refused_by_its_place() -> None:
    whole = pending_of(paused(Bank())).to_dict()
    written, state = whole["written"], whole["state"]
    mixed = [{**written["calls"][0], "approval": {"arguments": None, "reason": ""}}]
    for change, says in (
        ({"written": {**written, "calls": mixed}}, r"\$.written.calls\[0\].approval"),
        ({"lines": [[{"role": "nobody", "content": ""}, None]]}, r"\$.lines\[0\].*unknown message role"),
        ({"lines": whole["lines"][:1]}, r"\$.lines does not end with the calls"),
        ({"written": None}, "there is no step with calls"),
        ({"written": {**written, "calls": written["calls"][:1] * 2}}, "an id twice"),
        ({"state": {**state, "spent": {**state["spent"], "calls": "many"}}}, r"\$.state.spent.calls"),
    ):
        with pytest.raises(InputError, match=says):
            PendingRun.from_dict({**whole, **change})


def test_a_number_may_end_in_a_zero(tmp_path: Path) -> None:
    done: list[float] = []
    order = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
    pay = Tool("pay", "Pays.", order, lambda amount: done.append(amount), requires_approval=True, strict=False)
    call = '[{"name":"pay","arguments":{"amount":12.50}}]'
    agent = Agent(ScriptedRuntime(text(call, "tools"), "Paid.", text(call, "tools"), "Paid."), [pay])
    pending = PendingRun.from_json(pending_of(agent.run_sync("go")).to_json())
    agent.resume_sync(pending, {"call_0_0": Approve()})
    with Sessions(tmp_path / "bank.db") as store:
        agent.run_sync("go", session=store.session("ann"))
        kept = store["ann"].result
        assert kept
        agent.resume_sync(pending_of(kept), {"call_0_0": Approve()}, session=store["ann"])
    assert done == [12.5] * 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_policy_that_approves_needs_no_pause(kind: str) -> None:
    asked: list[tuple[PendingCall, Any, int]] = []

    def approve(call: PendingCall, context: Context[Any]) -> Approve | Deny:
        asked.append((call, context.deps, context.step))
        small = call.arguments["amount"] <= 50
        return Approve() if small else Deny("above 50")

    async def approve_later(call: PendingCall, context: Context[Any]) -> Approve | Deny:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        return approve(call, context)

    loop, bank = asyncio.get_running_loop(), Bank()
    policy = Policy(approve=approve if kind == "sync" else approve_later)
    runtime = ScriptedRuntime(calls(PAY, ("pay", {"to": "bob", "amount": 51}), LOOK), "Done.")
    result = await Agent(runtime, bank.tools, policy=policy).run("go", deps="the boss")
    assert result.output == "Done." and bank.done == [("ann", 50)]
    assert [call.approval for call in result.steps[0].calls] == ["approved", "denied", ""]
    assert [(call.id, deps, step) for call, deps, step in asked] == [
        ("call_0_0", "the boss", 0),
        ("call_0_1", "the boss", 0),
    ]


def test_arguments_may_be_edited_in_place() -> None:
    def approve(call: PendingCall, context: Context[Any]) -> Approve:
        call.arguments["amount"] = 20
        return Approve(call.arguments)

    bank = Bank()
    asked = Agent(
        ScriptedRuntime(calls(PAY), calls(PAY), "Paid."), bank.tools, policy=Policy(approve=approve)
    ).run_sync("go")
    pending = pending_of(paused(bank, calls(PAY)))
    (call,) = pending.waiting
    call.arguments["amount"] = 20
    resumed = Agent(ScriptedRuntime(calls(PAY), "Paid."), bank.tools).resume_sync(
        pending, {call.id: Approve(call.arguments)}
    )
    for result in (asked, resumed):
        record = result.steps[0].calls[0]
        assert (record.approval, record.arguments, record.wanted) == ("edited", {"to": "ann", "amount": 20}, PAY[1])
        assert [step.outcome for step in result.steps] == ["calls", "repeated", "text"]  # nobody is asked again
    assert bank.done == [("ann", 20)] * 2


def test_what_a_policy_leaves_open_pauses_and_what_it_said_is_kept() -> None:
    bank = Bank()
    policy = Policy(approve=lambda call, context: Approve() if call.arguments["to"] == "ann" else None)
    result = paused(bank, calls(PAY, ("pay", {"to": "bob", "amount": 1})), policy=policy)
    pending = pending_of(result)
    assert [call.id for call in pending.waiting] == ["call_0_1"] and not bank.done
    Agent(ScriptedRuntime("Done."), bank.tools).resume_sync(pending, {"call_0_1": Deny()})
    assert bank.done == [("ann", 50)]


def test_errors_of_a_policy_that_approves_end_the_run_before_anything_runs() -> None:
    bank = Bank()

    def broken(call: PendingCall, context: Context[Any]) -> Approve:
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        paused(bank, policy=Policy(approve=broken))
    with pytest.raises(InputError, match="'yes' is not an answer about call_0_0"):
        paused(bank, policy=Policy(approve=lambda call, context: "yes"))  # type: ignore[arg-type, return-value]
    with pytest.raises(SchemaError, match="edited arguments of call_0_0"):
        paused(bank, policy=Policy(approve=lambda call, context: Approve(arguments={})))
    with pytest.raises(InputError, match="approve is True"):
        Policy(approve=True)  # type: ignore[arg-type]
    assert not bank.done


async def test_a_run_that_is_cancelled_while_it_waits_for_a_person_ends() -> None:
    bank, asking = Bank(), asyncio.Event()

    async def approve(call: PendingCall, context: Context[Any]) -> Approve:
        asking.set()
        await asyncio.sleep(60)
        return Approve()

    agent = Agent(ScriptedRuntime(calls(PAY)), bank.tools, policy=Policy(approve=approve))
    work = asyncio.ensure_future(agent.run("go"))
    await asyncio.wait_for(asking.wait(), WAIT)
    work.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert time.monotonic() - start < WAIT and not bank.done


def test_a_persons_time_is_none_of_the_runs() -> None:
    def approve(call: PendingCall, context: Context[Any]) -> Approve:
        time.sleep(0.5)
        return Approve()

    left: list[float] = []

    def act(context: Context[None]) -> None:
        """Acts."""
        assert context.left.seconds is not None
        left.append(context.left.seconds)

    policy = Policy(needs_approval="act", approve=approve)
    runtime = ScriptedRuntime(calls(act={}), "Done.")
    result = Agent(runtime, [act], limits=Limits(deadline=60), policy=policy).run_sync("go")
    assert result.output == "Done." and 60 - left[0] < result.ms / 1e3 - 0.4


def test_who_decides_knows_the_seconds_that_are_left() -> None:
    left: list[float | None] = []

    def approve(call: PendingCall, context: Context[Any]) -> Approve:
        left.append(context.left.seconds)
        return Approve()

    def waits(arguments: Any, context: Context[Any]) -> bool:
        left.append(context.left.seconds)
        return True

    bank = Bank(requires_approval=waits)
    agent = Agent(
        ScriptedRuntime(calls(PAY), "Done."), bank.tools, limits=Limits(deadline=60), policy=Policy(approve=approve)
    )
    assert agent.run_sync("go").output == "Done."
    assert len(left) == 2 and all(each is not None and 0 < each < 60 for each in left)


def test_a_person_may_take_longer_than_the_deadline(make_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = [0.0]
    for module in ("loop.run", "engine.cache.sequence", "tools.executor", "values.limits"):
        monkeypatch.setattr(f"loraloop.agent.{module}.monotonic", lambda: time.monotonic() + waited[0])
    monkeypatch.setattr("loraloop.agent.engine.scheduler.Pace.slice", 8)  # what follows is read in several forwards

    def approve(call: PendingCall, context: Context[Any]) -> Approve:
        waited[0] = 100.0
        return Approve()

    def look(n: bool) -> str:
        """Looks."""
        return "nothing"

    agent = Agent(
        make_runtime("tools", "prose"),
        [look],
        limits=Limits(max_steps=2, step_tokens=48, deadline=60),
        policy=Policy(needs_approval="look", approve=approve, tool_choice="look"),
    )
    result = agent.run_sync("go")
    assert [step.skill for step in result.steps] == ["tools", "prose"] and result.stop_reason != "deadline"
    assert waited[0] and result.steps[0].calls[0].approval == "approved"


def test_rules_say_which_calls_wait(caplog: pytest.LogCaptureFixture) -> None:
    def waits(rule: Any, **options: Any) -> bool:
        bank = Bank(requires_approval=rule)
        runtime = ScriptedRuntime(calls(PAY), "Done.")
        return Agent(runtime, bank.tools, **options).run_sync("go", deps="boss").stop_reason == "approval"

    assert waits(True) and not waits(False)
    assert waits(lambda arguments: arguments["amount"] > 49) and not waits(lambda arguments: arguments["amount"] > 50)
    assert waits(lambda arguments, context: context.deps == "boss")
    assert waits(lambda arguments: arguments["nothing"])  # it cannot say, so somebody has to
    assert "requires_approval of the tool pay failed" in caplog.text
    assert waits(False, policy=Policy(needs_approval="pay")) and waits(False, policy=Policy(needs_approval=["*"]))
    assert not waits(False, policy=Policy(needs_approval={"look"}))
    with pytest.raises(UnknownNameError, match="did you mean 'pay'"):
        waits(False, policy=Policy(needs_approval={"pai"}))


def test_whoever_looks_at_a_call_cannot_change_it() -> None:
    looked: list[str] = []

    def rule(arguments: dict[str, Any]) -> bool:
        looked.append("rule")
        return bool(arguments.pop("amount") > 50)

    bank = Bank(requires_approval=rule)
    for event in Agent(ScriptedRuntime(calls(PAY), "Paid."), bank.tools).stream("go"):
        if isinstance(event, ToolCallStarted):  # a log that must not hold who was paid
            looked.append("event")
            event.arguments["to"] = "…"
    assert bank.done == [("ann", 50)] and looked == ["rule", "event"]


def test_an_answer_holds_as_it_was_given() -> None:
    edited: dict[str, Any] = {"amount": 20}

    def approve(call: PendingCall, context: Context[Any]) -> Approve:
        edited["to"] = call.arguments["to"]
        return Approve(edited)

    bank = Bank()
    both = calls(PAY, ("pay", {"to": "bob", "amount": 7}))
    Agent(ScriptedRuntime(both, "Paid."), bank.tools, policy=Policy(approve=approve)).run_sync("go")
    assert sorted(bank.done) == [("ann", 20), ("bob", 20)]


def test_whoever_is_told_of_a_request_cannot_change_it() -> None:
    bank = Bank()
    agent = Agent(ScriptedRuntime(calls(PAY), "Paid."), bank.tools, policy=Policy(approve=auto_approve))
    seen = []
    for event in agent.stream("go"):
        if isinstance(event, ApprovalRequested):
            event.calls[0].arguments["amount"] = 5000
            seen.append(event)
    assert seen and bank.done == [("ann", 50)]


def test_rules_are_checked_when_the_tool_is_made() -> None:
    async def later(arguments: dict[str, Any]) -> bool:
        return True

    for rule, says in (
        ("yes", "requires_approval is 'yes'"),
        (later, "async function"),
        (lambda: True, "takes other parameters"),
    ):
        with pytest.raises(SchemaError, match=says):
            Tool("act", requires_approval=rule)  # type: ignore[arg-type]

    @tool(requires_approval=True)
    def act(n: int) -> int:
        """Acts."""
        return n

    assert act.requires_approval is True
    form = {"name": "act", "requires_approval": True, "result": 1}
    assert Tool.from_schema(form).requires_approval is True
    assert Tool.from_schema({"type": "function", "function": form}).requires_approval is True
    with pytest.raises(SchemaError, match="requires_approval is 'no'"):
        Tool.from_schema({**form, "requires_approval": "no"})


def test_programs_can_wait_as_well() -> None:
    policy = Policy(needs_approval="python")
    result = Agent(ScriptedRuntime(code("print(6 * 7)")), python=True, policy=policy).run_sync("go")
    pending = pending_of(result)
    assert pending.waiting[0].arguments == {"code": "print(6 * 7)\n"}
    with pytest.raises(InputError, match="python=True"):
        Agent(ScriptedRuntime()).resume_sync(pending, {"call_0_0": Approve()})
    end = Agent(ScriptedRuntime("It is 42."), python=True).resume_sync(pending, {"call_0_0": Approve()})
    assert told(end) == [{"name": "python", "result": "42\n"}] and end.output == "It is 42."


def test_one_answer_is_for_all_calls_of_the_step_that_ask_the_same() -> None:
    bank = Bank()
    pending = pending_of(paused(bank, calls(PAY, PAY)))
    assert [call.id for call in pending.waiting] == ["call_0_0"]
    edited = {"call_0_0": Approve(arguments={"to": "ann", "amount": 1})}
    result = Agent(ScriptedRuntime("Done."), bank.tools).resume_sync(pending, edited)
    assert bank.done == [("ann", 1)] and [call.repeated for call in result.steps[0].calls] == [False, True]
    assert result.steps[0].calls[1].arguments == {"to": "ann", "amount": 1}


def test_an_answer_with_other_arguments_makes_a_repeated_call_one_of_its_own() -> None:
    bank = Bank()
    pending = pending_of(paused(bank, calls(PAY, PAY)))
    answers = {"call_0_0": Approve(), "call_0_1": Approve(arguments={"to": "ann", "amount": 1})}
    result = Agent(ScriptedRuntime("Done."), bank.tools).resume_sync(pending, answers)
    assert bank.done == [("ann", 50), ("ann", 1)]
    assert [(call.approval, call.repeated) for call in result.steps[0].calls] == [
        ("approved", False),
        ("edited", False),
    ]


@pytest.mark.parametrize("rule", [False, lambda arguments: False])
def test_a_tool_with_effects_may_say_that_its_calls_do_not_wait(rule: Any) -> None:
    done: list[str] = []
    form = {"type": "object", "properties": {}}
    tool = Tool("send", "Sends.", form, lambda: done.append("sent"), effects=True, requires_approval=rule)
    result = Agent(ScriptedRuntime(calls(send={}), calls(), "Sent."), [tool]).run_sync("Send it.")
    assert (result.stop_reason, done) == ("answer", ["sent"])
    asking = Agent(ScriptedRuntime(calls(send={})), [tool], policy=Policy(needs_approval="send"))
    assert asking.run_sync("Send it.").stop_reason == "approval", "the policy has the last word"
    given = {"name": "send", "description": "Sends.", "effects": True}
    assert Tool.from_schema({**given, "requires_approval": False}).requires_approval is False
    assert Tool.from_schema(given).requires_approval is None


@pytest.mark.parametrize(("effects", "waits"), [(True, True), (None, False), (False, False)])
def test_only_calls_of_tools_that_say_that_they_have_effects_wait(effects: bool | None, waits: bool) -> None:
    done: list[str] = []
    tool = Tool("send", "Sends.", {"type": "object", "properties": {}}, lambda: done.append("sent"), effects=effects)
    result = Agent(ScriptedRuntime(calls(send={}), "Sent."), [tool]).run_sync("Send it.")
    assert (result.stop_reason == "approval") == waits and bool(done) != waits
    opened = Policy(approve=auto_approve)
    assert Agent(ScriptedRuntime(calls(send={}), "Sent."), [tool], policy=opened).run_sync("Send it.").output == "Sent."
    assert done
