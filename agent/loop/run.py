"""The loop. While a run is not stopped: route, branch, write, judge, act, commit.

The router reads the trunk's end and chooses a skill. The skill writes in a branch. The table of outcomes (`outcome.py`)
says what the text means: it stays in the transcript, it holds calls to run, or nothing of it is kept. Then the step is
committed to the run's state, which is all that the next step knows, and to the journal.
"""

from __future__ import annotations

import uuid
from asyncio import AbstractEventLoop
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from datetime import date
from threading import Event as Flag
from time import monotonic, perf_counter
from types import MappingProxyType
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.engine.cache.sequence import Interrupted, RequestContext
from loraloop.agent.engine.remote.fallback import Fallback
from loraloop.agent.engine.step import OpenStep, StepOutput
from loraloop.agent.engine.timer import Clock
from loraloop.agent.events import (
    AnswerFlawed,
    Compacted,
    Event,
    Gated,
    Planned,
    Refused,
    Routed,
    RunFinished,
    RunStarted,
    SkillActivated,
    StepFinished,
    TokenGenerated,
    ToolsLimited,
    Ungrounded,
)
from loraloop.agent.grounding.answer_check import answer_from_records, value_flaws
from loraloop.agent.grounding.values import ValueCheck
from loraloop.agent.guard.answer_judge import contradiction, records_in
from loraloop.agent.guard.gates import Gates
from loraloop.agent.guard.tool_filter import ToolFilter, reminder_of
from loraloop.agent.hooks import Hook, RunFacts, RunFollowers, tell_hooks
from loraloop.agent.job import NO_JOURNAL, Job, Journal, unavailable_skills
from loraloop.agent.loop.compaction import Compactor
from loraloop.agent.loop.opening import Opening, open_trunk, restore_trunk
from loraloop.agent.loop.outcome import FAILED, Facts, arguments_of, flawed, handed_over, outcome_of
from loraloop.agent.loop.pending import Pending, StepPlan
from loraloop.agent.loop.route import SkillChooser, StepView, is_handed_over
from loraloop.agent.loop.write import UNENFORCED, StepText, Writer
from loraloop.agent.runtime import Runtime
from loraloop.agent.threads import exit_waits, until_exit
from loraloop.agent.tools.executor import Executor
from loraloop.agent.tools.observation import without_rest
from loraloop.agent.tools.runner import ToolRunner
from loraloop.agent.values.calls import PYTHON, Approval, CallRecord
from loraloop.agent.values.checkpoint import (
    Checkpoint,
    Ending,
    GuardState,
    NextStep,
    PendingStep,
    Retry,
    RunRequest,
    RunState,
    Spent,
)
from loraloop.agent.values.output_type import FREE
from loraloop.agent.values.receipts import receipts_of
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.signing import use_once
from loraloop.agent.values.step import CONTRADICTION, AnswerFlaw, Decision, Outcome, Step, StopReason, Weighed
from loraloop.agent.values.tool_choice import choice_of
from loraloop.router.decision import NONE
from loraloop.tool_schemas.tools.calls import Call

UNMET = "the text does not pass the checks of its schema"
OPENINGS = {"verdict": "unsafe", "calls": "no_call", "answer": "no_answer"}
"""The first of a contract's two openings, as traces name it. The step weighs it against the other one."""


@dataclass(slots=True)
class Draft:
    """A step whose text is written and judged, and whose calls have not run.

    Attributes:
        step: The step, without its calls.
        contract: The form of its text.
        outcome: What the text means.
        clock: The time of each phase.
        repair: The step to be written once more; None where its text is valid, or no repair is left.
    """

    step: Step
    contract: str
    outcome: Outcome
    clock: Clock
    repair: Retry | None = None


