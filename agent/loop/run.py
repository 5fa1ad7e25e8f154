"""The loop: extend the trunk, screen, choose, branch under the skill's contract, act — and again."""

from __future__ import annotations

import uuid
from asyncio import AbstractEventLoop
from collections.abc import Generator, Iterator
from dataclasses import replace
from time import monotonic, perf_counter

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.checkpoint import restore, taken_up
from loraloop.agent.engine.generate import Generated
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.trunk import Trunk
from loraloop.agent.events import (
    Compacted,
    Event,
    Planned,
    Routed,
    RunFinished,
    RunStarted,
    SkillActivated,
)
from loraloop.agent.following import Following
from loraloop.agent.guard.gates import Gates
from loraloop.agent.guard.tool_filter import Fence
from loraloop.agent.hooks import told
from loraloop.agent.loop.act import CarryingOut
from loraloop.agent.loop.compaction import Compactor
from loraloop.agent.loop.grammars import Forms
from loraloop.agent.loop.iterate import Pending
from loraloop.agent.loop.job import Decision, Job
from loraloop.agent.loop.opening import opened, reopened
from loraloop.agent.loop.outcome import PYTHON, Facts, Outcome, outcome_of
from loraloop.agent.loop.prompts import Repair
from loraloop.agent.loop.route import StepChooser, unfit
from loraloop.agent.loop.write import UNENFORCED, Writer, Writing
from loraloop.agent.result import Compaction, RunResult, Step, StopReason, Tokens
from loraloop.agent.runtime import Runtime
from loraloop.agent.skills.prefetch import RunAhead
from loraloop.agent.tools.approval import ALL, Approver
from loraloop.agent.tools.executor import Actor
from loraloop.agent.tools.runner import ToolRunner
from loraloop.tool_schemas.tools.context import Left

UNMET = "what was written does not meet the checks of the schema"


