"""What a step writes: generation in its branch, under its form and within what the limits leave."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.agent.engine.generate import Budget, Generated
from loraloop.agent.engine.sampler import Sampler
from loraloop.agent.events import Event, TokenGenerated
from loraloop.agent.loop.deciding import speaks
from loraloop.agent.loop.examples import tries_on
from loraloop.agent.loop.prompts import Repair, asides
from loraloop.agent.loop.telling import results_told
from loraloop.agent.loop.thresholds import openings_of
from loraloop.agent.tools.python_tool import gets_through
from loraloop.tool_schemas.errors import LimitError

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.best_of_n import Tries
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.loop.grammars import Forms
    from loraloop.agent.loop.job import Decision, Job
    from loraloop.agent.result import StopReason
    from loraloop.agent.runtime import Runtime

UNENFORCED = "unenforced"  # the text has not its form: a check failed too often, or no text of it fits


@dataclass(frozen=True, slots=True)
class Writing:
    """One step's.

    Attributes:
        index: The step.
        decision: What it runs on.
        contract: What it writes.
        tokens: That the run may still generate.
        deadline: The run's, of `time.monotonic()`.
        messages: The transcript; a dropped branch leaves none in it.
        aside: What the caller tells this step alone.
        repair: What went wrong before, if the step is decoded again.
        judging: Whether a gate of the guard asks for a verdict.
        unsafe_from: That gate's threshold; None for the card's.
        unanswered: Whether a skill has found in this run that the passages hold no answer.
        runs: Whether a program that it writes is run without asking anybody.
    """

    index: int
    decision: Decision
    contract: str
    tokens: int
    deadline: float | None
    messages: Sequence[Message]
    aside: str = ""
    repair: Repair | None = None
    judging: bool = False
    unsafe_from: float | None = None
    unanswered: bool = False
    runs: bool = False


class Writer:
    """Writes the steps of one run.

    Attributes:
        sampler: Draws tokens; its generator goes on from step to step.
    """

    def __init__(self, run_id: str, runtime: Runtime, job: Job, forms: Forms, cancelled: Callable[[], bool]) -> None:
        self.sampler = Sampler(job.sampling)
        self._run_id = run_id
        self._runtime = runtime
        self._chat = runtime.base.chat
        self._prompting = job.prompting or runtime.base.prompting
        self._job = job
        self._forms = forms
        self._cancelled = cancelled

    def write(
        self, branch: Branch, step: Writing, clock: Clock
    ) -> Generator[Event, None, tuple[Generated, StopReason | None]]:
        """Generates in the branch; returns what came of it and the limit that cut it, if one did.

        Nothing is told of a text that the gate before the output has yet to see.
        """
        policy, limits, contract = self._job.policy, self._job.limits, step.contract
        room = branch.left - len(self._chat.generation_prompt) - len(self._chat.closing)
        tokens = min(limits.step_tokens, step.tokens, room)
        grammar = self._forms.grammar(contract, clock, step.repair is not None and not step.repair.left)
        talks = speaks(self._runtime, step.decision, contract)
        prose = talks and self._job.tools and self._prompting.call_openers
        told = self._told(step, talks, max(room - tokens, room // 2))
        words = self._prompting.plain_words
        cue = self._chat.message("user", words) if prose and words else []
        otherwise = [*told, *cue, *self._chat.generation_prompt] if 0 < len(cue) < room // 4 else []
        room -= len(told) + (len(cue) if otherwise else 0)
        tokens = min(tokens, room)
        cut: StopReason = "context" if tokens == room else "max_tokens"
        limited: dict[str, StopReason] = {
            "tokens": cut, "deadline": "deadline", "cancelled": "cancelled", "repetition": "repetition"
        }  # fmt: skip
        tries = self._tries(step) if contract == "code" else None
        out, held = Generated(), self._job.guard.output is not None and contract != "verdict"
        skill = step.decision.skill
        given = {"verdict": step.unsafe_from, "calls": policy.no_call_from, "answer": policy.no_answer_from}
        two_way = openings_of(self._runtime, skill, contract, given.get(contract))
        try:
            for piece in self._runtime.generate(
                branch,
                [*told, *self._chat.generation_prompt],
                self.sampler,
                Budget(tokens, step.deadline, self._cancelled),
                stop_ids=self._runtime.base.end_ids,
                stops=self._job.stops,
                constraint=None if grammar is None else grammar.start(),
                not_first=self._runtime.openers(self._prompting.call_openers) if prose else None,
                otherwise=otherwise,
                two_way=two_way,
                clock=clock,
                tries=tries,
            ):
                if isinstance(piece, Generated):
                    out = piece
                elif not held:
                    yield TokenGenerated(self._run_id, step.index, step.decision.skill, piece.text, piece.tokens)
        except LimitError as error:
            if not step.index and not step.judging:
                raise
            return Generated(reason=UNENFORCED, problem=str(error)), cut
        return out, limited.get(out.reason)

    def _tries(self, step: Writing) -> Tries | None:
        """How often a program is tried on the examples that the request has; None where none is run, or it has none."""
        python, policy = self._job.python, self._job.policy
        request = next((message.content for message in reversed(step.messages) if message.role == "user"), "")
        if python is None or not step.runs:
            return None
        return tries_on(
            request, policy.tries, lambda program: gets_through(python, program), self._job.sampling.seed or 0
        )

    def _told(self, step: Writing, talks: bool, most: int) -> list[int]:
        """Ids of what the step is told in its branch alone, in at most so many tokens."""
        prompting, cue = self._prompting, ""
        if talks and step.messages[-1].role == "tool":
            cue = prompting.after_result
            told = results_told(step.messages) if cue and prompting.name_results else ""
            cue = f"{cue} {told}" if told else cue
        elif talks and step.unanswered:
            cue = prompting.no_answer
        for messages in asides(self._job, prompting, step.contract, cue, step.repair, step.aside):
            ids = [token for each in messages for token in self._chat.message(each.role, each.content)]
            if len(ids) <= most:
                return ids
        return []
