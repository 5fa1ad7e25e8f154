"""The loop: extend the trunk, screen, choose, branch under the skill's contract, act — and again."""

from __future__ import annotations

import uuid
from asyncio import AbstractEventLoop
from collections.abc import Generator, Iterator
from dataclasses import replace
from time import monotonic, perf_counter
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.acting import Actor
from loraloop.agent.ahead import RunAhead
from loraloop.agent.aside import Repair, asides
from loraloop.agent.calling import ToolRunner
from loraloop.agent.choosing import StepChooser, unfit
from loraloop.agent.compaction import Compactor
from loraloop.agent.deciding import speaks
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.clock import Clock
from loraloop.agent.engine.generate import Budget, Delta, Generated
from loraloop.agent.engine.sampling import Sampler
from loraloop.agent.engine.trunk import Trunk
from loraloop.agent.events import (
    Compacted,
    Event,
    Planned,
    Prefetched,
    Refused,
    Routed,
    RunFinished,
    RunStarted,
    Screened,
    SkillActivated,
    StepFinished,
    TokenGenerated,
)
from loraloop.agent.forms import Forms
from loraloop.agent.hooks import told
from loraloop.agent.job import Decision, Job
from loraloop.agent.opening import opened
from loraloop.agent.outcomes import Facts, Outcome, outcome_of
from loraloop.agent.result import CallRecord, Compaction, RunResult, Step, StopReason, Tokens
from loraloop.agent.resuming import Written, restored
from loraloop.agent.runtime import Runtime
from loraloop.agent.stepping import Pending
from loraloop.agent.weighing import balance_of
from loraloop.tool_schemas.context import Left
from loraloop.tool_schemas.errors import LimitError

UNENFORCED = "unenforced"  # the text has not its form: a check failed too often, or no text of it fits
UNMET = "what was written does not meet the checks of the schema"


