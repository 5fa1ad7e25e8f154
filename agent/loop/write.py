"""Writes a step: generates its text in its branch, under its grammar and within the limits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import READING
from loraloop.agent.engine.cache.sequence import Interrupted
from loraloop.agent.engine.constrained import NoRoomError
from loraloop.agent.engine.sampler import Sampler
from loraloop.agent.engine.step import OpenStep, StepRequest
from loraloop.agent.engine.timer import Clock
from loraloop.agent.events import Event, TokenGenerated
from loraloop.agent.job import Job
from loraloop.agent.loop.grammars import StepGrammars
from loraloop.agent.loop.prompts import StepPrompt, closing_fact, cue_of, form_of
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.checkpoint import Retry
from loraloop.agent.values.step import Decision, Step, StopReason
from loraloop.agent.values.tool_choice import CallForm
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import LimitError

UNENFORCED = "unenforced"  # the text is not valid: a check failed too often, or no valid text fits the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StepText:
    """The skill, grammar and prompt of one step.

    Attributes:
        index: The step.
        decision: The skill that writes.
        contract: The form of what it writes.
        form: Which tools it may call, and how many calls.
        messages: The transcript.
        tokens: Tokens that the run may still generate.
        deadline: When the run must end, as a time of `time.monotonic()`.
        threshold: The threshold of the contract's two openings; the one on the skill's card where None.
        judging: Whether a gate of the guard asks for a verdict.
        extra_prompt: Extra prompt text of the caller or the guard, which only this step sees.
        repair: What was wrong with the last text, if the step is written again.
        ask: Arguments for which the base asks the user.
        steps: The run's steps so far.
        checked: Whether the text is checked before anybody sees it.
    """

    index: int
    decision: Decision
    contract: str
    form: CallForm
    messages: Sequence[Message]
    tokens: int
    deadline: float | None = None
    threshold: float | None = None
    judging: bool = False
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
        grammars: What each contract may write.
        cancelled: Whether the run was cancelled; asked before every token.

    Attributes:
        sampler: Draws tokens; its generator goes on from step to step.
    """

    def __init__(
        self, run_id: str, runtime: Runtime, job: Job, grammars: StepGrammars, cancelled: Callable[[], bool]
    ) -> None:
        self.sampler = Sampler(job.sampling)
        self._run_id = run_id
        self._runtime = runtime
        self._prompting = runtime.base.prompting
        self._job = job
        self._grammars = grammars
        self._cancelled = cancelled

    def request(self, step: StepText, clock: Clock, fallback: bool = False) -> StepRequest:
        """What the engine is asked to write, or the fallback, which is asked as a base without skills would be."""
        runtime, job, contract, skill = self._runtime, self._job, step.contract, step.decision.skill
        last, grammar_of = step.repair is not None and not step.repair.left, self._grammars.grammar
        prompting = self._prompting
        if fallback:
            prompting = READING
            form, grammar_of = replace(step.form, format=None, ask=False), self._grammars.remote
            step = replace(step, decision=Decision(NONE, step.decision.by), form=form)
        to_user = contract == "text" and step.decision.skill == NONE
        return StepRequest(
            choice=step.decision.skill,
            grammar=grammar_of(contract, step.form, clock, last, skill),
            extra_prompt=self._extra_prompt(step, to_user, fallback),
            max_tokens=min(job.limits.step_tokens, step.tokens),
            sampler=self.sampler,
            deadline=step.deadline,
            cancelled=self._cancelled,
            openings=runtime.openings(step.decision.skill, contract, step.threshold),
            call_format=step.form.format if contract == "calls" else None,
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
                        step.index,
                        skill=step.decision.skill,
                        text=piece.text,
                        tokens=piece.tokens,
                        spans=piece.spans,
                        answer=free,
                    )
        except LimitError as error:
            cut = isinstance(error, NoRoomError) and contract != "text" and step.decision.by == "router"
            if isinstance(error, Interrupted) or not (step.index or step.judging or cut):
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
        if step.decision.skill == self._runtime.closer:
            cue = closing_fact(step.messages, step.ask, step.steps, passages) or ""
        elif to_user:
            cue = cue_of(prompting, step.messages, step.ask, self._job.tools, step.steps, passages=passages)
        elif step.contract == "calls":
            cue = READING.call_form if fallback else self._runtime.call_form(step.decision.skill)
        form = form_of(prompting, self._job.output) if step.contract == "text" else ""
        error = step.repair.error if step.repair else ""
        return list(StepPrompt(step.extra_prompt, cue, form, error).messages())


def _cut(step: OpenStep) -> StopReason:
    """The limit of tokens that holds for a step: that of the run, or what the context has room for."""
    return "context" if step.room <= step.request.max_tokens else "max_tokens"