class Run(CarryingOut):
    """One run. `events` is iterated once; `cancel` may be called from anywhere."""

    def __init__(self, runtime: Runtime, job: Job, loop: AbstractEventLoop | None = None) -> None:
        interrupted = job.journal.interrupted
        known = interrupted or (job.resumed.run if job.resumed else None)
        self.id = known.run_id if known else uuid.uuid4().hex[:12]
        self.result: RunResult | None = None
        self._runtime = runtime
        self._chat = runtime.base.chat
        self._job = job
        self._cancelled = False
        self._forms = Forms(runtime, job)
        self._writer = Writer(self.id, runtime, job, self._forms, lambda: self._cancelled)
        self._following = Following(self.id, runtime, job, self._writer.sampler.seed)
        self._tools = ToolRunner(loop, lambda: self._cancelled, self._following.calling)
        self._actor = Actor(self.id, job, self._chat, self._room, self._tools, self._left)
        self._approver = Approver(self.id, job, self._tools, self._actor.known, self._actor.context)
        self._compactor = Compactor(self._chat, runtime.context, job.limits.free(runtime.context))
        self._compactions: list[Compaction] = []
        self._repair: Repair | None = None
        self._chooser = StepChooser(runtime, job)
        self._gates = Gates(runtime, job, self.id)
        self._fence = Fence(runtime, job, self.id)
        self._retry: Decision | None = None
        self._loop = loop
        self.stepwise = False  # whether each step waits until its `pending` decision was looked at
        self.pending: Pending | None = None
        self._masked = unfit(runtime, job)
        self._after = "user"
        self._steps: list[Step] = []
        self._ahead = RunAhead(runtime.ahead)
        self._generated = 0
        self._stop: StopReason | None = None
        self._end = Outcome("", keep=False)
        if job.resumed is not None:
            self._restore(job.resumed.run)
        if interrupted is not None:
            restore(self, interrupted)

    def cancel(self) -> None:
        """Ends the run at its next token, or while a tool runs."""
        self._cancelled = True

    def events(self) -> Generator[Event, None, None]:
        """Runs, telling what happens; the last event is `RunFinished`.

        Raises:
            ContextLengthError: if the request does not fit the context.
            LimitError: if the first step's shortest output does not fit its token limit.
            HookError: a hook that may end the run failed.
        """
        with self._following as hooks:
            yield from told(self._job.journal.around(self._events()), hooks, self._loop)

    def _events(self) -> Generator[Event, None, None]:
        resumed, journal, self._start = self._job.resumed, self._job.journal, perf_counter()
        interrupted = journal.interrupted
        self._began += monotonic()
        self._forms.begin()
        if interrupted is not None:
            opening = taken_up(self._runtime, interrupted)
        elif resumed is not None:
            opening = reopened(self._runtime, resumed.run)
        else:
            opening = opened(self._runtime, self._job, self._compactor)
        trunk, self._gates.seen, self._after = opening.trunk, opening.fresh, opening.after
        if opening.compaction is not None:
            self._compactions.append(opening.compaction)
        try:
            if interrupted is None:
                journal.opened(self, trunk)
            yield RunStarted(
                self.id,
                self._job.prompt,
                tuple(self._runtime.skills),
                tuple(tool.name for tool in self._job.tools),
                len(trunk.ids),
                opening.reused,
                resumed is not None or interrupted is not None,
            )
            if opening.compaction is not None:
                yield Compacted(self.id, opening.compaction)
            if interrupted is not None and interrupted.written is not None:
                yield from self._act_on(trunk, interrupted.written)
            elif resumed is not None and interrupted is None:
                yield from self._go_on(trunk, resumed)
            while self._stop is None:
                yield from self._compact(trunk)
                self._stop = self._limit(trunk)
                if self._stop is None:
                    yield from self._step(trunk)
        finally:
            self._runtime.store.put(trunk)
        end, known = self._end, {passage.id: passage for passage in self._job.passages}
        self.result = RunResult(
            self.id,
            end.output,
            self._stop,
            tuple(span.message for span in trunk.messages),
            tuple(self._steps),
            end.calls if self._stop == "tool_call" else (),
            end.citations,
            end.category,
            round(self._before + (perf_counter() - self._start) * 1e3, 3),
            end.value,
            tuple(known[name] for name in end.citations if name in known),
            tuple(self._compactions),
            tuple(self._gates.records),
            self._fence.planned,
            self._waits,
        )
        journal.finished(self.result)
        yield RunFinished(self.id, self.result)

    def _compact(self, trunk: Trunk) -> Iterator[Event]:
        done = self._compactor.trunk(trunk, len(self._steps), min(self._gates.seen, len(trunk.messages) - 1))
        if done is not None:
            self._gates.moved(len(done.removed))
            self._compactions.append(done)
            yield Compacted(self.id, done)

    def _limit(self, trunk: Trunk) -> StopReason | None:
        limits = self._job.limits
        if self._cancelled:
            return "cancelled"
        deadline = self._deadline
        if deadline is not None and monotonic() >= deadline:
            return "deadline"
        if len(self._steps) >= limits.max_steps:
            return "max_steps"
        if self._generated >= limits.run_tokens:
            return "max_tokens"
        return "context" if self._room(trunk) < 1 else None

    @property
    def _deadline(self) -> float | None:
        """Of `time.monotonic()`."""
        deadline = self._job.limits.deadline
        return None if deadline is None else self._began + deadline

    def _room(self, trunk: Trunk) -> int:
        return trunk.context - len(trunk.ids) - len(self._chat.generation_prompt) - len(self._chat.closing)

    def _step(self, trunk: Trunk) -> Iterator[Event]:
        index, clock = len(self._steps), Clock()
        reused = trunk.sequence.length
        trunk.flush(clock)
        prefilled = trunk.sequence.length - reused
        with clock.phase("route"):
            told = list(self._gates.look(trunk, index))
        yield from told
        decision = self._gates.decision()
        fenced = trunk, index, self._steps, self._forms, clock
        if decision is None and not (yield from self._fence.limit(*fenced)):
            self._stop = "invalid"
            return
        if decision is None and self._repair is not None:
            decision = self._repair.decision
        if decision is None:
            with clock.phase("route"):
                decision = self._choose(trunk)
        aside = ""
        if self.stepwise:
            self.pending = Pending(self._runtime, self._forms, index, decision, trunk)
            yield Planned(self.id, index, decision.skill, decision.by, decision.routed)
            if self.pending.stopped:
                self._stop = "stopped"
                return
            if self.pending.edited:
                self._gates.edited(len(trunk.messages) - 1)
                self._chooser.undo()
                return
            judged, decision, aside = decision, self.pending.decision, self.pending.told
            if judged.by == "screen" and decision.by != "screen":
                self._gates.overruled(index)
                yield from self._fence.limit(*fenced)
        yield Routed(
            self.id,
            index,
            decision.skill,
            decision.probability,
            decision.abstained,
            decision.runners_up,
            decision.masked,
            decision.by,
            decision.weights,
            decision.routed,
        )
        start, before = perf_counter(), len(trunk.ids)
        judging = decision.by == "screen"
        with self._runtime.activate(decision.mixture or decision.skill) as active:
            author = active.author
            clock.add("switch", active.seconds)
            yield SkillActivated(
                self.id, index, decision.skill, author.slot, author.activation, round(active.seconds * 1e6, 1)
            )
            yield from self._tell(index, "runner_up", self._ahead.routed(decision.names, decision.runners_up))
            branch = (self._gates.stand(trunk) if judging else trunk).branch(author, clock)
            if author.activation == "full":
                prefilled, reused = prefilled + branch.prefilled, branch.start - branch.prefilled
            try:
                left = self._job.limits.run_tokens - self._generated
                reminder = self._fence.reminder(active.contract, branch)
                asked = Writing(
                    index,
                    decision,
                    active.contract,
                    left,
                    self._deadline,
                    [span.message for span in trunk.messages],
                    "\n".join(filter(None, (aside, reminder))),
                    self._repair,
                    judging,
                    self._gates.unsafe_from,
                    any(step.outcome == "not_answerable" for step in self._steps),
                    self._runs and not self._job.policy.asked & {ALL, PYTHON},
                )
                out, limit = yield from self._writer.write(branch, asked, clock)
                outcome = self._judge(active.contract, out, limit)
                if outcome.keep:
                    ids = [*self._chat.generation_prompt, *out.ids, *self._chat.closing]
                    origin = Origin("skill", decision.skill, index, trusted=branch.trusted)
                    branch.close(ids, Message("assistant", out.text, origin))
            finally:
                branch.close()
        self._generated += len(out.ids)
        if judging:
            outcome = self._gates.settle(trunk, index, outcome, out)
            yield self._gates.last
        elif self._job.guard.output is not None and active.contract != "verdict":
            outcome = yield from self._gates.given_out(trunk, before, index, decision.skill, outcome, out, clock)
        if not judging:
            self._repair = self._again(decision, active.contract, out.text, outcome)
        step = Step(
            index,
            decision.skill,
            decision.probability,
            decision.abstained,
            decision.runners_up,
            decision.masked,
            decision.by,
            author.activation,
            outcome.name,
            outcome.keep,
            out.text,
            (),
            Tokens(prefilled, reused, len(out.ids), out.forced, branch.recomputed, out.retried),
            {"first_token": round((out.first - start) * 1e3, 3)} if out.first else {},
            decision.weights,
            self._ahead.begun,
            outcome.error,
            *((out.weighed, out.threshold) if active.contract == "verdict" else (None, None)),
            decision.routed,
            *((out.weighed, out.threshold) if active.contract == "calls" else (None, None)),
            *((out.weighed, out.threshold) if active.contract == "answer" else (None, None)),
            None if judging else self._fence.left,
            1,
            (),
            out.tries,
            out.passed,
        )
        yield from self._carry_out(trunk, step, decision, active.contract, outcome, clock)

    def _choose(self, trunk: Trunk) -> Decision:
        last, required = trunk.messages[-1].message, self._forms.calls.required
        masked = self._masked if self._forms.calls.tools else self._masked.union(self._runtime.with_contract("calls"))
        state = self._chooser.state(masked, self._after)
        features = self._runtime.router.features(trunk.features())
        return self._chooser.choose(features, state, last, self._steps, required, self._retry)

    @property
    def _runs(self) -> bool:
        """Whether programs are run."""
        return self._job.python is not None and self._fence.lets(PYTHON)

    def _left(self, index: int) -> Left:
        return self._job.limits.left(index, self._actor.made, self._generated, self._deadline)

    def _repairs(self, contract: str, text: str) -> int:
        """How often the current step, which wrote `text`, may be decoded again."""
        if self._repair is None:
            return self._job.policy.repairs
        left = self._repair.left
        if left and text == self._repair.text and self._job.sampling.temperature == 0:
            return int(self._forms.differs(contract))  # the same grammar would write the same once more
        return left

    def _again(self, decision: Decision, contract: str, text: str, outcome: Outcome) -> Repair | None:
        """The next step, if it is this one once more."""
        if not outcome.again:
            return None
        again = replace(decision, by="repair", route=None)
        return Repair(again, text, outcome.error, self._repairs(contract, text) - 1)

    def _judge(self, contract: str, out: Generated, limit: StopReason | None) -> Outcome:
        policy, calls, output = self._job.policy, self._forms.calls, self._job.output
        facts = Facts(
            tools=calls.tools,
            answered=self._actor.answered,
            calls_left=self._job.limits.max_tool_calls - self._actor.made,
            python=self._runs,
            repeat=policy.repeat_calls,
            go_on=policy.after_answer == "route",
            limit=limit,
            least=calls.least,
            required=calls.required,
            repairs=self._repairs(contract, out.text),
            read=output.read,
            flaw=(out.problem or UNMET) if out.reason == UNENFORCED else "",
        )
        return outcome_of(contract, out.text, facts)

    def _conclude(self, outcome: Outcome, contract: str, acted: bool) -> None:
        """What the outcome means for the steps to come."""
        self._stop = outcome.stop
        if outcome.again:
            return
        if outcome.mask:
            self._masked.update(self._runtime.with_contract(contract))
        if acted:
            self._after = "tool"
        elif outcome.stop is None and contract != "verdict":
            self._after = "dropped"
        if outcome.refuse:
            outcome = replace(outcome, output=self._job.guard.refusal)
        if self._actor.full:
            self._stop = "context"
        if outcome.output or self._stop is not None:
            self._end = replace(outcome, citations=outcome.citations or self._end.citations)
