"""A sequence: the tokens of one context, their cache, and the ledger of who computed them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.agent.engine.ledger import Author, Ledger

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import AnyCache, Attached, Base, Forward, Message


@dataclass(frozen=True, slots=True)
class MessageSpan:
    """A message and the positions of its tokens."""

    message: Message
    start: int
    end: int


class CachedSequence:
    """Keys and values of `ids`. Every forward checks the ledger first and writes it after.

    A skill's virtual tokens (a prefix, a prompt) may stand among them: after `at` tokens, `virtual` positions that are
    no part of `ids`, computed by that skill. The ledger counts positions, everything else counts tokens.
    """

    __slots__ = ("_due", "at", "attached", "base", "cache", "ids", "ledger", "lock", "virtual")

    def __init__(
        self,
        base: Base,
        lock: AbstractContextManager[object],
        attached: Attached | None,
        cache: AnyCache | None = None,
    ) -> None:
        self.base = base
        self.lock = lock
        self.attached = attached
        self.cache = base.new_cache() if cache is None else cache
        self.ids: list[int] = []
        self.ledger = Ledger()
        self.at = self.virtual = 0
        self._due: Tensor | None = None  # a prompt's embeddings, computed with the tokens that follow

    @property
    def length(self) -> int:
        """Tokens that are held."""
        return len(self.ids)

    @property
    def positions(self) -> int:
        """Positions that are taken, virtual tokens that are due included."""
        return len(self.ids) + self.virtual + (0 if self._due is None else len(self._due))

    def begin(self, author: Author) -> None:
        """Puts the author's virtual tokens, if it has any, at the end of what is held.

        Raises:
            LedgerError: if something held is not valid for `author`.
        """
        found = None if self.attached is None else self.attached.virtual(author.slot)
        if found is None:
            return
        self.ledger.check(author, self.positions)
        self.at = len(self.ids)
        if found.prefix:
            with self.lock:
                self.cache.extend(found.prefix)
            self.virtual = self.cache.length - self.at
            self.ledger.record(author, self.cache.length)
        self._due = found.prompt

    def end(self) -> None:
        """Forgets virtual tokens and all that stands after them."""
        if self.virtual or self._due is not None:
            self._cut(self.at, self.at)

    def feed(self, author: Author, ids: Sequence[int], keep: tuple[int, ...] = ()) -> Forward:
        """One forward of `ids` (T tokens) on top of what is held.

        Raises:
            LedgerError: if something held is not valid for `author`.
        """
        out = _together(((self, ids),), author, keep)
        skipped = len(out.hidden) - len(ids)
        if skipped:
            return type(out)(out.hidden[skipped:], {layer: states[skipped:] for layer, states in out.kept.items()})
        return out

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens; nothing is computed. Virtual tokens stay if they stand before."""
        if length == len(self.ids):
            return
        self._cut(length, length + self.virtual if length >= self.at else length)

    def _cut(self, length: int, positions: int) -> None:
        if positions == length:
            self.virtual, self._due = 0, None
        self.cache.truncate(positions)
        del self.ids[length:]
        self.ledger.truncate(positions)

    def fork(self, length: int) -> CachedSequence:
        """A copy of the first `length` tokens that grows apart from this one."""
        other = CachedSequence(self.base, self.lock, self.attached, self.cache.fork())
        other.ids = list(self.ids)
        other.ledger = self.ledger.fork()
        other.at, other.virtual, other._due = self.at, self.virtual, self._due
        other.truncate(length)
        return other


def feed_together(parts: Sequence[tuple[CachedSequence, Sequence[int]]], author: Author) -> Tensor:
    """One forward of contexts of one base, each followed by its tokens, at least one.

    Returns:
        `[B, H]`: of each, the state after its last token.

    Raises:
        LedgerError: if something that one of them holds is not valid for `author`.
    """
    ends, end = [], -1
    for context, ids in parts:
        end += len(ids) + (0 if context._due is None else len(context._due))
        ends.append(end)
    return _together(parts, author).hidden[ends]


def _together(
    parts: Sequence[tuple[CachedSequence, Sequence[int]]], author: Author, keep: tuple[int, ...] = ()
) -> Forward:
    """The forward of `feed_together`; virtual tokens that are due come before a context's own."""
    from loraloop.adapters.base import Row

    first = parts[0][0]
    for context, _ in parts:
        context.ledger.check(author, len(context.ids) + context.virtual)
    rows = [Row(list(ids), context.cache, author.slot, context._due) for context, ids in parts]
    with first.lock:
        out = first.base.forward(rows, attached=first.attached, keep=keep)
    for context, ids in parts:
        if context._due is not None:
            context.virtual, context._due = context.virtual + len(context._due), None
        context.ids.extend(ids)
        context.ledger.record(author, len(context.ids) + context.virtual)
    return out


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens are the same."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    return next(i for i in range(size) if left[i] != right[i])
