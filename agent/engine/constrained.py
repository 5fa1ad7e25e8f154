"""The guide of a text under a grammar: forced tokens, the promise to close, and values that are decoded again.

The promise: a constrained branch is complete before its token limit. A *snapshot* is a place from which a short path to
completion is known and fits; one is taken before the first token, and new ones every few tokens while the limit is
far, at every token when it is near. When the limit comes first, the branch goes back to its last snapshot and takes
its path. Text is given out only up to a snapshot, so nothing that was shown is taken back.

Under a grammar whose values are also checked as they close, a value that fails is decoded again from its most uncertain
token (`Backtrack`); text is then given out no later than the values that may still fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from loraloop.tool_schemas.errors import InputError, LimitError, Violation
from loraloop.tool_schemas.grammar.checked import CheckedState
from loraloop.tool_schemas.grammar.effort import Effort

if TYPE_CHECKING:
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.agent.engine.sampler import TwoWayChoice
    from loraloop.tool_schemas.grammar.grammar import State

_STRIDE = 8  # tokens between snapshots while the limit is far
_NEAR = 16  # slack in tokens below which every token is a snapshot
_SEARCH = 4096  # tokens looked ahead to say what a grammar needs at least
RETRIES = 48  # values that one step may decode again
SPENT = 3  # times its token limit that a step may decode, all in all


class NoRoomError(LimitError):
    """Not even the shortest output fits a step's limit of tokens."""


@runtime_checkable
class Checked(Protocol):
    """A state whose `accept` raises `Violation` where what was completed fails a check."""

    @property
    def settled(self) -> int: ...


