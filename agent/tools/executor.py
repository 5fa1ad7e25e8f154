"""Runs a step's calls, in parallel where that is allowed. Each result goes into the transcript as data.

Calls begin in the order in which they were written, and their results are put into the transcript in that order,
whatever order they finish in: a run is the same however long its tools take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from loraloop.adapters.base.chat import Chat
from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.events import Event, ToolCallFinished, ToolCallStarted
from loraloop.agent.job import Job, Journal
from loraloop.agent.tools.approval import Approver
from loraloop.agent.tools.observation import observation, shorten_result
from loraloop.agent.tools.runner import CANCELLED, RunningCalls, ToolRunner
from loraloop.agent.values.calls import Approve, CallRecord, Deny, PendingCall, call_key
from loraloop.agent.values.checkpoint import RunState
from loraloop.agent.values.step import Step
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.context import Context
from loraloop.tool_schemas.tools.tool import Tool

RESERVE = 64
"""Positions that results leave for what is said about them."""
_LEAST = "… (about 1000000000 tokens left out)"  # what an observation needs room for


@dataclass(slots=True)
class _Due:
    """A call of a step and its record, which is None until the call is over. `ran` says whether its tool was called."""

    pending: PendingCall
    record: CallRecord | None = None
    ran: bool = False

    @property
    def key(self) -> str:
        """The key of the call as the model wrote it."""
        return call_key(Call(self.pending.name, self.pending.arguments))

    @property
    def edited(self) -> bool:
        """Whether the call was approved with other arguments than the model wrote; it then repeats no other one."""
        return isinstance(self.pending.approval, Approve) and self.pending.approval.arguments is not None

    def record_of(self, record: CallRecord) -> CallRecord:
        """The record with this call's id and what was decided about it."""
        answer, wanted = self.pending.approval, None
        approval = "" if answer is None else "denied" if isinstance(answer, Deny) else "approved"
        if self.edited:
            approval, wanted = "edited", self.pending.arguments
        return replace(record, id=self.pending.id, approval=approval, wanted=wanted)

    def without_result(self, error: str, source: str = "") -> CallRecord:
        """The record of a call that did not run."""
        call = self.pending.call
        return self.record_of(CallRecord(call.name, call.arguments, error=error, source=source, by_runtime=True))