class Run:
    """One run. Iterate `events` once; `cancel` may be called from any thread.

    Args:
        runtime: Base, skills and router.
        job: What the run is asked to do.
        checkpoint: The run to go on with; None for a new one.
        journal: Writes down what the run does, for sessions.
        hooks: Receive the events.
        loop: The event loop of async tools and hooks; where None, each gets a loop of its own.

    Attributes:
        id: The id of the run.
        state: What the run knows between two steps, besides its transcript and its steps.
        steps: The completed steps.
        result: The result; None while the run is not over.
        stepwise: Whether each step waits until the caller of `Agent.iter` has looked at it.
        pending: The step that waits for the caller.
    """

    def __init__(
        self,
        runtime: Runtime,
        job: Job,
        *,
        checkpoint: Checkpoint | None = None,
        journal: Journal = NO_JOURNAL,
        hooks: Sequence[Hook] = (),
        loop: AbstractEventLoop | None = None,
    ) -> None:
        self.id = checkpoint.run_id if checkpoint else uuid.uuid4().hex[:12]
        fresh = RunState(Spent(), NextStep(choices=job.policy.skills), GuardState())
        self.state = deepcopy(checkpoint.state) if checkpoint else fresh
        self.steps: list[Step] = list(checkpoint.steps) if checkpoint else []
        self.result: RunResult[Any] | None = None
        self.stepwise = False
        self.pending: Pending | None = None
        self.state.next.masked |= unavailable_skills(runtime, job)
        self._runtime, self._job, self._checkpoint, self._journal, self._loop = runtime, job, checkpoint, journal, loop
        ending, self._cancelled = self.state.ending, Flag()
        self._value = job.output.read(ending.output) if ending.valued else None
        self._waits: Checkpoint | None = None
        self._writer = Writer(self.id, runtime, job, until_exit(self._cancelled.is_set))
        self._writer.sampler.state = self.state.sampler
        self._followers = RunFollowers(RunFacts(self.id, runtime, job, self._writer.sampler.seed), hooks)
        runner = ToolRunner(loop, self._writer.cancelled, self._followers.calling)
        self._executor = Executor(self.id, job, self.state, runtime.base.chat, runner=runner, journal=journal)
        self._executor.remember(self.steps)
        self._gates = Gates(runtime, job.guard, self.state.guard, self.id)
        self._compactor = Compactor(runtime.base.chat, runtime.context, job.limits.free(runtime.context))

    def cancel(self) -> None:
        """Ends the run at its next token, or while a tool runs."""
        self._cancelled.set()

    def finish(self) -> RunResult[Any]:
        """Runs to the end and returns the result."""
        for _ in self.events():
            pass
        assert self.result is not None
        return self.result

    @exit_waits
    def events(self) -> Generator[Event, None, None]:
        """Runs, and yields an event for everything that happens; the last event is `RunFinished`.

        Raises:
            ContextLengthError: The request does not fit the context.
            InputError: It was read from a text and was resumed before.
            LimitError: The first step's shortest output, in a form that was asked for, does not fit its token limit.
            HookError: A hook that may end the run failed.
        """
        with self._followers as hooks, self._journal.hold():
            yield from tell_hooks(self._events(), hooks, self._loop)

    def _events(self) -> Generator[Event, None, None]:
        spent = self.state.spent
        self._began, self._start = monotonic() - spent.seconds, perf_counter() - spent.ms / 1e3
        self._writer.grammars.begin()
        known = self._checkpoint
        opening = (
            restore_trunk(self._runtime, known)
            if known
            else open_trunk(self._runtime, self._job, self._journal, self._compactor)
        )
        self._trunk = opening.trunk
        self._trunk.request_context = RequestContext(self._job.limits.priority, self._deadline, self._writer.cancelled)
        try:
            yield from self._begin(opening)
            while self.state.stop is None:
                yield from self._compact()
                self.state.stop = self._limit_met()
                if self.state.stop is None:
                    try:
                        yield from self._step()
                    except Interrupted as interrupted:  # it waited for the base, or its prompt was computed
                        self.state.stop = interrupted.reason
            self.result = self._run_result()
        finally:
            self._runtime.engine.close(self._trunk)  # from here on another run may go on with it
        self._journal.finished(self.result)
        yield RunFinished(self.id, self.result)

    def _step(self) -> Iterator[Event]:
        """One step: route, branch, write, judge, act, commit."""
        clock = Clock()
        prefilled = self._trunk.flush(clock)
        plan = yield from self._route(clock)
        if plan is None:
            return
        draft = yield from self._draft(plan, prefilled, clock)
        records = yield from self._act(draft)
        if records is not None:
            yield from self._commit(draft, records)

    def _draft(self, plan: StepPlan, prefilled: int, clock: Clock) -> Generator[Event, None, Draft]:
        """Opens a branch, lets the step's skill write in it, and judges what the text means.

        Args:
            plan: The step.
            prefilled: Tokens of the trunk that were computed for this step.
            clock: Clock that measures each phase.
        """
        decision, start, before = plan.decision, perf_counter(), len(self._trunk.ids)
        contract, reused = self._runtime.contract(decision.skill), before - prefilled
        text = self._step_text(plan, contract)
        with self._open_step(plan, text, clock) as written:
            author, took = written.active.author, round(written.active.seconds * 1e6, 1)
            yield SkillActivated(
                self.id,
                plan.index,
                decision.skill,
                author.slot,
                activation=author.activation,
                microseconds=took,
                written_by=written.output.tokens.written_by,
            )
            limit = yield from self._writer.write(written, text)
            out = written.output
            outcome = self._judge(text, out, limit)
            if outcome.keep:
                trusted = all(message.trusted for message in text.messages)
                origin = Origin("skill", decision.skill, plan.index, trusted=trusted)
                written.keep(Message("assistant", out.text, origin))
        if author.activation == "full":
            prefilled, reused = prefilled + out.tokens.prefilled, out.tokens.reused
        self.state.spent.tokens += len(out.ids)
        outcome = self._judge_answer(text, outcome, before, clock)
        if self._hands_over(plan, outcome):
            outcome = handed_over(outcome)
        if outcome.ungrounded:
            yield Ungrounded(self.id, plan.index, outcome.ungrounded, outcome.ask)
        if outcome.flaws:
            yield AnswerFlawed(self.id, plan.index, outcome.flaws, outcome.again)
        shown = replace(out, text=outcome.output, ids=[], spans=()) if outcome.flaws else out
        if plan.judging:
            outcome = self._gates.apply_verdict(self._trunk, plan.index, outcome, out)
            yield self._gates.last_event
        elif self._job.guard.output is not None and contract != "verdict":
            try:
                outcome = yield from self._gates.judge_output(
                    plan.index, decision.skill, outcome, shown, clock, request_context=self._trunk.request_context
                )
            except Interrupted:  # what nobody has judged does not stay
                self._trunk.cut(before)
                raise
            if outcome.name == "stopped":
                self._trunk.cut(before)
        elif text.checked and (outcome.keep or outcome.output):
            yield TokenGenerated(self.id, plan.index, decision.skill, shown.text, len(shown.ids), spans=shown.spans)
        tokens = replace(out.tokens, prefilled=prefilled, reused=reused, shared=clock.sharing)
        first = {"first_token": round((out.first - start) * 1e3, 3)} if out.first else {}
        step = replace(self._step_of(text, out, outcome), tokens=tokens, ms=first)
        return Draft(step, contract, outcome, clock, self._repair_of(text, out.text, outcome))

    @contextmanager
    def _open_step(self, plan: StepPlan, text: StepText, clock: Clock) -> Iterator[OpenStep]:
        """Opens the step of the plan's skill, or one that the fallback has written, if it is the fallback's."""
        if (fallback := self._fallback) is not None and is_handed_over(plan.decision, self.steps):
            request = self._writer.request(text, clock, fallback=True)
            written = fallback.write(self._runtime.base, self._runtime.bank, self._trunk, request)
            if written is not None:
                yield written
                return
        trunk = self._gates.trunk_to_judge(self._trunk) if plan.judging else self._trunk
        with self._runtime.engine.step(trunk, self._writer.request(text, clock)) as own:
            yield own

    def _hands_over(self, plan: StepPlan, outcome: Outcome) -> bool:
        """Whether the fallback writes the step next: an answer is flawed, or another check has failed twice."""
        final = bool(outcome.flaws and self._job.policy.repairs) or self.state.next.repair is not None
        if plan.judging or not final or outcome.again or outcome.name not in FAILED:
            return False
        left = plan.index + 1 < self._job.limits.max_steps
        return left and self._fallback is not None and not is_handed_over(plan.decision, self.steps)

    @property
    def _fallback(self) -> Fallback | None:
        """The fallback, if there is one and it can be asked now."""
        fallback = self._job.fallback
        return fallback if fallback is not None and fallback.ready else None

    # Route: what a step runs on, and what it may call.

    def _route(self, clock: Clock) -> Generator[Event, None, StepPlan | None]:
        """Decides the next step; None where the run ends here, or the step has to be decided again."""
        index, next = len(self.steps), self.state.next
        with clock.phase("route"):
            seen = list(self._gates.screen_messages(self._trunk, index))
        yield from seen
        plan = StepPlan(index, self._gates.decision(), None, self._writer.grammars.calls(next.first))
        if not plan.judging:
            yield from self._limit_tools(plan, clock)
            if plan.form.required and not plan.form.tools:
                self.state.stop = "invalid"
                return None
            self._choose(plan, clock)
        if self.stepwise and not (yield from self._wait_for_caller(plan, clock)):
            return None
        if plan.route is not None and next.retry is None:
            next.choices = next.choices[1:]
        decision = plan.decision
        yield Routed(self.id, index, decision.skill, decided_by=decision.by, **asdict(decision.route))
        return plan

    def _limit_tools(self, plan: StepPlan, clock: Clock) -> Iterator[Event]:
        """Removes the tools from a step's grammar that the guard does not allow it."""
        job, tools, choice = self._job, self._executor.tools, choice_of(self._job.policy.tool_choice)
        with clock.phase("plan"):
            messages = [span.message for span in self._trunk.messages]
            tool_filter = ToolFilter(self._runtime, job.guard, self.state.guard, tools, choice)
            bounds = self._trunk.request_context
            left = tool_filter.open_tools(plan.index, job.prompt, messages, self.steps, request_context=bounds)
        if len(left) < len(tools):
            plan.open_tools = tuple(name for name in tools if name in left)
            plan.form = plan.form.without(tools.keys() - left)
            yield ToolsLimited(self.id, plan.index, plan.open_tools, self.state.guard.planned)

    def _choose(self, plan: StepPlan, clock: Clock) -> None:
        """Chooses a step's skill: the last one for a repair, who closes runs for a question, else policy and router."""
        next, messages, chooser = self.state.next, self._trunk.messages, SkillChooser(self._runtime, self._job)
        if next.repair is not None:
            plan.decision = replace(next.repair.decision, by="repair")
        elif next.ask:
            plan.decision = Decision(chooser.closer(next) or NONE, "ask")
        else:
            with clock.phase("route"):
                before = [span.message for span in messages]
                features = self._runtime.read(self._trunk.features(), before, self._trunk.request_context)
                view = StepView(
                    features,
                    before,
                    self.steps,
                    required=plan.form.required,
                    callable=bool(plan.form.tools),
                    fallback=self._fallback is not None,
                )
                plan.decision, plan.route = chooser.choose(view, next)

    def _wait_for_caller(self, plan: StepPlan, clock: Clock) -> Generator[Event, None, bool]:
        """Waits until the caller of `Agent.iter` has looked at the step; returns whether the step runs."""
        judging, last = plan.judging, len(self._trunk.messages) - 1
        today = self._job.today if self._job.dates else None
        self.pending = Pending(self._runtime, self._writer.grammars, self._trunk, plan, today)
        yield Planned(self.id, plan.index, plan.decision.skill, plan.decision.by, plan.decision.route.routed)
        if self.pending.stopped:
            self.state.stop = "stopped"
        elif self.pending.edited:
            self._gates.last_message_edited(min(last, len(self._trunk.messages) - 1))  # a note may come or go
            if (edited := self._trunk.messages[-1].message).role == "user":
                self._take_edited(edited.content)
        elif judging and not plan.judging:
            self._gates.overruled(plan.index)
            yield from self._limit_tools(plan, clock)
        return not (self.pending.stopped or self.pending.edited)

    def _take_edited(self, content: str) -> None:
        """Goes on with another request; of its passages those stay whose texts stand in it."""
        kept = tuple(each for each in self._job.passages if f"[{each.id}] " in content and each.text in content)
        self._job, sampler = replace(self._job, prompt=content, passages=kept), self._writer.sampler
        self._writer = Writer(self.id, self._runtime, self._job, self._writer.cancelled)
        self._writer.sampler, next = sampler, self.state.next
        next.masked |= unavailable_skills(self._runtime, self._job)
        if not kept:
            next.choices = tuple(each for each in next.choices if self._runtime.contract(each) != "answer")

    # Write and judge: what a step is asked to write, and what its text means.

    def _step_text(self, plan: StepPlan, contract: str) -> StepText:
        policy, next = self._job.policy, self.state.next
        messages = [span.message for span in self._trunk.messages]
        reminder = reminder_of(self._job.guard, contract, messages)
        if contract == "calls":
            plan.form = self._writer.grammars.with_asking(plan.form, plan.decision.skill)
        own = policy.thresholds
        thresholds = {"calls": self._no_call_from(plan), "answer": own.no_answer, "verdict": self._gates.threshold}
        return StepText(
            plan=plan,
            contract=contract,
            messages=messages,
            tokens=self._job.limits.run_tokens - self.state.spent.tokens,
            threshold=thresholds.get(contract),
            extra_prompt="\n".join(filter(None, (plan.extra_prompt, reminder))),
            repair=None if plan.judging else next.repair,
            ask=() if plan.judging else next.ask,
            steps=self.steps,
            checked=self._is_checked(plan, contract),
        )

    def _no_call_from(self, plan: StepPlan) -> float | None:
        """Threshold of P(no call): the policy's, else the skill's own, else the router's probability of a call."""
        threshold = self._job.policy.thresholds.no_call
        if threshold is None:
            threshold = self._runtime.threshold(plan.decision.skill)
        if threshold is None and plan.route is not None:
            threshold = plan.route.call
        return threshold

    def _judge(self, text: StepText, out: StepOutput, limit: StopReason | None) -> Outcome:
        plan, policy, output = text.plan, self._job.policy, self._job.output
        facts = Facts(
            tools=plan.form.tools,
            answered=self._executor.answered,
            calls_left=self._job.limits.max_tool_calls - self.state.spent.calls,
            python=self._job.python is not None and (plan.open_tools is None or PYTHON in plan.open_tools),
            repeat=policy.repeat_calls,
            go_on=policy.after_answer == "route",
            limit=limit,
            least=plan.form.least,
            required=plan.form.required,
            repairs=self._repairs(text, out.text),
            read=output.read if limit is None or output.term is None else None,  # a piece of a form is no value
            flaw=self._flaw(text, out, limit),
            ungrounded=self._values.refused,
            refused=self.state.next.repair.refused if self.state.next.repair else (),
            asks=not plan.form.least and output.term is None,
        )
        return self._check_answer(text, outcome_of(text.contract, out.text, facts))

    def _flaw(self, text: StepText, out: StepOutput, limit: StopReason | None) -> str:
        """What is wrong with a text as it was generated; empty for nothing."""
        if out.reason == UNENFORCED:
            return out.problem or UNMET
        if limit != "max_tokens" or self._job.output.term is None:
            return ""
        limits = self._job.limits
        name = "step_tokens" if limits.step_tokens <= text.tokens else "run_tokens"
        return f"the answer was cut at Limits({name}={getattr(limits, name)}) and has no value: raise that limit"

    def _is_checked(self, plan: StepPlan, contract: str) -> bool:
        """Whether a step's text is checked against the records before anybody sees it.

        An answer of the run is, if the run or an earlier turn has called tools, or the answer is from passages. A
        question for missing arguments is not, nor one of an output type.
        """
        if self._job.policy.answers == "free" or self._job.output.term is not None or plan.decision.by == "ask":
            return False
        return contract == "answer" or (contract == "text" and bool(self._records()))

    def _records(self) -> list[CallRecord]:
        """The run's calls; where it has none, the last ones of earlier turns."""
        own = [record for step in self.steps for record in step.calls]
        return own or records_in([span.message for span in self._trunk.messages])

    def _check_answer(self, text: StepText, outcome: Outcome) -> Outcome:
        """The outcome, unless it is an answer with a value that stands in no record."""
        if not outcome.output or not text.checked:
            return outcome
        values, since = self._values, None
        records = [record for step in self.steps for record in step.calls]
        if text.contract == "text" and not records:
            records, since = self._records(), (self._job.today or date.today()).year
        shown = [without_rest(record, self._job.limits.result_tokens) for record in records]
        flaws = value_flaws(outcome.output, shown, values.messages, values.instructions, since)
        known = answer_from_records(records, self._job.passages, outcome.citations) if flaws else ""
        return flawed(outcome, flaws, known) if known else outcome

    def _judge_answer(self, text: StepText, outcome: Outcome, before: int, clock: Clock) -> Outcome:
        """The outcome, unless the verdict skill says that the answer contradicts the records.

        Args:
            text: What was written.
            outcome: What the text means.
            before: Tokens of the trunk before the answer, to which a contradiction cuts it back.
            clock: Clock that measures how long it takes.
        """
        judged = text.contract == "text" and self._runtime.answer_judge is not None and text.checked
        if not judged or not outcome.output or outcome.flaws:
            return outcome
        known = answer_from_records(self._records(), self._job.passages, outcome.citations)
        if not known:
            return outcome
        trunk = self._trunk if len(self._trunk.ids) == before else self._trunk.fork(before)
        try:
            with clock.phase("gate"):
                probability = contradiction(self._runtime, trunk, outcome.output)
        except BaseException:  # what nobody has judged does not stay
            self._trunk.cut(before)
            raise
        if probability is None:
            return outcome
        self._trunk.cut(before)
        return flawed(outcome, (AnswerFlaw(CONTRADICTION, outcome.output, probability),), known)

    def _repairs(self, text: StepText, written: str) -> int:
        """How often a step may be written again that wrote this."""
        repair = self.state.next.repair
        if repair is None:
            return self._job.policy.repairs
        if repair.left and written == repair.text and self._job.sampling.temperature == 0:
            # The same grammar would write the same once more.
            return int(self._writer.grammars.differs(text.contract, text.plan.form))
        return repair.left

    def _repair_of(self, text: StepText, written: str, outcome: Outcome) -> Retry | None:
        """The next step where it is this one once more; None where it is not."""
        if not outcome.again:
            return None
        left = max(0, self._repairs(text, written) - 1)
        return Retry(text.plan.decision, written, outcome.error, left, arguments_of(outcome.ungrounded))

    @property
    def _values(self) -> ValueCheck:
        """The check of the next calls' values against the transcript as it is now."""
        header = self._runtime.base.prompting.tools_header
        messages = [span.message for span in self._trunk.messages]
        return ValueCheck(self._job, header, messages, self.state.compactions)

    def _step_of(self, text: StepText, out: StepOutput, outcome: Outcome) -> Step:
        plan, opening = text.plan, OPENINGS.get(text.contract)
        return Step(
            index=plan.index,
            skill=plan.decision.skill,
            decided_by=plan.decision.by,
            route=plan.decision.route,
            outcome=outcome.name,
            kept=outcome.keep,
            text=out.text,
            error=outcome.error,
            weighed=Weighed(opening, out.weighed, out.threshold) if opening and out.weighed is not None else None,
            asked=outcome.ask,
            open_tools=plan.open_tools,
            ungrounded=outcome.ungrounded,
            flaws=outcome.flaws,
        )

    # Act: a step's calls, once they are approved, or the refusal.

    def _act(
        self, draft: Draft, known: Mapping[str, Approval] = MappingProxyType({})
    ) -> Generator[Event, None, list[CallRecord] | None]:
        """Runs a step's calls; returns their records, or None where the run waits for approval.

        Args:
            draft: The step.
            known: Approvals that were given already, by the ids of the calls.
        """
        step, outcome, clock = draft.step, draft.outcome, draft.clock
        if outcome.refuse:
            refusal = Message("assistant", self._job.guard.refusal, Origin("guard", step=step.index))
            self._trunk.append(refusal)
            yield Refused(self.id, step.index, outcome.category, refusal.content)
        elif outcome.flaws and not outcome.again:
            self._trunk.append(Message("assistant", outcome.records, Origin("runtime", step=step.index)))
        if not outcome.calls or outcome.stop is not None:
            return []
        self._executor.deadline, asked = self._deadline, monotonic()
        approver = self._executor.approver
        calls = approver.pending(step.index, outcome.calls, self._executor.answered, known)
        if any(call.open for call in calls):
            found = self._values.values_of
            calls = tuple(replace(call, ungrounded=found(call.call)) if call.open else call for call in calls)
        calls = yield from approver.ask(step.index, calls)
        self._began += monotonic() - asked  # the deadline does not count the time that a person takes
        self._trunk.request_context = replace(self._trunk.request_context, deadline=self._deadline)
        now = self.checkpoint(PendingStep(replace(step, ms=clock.added(step.ms)), draft.contract, calls))
        if any(call.open for call in calls) and not self._cancelled.is_set():
            self._pause(now)
            return None
        self._journal.written(now)
        self._executor.deadline = self._deadline
        return (yield from self._executor.run(self._trunk, step.index, calls, clock))

    def _pause(self, now: Checkpoint) -> None:
        """Ends the run before the calls of its last step; the result holds a checkpoint from which it can go on."""
        self._waits = deepcopy(now)
        self.steps.append(now.step)
        self.state.stop = "approval"
        self.state.ending = Ending(now.step.text, citations=self.state.ending.citations)
        self._value = None

    # Commit: what the outcome means for the steps to come.

    def _commit(self, draft: Draft, records: list[CallRecord]) -> Iterator[Event]:
        step, outcome, next = draft.step, draft.outcome, self.state.next
        silent = bool(records) and all(record.error is None and _empty(record.result) for record in records)
        if draft.contract == "code" and silent and self._job.output.term is None:
            outcome = replace(outcome, stop="code")  # nothing was printed: the program is the answer
        self.state.stop = outcome.stop
        if not outcome.again:
            self._conclude(outcome, draft.contract, acted=bool(records))
        elif outcome.records:  # should the run meet a limit before the fallback has written the answer
            self.state.ending = Ending(outcome.records)
        if step.decided_by != "screen":
            next.retry = Retry(step.decision) if any(record.retry for record in records) else None
            next.repair, next.ask = draft.repair, outcome.ask
            next.first = next.first and outcome.again
        step = replace(step, calls=tuple(records), ms=draft.clock.added(step.ms))
        self.steps.append(step)
        self._journal.stepped(self.checkpoint())
        yield StepFinished(self.id, step)

    def _conclude(self, outcome: Outcome, contract: str, acted: bool) -> None:
        state = self.state
        if outcome.mask:
            state.next.masked.update(self._runtime.with_contract(contract))
        if outcome.name == "not_answerable":  # it was a question all the same
            state.next.masked.update(self._runtime.with_contract("code"))
        if acted:
            state.next.after = "tool"
        elif outcome.stop is None and contract != "verdict":
            state.next.after = "dropped"
        if self._executor.full:
            state.stop = "context"
        output = self._job.guard.refusal if outcome.refuse else outcome.output
        if output or state.stop is not None:
            self._value = outcome.value
            state.ending = Ending(
                output=output,
                calls=outcome.calls if outcome.stop == "tool_call" else (),
                citations=outcome.citations or state.ending.citations,
                category=outcome.category,
                valued=outcome.value is not None,
            )

    def checkpoint(self, written: PendingStep | None = None) -> Checkpoint:
        """Everything that the run needs to go on from here.

        Args:
            written: A step whose calls have not all run; None between two steps.
        """
        spent, trunk = self.state.spent, self._trunk
        spent.seconds, spent.ms = monotonic() - self._began, (perf_counter() - self._start) * 1e3
        self.state.sampler = self._writer.sampler.state
        architecture = self._runtime.base.fingerprints.architecture
        prompt, passages, objects = self._job.prompt, self._job.passages, self._journal.objects
        if self._job.output is not FREE:
            objects = (*objects, "output_type")
        return Checkpoint(
            run_id=self.id,
            asked=RunRequest(prompt, passages, objects=objects, architecture=architecture),
            lines=tuple((span.message, trunk.ids[span.start : span.end]) for span in trunk.messages),
            steps=tuple(self.steps),
            state=self.state,
            written=written,
        )

    # The beginning, the bounds and the end.

    def _begin(self, opening: Opening) -> Iterator[Event]:
        known, trunk = self._checkpoint, self._trunk
        if known is None:
            self.state.guard.seen = opening.fresh
            self.state.guard.records += self._job.gates
            self.state.next.after = "tool" if trunk.messages[-1].message.role == "tool" else "user"
        if opening.compaction is not None:
            self.state.compactions.append(opening.compaction)
        if self._journal.interrupted is None:
            if known is not None:  # its session is this run's now
                use_once(known.mark, signed=bool(known.signature))
            self._journal.opened(self.checkpoint(None if known is None else known.written))
        yield RunStarted(
            self.id,
            self._job.prompt,
            skills=tuple(self._runtime.skills),
            tools=tuple(tool.name for tool in self._job.tools),
            context=len(trunk.ids),
            reused=opening.reused,
            resumed=known is not None,
        )
        for record in self._job.gates if known is None else ():
            yield Gated(self.id, record)
        if opening.compaction is not None:
            yield Compacted(self.id, opening.compaction)
        if known is not None and known.written is not None:
            yield from self._resume_step(known.written)

    def _resume_step(self, written: PendingStep) -> Iterator[Event]:
        """Runs the calls of a step that waited for approval, or was interrupted while its calls ran."""
        step, code = written.step, written.contract == "code"
        calls = tuple(Call(call.name, call.arguments) for call in written.calls)
        outcome = Outcome(step.outcome, keep=True, output=step.text if code else "", calls=calls)
        draft = Draft(step, written.contract, outcome, Clock())
        decisions = {call.id: call.approval for call in written.calls if call.approval is not None}
        records = yield from self._act(draft, decisions)
        if records is not None:
            yield from self._commit(draft, records)

    def _compact(self) -> Iterator[Event]:
        trunk = self._trunk
        done = self._compactor.trunk(trunk, len(self.steps), min(self.state.guard.seen, len(trunk.messages) - 1))
        if done is not None:
            self._gates.messages_removed(len(done.removed))
            self.state.compactions.append(done)
            yield Compacted(self.id, done)

    def _limit_met(self) -> StopReason | None:
        limits, spent, trunk, chat = self._job.limits, self.state.spent, self._trunk, self._runtime.base.chat
        if self._cancelled.is_set():
            return "cancelled"
        if self._deadline is not None and monotonic() >= self._deadline:
            return "deadline"
        if len(self.steps) >= limits.max_steps:
            return "max_steps"
        if spent.tokens >= limits.run_tokens:
            return "max_tokens"
        taken = len(trunk.ids) + len(chat.generation_prompt) + len(chat.closing)
        return "context" if taken >= trunk.context else None

    @property
    def _deadline(self) -> float | None:
        """Time of `time.monotonic()` at which the run must end; None for no deadline."""
        deadline = self._job.limits.deadline
        return None if deadline is None else self._began + deadline

    def _run_result(self) -> RunResult[Any]:
        ending, known = self.state.ending, {passage.id: passage for passage in self._job.passages}
        assert self.state.stop is not None
        return RunResult(
            run_id=self.id,
            output=ending.output,
            stop_reason=self.state.stop,
            messages=tuple(span.message for span in self._trunk.messages),
            steps=tuple(self.steps),
            calls=ending.calls,
            citations=ending.citations,
            category=ending.category,
            ms=round((perf_counter() - self._start) * 1e3, 3),
            value=self._value,
            cited=tuple(known[name] for name in ending.citations if name in known),
            compactions=tuple(self.state.compactions),
            gates=tuple(self.state.guard.records),
            planned=self.state.guard.planned,
            pending=self._waits,
            receipts=receipts_of(record for step in self.steps for record in step.calls),
        )


def _empty(result: Any) -> bool:
    return isinstance(result, str) and not result  # an array or a data frame compares as another one
