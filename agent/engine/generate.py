"""Generation in a branch: sampling, stop conditions, and what a grammar forces and forbids (`Guide`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Required, TypedDict

from torch import Tensor

from loraloop.agent.engine.beam import Found, likeliest
from loraloop.agent.engine.constrained import Constraint, Guide
from loraloop.agent.engine.detokenizer import TextStream
from loraloop.agent.engine.nbest import judged
from loraloop.agent.engine.sampler import Sampler
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.two_way_choice import Balance

if TYPE_CHECKING:
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.drawing import Tries
    from loraloop.agent.engine.nbest import Judge


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
    """A piece of text and the number of tokens generated since the piece before."""

    text: str
    tokens: int


@dataclass(slots=True)
class Generated:
    """What a branch generated.

    Attributes:
        ids: The tokens, without the invocation and without a stop token.
        text: Their text, up to a stop string.
        reason: `stop` (the model ended it), `done` (the grammar did), `tokens`, `deadline`, `cancelled`, or
            `unenforced` (values kept failing a check; `problem` says which).
        sampled: Forwards that chose a token.
        forced: Tokens about which the grammar left no choice, including a closing path.
        retried: Values that failed a check and were decoded again.
        problem: The last check that failed.
        first: `time.perf_counter()` when the first token was known.
        weighed: Probability of the first of the two ways that a balance weighed.
        threshold: From which the balance takes the first way.
        beams: Hypotheses of the search that found it; 1: it was decoded token by token.
        missing: What a text that was passed over would have needed, as its judge says.
        tries: Texts that were tried until one passed (`drawing`).
        passed: Whether it passes what it was tried for; None where it was not tried.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: str = ""
    sampled: int = 0
    forced: int = 0
    retried: int = 0
    problem: str = ""
    first: float = 0.0
    weighed: float | None = None
    threshold: float | None = None
    beams: int = 1
    missing: tuple[str, ...] = ()
    tries: int = 1
    passed: bool | None = None

    @property
    def whole(self) -> bool:
        """Whether it ended by itself rather than at a limit."""
        return self.reason in ("stop", "done")


