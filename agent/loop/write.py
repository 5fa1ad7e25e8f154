"""Writes a step: generates its text in its branch, under its grammar and within the limits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import READING
from loraloop.agent.engine.cache.sequence import Interrupted, QueueFullError
from loraloop.agent.engine.constrained import NoRoomError
from loraloop.agent.engine.sampler import Sampler
from loraloop.agent.engine.step import OpenStep, StepRequest
from loraloop.agent.engine.timer import Clock
from loraloop.agent.events import Event, TokenGenerated
from loraloop.agent.guard.judge import TOKENS as VERDICT
from loraloop.agent.job import Job
from loraloop.agent.loop.grammars import StepGrammars
from loraloop.agent.loop.pending import StepPlan
from loraloop.agent.loop.prompts import closing_fact, cue_of, extra_prompt
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.checkpoint import Retry
from loraloop.agent.values.step import Decision, Step, StopReason
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import LimitError

UNENFORCED = "unenforced"  # the text is not valid: a check failed too often, or no valid text fits the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StepText:
    """The skill, grammar and prompt of one step.

    Attributes:
        plan: Who writes it, and what it may call.
        contract: The form of what it writes.
        messages: The transcript.
        tokens: Tokens that the run may still generate.
        threshold: The threshold of the contract's two openings; the one on the skill's card where None.
        extra_prompt: Extra prompt text of the caller or the guard, which only this step sees.
        repair: What was wrong with the last text, if the step is written again.
        ask: Arguments for which the base asks the user.
        steps: The run's steps so far.
        checked: Whether the text is checked before anybody sees it.
    """

    plan: StepPlan
    contract: str
    messages: Sequence[Message]
    tokens: int
    threshold: float | None = None
    extra_prompt: str = ""
    repair: Retry | None = None
    ask: tuple[str, ...] = ()
    steps: Sequence[Step] = ()
    checked: bool = False


class Writer:
    """Writes the steps of one run.

    Args:
        run_id: For events.
        runtime: Generates the text.
        job: What the run is asked to do.
        cancelled: Whether the run was cancelled; asked before every token.

    Attributes:
        sampler: Draws tokens; its generator goes on from step to step.
        grammars: What each contract may write.
    """

    def __init__(self, run_id: str, runtime: Runtime, job: Job, cancelled: Callable[[], bool]) -> None:
        self.sampler = Sampler(job.sampling)
        self.grammars = StepGrammars(runtime, job)
        self.cancelled = cancelled
        self._run_id = run_id
        self._runtime = runtime
        self._prompting = runtime.base.prompting
        self._job = job

    def request(self, step: StepText, clock: Clock, fallback: bool = False) -> StepRequest:
        """What the engine is asked to write, or the fallback, which is asked as a base without skills would be."""
        runtime, job, contract, plan = self._runtime, self._job, step.contract, step.plan
        last = step.repair is not None and not step.repair.left
        prompting, skill = self._prompting, plan.decision.skill
        if fallback:
            prompting, form = READING, replace(plan.form, format=None, ask=False)
            plan = replace(plan, decision=Decision(NONE, plan.decision.by), form=form)
            step = replace(step, plan=plan)
        choice = plan.decision.skill
        to_user = contract == "text" and choice == NONE
        return StepRequest(
            choice=choice,
            grammar=self.grammars.grammar(contract, plan.form, clock, last=last, skill=skill, remote=fallback),
            extra_prompt=self._extra_prompt(step, to_user, fallback),
            max_tokens=min(max(job.limits.step_tokens, VERDICT if plan.judging else 0), step.tokens),
            sampler=self.sampler,
            openings=runtime.openings(choice, contract, step.threshold),
            call_format=plan.form.format if contract == "calls" else None,
            not_first=prompting.call_openers if to_user and job.tools else "",
            plain_words=prompting.plain_words,
            stays=True,
            clock=clock,
        )

    def write(self, written: OpenStep, step: StepText) -> Generator[Event, None, StopReason | None]:
        """Writes the text; returns the limit that cut it, if one did.

        A text that the guard's output gate has yet to judge, or that is yet to be checked, is not streamed.
        """
        contract, request = step.contract, written.request
        held = step.checked or (self._job.guard.output is not None and contract != "verdict")
        free = contract == "text" and request.grammar is None  # free text ends the run, and always stays
        try:
            for piece in written.write():
                if not held:
                    yield TokenGenerated(
                        self._run_id,
                        step.plan.index,
                        skill=step.plan.decision.skill,
                        text=piece.text,
                        tokens=piece.tokens,
                        spans=piece.spans,
                        answer=free,
                    )
        except LimitError as error:
            plan = step.plan
            cut = isinstance(error, NoRoomError) and contract != "text" and plan.decision.by == "router"
            if isinstance(error, Interrupted | QueueFullError) or not (plan.index or plan.judging or cut):
                raise
            written.output = replace(written.output, reason=UNENFORCED, problem=str(error))
            return _cut(written)
        limited: dict[str, StopReason] = {
            "tokens": _cut(written), "deadline": "deadline", "cancelled": "cancelled", "repetition": "repetition"
        }  # fmt: skip
        return limited.get(written.output.reason)

    def _extra_prompt(self, step: StepText, to_user: bool, fallback: bool) -> list[list[Message]]:
        """Extra prompt text that only this step sees, in alternatives from the longest to the shortest."""
        prompting, passages, cue = self._prompting, self._job.passages, ""
        if fallback:
            prompting = READING
        if step.plan.decision.skill == self._runtime.closer:
            cue = closing_fact(step.messages, step.ask, step.steps, passages) or ""
        elif to_user:
            cue = cue_of(prompting, step.messages, step.ask, self._job.tools, step.steps, passages=passages)
        elif step.contract == "calls":
            cue = READING.call_form if fallback else self._runtime.call_form(step.plan.decision.skill)
        form = self._job.output.instruction() if step.contract == "text" and prompting.answer_form else ""
        return extra_prompt((step.extra_prompt, cue, form), step.repair.error if step.repair else "")


def _cut(step: OpenStep) -> StopReason:
    """The limit of tokens that holds for a step: that of the run, or what the context has room for."""
    return "context" if step.room <= step.request.max_tokens else "max_tokens"
