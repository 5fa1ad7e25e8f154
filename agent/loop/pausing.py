"""The part of a run that pauses it, and that takes up what was paused."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from loraloop.agent.loop.outcome import Outcome
from loraloop.agent.loop.pending_run import PendingRun

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.guard.gates import Gates
    from loraloop.agent.guard.tool_filter import Fence
    from loraloop.agent.loop.grammars import Forms
    from loraloop.agent.loop.job import Job
    from loraloop.agent.loop.route import StepChooser
    from loraloop.agent.loop.write import Writer
    from loraloop.agent.result import Compaction, Step, StopReason
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.tools.approval import PendingCall
    from loraloop.agent.tools.executor import Actor


class Pausing:
    """The facts of a run that outlast a pause, written into a `PendingRun` and read from it."""

    id: str
    _runtime: Runtime
    _job: Job
    _actor: Actor
    _chooser: StepChooser
    _forms: Forms
    _gates: Gates
    _fence: Fence
    _writer: Writer
    _steps: list[Step]
    _compactions: list[Compaction]
    _masked: set[str]
    _after: str
    _generated: int
    _stop: StopReason | None
    _end: Outcome
    _start = 0.0  # of `time.perf_counter()`
    _began = 0.0  # of `time.monotonic()`, less what the run has waited for approval
    _before = 0.0  # milliseconds of what came before it was paused
    _waits: PendingRun | None = None

    def _pause(self, trunk: Trunk, step: Step, outcome: Outcome, calls: tuple[PendingCall, ...]) -> None:
        """Ends the run before the calls of its last step, with all that it needs to go on."""
        self._steps.append(step)
        self._waits = PendingRun(
            self.id,
            self._runtime.base.fingerprints.architecture,
            self._job.prompt,
            self._job.passages,
            tuple(span.message for span in trunk.messages),
            tuple(tuple(trunk.ids[span.start : span.end]) for span in trunk.messages),
            tuple(self._steps),
            calls,
            tuple(sorted(self._masked)),
            self._after,
            self._chooser.left,
            self._actor.made,
            dict(self._actor.asked),
            self._end.output,
            self._end.citations,
            tuple(self._compactions),
            monotonic() - self._began,
            self._before + (perf_counter() - self._start) * 1e3,
            self._writer.sampler.state,
            tuple(self._gates.records),
            self._fence.planned,
        )
        self._stop, self._end = "approval", replace(outcome, output=step.text, citations=self._end.citations)

    def _restore(self, paused: PendingRun) -> None:
        """What a run that was paused knows."""
        self._began, self._before = -paused.seconds, paused.ms
        self._masked.update(paused.masked)
        self._after = paused.after
        self._steps = list(paused.steps[:-1])
        self._compactions = list(paused.compactions)
        self._generated = sum(step.tokens.generated for step in paused.steps)
        self._actor.restore(paused.made, paused.asked, paused.steps)
        self._forms.choice_made()
        self._writer.sampler.state = paused.sampler
        self._gates.records, self._fence.planned = list(paused.gates), paused.planned
        self._end = replace(self._end, output=paused.output, citations=paused.citations)