class GrammarGuide:
    """Guides a text along a grammar.

    Args:
        state: The grammar's fresh state.
        limit: The most tokens.
        tokenizer: The tokenizer of the base.
        two_way: Weighs two openings of the text, and may take one.
        stop: Function that is asked while an end is looked for, which may take seconds; true ends the search.

    Raises:
        LimitError: If not even the shortest completion fits the limit.
    """

    def __init__(
        self,
        state: State,
        limit: int,
        tokenizer: Tokenizer,
        two_way: TwoWayChoice | None = None,
        stop: Callable[[], object] | None = None,
    ) -> None:
        self.ids: list[int] = []
        self.forced: list[bool] = []
        self.retried = 0
        self.problem = ""
        self._two_way = two_way
        self._state = state
        self._done = False
        self._snapshots = _Snapshots(state, limit, tokenizer, Effort.of_text(limit, stop))
        self._first = self._snapshots.at, self._snapshots.path
        self._checked = state if isinstance(state, Checked) else None
        self._choices = Backtrack()
        self._failed: Violation | None = None

    @property
    def ready(self) -> int:
        """Generated tokens that stay."""
        at = self._snapshots.at
        return at if self._checked is None else min(at, self._checked.settled)

    def advance(self, shown: int, sampled: int) -> str:
        """Takes the tokens that the grammar forces, and cuts back what failed a check; says why the text ends here.

        `done` waits until nothing of the text is held back by a snapshot.
        """
        self._failed = self._failed or self._take_forced()
        while self._failed is not None:
            if not self._go_back(self._failed, shown, sampled):
                return "unenforced"
            self._failed = self._take_forced()
        if self._done and self._snapshots.at == len(self.ids):
            return "done"
        return "tokens" if self._done or len(self.ids) >= self._snapshots.limit else ""

    def mask_(self, logits: Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow, or were taken back here, to minus infinity, in place."""
        self._state.mask_(logits)
        if self._checked is not None:
            self._choices.ban_(len(self.ids), logits)
        if self._two_way is not None:
            self._two_way.weigh_(self.ids, logits)

    def take(self, token: int, logits: Tensor) -> None:
        """Takes a token that was chosen by `logits[V]`; where it completes a value that fails, `advance` goes back."""
        if self._checked is not None:
            self._choices.note(len(self.ids), token, logits)
        self._failed = self._violation_of((token,))
        if self._failed is None:
            self._extend((token,), forced=False)

    def end(self, reason: str, shown: int) -> str:
        """Ends the text: completes it where a limit cut it, drops what was never shown where it failed.

        Returns:
            The reason, `unenforced` where no end that passes the checks is known.
        """
        snapshots = self._snapshots
        if reason == "tokens" and not snapshots.known:
            reason = "unenforced"
            none_found = f"no end that passes the checks was found within {snapshots.limit} tokens"
            self.problem = self.problem or none_found
        if reason == "unenforced":
            self._cut(shown)
        elif reason not in ("stop", "done") and snapshots.known:
            self._state.rollback(len(self.ids) - snapshots.at)
            self._state.accept(snapshots.path)
            self._cut(snapshots.at)
            self._extend(snapshots.path, forced=True)
        return reason

    def _take_forced(self) -> Violation | None:
        """Takes the forced tokens; returns what is wrong with the value that they complete, if anything is."""
        forced = self._state.forced()
        if forced:
            failed = self._violation_of(forced)
            if failed is not None:
                return failed
            self._extend(forced, forced=True)
        self._done = self._state.done
        if self._done or self._snapshots.is_due(len(self.ids)):
            self._snapshots.update(self.ids)
        return None

    def _go_back(self, failed: Violation, shown: int, sampled: int) -> bool:
        """Cuts the tokens back to where another one is to be chosen; False if no try is left."""
        self.retried += 1
        self.problem = str(failed)
        place = self._choices.back_to(failed.start, shown)
        if place is None or sampled > SPENT * self._snapshots.limit:
            return False
        self._state.rollback(len(self.ids) - place)
        self._cut(place)
        if self._snapshots.at > place:
            self._snapshots.back(self.ids, self._first)
        return True

    def _extend(self, tokens: Sequence[int], *, forced: bool) -> None:
        self.ids.extend(tokens)
        self.forced += [forced] * len(tokens)

    def _cut(self, place: int) -> None:
        del self.ids[place:], self.forced[place:]

    def _violation_of(self, tokens: Sequence[int]) -> Violation | None:
        try:
            self._state.accept(tokens)
        except Violation as violation:
            return violation
        return None


@dataclass(slots=True)
class Backtrack:
    """The choices of one step, and which of them are taken back.

    A value that fails is decoded again from its most uncertain token: the one whose best alternative was the most
    probable against it. That token is banned there, as long as what precedes it stays.

    Attributes:
        left: Values that may still be decoded again.
    """

    left: int = RETRIES
    _gaps: dict[int, float] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _banned: dict[int, set[int]] = field(default_factory=dict)

    def ban_(self, index: int, logits: Tensor) -> None:
        """Sets the logits [V] of tokens that may not come at a place to minus infinity, in place."""
        banned = self._banned.get(index)
        if banned:
            logits[sorted(banned)] = float("-inf")

    def note(self, index: int, token: int, logits: Tensor) -> None:
        """Remembers a choice.

        Args:
            index: Place of the token among the generated tokens.
            token: What was chosen.
            logits: [V] What it was chosen from.
        """
        values, ids = logits.topk(2)
        other = values[1] if int(ids[0]) == token else values[0]
        self._tokens[index] = token
        self._gaps[index] = float(logits[token] - other)  # infinite where nothing else may come

    def back_to(self, start: int, shown: int) -> int | None:
        """The place from which to decode again, its token banned there; None if there is none, or no try is left.

        Args:
            start: Where the value begins; if no token of it can change, the last one before it that can.
            shown: Tokens that were given out already and stay.
        """
        free = [index for index, gap in self._gaps.items() if index >= shown and gap < float("inf")]
        inside = [index for index in free if index >= start]
        if not free or self.left < 1:
            return None
        self.left -= 1
        index = min(inside, key=lambda place: (self._gaps[place], place)) if inside else max(free)
        self._banned = {place: tokens for place, tokens in self._banned.items() if place <= index}
        self._banned.setdefault(index, set()).add(self._tokens[index])
        for place in [place for place in self._gaps if place >= index]:
            del self._gaps[place], self._tokens[place]
        return index


@lru_cache(maxsize=4)
def _block_ends(tokenizer: Tokenizer) -> tuple[list[int], ...]:
    """Tokens that complete a fenced block from where it may stand, which a general search finds only slowly."""
    return tuple(tokenizer.encode(text) for text in ("\n```", "```", "pass\n```", "```python\npass\n```"))


class _Snapshots:
    """The last place from which completion is known to fit."""

    __slots__ = ("at", "effort", "ends", "limit", "path", "state")

    def __init__(self, state: State, limit: int, tokenizer: Tokenizer, effort: Effort) -> None:
        self.state, self.limit, self.effort, self.ends = state, limit, effort, _block_ends(tokenizer)
        path = self._by_block_end()
        if path is None:
            self.ends = ()
            path = self._path()
        if path is None or len(path) > limit:
            path = state.closing(limit, effort) or path
        # The search knows nothing of what is checked, and it may have been told to stop.
        if path is None and (isinstance(state, CheckedState) or effort.stopped):
            path = [-1] * (limit + 1)
        elif path is None or len(path) > limit:
            needs = "has no end that was found" if path is None else f"needs at least {len(path)} tokens"
            raise NoRoomError(
                f"the output {needs}, but the step may use {limit}: raise its token limit, or ask for less"
            )
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
        return self._by_block_end() if self.ends else self.state.closing(_SEARCH, self.effort)

    def _by_block_end(self) -> list[int] | None:
        for end in self.ends:
            trial = self.state.fork()
            try:
                trial.accept(end)
            except (InputError, Violation):
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

    def is_due(self, count: int) -> bool:
        if not self.known:
            return count % _STRIDE == 0
        slack = self.limit - count - len(self.path)
        return slack < _NEAR or count - self.at >= _STRIDE