class Executor:
    """Runs the calls of one run.

    Args:
        run_id: For events.
        job: The run's.
        state: The run's state: how many calls it made, and which tools asked for another try.
        chat: Renders results as messages.
        runner: Runs single calls.
        journal: Records each call before it begins and after it has ended.

    Attributes:
        answered: The records of the calls that have a result, by `call_key`.
        deadline: When the run must end, as a time of `time.monotonic()`; None for no deadline.
        full: Whether a call was not run because the context had no room for its result.
        tools: The tools by name.
        approver: Finds the calls that wait for approval.
    """

    def __init__(
        self, run_id: str, job: Job, state: RunState, chat: Chat, runner: ToolRunner, journal: Journal
    ) -> None:
        self.answered: dict[str, CallRecord] = {}
        self.deadline: float | None = None
        self.full = False
        self.tools: Mapping[str, Tool] = job.callable
        self.approver = Approver(run_id, job.policy, runner, self.tools, self.context)
        self._run_id = run_id
        self._job = job
        self._state = state
        self._chat = chat
        self._runner = runner
        self._journal = journal
        self._around = len(chat.message("tool", ""))
        self._asking: set[str] = set()  # tools that ask for another try in the current step

    def remember(self, steps: Sequence[Step]) -> None:
        """Remembers the results of earlier steps, so that the same calls need not run again."""
        for step in steps:
            for record in step.calls:
                self._remember(record)

    def run(
        self, trunk: Transcript, index: int, calls: Sequence[PendingCall], clock: Clock
    ) -> Generator[Event, None, list[CallRecord]]:
        """Runs the calls of step `index`; each one's result is appended to the trunk. Returns their records.

        Args:
            trunk: The transcript, which ends with the calls.
            index: The step.
            calls: Validated calls, and whether they may run. One that still waits for approval does not.
            clock: Where the time goes that the step waits for tools.
        """
        due = self._calls_that_fit(trunk, calls)
        twins = self._settle(due)
        waiting = deque(number for number, each in enumerate(due) if each.record is None and number not in twins)
        running = RunningCalls(self._runner)
        try:
            while waiting or running:
                while waiting and self._may_begin(due[waiting[0]], running):
                    number = waiting.popleft()
                    yield from self._begin(index, number, due[number], running, clock)
                if running:
                    with clock.phase("tool"):
                        number, record = running.next()
                    record = self._journal.ended(index, number, due[number].record_of(record))
                    yield from self._end(index, due[number], record)
        finally:
            running.give_up()
        for name in self._asking:
            self._state.retries[name] = self._state.retries.get(name, 0) + 1
        self._asking.clear()
        for number, first in twins.items():
            due[number].record = self._repeated_record(due[number], due[first].record)
        records: list[CallRecord] = []
        for number, each in enumerate(due):
            record = self._append_result(trunk, index, each, len(calls) - number, bool(records))
            records.append(record)
            if not each.ran:
                yield ToolCallFinished(self._run_id, index, record)
        return records

    def context(self, tool: Tool, index: int) -> Context[Any]:
        """The `Context` of a tool's call in step `index`."""
        state = self._state
        left = self._job.limits.left(index, state.spent.calls, state.spent.tokens, self.deadline)
        attempt = state.retries.get(tool.name, 0) + 1
        return Context(self._job.deps, self._run_id, index, attempt=attempt, left=left, signal=self._runner.cancelled)

    def _begin(self, index: int, number: int, due: _Due, running: RunningCalls, clock: Clock) -> Iterator[Event]:
        """Starts a call. Its event comes before anything of it happens."""
        if self._runner.cancelled():
            due.record = due.without_result(CANCELLED)
            return
        call, due.ran = due.pending.call, True
        tool = self.tools[call.name]
        self._state.spent.calls += 1
        yield ToolCallStarted(self._run_id, index, call.name, deepcopy(call.arguments), due.pending.id)
        if self._runner.cancelled():
            yield from self._end(index, due, due.without_result(CANCELLED, tool.source))
            return
        timeout = self._job.limits.tool_timeout if tool.timeout is None else tool.timeout
        if self.deadline is not None:
            timeout = min(timeout, max(self.deadline - monotonic(), 0.0))
        known = self._journal.begun(index, number, call, tool)
        if known is not None:
            yield from self._end(index, due, known)
            return
        with clock.phase("tool"):
            context = self.context(tool, index) if tool.binding.context else None
            running.start(number, tool, call, timeout, context, call_id=due.pending.id)

    def _end(self, index: int, due: _Due, record: CallRecord) -> Iterator[Event]:
        """Ends a call: its record is complete, and its event is sent."""
        due.record = due.record_of(self._limit_retries(record))
        yield ToolCallFinished(self._run_id, index, due.record)

    def _may_begin(self, due: _Due, running: RunningCalls) -> bool:
        """Whether a call may run beside those that run already."""
        if not running:
            return True
        alone = running.alone or self.tools[due.pending.name].sequential
        return not alone and len(running) < self._job.limits.concurrent_calls

    def _calls_that_fit(self, trunk: Transcript, calls: Sequence[PendingCall]) -> list[_Due]:
        """The calls for whose results the context has room, even if each is as long as it may be."""
        share, due = self._share(trunk, len(calls)), []
        for pending in calls:
            each = _Due(pending)
            least = replace(each.without_result(""), error=None, result=_LEAST)
            if share < self._count(observation(least)):
                self.full = True
                break
            due.append(each)
        return due

    def _settle(self, due: Sequence[_Due]) -> dict[int, int]:
        """Fills in the records of calls that do not run, and finds the calls that repeat an earlier one of this step.

        Returns:
            For the number of each repeated call, the number of the earlier call whose result it gets.
        """
        first: dict[str, int] = {}
        twins: dict[int, int] = {}
        for number, each in enumerate(due):
            key, approval = each.key, each.pending.approval
            tool = self.tools.get(each.pending.name)
            if isinstance(approval, Deny):
                each.record = each.without_result(approval.error, tool.source if tool else "")
            elif each.pending.open or self._runner.cancelled():
                each.record = each.without_result(CANCELLED if self._runner.cancelled() else "not approved")
            elif not (self._job.policy.repeat_calls or each.edited) and key in self.answered:
                each.record = self._repeated_record(each, self.answered[key])
            if self._job.policy.repeat_calls:
                continue
            if first.setdefault(key, number) != number and each.record is None and not each.edited:
                twins[number] = first[key]
        return twins

    def _repeated_record(self, due: _Due, known: CallRecord | None) -> CallRecord:
        """The record of a call that repeats another one: it has that one's result."""
        assert known is not None
        return replace(known, ms=0.0, repeated=True, left_out=0, id=due.pending.id)

    def _append_result(self, trunk: Transcript, index: int, due: _Due, rest: int, more: bool) -> CallRecord:
        """Appends a call's result to the transcript, shortened to its share of the room for `rest` calls."""
        record = due.record
        assert record is not None
        self._remember(record)
        limit = min(self._share(trunk, rest), self._job.limits.result_tokens)
        content, left_out = shorten_result(record, limit, self._count)
        if left_out:
            record = replace(record, left_out=left_out)
        tool = self.tools.get(record.name)
        trusted = tool is not None and tool.trusted and all(span.message.trusted for span in trunk.messages)
        origin = Origin("tool", record.name, index, record.source, trusted)
        if record.by_runtime:
            origin = replace(origin, kind="runtime", trusted=all(span.message.trusted for span in trunk.messages))
        trunk.append(Message("tool", content, origin), more=more)
        return record

    def _remember(self, record: CallRecord) -> None:
        """Remembers a call's result under its arguments, both as it ran and as the model wrote it."""
        if record.repeated or record.retry:
            return
        for arguments in (record.arguments, record.wanted):
            if arguments is not None:
                self.answered[call_key(Call(record.name, arguments))] = record

    def _share(self, trunk: Transcript, calls: int) -> int:
        """The most tokens that each of so many results may have."""
        room = trunk.context - len(trunk.ids) - len(self._chat.generation_prompt) - len(self._chat.closing)
        return (room - RESERVE) // calls - self._around

    def _limit_retries(self, record: CallRecord) -> CallRecord:
        """The record; a tool that asks for another try too often has failed. All tries of one step count as one."""
        if not record.retry:
            return record
        self._asking.add(record.name)
        own = self.tools[record.name].retries
        most = self._job.limits.tool_retries if own is None else own
        if self._state.retries.get(record.name, 0) < most:
            return record
        return replace(record, retry=False, error=f"{record.error} (no try is left)")

    def _count(self, content: str) -> int:
        return len(self._chat.message("tool", content)) - self._around