class How(TypedDict, total=False):
    """What a generation can be told besides its branch, invocation, sampler and budget; see `generate`."""

    stop_ids: Required[frozenset[int]]
    constraint: Constraint | None
    stops: Sequence[str]
    not_first: Tensor | None
    otherwise: Sequence[int]
    balance: Balance | None
    clock: Clock | None
    beams: int
    judge: Judge | None
    tries: Tries | None


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
    otherwise: Sequence[int] = (),
    balance: Balance | None = None,
    clock: Clock | None = None,
    beams: int = 1,
    judge: Judge | None = None,
    tries: Tries | None = None,
) -> Iterator[Delta | Generated]:
    """Generates in `branch`; yields pieces of text, then one `Generated`, last.

    Args:
        branch: Open; it is left open, for the caller to close with what should stay.
        invocation: Tokens that start the assistant's turn.
        stop_ids: Tokens that end it; none of them is kept.
        constraint: A grammar's fresh state; it has the last word over stop strings, which are not looked at then.
        stops: Strings that end the text.
        not_first: Ids of tokens with which free text must not begin.
        otherwise: What starts the turn in place of `invocation` where the likeliest first token is one of those.
        balance: Weighs two ways in which a constrained text may go on, and may take one.
        clock: Where the time goes.
        beams: Hypotheses of a beam search for a constrained text (`beam.likeliest`), which is then given out at once;
            1, a sampler that draws, or a search that found nothing: it is decoded token by token.
        judge: Compares the texts of the search (`nbest.judged`); None: the likeliest is written.
        tries: What a constrained text has to pass, and how many are tried (`drawing.first_that_passes`), of which one
            is then given out at once.

    Raises:
        LimitError: if not even the shortest completion fits the budget.
    """
    clock = clock or Clock()
    tokenizer = branch.tokenizer
    if tries is not None and constraint is not None:
        from loraloop.agent.engine.drawing import first_that_passes

        begin = constraint.fork()
        pieces = generate(branch, invocation, sampler, budget, stop_ids=stop_ids, constraint=constraint, stops=stops,
                          balance=balance, clock=clock, beams=beams, judge=judge)  # fmt: skip
        yield from first_that_passes(pieces, branch, invocation, begin, budget, stop_ids, tries, clock)
        return
    if constraint is not None and beams > 1 and sampler.greedy:
        asked = branch, invocation, constraint.fork(), beams, budget, stop_ids
        if judge is None:
            found = next(iter(likeliest(*asked, balance, clock)), None)
        else:
            found = judged(*asked, judge, balance, clock)
        if found is not None:
            constraint.accept(found.ids)
            searched = _generated(found, beams, balance, tokenizer)
            if judge is not None and found.passed:
                searched.missing = judge.missing(tokenizer.decode(list(found.passed), skip_special=False))
            yield Delta(searched.text, len(searched.ids))
            yield searched
            return
        if balance is not None:
            balance.probability = None  # weighed again, token by token
    text = TextStream(tokenizer.token_bytes, () if constraint is not None else stops)
    out = Generated()
    ids = out.ids
    feed = list(invocation)
    guide = None
    if constraint is not None:
        with clock.phase("mask"):
            guide = Guide(constraint, ids, budget.tokens, tokenizer)
    shown = told = 0  # tokens turned into text; tokens reported with a piece

    while True:
        failed = None
        if guide is None:
            ready = len(ids)
            out.reason = "tokens" if ready >= budget.tokens else budget.spent()
        else:
            with clock.phase("mask"):
                failed = guide.force(feed)
            ready = guide.ready
            out.reason = "done" if guide.complete else budget.spent()
            if not out.reason and (guide.done or len(ids) >= budget.tokens):
                out.reason = "tokens"
        if ready > shown:
            out.first = out.first or perf_counter()
            piece = text.push(ids[shown:ready])
            if piece:
                yield Delta(piece, ready - told)
                told = ready
            shown = ready
            if text.stopped:
                out.reason = "stop"
        if out.reason:
            break
        if failed is None:
            start = perf_counter()
            logits = branch.feed(feed)
            middle = perf_counter()
            if guide is not None:
                guide.mask_(logits)
                if balance is not None:
                    balance.weigh_(ids, logits)
            elif not_first is not None and not ids:
                if otherwise and (not_first == logits.argmax()).any():
                    feed, otherwise = branch.rewind(otherwise), ()
                    clock.add("decode", perf_counter() - start)
                    continue
                logits[not_first] = float("-inf")
            masked = perf_counter()
            token = sampler.pick(logits)
            clock.add("decode", perf_counter() - start - (masked - middle))
            clock.add("mask", masked - middle)
            out.sampled += 1
            if token in stop_ids:
                out.reason = "stop"
                break
            feed = [token]
            if guide is None:
                ids.append(token)
            else:
                failed = guide.take(token, logits)
        if guide is not None and failed is not None:
            with clock.phase("mask"):
                again = guide.go_back(failed, shown, out.sampled)
            if not again:
                out.reason = "unenforced"
                break
            feed = branch.rewind([*invocation, *ids])

    if guide is not None:
        with clock.phase("mask"):
            _end(out, guide, shown, budget.tokens)
    piece = text.push(ids[shown:]) + text.finish()
    if piece:
        yield Delta(piece, len(ids) - told)
    out.text = text.text
    if balance is not None:
        out.weighed, out.threshold = balance.probability, balance.threshold
    if text.stopped:
        _cut(ids, out.text, tokenizer)
    yield out


def _generated(found: Found, beams: int, balance: Balance | None, tokenizer: Tokenizer) -> Generated:
    """What a search found, as generation reports it."""
    text, reason = tokenizer.decode(found.ids, skip_special=False), "stop" if found.stopped else "done"
    out = Generated(found.ids, text, reason, found.forwards, found.forced, first=perf_counter(), beams=beams)
    if balance is not None:
        out.weighed, out.threshold = balance.probability, balance.threshold
    return out


def _end(out: Generated, guide: Guide, shown: int, limit: int) -> None:
    """Ends a guided generation: complete where a limit cut it, without what was never shown where it failed."""
    out.forced, out.retried, out.problem = guide.forced, guide.retried, guide.problem
    if out.reason == "tokens" and not guide.closable:
        out.reason = "unenforced"
        out.problem = out.problem or f"no end that passes the checks was found within {limit} tokens"
    if out.reason == "unenforced":
        del out.ids[shown:]
    elif not out.whole and guide.closable:
        guide.close()
        out.forced = guide.forced


def _cut(ids: list[int], text: str, tokenizer: Tokenizer) -> None:
    """Shortens `ids` to `text`, which may end inside the text of a token."""
    size, kept = len(text.encode()), 0
    while kept < len(ids) and size >= len(piece := tokenizer.token_bytes(ids[kept])):
        size -= len(piece)
        kept += 1
    rest = text.encode()[len(text.encode()) - size :] if size else b""
    ids[kept:] = tokenizer.encode(rest.decode(errors="ignore")) if rest else []