class Run:
    """One run. `events` is iterated once; `cancel` may be called from anywhere."""

    def __init__(self, runtime: Runtime, job: Job, loop: AbstractEventLoop | None = None) -> None:
        resumed = job.journal.resumed
        self.id = uuid.uuid4().hex[:12] if resumed is None else resumed.run_id
        self.result: RunResult | None = None
        self._runtime = runtime
        self._chat = runtime.base.chat
        self._job = job
        self._sampler = Sampler(job.sampling)
        self._cancelled = False
        self._tools = ToolRunner(loop, lambda: self._cancelled)
        self._actor = Actor(self.id, job, self._chat, self._room, self._tools, self._left)
        self._forms = Forms(runtime, job)
        self._compactor = Compactor(self._chat, runtime.context, job.limits.free(runtime.context))
        self._compactions: list[Compaction] = []
        self._repair: Repair | None = None
        self._chooser = StepChooser(runtime, job)
        self._retry: Decision | None = None
        self._loop = loop
        self.stepwise = False  # whether each step waits until its `pending` decision was looked at
        self.pending: Pending | None = None
        self._masked = unfit(runtime, job)
        self._after = "user"
        self._screened = 0  # messages that were looked at
        self._steps: list[Step] = []
        self._ahead = RunAhead(runtime.ahead)
        self._generated = 0
        self._stop: StopReason | None = None
        self._end = Outcome("", keep=False)
        self._deadline: float | None = None
        self._start = perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken so far; of one that was resumed, without those in which nothing ran."""
        return perf_counter() - self._start

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
        return told(self._job.journal.around(self._events()), self._job.hooks, self._loop)

    def _events(self) -> Generator[Event, None, None]:
        journal, resumed = self._job.journal, self._job.journal.resumed
        self._start = perf_counter() - (0.0 if resumed is None else resumed.state.elapsed)
        if self._job.limits.deadline is not None:
            self._deadline = monotonic() + self._job.limits.deadline - self.elapsed
        self._forms.begin()
        if resumed is None:
            opening = opened(self._runtime, self._job, self._compactor)
            trunk, reused, self._screened, self._after = opening.trunk, opening.reused, opening.fresh, opening.after
            if opening.compaction is not None:
                self._compactions.append(opening.compaction)
        else:
            trunk = restored(self, resumed)
            reused = len(trunk.ids)
        try:
            if resumed is None:
                journal.opened(self, trunk)
            yield RunStarted(
                self.id,
                self._job.prompt,
                self._runtime.skills,
                tuple(tool.name for tool in self._job.tools),
                len(trunk.ids),
                reused,
                len(self._steps),
            )
            if resumed is None:
                yield from (Compacted(self.id, done) for done in self._compactions)
            elif resumed.written is not None:
                yield from self._go_on(trunk, resumed.written)
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
            round(self.elapsed * 1e3, 3),
            end.value,
            tuple(known[name] for name in end.citations if name in known),
            tuple(self._compactions),
        )
        journal.finished(self.result)
        yield RunFinished(self.id, self.result)

    def _compact(self, trunk: Trunk) -> Iterator[Event]:
        done = self._compactor.trunk(trunk, len(self._steps), min(self._screened, len(trunk.messages) - 1))
        if done is not None:
            self._screened -= len(done.removed)
            self._compactions.append(done)
            yield Compacted(self.id, done)

    def _limit(self, trunk: Trunk) -> StopReason | None:
        limits = self._job.limits
        if self._cancelled:
            return "cancelled"
        if self._deadline is not None and monotonic() >= self._deadline:
            return "deadline"
        if len(self._steps) >= limits.max_steps:
            return "max_steps"
        if self._generated >= limits.run_tokens:
            return "max_tokens"
        return "context" if self._room(trunk) < 1 else None

    def _room(self, trunk: Trunk) -> int:
        return trunk.context - len(trunk.ids) - len(self._chat.generation_prompt) - len(self._chat.closing)

    def _step(self, trunk: Trunk) -> Iterator[Event]:
        index, clock = len(self._steps), Clock()
        reused = trunk.computed.length
        trunk.flush(clock)
        prefilled = trunk.computed.length - reused
        decision = None
        to_screen = self._unscreened(trunk)
        if to_screen:
            with clock.phase("route"):
                results = [self._runtime.router.screen(self._features(trunk, at)) for at in to_screen]
                worst = max(results, key=lambda result: (result.positive, result.probability))
            yield Screened(self.id, index, worst.probability, worst.positive)
            if worst.positive:
                guard = self._runtime.with_contract("verdict")[0]
                decision = Decision(guard, worst.probability, False, (), (), "screen")
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
                self._screened = len(trunk.messages) - 1
                self._chooser.undo()
                return
            decision, aside = self.pending.decision, self.pending.told
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
        start = perf_counter()
        with self._runtime.activate(decision.mixture or decision.skill) as active:
            author = active.author
            clock.add("switch", active.seconds)
            yield SkillActivated(
                self.id, index, decision.skill, author.slot, author.activation, round(active.seconds * 1e6, 1)
            )
            yield from self._tell(index, "runner_up", self._ahead.routed(decision.names, decision.runners_up))
            branch = trunk.branch(author, clock)
            if author.activation == "full":
                prefilled, reused = prefilled + branch.prefilled, branch.start - branch.prefilled
            try:
                out, limit = yield from self._generate(branch, index, decision, active.contract, clock, aside)
                outcome = self._judge(active.contract, out, limit)
                if outcome.keep:
                    branch.close(self.kept(out.ids), Message("assistant", out.text))
            finally:
                branch.close()
        self._generated += len(out.ids)
        first = round((out.first - start) * 1e3, 3) if out.first else None
        used = prefilled, reused, branch.recomputed
        written = Written(index, decision, active.contract, author.activation, out, *used, clock.seconds, first)
        yield from self._act(trunk, written, outcome, clock)

    def _go_on(self, trunk: Trunk, written: Written) -> Iterator[Event]:
        """A step that was interrupted while its calls ran: the text stays, and so does what the calls gave."""
        clock = Clock()
        clock.seconds.update(written.seconds)
        outcome = self._judge(written.contract, written.out, None)
        yield from self._act(trunk, written, outcome, clock)

    def kept(self, ids: list[int]) -> list[int]:
        """What a step's tokens leave in the transcript: a message of the assistant's."""
        return [*self._chat.generation_prompt, *ids, *self._chat.closing]

    def _act(self, trunk: Trunk, written: Written, outcome: Outcome, clock: Clock) -> Iterator[Event]:
        """What the text of a step leads to."""
        index, decision, contract, out = written.index, written.decision, written.contract, written.out
        records: list[CallRecord] = []
        if outcome.calls and outcome.stop is None:
            self._job.journal.written(written, self)
            yield from self._tell(index, "tool", self._ahead.acting())
            yield from self._actor.act(trunk, index, outcome.calls, records, clock, self._deadline)
        if outcome.refuse:
            refusal = Message("assistant", self._job.policy.refusal)
            trunk.append(refusal, self._chat.message(refusal.role, refusal.content))
            yield Refused(self.id, index, outcome.category, refusal.content)
        self._conclude(outcome, contract, bool(records))
        self._repair = self._again(decision, contract, out.text, outcome)
        self._retry = decision if any(record.retry for record in records) else None
        self._forms.unmask()
        if decision.by != "screen" and not outcome.again:
            self._forms.choice_made()
        ms = clock.milliseconds()
        if written.first_token is not None:
            ms["first_token"] = written.first_token
        step = Step(
            index,
            decision.skill,
            decision.probability,
            decision.abstained,
            decision.runners_up,
            decision.masked,
            decision.by,
            written.activation,
            outcome.name,
            outcome.keep,
            out.text,
            tuple(records),
            Tokens(written.prefilled, written.reused, len(out.ids), out.forced, written.recomputed, out.retried),
            ms,
            decision.weights,
            self._ahead.begun,
            outcome.error,
            *((out.weighed, out.threshold) if contract == "verdict" else (None, None)),
            decision.routed,
            *((out.weighed, out.threshold) if contract == "calls" else (None, None)),
        )
        self._steps.append(step)
        self._job.journal.stepped(step, self, trunk)
        yield StepFinished(self.id, step)

    def _tell(self, index: int, reason: str, begun: tuple[str, ...]) -> Iterator[Event]:
        """Tells what is being made ready."""
        if begun:
            yield Prefetched(self.id, index, begun, reason)

    def _unscreened(self, trunk: Trunk) -> list[int]:
        """Places of messages that came from outside since the last look and that the policy wants screened."""
        policy = self._job.policy
        wanted = {"user": policy.screen, "tool": policy.screen_tools}
        new = range(self._screened, len(trunk.messages))
        self._screened = len(trunk.messages)
        if not self._runtime.with_contract("verdict"):
            return []
        return [at for at in new if wanted.get(trunk.messages[at].message.role, False)]

    def _features(self, trunk: Trunk, at: int = -1) -> Any:
        return self._runtime.router.features(trunk.features(at))

    def _choose(self, trunk: Trunk) -> Decision:
        last, required = trunk.messages[-1].message, self._forms.calls.required
        state = self._chooser.state(self._masked, self._after)
        return self._chooser.choose(self._features(trunk), state, last, self._steps, required, self._retry)

    def _left(self, index: int) -> Left:
        return self._job.limits.left(index, self._actor.made, self._generated, self._deadline)

    def _generate(
        self, branch: Branch, index: int, decision: Decision, contract: str, clock: Clock, aside: str = ""
    ) -> Generator[Event, None, tuple[Generated, StopReason | None]]:
        """Generates in the branch; returns what came of it and the limit that cut it, if one did."""
        limits, room = self._job.limits, branch.left - len(self._chat.generation_prompt) - len(self._chat.closing)
        tokens = min(limits.step_tokens, limits.run_tokens - self._generated, room)
        grammar = self._forms.grammar(contract, clock, self._repair is not None and not self._repair.left)
        talks = speaks(self._runtime, decision, contract)
        prose = talks and self._job.tools and self._job.policy.prose
        told = self._told(talks, contract, max(room - tokens, room // 2), aside)
        room -= len(told)
        tokens = min(tokens, room)
        cut: StopReason = "context" if tokens == room else "max_tokens"
        limited: dict[str, StopReason] = {"tokens": cut, "deadline": "deadline", "cancelled": "cancelled"}
        out, policy = Generated(), self._job.policy
        given = policy.unsafe_from if contract == "verdict" else policy.no_call_from
        balance = balance_of(self._runtime, decision.skill, given, contract)
        try:
            for piece in self._runtime.generate(
                branch,
                [*told, *self._chat.generation_prompt],
                self._sampler,
                Budget(tokens, self._deadline, lambda: self._cancelled),
                stop_ids=self._runtime.stop_ids,
                constraint=None if grammar is None else grammar.start(),
                not_first=self._runtime.call_openers if prose else None,
                balance=balance,
                clock=clock,
            ):
                if isinstance(piece, Delta):
                    yield TokenGenerated(self.id, index, decision.skill, piece.text, piece.tokens)
                else:
                    out = piece
        except LimitError as error:
            if not self._steps:
                raise
            return Generated(reason=UNENFORCED, problem=str(error)), cut
        return out, limited.get(out.reason)

    def _told(self, talks: bool, contract: str, most: int, aside: str) -> list[int]:
        """Ids of what the step is told in its branch alone, in at most so many tokens."""
        cued = talks and self._after == "tool" and bool(self._job.policy.cue)
        for messages in asides(self._job, contract, cued, self._repair, aside):
            ids = [token for each in messages for token in self._chat.message(each.role, each.content)]
            if len(ids) <= most:
                return ids
        return []

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
            python=self._job.python is not None,
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
        elif outcome.stop is None and outcome.name != "safe":
            self._after = "dropped"
        if outcome.refuse:
            outcome = replace(outcome, output=self._job.policy.refusal)
        if self._actor.full:
            self._stop = "context"
        if outcome.output or self._stop is not None:
            self._end = replace(outcome, citations=outcome.citations or self._end.citations)
