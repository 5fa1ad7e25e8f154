"""A cache together with the tokens it holds and the ledger of who computed them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from loraloop.agent.engine.ledger import Author, Ledger

if TYPE_CHECKING:
    from loraloop.adapters.base import AnyCache, Attached, Base, Forward


class Computed:
    """Keys and values of `ids`. Every forward checks the ledger first and writes it after."""

    __slots__ = ("attached", "base", "cache", "ids", "ledger", "lock")

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

    @property
    def length(self) -> int:
        return len(self.ids)

    def feed(self, author: Author, ids: Sequence[int], keep: tuple[int, ...] = ()) -> Forward:
        """One forward of `ids` (T tokens) on top of what is held.

        Raises:
            LedgerError: if something held is not valid for `author`.
        """
        from loraloop.adapters.base import Row

        self.ledger.check(author, len(self.ids))
        tokens = list(ids)
        with self.lock:
            out = self.base.forward([Row(tokens, self.cache, slot=author.slot)], attached=self.attached, keep=keep)
        self.ids.extend(tokens)
        self.ledger.record(author, len(self.ids))
        return out

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens; nothing is computed."""
        if length == len(self.ids):
            return
        self.cache.truncate(length)
        del self.ids[length:]
        self.ledger.truncate(length)

    def fork(self, length: int) -> Computed:
        """A copy of the first `length` tokens that grows apart from this one."""
        other = Computed(self.base, self.lock, self.attached, self.cache.fork())
        other.ids = list(self.ids)
        other.ledger = self.ledger.fork()
        other.truncate(length)
        return other


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens are the same."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    return next(i for i in range(size) if left[i] != right[i])
