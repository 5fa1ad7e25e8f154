"""Running a step's calls: each one's result goes into the transcript as data, in as many tokens as it may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.calling import ToolRunner, call_key
from loraloop.agent.events import Event, ToolCallFinished, ToolCallStarted
from loraloop.agent.observation import shortened
from loraloop.agent.outcomes import PYTHON
from loraloop.agent.result import CallRecord, Step
from loraloop.tool_schemas.calls import Call
from loraloop.tool_schemas.context import Context, Left
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.adapters.base.chat import Chat
    from loraloop.agent.engine.clock import Clock
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.job import Job
    from loraloop.tool_schemas.tools import Tool

RESERVE = 64
"""Positions that results leave for what is said about them."""
_LEAST = "… (about 1000000000 tokens left out)"  # what an observation needs room for


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
        full: Whether a call was not run because the context had no room for what it would give.
        asked: How often each tool asked for another try.
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
        self.full = False
        self._run_id = run_id
        self._job = job
        self._chat = chat
        self._room = room
        self._tools = tools
        self._left = left
        self.asked: Counter[str] = Counter()
        self._around = len(chat.message("tool", ""))
        self._known = {tool.name: tool for tool in job.tools}
        if job.python is not None:
            self._known[PYTHON] = job.python

    def act(
        self,
        trunk: Trunk,
        index: int,
        calls: tuple[Call, ...],
        records: list[CallRecord],
        clock: Clock,
        deadline: float | None,
    ) -> Iterator[Event]:
        """Runs the calls of step `index`; each one's result is appended to the trunk, and to `records`.

        Args:
            trunk: The transcript, which ends with the calls.
            index: The step.
            calls: Validated calls.
            records: Filled here.
            clock: Where the tools' time goes.
            deadline: The run's, of `time.monotonic()`.
        """
        for number, call in enumerate(calls):
            share = (self._room(trunk) - RESERVE) // (len(calls) - number) - self._around
            if share < self._count(dumps({"name": call.name, "result": _LEAST})):
                self.full = True
                return
            key = call_key(call)
            before = None if self._job.policy.repeat_calls else self.answered.get(key)
            if before is not None:
                record = replace(before, arguments=call.arguments, ms=0.0, repeated=True)
            else:
                yield ToolCallStarted(self._run_id, index, call.name, call.arguments)
                tool = self._known[call.name]
                timeout = self._job.limits.tool_timeout if tool.timeout is None else tool.timeout
                if deadline is not None:
                    timeout = min(timeout, max(deadline - monotonic(), 0.0))
                known = self._job.journal.begun(index, number, call, tool)
                if known is None:
                    with clock.phase("tool"):
                        known = self._tools.run(tool, call, timeout, self._context(tool, index))
                    known = self._job.journal.ended(index, number, known)
                self.made += 1
                record = self._bounded(tool, known)
                if not record.retry:
                    self.answered[key] = record
            content, left_out = shortened(record, min(share, self._job.limits.result_tokens), self._count)
            if left_out:
                record = replace(record, left_out=left_out)
            message = Message("tool", content)
            trunk.append(message, self._chat.message(message.role, content), more=bool(records))
            records.append(record)
            yield ToolCallFinished(self._run_id, index, record)

    def remember(self, steps: Iterable[Step], asked: Mapping[str, int]) -> None:
        """Takes over what the calls of earlier steps of the run gave, and how often tools asked for another try."""
        self.asked.update(asked)
        for record in (record for step in steps for record in step.calls if not record.repeated):
            self.made += 1
            if not record.retry:
                self.answered[call_key(Call(record.name, record.arguments))] = replace(record, left_out=0)

    def _context(self, tool: Tool, index: int) -> Context[Any] | None:
        if not tool.context:
            return None
        left = self._left(index)
        left = replace(left, calls=left.calls - 1)
        return Context(self._job.deps, self._run_id, index, self.asked[tool.name] + 1, left, self._tools.cancelled)

    def _bounded(self, tool: Tool, record: CallRecord) -> CallRecord:
        """The record; one that asks for another try too often is a failure."""
        if not record.retry:
            return record
        self.asked[tool.name] += 1
        most = self._job.limits.tool_retries if tool.retries is None else tool.retries
        if self.asked[tool.name] <= most:
            return record
        return replace(record, retry=False, error=f"{record.error} (no try is left)")

    def _count(self, content: str) -> int:
        return len(self._chat.message("tool", content)) - self._around
