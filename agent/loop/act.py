"""The part of a run that does what a step says: its calls, once they are approved, or the refusal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.checkpoint import Written, last_line
from loraloop.agent.engine.timer import Clock
from loraloop.agent.events import Event, Prefetched, Refused, StepFinished
from loraloop.agent.loop.outcome import Outcome
from loraloop.agent.loop.pausing import Pausing
from loraloop.agent.loop.pending_run import decision_of
from loraloop.tool_schemas.tools.calls import Call

if TYPE_CHECKING:
    from loraloop.adapters.base.chat import Chat
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop.job import Decision, Resumed
    from loraloop.agent.loop.prompts import Repair
    from loraloop.agent.result import CallRecord, Step
    from loraloop.agent.skills.prefetch import RunAhead
    from loraloop.agent.tools.approval import Approval, Approver


class CarryingOut(Pausing):
    """What `Run` does after a step is written; a run that goes on after a pause begins here."""

    _chat: Chat
    _ahead: RunAhead
    _approver: Approver
    _cancelled: bool
    _retry: Decision | None
    _repair: Repair | None

    @property
    @abstractmethod
    def _deadline(self) -> float | None:
        """Of `time.monotonic()`."""

    @abstractmethod
    def _conclude(self, outcome: Outcome, contract: str, acted: bool) -> None:
        """What the outcome means for the steps to come."""

    def _carry_out(
        self,
        trunk: Trunk,
        step: Step,
        decision: Decision,
        contract: str,
        outcome: Outcome,
        clock: Clock,
        known: Mapping[str, Approval] = MappingProxyType({}),
    ) -> Iterator[Event]:
        """Does what a step says: its calls, once those that wait for approval have it, or the refusal."""
        records: list[CallRecord] = []
        if outcome.calls and outcome.stop is None:
            calls = self._approver.pending(step.index, outcome.calls, self._actor.answered, known)
            asked = monotonic()
            calls = yield from self._approver.ask(step.index, calls)
            self._began += monotonic() - asked  # a person's time is none of the run's
            if any(call.open for call in calls) and not self._cancelled:
                self._pause(trunk, replace(step, ms=clock.added(step.ms)), outcome, calls)
                return
            ready = replace(step, ms=clock.added(step.ms))
            self._job.journal.written(Written(ready, decision, contract, outcome, calls, last_line(trunk)), self)
            yield from self._tell(step.index, "tool", self._ahead.acting())
            yield from self._actor.act(trunk, step.index, calls, records, clock, self._deadline)
            silent = bool(records) and all(record.error is None and record.result == "" for record in records)
            if contract == "code" and silent and self._job.output.term is None:
                outcome = replace(outcome, stop="code")  # nothing was printed: the program is the answer
        if outcome.refuse:
            refusal = Message("assistant", self._job.guard.refusal, Origin("guard", step=step.index))
            trunk.append(refusal, self._chat.message(refusal.role, refusal.content))
            yield Refused(self.id, step.index, outcome.category, refusal.content)
        self._conclude(outcome, contract, bool(records))
        judged = decision.by == "screen"
        if not judged:
            self._retry = decision if any(record.retry for record in records) else None
        self._forms.unmask()
        if not judged and not outcome.again:
            self._forms.choice_made()
        begun = dict.fromkeys((*step.prefetched, *self._ahead.begun))
        step = replace(step, calls=tuple(records), ms=clock.added(step.ms), prefetched=tuple(begun))
        self._steps.append(step)
        self._job.journal.stepped(step, self, trunk)
        yield StepFinished(self.id, step)

    def _act_on(self, trunk: Trunk, written: Written) -> Iterator[Event]:
        """Does what the step says that was interrupted while its calls ran."""
        said = {call.id: call.approval for call in written.calls if call.approval is not None}
        yield from self._carry_out(
            trunk, written.step, written.decision, written.contract, written.outcome, Clock(), said
        )

    def _go_on(self, trunk: Trunk, resumed: Resumed) -> Iterator[Event]:
        """Does what the step says that waited."""
        step = resumed.run.step
        decision = decision_of(step)
        code = step.outcome == "code"
        calls = tuple(Call(call.name, call.arguments) for call in resumed.run.calls)
        outcome = Outcome(step.outcome, keep=True, output=step.text if code else "", calls=calls)
        contract = "code" if code else "calls"
        yield from self._carry_out(trunk, step, decision, contract, outcome, Clock(), resumed.said)

    def _tell(self, index: int, reason: str, begun: tuple[str, ...]) -> Iterator[Event]:
        """Tells what is being made ready."""
        if begun:
            yield Prefetched(self.id, index, begun, reason)
