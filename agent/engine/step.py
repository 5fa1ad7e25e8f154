"""One step: what is asked for, what came of it, and the engine that writes it. All steps are written through here."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from loraloop.agent.engine.cache.sequence import UNBOUNDED, Interrupted, RequestContext
from loraloop.agent.engine.generate import Delta, Generated
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.timer import Clock
from loraloop.agent.threads import exit_waits, until_exit
from loraloop.agent.values.limits import check_number
from loraloop.agent.values.step import Tokens
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import SchemaError

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.cache.ledger import Active
    from loraloop.agent.engine.cache.prefix_cache import Memory
    from loraloop.agent.engine.scheduler import SchedulerStats
    from loraloop.agent.engine.transcript import Transcript
    from loraloop.tool_schemas.grammar.grammar import Grammar, Term
    from loraloop.tool_schemas.tools.call_format import CallFormat


@dataclass(frozen=True, slots=True)
class Openings:
    """Two ways in which a constrained text may begin, and the threshold that chooses between them.

    Attributes:
        first: Beginning of the first text.
        second: Beginning of the second text.
        threshold: Probability of the first way from which it is taken; None: the sampler chooses.
    """

    first: str
    second: str
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """A request to write one step at the end of a transcript.

    Attributes:
        choice: The skill; `none` is the bare base.
        grammar: What may be written; None for free text.
        extra_prompt: Messages that only this step sees, in alternatives: the first that fits is used, and none of them
            where none fits.
        max_tokens: Tokens that the step may generate; less where the context has no room for them.
        sampler: Draws the tokens; its sampling says which strings end free text.
        openings: Openings of the text that are weighed; None for none.
        call_format: The base's own format of calls, if `grammar` is of that; the output has the runtime's form.
        not_first: Free text does not begin with one of these characters.
        plain_words: What the step sees besides, where the base would begin with one of `not_first`.
        stays: Whether the text may stay in the transcript, so that there is room left for the end of its message.
        clock: Clock that measures each phase.
    """

    choice: str = NONE
    grammar: Grammar | None = None
    extra_prompt: Sequence[Sequence[Message]] = ()
    max_tokens: int = 512
    sampler: Sampler = field(default_factory=lambda: Sampler(Sampling()))
    openings: Openings | None = None
    call_format: CallFormat | None = None
    not_first: str = ""
    plain_words: str = ""
    stays: bool = False
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        check_number("max_tokens", self.max_tokens, least=1)


@dataclass(slots=True)
class StepOutput(Generated):
    """The output of a step, and the tokens and time that it took.

    Attributes:
        tokens: Counts. Tokens of the transcript that were computed before the step was opened count as reused.
        ms: Milliseconds, with the reading of the messages, where `write_after` wrote it; else 0.
    """

    tokens: Tokens = field(default_factory=Tokens)
    ms: float = 0.0


class OpenStep(Protocol):
    """A step whose skill is ready and whose text is not written yet.

    Attributes:
        active: The skill and its slot.
        request: What is written.
        output: What was written, once `write` has ended.
        room: Tokens for which the context has room, after the extra prompt once `write` has begun.
    """

    active: Active
    request: StepRequest
    output: StepOutput
    room: int

    def write(self) -> Iterator[Delta]:
        """Writes the text, piece by piece.

        Raises:
            LimitError: Not even the shortest text that the grammar allows fits the limit of tokens.
        """

    def keep(self, message: Message) -> None:
        """Appends what was written to the transcript. Without this, the transcript stays as it was."""


class Engine(Protocol):
    """The interface of transcripts and steps that a run uses. `LocalEngine` computes both on a base in this process.

    Attributes:
        missing: What this engine cannot do that a base in this process can; every trace has it.
    """

    missing: tuple[str, ...]

    def open(self, messages: Sequence[Message] = ()) -> Transcript:
        """A transcript that holds as many of the first of these messages as were kept of an earlier one; or none."""

    def close(self, trunk: Transcript) -> None:
        """Takes back a transcript that nobody uses any more, for others to go on from."""

    def grammar(self, term: Any) -> Grammar:
        """Compiles what may be written; a term that was compiled before is kept."""

    def compiled(self, term: Term) -> bool:
        """Whether `grammar` would return at once."""

    def prepare(self, skill: str) -> None:
        """Reads a skill, so that its first step does not wait for the disk; for an engine elsewhere nothing."""

    def step(self, trunk: Transcript, request: StepRequest) -> AbstractContextManager[OpenStep]:
        """Opens a step at the transcript's end, whose `request_context` bounds it. No other step of it may be open."""

    def pin(self, trunk: Transcript) -> None:
        """Keeps a beginning of transcripts for all that begin so.

        Raises:
            InputError: This engine keeps nothing.
        """

    @property
    def stats(self) -> SchedulerStats:
        """What was computed so far, and what waits."""

    def memory(self) -> Memory:
        """What is kept for later runs, each beside its bound."""


def write_step(engine: Engine, trunk: Transcript, request: StepRequest) -> Generator[Delta, None, StepOutput]:
    """Writes one step whose text does not stay in the transcript, piece by piece; returns its output.

    Raises:
        UnknownNameError: There is no such skill.
        ContextLengthError: The transcript leaves no room in the context.
        SchemaError: No value was found that passes the checks of the grammar.
        LimitError: No text of the grammar fits into the tokens, or every slot is in use.
    """
    with engine.step(trunk, request) as step:
        trunk.room(trunk.context - len(trunk.ids) - step.room + 1)  # virtual tokens take positions too
        yield from step.write()
    if step.output.reason == "unenforced":
        raise SchemaError(f"no value was found that passes its check ({step.output.problem}); loosen the schema")
    return step.output


def run_step(engine: Engine, trunk: Transcript, request: StepRequest) -> StepOutput:
    """Writes one step as `write_step` does, as a whole.

    Raises:
        Interrupted: The time of the transcript's `request_context` is up, or it was cancelled.
    """
    pieces = write_step(engine, trunk, request)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            out: StepOutput = end.value
            break
    if not out.whole and (reason := trunk.request_context.gone()):
        raise Interrupted(reason)
    return out


def transcript(engine: Engine, messages: Sequence[Message], known: int | None = None) -> Transcript:
    """A transcript of whole messages; what is new of it is not computed yet.

    Args:
        engine: Where it is computed.
        messages: All of them, in order.
        known: How many of them may be taken over from an earlier transcript; None: all.

    Raises:
        ContextLengthError: They do not fit.
    """
    trunk = engine.open(messages[:known])
    for message in messages[len(trunk.messages) :]:
        trunk.append(message)
    return trunk


@exit_waits
def write_after(
    engine: Engine, messages: Sequence[Message], request: StepRequest, bounds: RequestContext = UNBOUNDED
) -> Iterator[Delta | StepOutput]:
    """Writes one step after whole messages: not routed, screened or acted on. Their transcript is kept.

    Yields pieces of text, then one `StepOutput`, last. Raises what `write_step` does.

    Args:
        engine: Where it is written.
        messages: The transcript.
        request: What is written.
        bounds: Until when; the function that cancels is asked before every token.
    """
    start = perf_counter()
    trunk = transcript(engine, messages)
    trunk.request_context = replace(bounds, cancelled=until_exit(bounds.cancelled))
    try:
        out = yield from write_step(engine, trunk, request)
    finally:
        engine.close(trunk)
    yield replace(out, ms=round((perf_counter() - start) * 1e3, 3))
