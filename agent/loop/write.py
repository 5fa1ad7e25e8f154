"""Writes a step: generates its text in its branch, under its grammar and within the limits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from loraloop.adapters.base.messages import Message
from loraloop.agent.checkpoint import Again
from loraloop.agent.engine.best_of_n import Tries
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.generate import Budget, Generated
from loraloop.agent.engine.sampler import Sampler
from loraloop.agent.engine.timer import Clock
from loraloop.agent.events import Event, TokenGenerated
from loraloop.agent.loop.grammars import StepGrammars
from loraloop.agent.loop.job import Job
from loraloop.agent.loop.prompts import StepPrompt, closing_fact, cue_of, form_of
from loraloop.agent.loop.route import addresses_user
from loraloop.agent.runtime import Runtime
from loraloop.agent.skills.one_step import call_form_of, call_format_of, openings_of
from loraloop.agent.step import Decision, Step, StopReason
from loraloop.agent.tools.examples import tries_on
from loraloop.agent.tools.python_tool import gets_through
from loraloop.agent.tools.tool_choice import CallForm
from loraloop.tool_schemas.errors import LimitError

UNENFORCED = "unenforced"  # the text is not valid: a check failed too often, or no valid text fits the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StepText:
    """What one step is asked to write.

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
        told: Extra prompt text of the caller or the guard, which only this step sees.
        repair: What was wrong with the last text, if the step is written again.
        ask: Arguments for which the base asks the user.
        steps: The run's steps so far.
        runs: Whether a program that it writes runs without approval.
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
    told: str = ""
    repair: Again | None = None
    ask: tuple[str, ...] = ()
    steps: Sequence[Step] = ()
    runs: bool = False
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
        self._chat = runtime.base.chat
        self._prompting = job.prompting or runtime.base.prompting
        self._job = job
        self._grammars = grammars
        self._cancelled = cancelled

    def write(
        self, branch: Branch, step: StepText, clock: Clock
    ) -> Generator[Event, None, tuple[Generated, StopReason | None]]:
        """Generates in the branch; returns the text and the limit that cut it, if one did.

        A text that the guard's output gate has yet to judge, or that is yet to be checked, is not streamed.
        """
        runtime, limits, contract = self._runtime, self._job.limits, step.contract
        room = branch.left - len(self._chat.generation_prompt) - len(self._chat.closing)
        tokens = min(limits.step_tokens, step.tokens, room)
        last = step.repair is not None and not step.repair.left
        grammar = self._grammars.grammar(contract, step.form, clock, last, step.decision.skill)
        to_user = addresses_user(runtime, step.decision, contract)
        extra = self._extra_prompt(step, to_user, max(room - tokens, room // 2))
        plain, barred = [], None
        if to_user and self._job.tools and self._prompting.call_openers:
            barred = runtime.openers(self._prompting.call_openers)
            words = self._chat.message("user", self._prompting.plain_words) if self._prompting.plain_words else []
            plain = [*extra, *words, *self._chat.generation_prompt] if 0 < len(words) < room // 4 else []
            room -= len(words) if plain else 0
        tokens = min(tokens, room := room - len(extra))
        cut: StopReason = "context" if tokens == room else "max_tokens"
        limited: dict[str, StopReason] = {
            "tokens": cut, "deadline": "deadline", "cancelled": "cancelled", "repetition": "repetition"
        }  # fmt: skip
        out = Generated()
        held = step.checked or (self._job.guard.output is not None and contract != "verdict")
        try:
            for piece in runtime.generate(
                branch,
                [*extra, *self._chat.generation_prompt],
                self.sampler,
                Budget(tokens, step.deadline, self._cancelled),
                tries=self._tries(step),
                stop_ids=runtime.base.end_ids,
                stops=self._job.stops,
                constraint=None if grammar is None else grammar.start(),
                not_first=barred,
                other_invocation=plain,
                call_format=call_format_of(runtime, step.decision.skill) if contract == "calls" else None,
                two_way=openings_of(
                    runtime, step.decision.skill, contract, step.threshold, self._job.policy.thresholds.ask
                ),
                clock=clock,
            ):
                if isinstance(piece, Generated):
                    out = piece
                elif not held:
                    yield TokenGenerated(
                        self._run_id,
                        step.index,
                        skill=step.decision.skill,
                        text=piece.text,
                        tokens=piece.tokens,
                        spans=piece.spans,
                        answer=contract == "text" and grammar is None,  # free text ends the run, and always stays
                    )
        except LimitError as error:
            if not step.index and not step.judging:
                raise
            return Generated(reason=UNENFORCED, problem=str(error)), cut
        return out, limited.get(out.reason)

    def _tries(self, step: StepText) -> Tries | None:
        """How a program is tried on the examples in the request; None where there are none, or nothing may be run."""
        python, limits = self._job.python, self._job.limits
        if step.contract != "code" or python is None or not step.runs:
            return None
        request = next((message.content for message in reversed(step.messages) if message.role == "user"), "")
        runs = partial(gets_through, python)
        return tries_on(request, limits.tries, runs, self._job.sampling.seed or 0)

    def _extra_prompt(self, step: StepText, to_user: bool, most: int) -> list[int]:
        """Tokens of the extra prompt text that only this step sees; at most `most` of them."""
        prompting, passages, cue = self._prompting, self._job.passages, ""
        if step.decision.skill == self._runtime.closer:
            cue = closing_fact(step.messages, step.ask, step.steps, passages) or ""
        elif to_user:
            cue = cue_of(prompting, step.messages, step.ask, self._job.tools, step.steps, passages)
        elif step.contract == "calls":
            cue = call_form_of(self._runtime, step.decision.skill)
        form = form_of(prompting, self._job.output) if step.contract == "text" else ""
        error = step.repair.error if step.repair else ""
        for messages in StepPrompt(step.told, cue, form, error).messages():
            ids = [token for each in messages for token in self._chat.message(each.role, each.content)]
            if len(ids) <= most:
                return ids
        return []
