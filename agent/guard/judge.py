"""Screen and verdict alone: on a transcript's last message, by what runs use, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from loraloop.adapters.skill.contracts import Verdict, verdict_of, verdict_schema
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.constrained import NoRoomError
from loraloop.agent.engine.step import StepRequest, run_step, transcript
from loraloop.tool_schemas.errors import ContextLengthError, InputError
from loraloop.tool_schemas.grammar.grammar import JsonSchema

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.transcript import Transcript
    from loraloop.agent.runtime import Runtime
    from loraloop.router.decision import ScreenResult

TOKENS = 96
"""Tokens that a verdict may have, whatever the texts of a run may."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A skill's verdict on a message.

    Attributes:
        verdict: The decoded verdict.
        text: The decoded text.
        probability: The skill's probability that the message is unsafe.
        threshold: Minimum probability at which the message is judged unsafe; None: the likelier verdict counts.
        seconds: Seconds that the branch took.
    """

    verdict: Verdict
    text: str
    probability: float
    threshold: float | None
    seconds: float


class Judge:
    """Screens and judges messages on one runtime.

    Args:
        runtime: A runtime with a router and a skill that writes verdicts.
        skill: That skill; by default the first one that does. `none` is the bare base under the same grammar.
        unsafe_from: Threshold of the verdict; the one on the skill's card where None.

    Raises:
        InputError: no skill of the runtime writes verdicts.
        UnknownNameError: there is no such skill.
    """

    def __init__(self, runtime: Runtime, skill: str | None = None, unsafe_from: float | None = None) -> None:
        known = runtime.with_contract("verdict")
        if skill is None and not known:
            raise InputError("no skill writes verdicts: load the runtime with skills=[..., 'safety']")
        self.skill = skill or known[0]
        runtime.check(self.skill)
        self._runtime, self._unsafe_from = runtime, unsafe_from

    def read(self, messages: Sequence[Message], request_context: RequestContext | None = None) -> Transcript:
        """The transcript's trunk; screen and verdict look at its last message, within the bounds of a run's context.

        Raises:
            ContextLengthError: it does not fit.
        """
        trunk = transcript(self._runtime.engine, self._runtime.base.chat.complete(messages), known=0)
        trunk.request_context = request_context or RequestContext()
        return trunk

    def screen(self, trunk: Transcript) -> ScreenResult:
        """The router's screen's result."""
        runtime, messages = self._runtime, [span.message for span in trunk.messages]
        return runtime.router.screen(runtime.read(trunk.features(), messages, trunk.request_context))

    def judge(self, trunk: Transcript) -> Judgement:
        """The skill's verdict, whatever the screen says; the trunk is left as it was.

        Raises:
            ContextLengthError: a whole verdict does not fit behind the message.
            Interrupted: the run's time is up, or it was cancelled.
        """
        runtime, start = self._runtime, perf_counter()
        openings = runtime.openings(self.skill, "verdict", self._unsafe_from)
        grammar = runtime.grammar(JsonSchema(verdict_schema()))
        request = StepRequest(choice=self.skill, grammar=grammar, max_tokens=TOKENS, openings=openings)
        out = None
        with suppress(NoRoomError):
            out = run_step(runtime.engine, trunk, request)
        if out is None or not out.whole:  # one that was cut is closed as the shortest one: safe
            raise ContextLengthError(
                f"the message leaves no room for a verdict: {len(trunk.ids)} of the context's {trunk.context} tokens "
                "are taken; shorten it"
            )
        verdict = verdict_of(out.text)
        chance = float(verdict.unsafe) if out.weighed is None else out.weighed
        return Judgement(verdict, out.text, chance, out.threshold, perf_counter() - start)
