"""Running a step's calls, at the same time where that may be: each one's result goes into the transcript as data.

Calls begin in the order in which they were written, and their results are put into the transcript in that order,
whatever order they finish in: a run is the same however long its tools take.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.events import Event, ToolCallFinished, ToolCallStarted
from loraloop.agent.loop.outcome import PYTHON
from loraloop.agent.result import CallRecord
from loraloop.agent.tools.approval import Approve, Deny, PendingCall
from loraloop.agent.tools.observation import observation, shortened
from loraloop.agent.tools.runner import CANCELLED, Running, ToolRunner, call_key
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.context import Context

if TYPE_CHECKING:
    from loraloop.adapters.base.chat import Chat
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop.job import Job
    from loraloop.agent.result import Step
    from loraloop.tool_schemas.tools.context import Left
    from loraloop.tool_schemas.tools.tool import Tool

RESERVE = 64
"""Positions that results leave for what is said about them."""
_LEAST = "… (about 1000000000 tokens left out)"  # what an observation needs room for


@dataclass(slots=True)
class _Due:
    """A call of a step, and what came of it: nothing so far where `record` is None. `ran`: its tool was called."""

    pending: PendingCall
    record: CallRecord | None = None
    ran: bool = False

    @property
    def key(self) -> str:
        """Of the call as the model wrote it."""
        return call_key(Call(self.pending.name, self.pending.arguments))

    def noted(self, record: CallRecord) -> CallRecord:
        """The record of this call."""
        said, wanted = self.pending.approval, None
        approval = "" if said is None else "denied" if isinstance(said, Deny) else "approved"
        if isinstance(said, Approve) and said.arguments is not None:
            approval, wanted = "edited", self.pending.arguments
        return replace(record, id=self.pending.id, approval=approval, wanted=wanted)

    def without_result(self, error: str, source: str = "") -> CallRecord:
        """The record of a call that did not run."""
        call = self.pending.call
        return self.noted(CallRecord(call.name, call.arguments, error=error, source=source))


class Actor:
    """Runs the calls of one run.

    Args:
        run_id: For events.
        job: The run's.
        chat: Renders observations.
        room: Positions that are left in a trunk.
        tools: Runs single calls.
        left: What the limits leave after a step.

    Attributes:
        answered: What calls gave, by `call_key`.
        made: Calls that were run.
        asked: In how many steps each tool asked for another try.
        full: Whether a call was not run because the context had no room for what it would give.
        known: Tools by name.
    """

    def __init__(
        self,
        run_id: str,
        job: Job,
        chat: Chat,
        room: Callable[[Trunk], int],
        tools: ToolRunner,
        left: Callable[[int], Left],
    ) -> None:
        self.answered: dict[str, CallRecord] = {}
        self.made = 0
        self.asked: Counter[str] = Counter()
        self.full = False
        self.known = {tool.name: tool for tool in job.tools}
        if job.python is not None:
            self.known[PYTHON] = job.python
        self._run_id = run_id
        self._job = job
        self._chat = chat
        self._room = room
        self._tools = tools
        self._left = left
        self._around = len(chat.message("tool", ""))
        self._asking: set[str] = set()  # tools that ask for another try in the current step

    def restore(self, made: int, asked: Mapping[str, int], steps: Sequence[Step]) -> None:
        """What a run that was paused or interrupted knows of its calls."""
        self.made, self.asked = made, Counter(asked)
        for step in steps:
            for record in step.calls:
                self._remember(record)

    def act(
        self,
        trunk: Trunk,
        index: int,
        calls: Sequence[PendingCall],
        records: list[CallRecord],
        clock: Clock,
        deadline: float | None,
    ) -> Iterator[Event]:
        """Runs the calls of step `index`; each one's result is appended to the trunk, and to `records`.

        Args:
            trunk: The transcript, which ends with the calls.
            index: The step.
            calls: Validated calls, and whether they may run. One that still waits for approval does not.
            records: Filled here.
            clock: Where the time goes that the step waits for tools.
            deadline: The run's, of `time.monotonic()`.
        """
        due = self._fitting(trunk, calls)
        twins = self._settle(due)
        waiting = deque(number for number, each in enumerate(due) if each.record is None and number not in twins)
        running = self._tools.running()
        try:
            while waiting or running:
                while waiting and self._may_begin(due[waiting[0]], running):
                    number = waiting.popleft()
                    yield from self._begin(index, number, due[number], running, clock, deadline)
                if running:
                    with clock.phase("tool"):
                        number, record = running.next()
                    record = self._job.journal.ended(index, number, due[number].noted(record))
                    yield from self._end(index, due[number], record)
        finally:
            running.give_up()
        self.asked.update(self._asking)
        self._asking.clear()
        for number, first in twins.items():
            due[number].record = self._again(due[number], due[first].record)
        for number, each in enumerate(due):
            record = self._put(trunk, index, each, len(calls) - number, records)
            if not each.ran:
                yield ToolCallFinished(self._run_id, index, record)

    def context(self, tool: Tool, index: int) -> Context[Any]:
        """What a call of a tool is told in step `index`."""
        attempt = self.asked[tool.name] + 1
        return Context(self._job.deps, self._run_id, index, attempt, self._left(index), self._tools.cancelled)

    def _begin(
        self, index: int, number: int, due: _Due, running: Running, clock: Clock, deadline: float | None
    ) -> Iterator[Event]:
        """A call begins. When its event is told, nothing of it has happened."""
        if self._tools.cancelled():
            due.record = due.without_result(CANCELLED)
            return
        call, due.ran = due.pending.call, True
        tool = self.known[call.name]
        self.made += 1
        yield ToolCallStarted(self._run_id, index, call.name, call.arguments, due.pending.id)
        if self._tools.cancelled():
            yield from self._end(index, due, due.without_result(CANCELLED, tool.source))
            return
        timeout = self._job.limits.tool_timeout if tool.timeout is None else tool.timeout
        if deadline is not None:
            timeout = min(timeout, max(deadline - monotonic(), 0.0))
        known = self._job.journal.begun(index, number, call, tool)
        if known is not None:
            yield from self._end(index, due, known)
            return
        with clock.phase("tool"):
            context = self.context(tool, index) if tool.binding.context else None
            running.start(number, tool, call, timeout, context, due.pending.id)

    def _end(self, index: int, due: _Due, record: CallRecord) -> Iterator[Event]:
        """A call is over."""
        due.record = due.noted(self._bounded(record))
        yield ToolCallFinished(self._run_id, index, due.record)

    def _may_begin(self, due: _Due, running: Running) -> bool:
        """Whether a call may run beside those that run."""
        if not running:
            return True
        alone = running.alone or self.known[due.pending.name].sequential
        return not alone and len(running) < self._job.limits.concurrent_calls

    def _fitting(self, trunk: Trunk, calls: Sequence[PendingCall]) -> list[_Due]:
        """The calls for whose results there is room, were all of them as long as they may be."""
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
        """Gives the calls that do not run their records; returns those that ask what an earlier one of the step asks.

        Returns:
            The call's number: that of the earlier one, whose result it gets.
        """
        first: dict[str, int] = {}
        twins: dict[int, int] = {}
        for number, each in enumerate(due):
            key, said = each.key, each.pending.approval
            tool = self.known.get(each.pending.name)
            if isinstance(said, Deny):
                each.record = each.without_result(said.error, tool.source if tool else "")
            elif each.pending.open or self._tools.cancelled():
                each.record = each.without_result(CANCELLED if self._tools.cancelled() else "not approved")
            elif not self._job.policy.repeat_calls and key in self.answered:
                each.record = self._again(each, self.answered[key])
            if self._job.policy.repeat_calls:
                continue
            if first.setdefault(key, number) != number and each.record is None:
                twins[number] = first[key]
        return twins

    def _again(self, due: _Due, known: CallRecord | None) -> CallRecord:
        """The record of a call whose answer is known from another one."""
        assert known is not None
        return replace(known, ms=0.0, repeated=True, left_out=0, id=due.pending.id)

    def _put(self, trunk: Trunk, index: int, due: _Due, rest: int, records: list[CallRecord]) -> CallRecord:
        """Puts what came of a call into the transcript, in its share of the room that is left for `rest` calls."""
        record = due.record
        assert record is not None
        self._remember(record)
        limit = min(self._share(trunk, rest), self._job.limits.result_tokens)
        content, left_out = shortened(record, limit, self._count)
        if left_out:
            record = replace(record, left_out=left_out)
        tool = self.known.get(record.name)
        trusted = tool is not None and tool.trusted and all(span.message.trusted for span in trunk.messages)
        message = Message("tool", content, Origin("tool", record.name, index, record.source, trusted))
        trunk.append(message, self._chat.message(message.role, content), more=bool(records))
        records.append(record)
        return record

    def _remember(self, record: CallRecord) -> None:
        """A call that was answered need not run again: neither as it ran nor as the model wrote it."""
        if record.repeated or record.retry:
            return
        for arguments in (record.arguments, record.wanted):
            if arguments is not None:
                self.answered[call_key(Call(record.name, arguments))] = record

    def _share(self, trunk: Trunk, calls: int) -> int:
        """Tokens that each of so many results may have."""
        return (self._room(trunk) - RESERVE) // calls - self._around

    def _bounded(self, record: CallRecord) -> CallRecord:
        """The record; one that asks for another try too often is a failure. A step's tries of one tool count once."""
        if not record.retry:
            return record
        self._asking.add(record.name)
        own = self.known[record.name].retries
        most = self._job.limits.tool_retries if own is None else own
        if self.asked[record.name] < most:
            return record
        return replace(record, retry=False, error=f"{record.error} (no try is left)")

    def _count(self, content: str) -> int:
        return len(self._chat.message("tool", content)) - self._around
