"""Generation in a branch: sampling, grammar, forced tokens, stop conditions, and the promise to close.

The promise: a constrained branch is complete before its token limit. A *snapshot* is a place from which a short path to
completion is known and fits; one is taken before the first token, and new ones every few tokens while the limit is
far, at every token when it is near. When the limit comes first, the branch goes back to its last snapshot and takes
its path. Text is given out only up to a snapshot, so nothing that was shown is taken back.

Under a grammar whose values are also checked as they close, a value that fails is decoded again from its most uncertain
token (`Backtrack`); a snapshot then stands no later than the values that may still fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from loraloop.agent.engine.backtrack import SPENT, Backtrack
from loraloop.agent.engine.clock import Clock
from loraloop.agent.engine.sampling import Sampler
from loraloop.agent.engine.text import TextStream
from loraloop.tool_schemas.checked import CheckedState
from loraloop.tool_schemas.errors import InputError, LimitError, Violation

if TYPE_CHECKING:
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.agent.engine.branch import Branch

_STRIDE = 8  # tokens between snapshots while the limit is far
_NEAR = 16  # slack in tokens below which every token is a snapshot
_SEARCH = 4096  # tokens looked ahead to say what a grammar needs at least

_CUT = ("tokens", "deadline", "cancelled")


class Constraint(Protocol):
    """What generation asks of a grammar's state."""

    @property
    def done(self) -> bool: ...

    @property
    def can_stop(self) -> bool: ...

    def forced(self) -> list[int]: ...

    def mask_(self, logits: Tensor) -> None: ...

    def accept(self, tokens: Sequence[int]) -> None: ...

    def rollback(self, n: int, /) -> None: ...

    def fork(self) -> Constraint: ...

    def closing(self, limit: int) -> list[int] | None: ...


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
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: str = ""
    sampled: int = 0
    forced: int = 0
    retried: int = 0
    problem: str = ""
    first: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether it ended by itself rather than at a limit."""
        return self.reason in ("stop", "done")


@lru_cache(maxsize=4)
def _block_ends(tokenizer: Tokenizer) -> tuple[list[int], ...]:
    """Tokens that complete a fenced block from where it may stand, which a general search finds only slowly."""
    return tuple(tokenizer.encode(text) for text in ("\n```", "```", "pass\n```", "```python\npass\n```"))


class _Snapshots:
    """The last place from which completion is known to fit."""

    __slots__ = ("at", "ends", "limit", "path", "state")

    def __init__(self, state: Constraint, limit: int, tokenizer: Tokenizer) -> None:
        self.state, self.limit, self.ends = state, limit, _block_ends(tokenizer)
        path = self._by_block_end()
        if path is None:
            self.ends = ()
            path = self._path()
        if path is None or len(path) > limit:
            path = state.closing(limit) or path
        if path is None and isinstance(state, CheckedState):  # the search knows nothing of what is checked
            path = [-1] * (limit + 1)
        elif path is None or len(path) > limit:
            needs = "cannot be completed" if path is None else f"needs at least {len(path)} tokens"
            raise LimitError(f"the output {needs}, but the step may use {limit}: raise its token limit")
        self.at, self.path = 0, path

    def update(self, ids: Sequence[int]) -> None:
        """Moves the snapshot to the end of `ids` if completion fits from there."""
        new = len(ids) - self.at
        path: list[int] | None = self.path[new:]
        if self.state.done:
            path = []
        elif self.path[:new] != ids[self.at :]:
            path = self._path()
        if path is not None and len(ids) + len(path) <= self.limit:
            self.at, self.path = len(ids), path

    def _path(self) -> list[int] | None:
        """A short way to completion."""
        # Asked without the limit: a search for a shorter path than the first costs more than it gives.
        return self._by_block_end() if self.ends else self.state.closing(_SEARCH)

    def _by_block_end(self) -> list[int] | None:
        for end in self.ends:
            trial = self.state.fork()
            try:
                trial.accept(end)
            except InputError:
                continue
            if trial.can_stop:
                return end
        return None

    @property
    def known(self) -> bool:
        """Whether there is a path that fits."""
        return self.at + len(self.path) <= self.limit

    def back(self, ids: Sequence[int], first: tuple[int, list[int]]) -> None:
        """Moves the snapshot to the end of `ids`, which were cut back; if nothing is known from there, to the first."""
        path = self._path()
        fits = path is not None and len(ids) + len(path) <= self.limit
        self.at, self.path = (len(ids), path) if fits and path is not None else first

    def due(self, count: int) -> bool:
        if not self.known:
            return count % _STRIDE == 0
        slack = self.limit - count - len(self.path)
        return slack < _NEAR or count - self.at >= _STRIDE


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
    clock: Clock | None = None,
) -> Iterator[Delta | Generated]:
    """Generates in `branch`; yields pieces of text, then one `Generated`, last.

    Args:
        branch: Open; it is left open, for the caller to close with what should stay.
        invocation: Tokens that start the assistant's turn.
        stop_ids: Tokens that end it; none of them is kept.
        constraint: A grammar's fresh state; it has the last word over stop strings, which are not looked at then.
        stops: Strings that end the text.
        not_first: Ids of tokens with which free text must not begin.
        clock: Where the time goes.

    Raises:
        LimitError: if not even the shortest completion fits the budget.
    """
    clock = clock or Clock()
    tokenizer = branch.tokenizer
    text = TextStream(tokenizer.token_bytes, () if constraint is not None else stops)
    out = Generated()
    ids = out.ids
    feed = list(invocation)
    snapshots = None
    retry = Backtrack() if isinstance(constraint, CheckedState) else None
    if constraint is not None:
        start = perf_counter()
        snapshots = _Snapshots(constraint, budget.tokens, tokenizer)
        first_path = snapshots.at, snapshots.path
        clock.add("mask", perf_counter() - start)
    shown = told = 0  # tokens turned into text; tokens reported with a piece

    while True:
        failed: Violation | None = None
        if constraint is not None and snapshots is not None:
            start = perf_counter()
            forced = constraint.forced()
            if forced:
                try:
                    constraint.accept(forced)
                    ids.extend(forced)
                    feed.extend(forced)
                    out.forced += len(forced)
                except Violation as violation:
                    failed = violation
            done = constraint.done and failed is None
            if failed is None and (done or snapshots.due(len(ids))):
                snapshots.update(ids)
            clock.add("mask", perf_counter() - start)
            ready = snapshots.at
            if isinstance(constraint, CheckedState):
                ready = min(ready, constraint.settled)
            out.reason = "done" if done and snapshots.at == len(ids) else budget.spent()
            if not out.reason and (len(ids) >= budget.tokens or done):
                out.reason = "tokens"
        else:
            ready = len(ids)
            out.reason = "tokens" if ready >= budget.tokens else budget.spent()
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
            feed = []
            middle = perf_counter()
            if constraint is not None:
                constraint.mask_(logits)
                if retry is not None:
                    retry.ban_(len(ids), logits)
            elif not_first is not None and not ids:
                logits[not_first] = float("-inf")
            masked = perf_counter()
            token = sampler.pick(logits)
            clock.add("decode", perf_counter() - start - (masked - middle))
            clock.add("mask", masked - middle)
            out.sampled += 1
            if token in stop_ids:
                out.reason = "stop"
                break
            if retry is not None:
                retry.note(len(ids), token, logits)
            if constraint is not None:
                try:
                    constraint.accept((token,))
                except Violation as violation:
                    failed = violation
            if failed is None:
                ids.append(token)
                feed = [token]
        if failed is not None and retry is not None and constraint is not None and snapshots is not None:
            start = perf_counter()
            out.retried += 1
            out.problem = str(failed)
            place = retry.back_to(failed.start, shown)
            if place is None or out.sampled > SPENT * budget.tokens:
                out.reason = "unenforced"
                break
            constraint.rollback(len(ids) - place)
            del ids[place:]
            feed = branch.rewind([*invocation, *ids])
            if snapshots.at > place:
                snapshots.back(ids, first_path)
            clock.add("mask", perf_counter() - start)

    if snapshots is not None and out.reason == "tokens" and not snapshots.known:
        out.reason = "unenforced"
        out.problem = out.problem or f"no end that passes the checks was found within {budget.tokens} tokens"
    if constraint is not None and snapshots is not None and out.reason in _CUT and snapshots.known:
        start = perf_counter()
        constraint.rollback(len(ids) - snapshots.at)
        constraint.accept(snapshots.path)
        ids[snapshots.at :] = snapshots.path
        out.forced += len(snapshots.path)
        clock.add("mask", perf_counter() - start)
    if out.reason == "unenforced":
        del ids[shown:]  # nobody has seen them, and they are wrong
    piece = text.push(ids[shown:]) + text.finish()
    if piece:
        yield Delta(piece, len(ids) - told)
    out.text = text.text
    if text.stopped:
        _cut(ids, out.text, tokenizer)
    yield out


def _cut(ids: list[int], text: str, tokenizer: Tokenizer) -> None:
    """Shortens `ids` to `text`, which may end inside the text of a token."""
    size, kept = len(text.encode()), 0
    while kept < len(ids) and size >= len(piece := tokenizer.token_bytes(ids[kept])):
        size -= len(piece)
        kept += 1
    rest = text.encode()[len(text.encode()) - size :] if size else b""
    ids[kept:] = tokenizer.encode(rest.decode(errors="ignore")) if rest else []
