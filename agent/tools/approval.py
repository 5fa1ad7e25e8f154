"""Approval: calls that wait until somebody approves them, with other arguments if need be, or denies them.

No call of a step runs before all of its calls that wait have an answer. They were written together, so who decides sees
all that the step will do, and what is denied may be what the others were for; and a run that pauses has done nothing
halfway: it can be resumed later, elsewhere, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from loraloop.agent.tools.runner import call_key
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.tools.calls import Call

if TYPE_CHECKING:
    from loraloop.agent.events import Event
    from loraloop.agent.loop.job import Job
    from loraloop.agent.tools.runner import ToolRunner
    from loraloop.tool_schemas.tools.context import Context
    from loraloop.tool_schemas.tools.tool import Tool

ALL = "*"
"""In `Policy.ask`: every tool."""


@dataclass(frozen=True, slots=True)
class Approve:
    """The call may run.

    Attributes:
        arguments: Other arguments to run it with; they are checked against the tool's schema, and the model is told.
    """

    arguments: dict[str, Any] | None = None
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Deny:
    """The call does not run.

    Attributes:
        reason: Why; the model is told.
    """

    reason: str = ""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def error(self) -> str:
        """What the model is told."""
        return f"denied by the user: {self.reason}" if self.reason else "denied by the user"


Approval: TypeAlias = Approve | Deny


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call of a step that has not run.

    Attributes:
        id: The call's own in its run.
        name: The tool.
        arguments: What the model wrote; they fit the tool's schema.
        waits: Whether it needs approval.
        approval: What was said of it; None for nothing so far.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    waits: bool = False
    approval: Approve | Deny | None = None

    @property
    def open(self) -> bool:
        """Whether nobody has said yet what is to become of it, and somebody has to."""
        return self.waits and self.approval is None

    @property
    def call(self) -> Call:
        """What runs, if it runs."""
        edited = self.approval.arguments if isinstance(self.approval, Approve) else None
        return Call(self.name, self.arguments if edited is None else edited)


def call_id(step: int, number: int) -> str:
    """The id of a call."""
    return f"call_{step}_{number}"


def checked(call: PendingCall, said: object, tool: Tool | None) -> Approval:
    """An answer about a call.

    Args:
        call: What it is about.
        said: The answer.
        tool: The call's; None where it is gone, which is no matter if the call is denied.

    Raises:
        InputError: It is neither `Approve` nor `Deny`.
        SchemaError: It approves other arguments that do not fit the tool's schema.
    """
    if not isinstance(said, Approve | Deny):
        raise InputError(f"{said!r} is no answer about {call.id} ({call.name}): give Approve() or Deny('reason')")
    if isinstance(said, Approve) and said.arguments is not None and tool is not None:
        try:
            tool.validate(said.arguments)
        except SchemaError as error:
            where = f"the edited arguments of {call.id} ({call.name}) do not fit"
            raise SchemaError(f"{where}: {error.reason}", error.path) from None
    return said


class Approver:
    """Finds the calls of one run that wait for approval, and asks the policy's `approve` about them.

    Args:
        run_id: For events.
        job: The run's.
        runner: Waits for the caller's function.
        tools: By name.
        context: What a tool is told in a step.
    """

    def __init__(
        self,
        run_id: str,
        job: Job,
        runner: ToolRunner,
        tools: Mapping[str, Tool],
        context: Callable[[Tool, int], Context[Any]],
    ) -> None:
        self._run_id = run_id
        self._policy = job.policy
        self._runner = runner
        self._tools = tools
        self._context = context

    def pending(
        self, index: int, calls: Sequence[Call], answered: Collection[str], known: Mapping[str, Approval]
    ) -> tuple[PendingCall, ...]:
        """The calls of step `index`, with what is known of their approval.

        Args:
            index: The step.
            calls: As the model wrote them.
            answered: Keys of calls that need not run again, and so need no approval.
            known: Answers by the calls' ids.
        """
        seen, made = set(answered), []
        for number, call in enumerate(calls):
            pending, tool = PendingCall(call_id(index, number), call.name, call.arguments), self._tools.get(call.name)
            key, said = call_key(call), known.get(pending.id)
            fresh = key not in seen or self._policy.repeat_calls
            seen.add(key)
            waits = said is not None or (fresh and tool is not None and self._waits(tool, call, index))
            made.append(replace(pending, waits=waits, approval=said))
        return tuple(made)

    def ask(self, index: int, calls: tuple[PendingCall, ...]) -> Generator[Event, None, tuple[PendingCall, ...]]:
        """Tells which calls wait, and asks the policy about each in turn; returns the calls with its answers.

        Raises:
            InputError, SchemaError: An answer is unusable.
        """
        from loraloop.agent.events import ApprovalRequested

        waiting = tuple(call for call in calls if call.open)
        if waiting:
            yield ApprovalRequested(self._run_id, index, waiting)
        if not waiting or self._policy.approve is None:
            return calls
        made = []
        for call in calls:
            if call.open and not self._runner.cancelled():
                call = replace(call, approval=self._asked(index, call))
            made.append(call)
        return tuple(made)

    def _asked(self, index: int, call: PendingCall) -> Approval | None:
        approve, tool = self._policy.approve, self._tools[call.name]
        assert approve is not None
        said = self._runner.ask(lambda: approve(call, self._context(tool, index)))
        return None if said is None else checked(call, said, tool)

    def _waits(self, tool: Tool, call: Call, index: int) -> bool:
        if self._policy.asked.intersection((tool.name, ALL)):
            return True
        return tool.needs_approval(call.arguments, self._context(tool, index))
