"""Generation in a branch: sampling, stop conditions, and what a grammar forces and forbids (`GrammarGuide`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Required, TypedDict

from torch import Tensor

from loraloop.agent.engine.constrained import Constraint, GrammarGuide
from loraloop.agent.engine.sampler import Sampler, TwoWayChoice
from loraloop.agent.engine.stops import Detokenizer, FreeText, TextSpan, cut_to
from loraloop.agent.engine.timer import Clock

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch


@dataclass(frozen=True, slots=True)
class Budget:
    """What a branch may use: tokens, a moment of `time.monotonic()`, and a question asked at every token."""

    tokens: int
    deadline: float | None = None
    cancelled: Callable[[], bool] | None = None

    def spent(self) -> str:
        """Why generation must end now; empty if it need not."""
        if self.deadline is not None and monotonic() >= self.deadline:
            return "deadline"
        return "cancelled" if self.cancelled is not None and self.cancelled() else ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text, the tokens generated since the piece before, and the `spans` of it that a grammar forced."""

    text: str
    tokens: int
    spans: tuple[TextSpan, ...] = ()


@dataclass(slots=True)
class Generated:
    """What a branch generated.

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
        tries: Texts that were tried until one passed (`best_of_n`).
        passed: Whether the text passed its examples; None where it was not tried on any.
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
    tries: int = 1
    passed: bool | None = None

    @property
    def whole(self) -> bool:
        """Whether it ended by itself rather than at a limit."""
        return self.reason in ("stop", "done")


class Form(TypedDict, total=False):
    """The options of `generate` besides branch, invocation, sampler and budget."""

    stop_ids: Required[frozenset[int]]
    constraint: Constraint | None
    stops: Sequence[str]
    not_first: Tensor | None
    other_invocation: Sequence[int]
    two_way: TwoWayChoice | None
    clock: Clock | None


def generate(
    branch: Branch,
    invocation: Sequence[int],
    sampler: Sampler,
    budget: Budget,
    *,
    stop_ids: frozenset[int],
    constraint: Constraint | None = None,
    stops: Sequence[str] = (),
    not_first: Tensor | None = None,
    other_invocation: Sequence[int] = (),
    two_way: TwoWayChoice | None = None,
    clock: Clock | None = None,
) -> Iterator[Delta | Generated]:
    """Generates in `branch`; yields pieces of text, then one `Generated`, last.

    Args:
        branch: Open; it is left open, for the caller to close with what should stay.
        invocation: Tokens that start the assistant's turn.
        sampler: Chooses the tokens.
        budget: Tokens and time.
        stop_ids: Tokens that end the text; none of them is kept.
        constraint: A grammar's fresh state. Stop strings are ignored where there is one.
        stops: Strings that end the text.
        not_first: Ids of tokens with which free text must not begin.
        other_invocation: Takes the place of `invocation` where the most probable first token is one of `not_first`.
        two_way: Weighs the two openings of a constrained text, and may choose one by its threshold.
        clock: Gets the time that each phase took.

    Raises:
        LimitError: if not even the shortest completion fits the budget.
    """
    clock, out, feed = clock or Clock(), Generated(), list(invocation)
    text = Detokenizer(branch.tokenizer.token_bytes, () if constraint is not None else stops)
    with clock.phase("mask"):
        guide = _guide(out.ids, budget, branch, constraint=constraint, not_first=not_first, two_way=two_way)
    shown = told = 0  # tokens turned into text; tokens reported with a piece
    while True:
        with clock.phase("mask"):
            failed = guide.force(feed)
            out.reason = guide.ended()
        out.reason = out.reason or budget.spent() or ("tokens" if guide.full else "")
        if guide.ready > shown:
            out.first = out.first or perf_counter()
            new, shown = slice(shown, guide.ready), guide.ready
            if piece := text.push(out.ids[new], guide.forced[new]):
                yield Delta(piece, shown - told, text.spans_since(len(text.text) - len(piece)))
                told = shown
            out.reason = "stop" if text.stopped else out.reason
        if out.reason:
            break
        if failed is None:
            with clock.phase("decode"):
                logits = branch.feed(feed, clock)
            with clock.phase("mask"):
                if other_invocation and guide.begins_badly(logits):
                    feed, other_invocation = branch.rewind(other_invocation), ()
                    continue
                guide.mask_(logits)
            with clock.phase("decode"):
                token = sampler.pick(logits)
            out.sampled += 1
            if token in stop_ids:
                out.reason = "stop"
                break
            feed, failed = [token], guide.take(token, logits)
        if failed is not None:
            with clock.phase("mask"):
                out.reason = "" if guide.go_back(failed, shown, out.sampled) else "unenforced"
            if out.reason:
                break
            feed = branch.rewind([*invocation, *out.ids])
    with clock.phase("mask"):
        out.reason = guide.end(out.reason, shown)
    generated = len(out.ids) - told
    if piece := _finish(out, guide, text, shown, branch):
        yield Delta(piece, generated, text.spans_since(len(text.text) - len(piece)))
    yield out


def _guide(
    ids: list[int],
    budget: Budget,
    branch: Branch,
    *,
    constraint: Constraint | None,
    not_first: Tensor | None,
    two_way: TwoWayChoice | None,
) -> GrammarGuide | FreeText:
    """The guide of the generation of `ids`: a grammar's, or that of free text."""
    if constraint is None:
        return FreeText(ids, budget.tokens, not_first)
    return GrammarGuide(constraint, ids, budget.tokens, branch.tokenizer, two_way, budget.spent)


def _finish(out: Generated, guide: GrammarGuide | FreeText, text: Detokenizer, shown: int, branch: Branch) -> str:
    """The last piece of text, of tokens that were not shown yet; what was counted on the way is filled in."""
    piece = text.push(out.ids[shown:], guide.forced[shown:]) + text.finish()
    out.text = text.text
    out.forced, out.spans = sum(guide.forced), tuple(text.spans)
    out.retried, out.problem = guide.counts.retried, guide.counts.problem
    if guide.two_way is not None:
        out.weighed, out.threshold = guide.two_way.probability, guide.two_way.threshold
    if text.stopped:
        cut_to(out.ids, out.text, branch.tokenizer)
    return piece
