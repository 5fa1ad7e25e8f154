"""Going on with a run that was paused: what was said of its calls is checked against what the agent has now."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypedDict, Unpack, overload

from loraloop.agent.guard.guard import Guard
from loraloop.agent.loop.iterate import RunSteps
from loraloop.agent.loop.outcome import PYTHON
from loraloop.agent.loop.pending_run import PendingRun
from loraloop.agent.loop.run import Run
from loraloop.agent.loop.stream import RunStream
from loraloop.agent.policy import Policy
from loraloop.agent.result import RunResult, T
from loraloop.agent.tools.approval import Approval, Approve, Deny, PendingCall, checked
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.context import D
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.sessions.sessions import Session

Decisions = Mapping[str, Approve | Deny]
"""By the calls' ids."""


class ResumeOptions(TypedDict, Generic[D], total=False):
    """What a run that goes on can be given besides what it keeps."""

    policy: Policy | None
    deps: D
    guard: Guard | None
    session: Session | str | None


class Resuming(Generic[T, D]):
    """The part of an agent that goes on with runs that wait for approval."""

    @overload
    def resume_sync(
        self,
        pending: PendingRun,
        decisions: Decisions,
        *,
        output_type: None = None,
        **given: Unpack[ResumeOptions[D]],
    ) -> RunResult[T]: ...
    @overload
    def resume_sync(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any, **given: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]: ...
    def resume_sync(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any = None, **given: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]:
        """Goes on with a run that waits for approval, to its end or to the next call that waits.

        The run keeps its request, passages, transcript, trace, counters and id. Tools, limits, policy, guard,
        sampling, hooks and the runtime are this agent's.

        Args:
            pending: `RunResult.pending` of the part before, or what `PendingRun.from_json` read.
            decisions: `Approve()`, `Approve(arguments=…)` or `Deny("why")` for each call in `pending.waiting`, by id.
            output_type: Instead of the agent's; give what the run was given.
            policy: Instead of the agent's own. Of either, `skills` and `tool_choice` are not looked at: the run has
                those that it began with.
            deps: What tools with a `Context` find in it.
            guard: Instead of the agent's own.
            session: Where the run waited, if it did so in a session: what follows is kept there.

        Raises:
            InputError: A decision is missing or is none, the run was paused on another base, or a call that may run
                has no implementation any more.
            UnknownNameError: A decision about a call that does not exist, or a call of a tool that is gone.
            SchemaError: Arguments do not fit the tool's schema, or no longer do.
            ContextLengthError: The transcript does not fit the context.
        """
        return finished(self._resume(pending, decisions, output_type, **given))

    @overload
    async def resume(
        self,
        pending: PendingRun,
        decisions: Decisions,
        *,
        output_type: None = None,
        **given: Unpack[ResumeOptions[D]],
    ) -> RunResult[T]: ...
    @overload
    async def resume(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any, **given: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]: ...
    async def resume(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any = None, **given: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]:
        """`resume_sync` in a thread, as `run` is `run_sync`."""
        loop = asyncio.get_running_loop()
        return await awaited(self._resume(pending, decisions, output_type, loop, **given))

    @overload
    def resume_stream(
        self,
        pending: PendingRun,
        decisions: Decisions,
        *,
        output_type: None = None,
        **given: Unpack[ResumeOptions[D]],
    ) -> RunStream[T]: ...
    @overload
    def resume_stream(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any, **given: Unpack[ResumeOptions[D]]
    ) -> RunStream[Any]: ...
    def resume_stream(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any = None, **given: Unpack[ResumeOptions[D]]
    ) -> RunStream[Any]:
        """The same, event by event, as `stream`."""
        return RunStream(self._resume(pending, decisions, output_type, running_loop(), **given))

    @overload
    def resume_iter(
        self,
        pending: PendingRun,
        decisions: Decisions,
        *,
        output_type: None = None,
        **given: Unpack[ResumeOptions[D]],
    ) -> RunSteps[T]: ...
    @overload
    def resume_iter(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any, **given: Unpack[ResumeOptions[D]]
    ) -> RunSteps[Any]: ...
    def resume_iter(
        self, pending: PendingRun, decisions: Decisions, *, output_type: Any = None, **given: Unpack[ResumeOptions[D]]
    ) -> RunSteps[Any]:
        """The same, step by step, as `iter`; the step that waited is none of them."""
        return RunSteps(self._resume(pending, decisions, output_type, running_loop(), **given))

    @abstractmethod
    def _resume(
        self,
        pending: PendingRun,
        decisions: Mapping[str, Any],
        output_type: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        policy: Policy | None = None,
        deps: Any = None,
        guard: Guard | None = None,
        session: Session | str | None = None,
    ) -> Run:
        """The run that goes on; it has not begun."""


def finished(run: Run) -> RunResult[Any]:
    """The result of a run that is read to its end."""
    for _ in run.events():
        pass
    assert run.result is not None
    return run.result


async def awaited(run: Run) -> RunResult[Any]:
    """The same in a thread; where it is cancelled, the run is."""
    work = asyncio.ensure_future(asyncio.to_thread(finished, run))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        run.cancel()
        await asyncio.wait([work])
        raise


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def decided(pending: PendingRun, said: Mapping[str, Any], tools: Mapping[str, Tool], base: str) -> dict[str, Approval]:
    """What is to become of a paused step's calls, once all fits what the run goes on with.

    Args:
        pending: The run.
        said: Answers by the calls' ids.
        tools: The agent's, by name.
        base: The fingerprint of the runtime's base.

    Raises:
        InputError, UnknownNameError, SchemaError: See `Resuming.resume_sync`.
    """
    if not isinstance(pending, PendingRun):
        raise InputError(
            f"{type(pending).__name__} is no pending run: give RunResult.pending, or PendingRun.from_json(…)"
        )
    if base != pending.base:
        raise InputError(
            f"run {pending.run_id} was paused on another base (its architecture, tokenizer or chat template differs): "
            "resume it on the base that it began with"
        )
    ids = [call.id for call in pending.calls]
    for name in said:
        if name not in ids:
            raise unknown("call of the step that waits", name, ids)
    missing = [call for call in pending.waiting if call.id not in said]
    if missing:
        listed = ", ".join(f"{call.id} ({call.name} {dumps(call.arguments):.200})" for call in missing)
        raise InputError(f"no decision about {listed}: give Approve() or Deny('reason') for each")
    known = {call.id: call.approval for call in pending.calls if call.approval is not None}
    known |= {call.id: checked(call, said[call.id], tools.get(call.name)) for call in pending.calls if call.id in said}
    for call in pending.calls:
        if not isinstance(known.get(call.id), Deny):
            _check_tool(call, known.get(call.id), tools)
    return known


def _check_tool(call: PendingCall, said: Approval | None, tools: Mapping[str, Tool]) -> None:
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
        raise InputError(f"{gone}: the tool {call.name!r} has no implementation now; give it one, or deny the call")
    if isinstance(said, Approve) and said.arguments is not None:
        return
    try:
        tool.validate(call.arguments)
    except SchemaError as error:
        how = f"since the schema of {call.name!r} has changed: approve it with other arguments, or deny it"
        raise SchemaError(f"{gone} ({error.reason}), {how}", error.path) from None
