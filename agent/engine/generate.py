"""Generation in a branch: sampling, stop conditions, and what a grammar forces and forbids (`GrammarGuide`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from loraloop.agent.engine.cache.sequence import UNBOUNDED, RequestContext
from loraloop.agent.engine.constrained import GrammarGuide
from loraloop.agent.engine.sampler import Sampler, TwoWayChoice
from loraloop.agent.engine.stops import Detokenizer, FreeText, TextSpan, cut_to
from loraloop.agent.engine.timer import Clock

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch
    from loraloop.tool_schemas.grammar.grammar import State


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text, the tokens generated since the piece before, and the `spans` of it that a grammar forced."""

    text: str
    tokens: int
    spans: tuple[TextSpan, ...] = ()


@dataclass(slots=True)
class Generated:
    """The tokens and text that a branch generated.

    Attributes:
        ids: The tokens, without the invocation and without a stop token.
        text: Their text, up to a stop string.
        reason: `stop` (the model ended it), `done` (the grammar did), `tokens`, `deadline`, `cancelled`, `repetition`
            (free text that says the same over and over), or `unenforced` (values kept failing a check; `problem` says
            which).
        sampled: Forwards that chose a token.
        forced: Tokens about which the grammar left no choice, including a closing path.
        spans: Where they are in the text.
        retried: Values that failed a check and were decoded again.
        problem: The last check that failed.
        first: `time.perf_counter()` when the first token was known.
        weighed: Probability of the first of the two openings; None where none were weighed.
        threshold: The probability from which the first opening is chosen.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: str = ""
    sampled: int = 0
    forced: int = 0
    spans: tuple[TextSpan, ...] = ()
    retried: int = 0
    problem: str = ""
    first: float = 0.0
    weighed: float | None = None
    threshold: float | None = None

    @property
    def whole(self) -> bool:
        """Whether it ended by itself rather than at a limit."""
        return self.reason in ("stop", "done")


class Guide(Protocol):
    """Decides token by token what a text may be: `FreeText`, or a grammar (`GrammarGuide`).

    Attributes:
        ids: The generated tokens.
        forced: For each generated token, whether the guide left no choice about it.
        retried: Values that failed a check and were decoded again.
        problem: The last check that failed; empty for none.
    """

    ids: list[int]
    forced: list[bool]
    retried: int
    problem: str

    @property
    def ready(self) -> int:
        """Generated tokens that stay, whatever follows."""

    def advance(self, shown: int, sampled: int) -> str:
        """Brings the text to where a token has to be chosen; returns why it ends instead, or an empty string.

        Args:
            shown: Tokens that were given out and stay.
            sampled: Tokens that were chosen so far.
        """

    def mask_(self, logits: Tensor) -> None:
        """Sets the logits [V] of tokens that must not follow to minus infinity, in place."""

    def take(self, token: int, logits: Tensor) -> None:
        """Takes a token that was chosen by `logits[V]`, which `mask_` has masked."""

    def end(self, reason: str, shown: int) -> str:
        """Ends the text; returns the reason for its end.

        Args:
            reason: Why it ends; see `Generated.reason`.
            shown: Tokens that were given out and stay.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request to generate text in a branch.

    Attributes:
        invocation: Tokens that start the assistant's turn.
        sampler: Chooses the tokens.
        max_tokens: The most tokens.
        stop_ids: Tokens that end the text; none of them is kept.
        constraint: A grammar's fresh state; None for free text. Stop strings are ignored where there is one.
        bounds: The deadline and the cancellation of the run, looked at before every token.
        stops: Strings that end the text.
        not_first: Ids of tokens with which free text must not begin.
        other_invocation: Takes the place of `invocation` where the most probable first token is one of `not_first`.
        two_way: Weighs the two openings of a constrained text, and may choose one by its threshold.
        clock: Clock that measures each phase.
    """

    invocation: Sequence[int]
    sampler: Sampler
    max_tokens: int
    stop_ids: frozenset[int]
    constraint: State | None = None
    bounds: RequestContext = UNBOUNDED
    stops: Sequence[str] = ()
    not_first: Tensor | None = None
    other_invocation: Sequence[int] = ()
    two_way: TwoWayChoice | None = None
    clock: Clock = field(default_factory=Clock)


def generate(branch: Branch, request: GenerateRequest) -> Iterator[Delta | Generated]:
    """Generates in `branch`; yields pieces of text, then one `Generated`, last.

    Args:
        branch: Open; it is left open, for the caller to close with what should stay.
        request: What to generate.

    Raises:
        LimitError: Not even the shortest output fits the tokens.
    """
    clock, out = request.clock, Generated()
    invocation, first_tokens = request.invocation, request.not_first if request.other_invocation else None
    text = Detokenizer(branch.tokenizer.token_bytes, () if request.constraint is not None else request.stops)
    with clock.phase("mask"):
        guide: Guide = FreeText(request.max_tokens, request.not_first)
        if (state := request.constraint) is not None:
            guide = GrammarGuide(state, request.max_tokens, branch.tokenizer, request.two_way, request.bounds.gone)
    shown = counted = 0  # tokens turned into text; tokens that a piece has counted
    while True:
        with clock.phase("mask"):
            out.reason = guide.advance(shown, out.sampled) or request.bounds.gone() or ""
        if guide.ready > shown:
            out.first = out.first or perf_counter()
            new, shown = slice(shown, guide.ready), guide.ready
            if piece := text.push(guide.ids[new], guide.forced[new]):
                yield Delta(piece, shown - counted, text.spans_since(len(text.text) - len(piece)))
                counted = shown
            out.reason = "stop" if text.stopped else out.reason
        if out.reason:
            break
        with clock.phase("decode"):
            written = len(guide.ids)
            # What an invocation begins is not in the transcript, so no draft of it is found there.
            draft = request.max_tokens - written - 1 if written else 0
            logits = branch.logits_after([*invocation, *guide.ids], draft, clock)
        with clock.phase("mask"):
            if first_tokens is not None and not guide.ids and bool((first_tokens == logits.argmax()).any()):
                invocation, first_tokens = request.other_invocation, None
                continue
            guide.mask_(logits)
        with clock.phase("decode"):
            token = request.sampler.pick(logits)
        out.sampled += 1
        if token in request.stop_ids:
            out.reason = "stop"
            break
        with clock.phase("mask"):
            guide.take(token, logits)
    with clock.phase("mask"):
        out.reason = guide.end(out.reason, shown)
    piece = text.push(guide.ids[shown:], guide.forced[shown:]) + text.finish()
    out.ids, out.text, out.spans = guide.ids, text.text, tuple(text.spans)
    out.forced, out.retried, out.problem = sum(guide.forced), guide.retried, guide.problem
    if request.two_way is not None and request.constraint is not None:
        out.weighed, out.threshold = request.two_way.probability, request.two_way.threshold
    generated = len(out.ids) - counted
    if text.stopped:
        cut_to(out.ids, out.text, branch.tokenizer)
    if piece:
        yield Delta(piece, generated, text.spans_since(len(text.text) - len(piece)))
    yield out
