"""Approval: calls that wait until somebody approves them, with other arguments if need be, or denies them.

No call of a step runs before all of its calls that wait have an answer. They were written together, so who decides sees
all that the step will do, and what is denied may be what the others were for; and a run that pauses has done nothing
halfway: it can be resumed later, elsewhere, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from loraloop.agent.events import ApprovalRequested, Event
from loraloop.agent.tools.runner import ToolRunner
from loraloop.agent.values.calls import PYTHON, Approval, Approve, Deny, PendingCall, call_id, call_key, check_answer
from loraloop.agent.values.policy import ALL, Policy
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.context import Context
from loraloop.tool_schemas.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Approver:
    """Finds the calls of one run that wait for approval, and asks the policy's `approve` about them.

    Attributes:
        run_id: Id of the run, for events.
        policy: Says which calls wait besides those whose tools say so, and who is asked.
        runner: Waits for the caller's function.
        tools: The agent's tools by name.
        context: Makes the context of a tool in a step.
    """

    run_id: str
    policy: Policy
    runner: ToolRunner
    tools: Mapping[str, Tool]
    context: Callable[[Tool, int], Context[Any]]

    def pending(
        self, index: int, calls: Sequence[Call], answered: Collection[str], known: Mapping[str, Approval]
    ) -> tuple[PendingCall, ...]:
        """The calls of step `index`, which of them wait, and what is known of their approval.

        Args:
            index: The step.
            calls: As the model wrote them.
            answered: Keys of calls that need not run again, and so need no approval.
            known: Answers by the calls' ids.
        """
        seen, made = set(answered), []
        for number, call in enumerate(calls):
            tool, key, name = self.tools.get(call.name), call_key(call), call_id(index, number)
            fresh, decision = key not in seen or self.policy.repeat_calls, known.get(name)
            seen.add(key)
            waits = decision is not None or (fresh and tool is not None and self._waits(tool, call, index))
            made.append(PendingCall(name, call.name, call.arguments, waits, approval=decision))
        return tuple(made)

    def ask(self, index: int, calls: tuple[PendingCall, ...]) -> Generator[Event, None, tuple[PendingCall, ...]]:
        """Tells which calls wait, and asks the policy about each in turn; returns the calls with its answers.

        Raises:
            InputError, SchemaError: An answer is unusable.
        """
        waiting = tuple(call for call in calls if call.open)
        if waiting:
            yield ApprovalRequested(self.run_id, index, deepcopy(waiting))
        if not waiting or self.policy.approve is None:
            return calls
        made = []
        for call in calls:
            if call.open and not self.runner.cancelled():
                call = replace(call, approval=self._ask_policy(index, call))
            made.append(call)
        return tuple(made)

    def _ask_policy(self, index: int, call: PendingCall) -> Approval | None:
        approve, tool = self.policy.approve, self.tools[call.name]
        assert approve is not None
        shown = deepcopy(call)  # whoever edits the arguments in place changes nothing of what the model wrote
        answer = self.runner.ask(lambda: approve(shown, self.context(tool, index)))
        return None if answer is None else check_answer(call, answer, tool)

    def _waits(self, tool: Tool, call: Call, index: int) -> bool:
        """Whether a call waits: the policy or its tool says so, or it has effects and its tool says nothing else."""
        if self.policy.approval_names.intersection((tool.name, ALL)):
            return True
        return tool.needs_approval(call.arguments, self.context(tool, index))


def auto_approve(call: PendingCall, context: Context[Any]) -> Approve:
    """For `Policy(approve=auto_approve)`: every call runs, and nobody is asked."""
    return Approve()


def apply_decisions(
    calls: Sequence[PendingCall], decisions: Mapping[str, Any], tools: Mapping[str, Tool]
) -> tuple[PendingCall, ...]:
    """A step's calls with the decisions about those that wait, once all fits the tools with which the run goes on.

    Args:
        calls: The calls of the step.
        decisions: `Approve` or `Deny` by the calls' ids.
        tools: The agent's tools by name.

    Raises:
        InputError: A decision is missing or is none, or a call that may run has no implementation any more.
        UnknownNameError: A decision about a call that does not exist, or a call of a tool that is gone.
        SchemaError: Arguments do not fit the tool's schema, or no longer do.
    """
    if not isinstance(decisions, Mapping):
        raise InputError(f"decisions is {decisions!r}: give a mapping of calls' ids to Approve() or Deny('reason')")
    ids = [call.id for call in calls]
    for name in decisions:
        if name not in ids:
            raise unknown("call of the step that waits", name, ids)
    missing = [call for call in calls if call.open and call.id not in decisions]
    if missing:
        listed = ", ".join(f"{call.id} ({call.name} {dumps(call.arguments):.200})" for call in missing)
        raise InputError(f"no decision about {listed}: give Approve() or Deny('reason') for each")
    made = []
    for call in calls:
        if call.id in decisions:
            call = replace(call, waits=True, approval=check_answer(call, decisions[call.id], tools.get(call.name)))
        if not isinstance(call.approval, Deny):
            _check_tool(call, tools)
        made.append(call)
    return tuple(made)


def _check_tool(call: PendingCall, tools: Mapping[str, Tool]) -> None:
    """Checks that a call that may run still can."""
    gone = f"{call.id} cannot run any more"
    if call.name not in tools:
        if call.name == PYTHON:
            raise InputError(f"{gone}: the agent runs no programs; make it with python=True, or deny the call")
        error = unknown("tool", call.name, tools)
        how = "give the agent the tool, or deny the call"
        raise UnknownNameError(f"{gone}: {error}; {how}", "tool", call.name, error.nearest)
    tool = tools[call.name]
    if not tool.executable:
        raise InputError(f"{gone}: the tool {call.name!r} has no implementation: give it one, or deny the call")
    if isinstance(call.approval, Approve) and call.approval.arguments is not None:
        return
    try:
        tool.validate(call.arguments)
    except SchemaError as error:
        how = f"since the schema of {call.name!r} has changed: approve it with other arguments, or deny it"
        raise SchemaError(f"{gone} ({error.reason}), {how}", error.path) from None
