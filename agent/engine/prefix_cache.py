"""Contexts under full-activation skills, kept for later; and counts of all that a runtime keeps in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.ledger import Author
from loraloop.agent.engine.sequence import CachedSequence, common_prefix

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import BankBytes

WORTH = 16
"""Tokens below which a copy is not worth its time."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Contexts that are kept for later.

    Attributes:
        count: How many.
        tokens: Tokens in them.
        positions: Positions that their caches take, with what was made for more tokens.
        limit: What `positions` never exceeds.
        bytes: Memory of the caches.
    """

    count: int
    tokens: int
    positions: int
    limit: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What grows with use, each beside its bound. The base's weights are not in it: they do not grow.

    Attributes:
        trunks: Transcripts of past runs, for conversations that go on (`Runtime(reuse=…)`).
        contexts: Contexts under full-activation skills (`Runtime(full_reuse=…)`).
        bank: Bytes of the skills' tiers: all slots, and what has been read (`host_bytes=…`).
        grammars: Compiled grammars that are kept.
        grammars_limit: What `grammars` never exceeds; the least recently used go first.
    """

    trunks: CacheStats
    contexts: CacheStats
    bank: BankBytes
    grammars: int
    grammars_limit: int

    @property
    def bytes(self) -> int:
        """Of all caches and tiers; grammars cannot be measured."""
        return self.trunks.bytes + self.contexts.bytes + self.bank.device + self.bank.host

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "bytes": self.bytes}


class FullCaches:
    """The last contexts under full-activation skills, found again by their author and their tokens. Thread-safe.

    A context that is in use is not here: `take` hands it out, `put` brings it back. So nobody reads what another is
    writing, and what is in use is never let go.

    Args:
        tokens: Positions that they take at most, over all contexts; the least recently used go first. 0 keeps none.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        self.limit = tokens
        self._held: list[CachedSequence] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def tokens(self) -> int:
        """Tokens held now."""
        return self.held.tokens

    @property
    def bytes(self) -> int:
        """Memory of the contexts held now."""
        return self.held.bytes

    @property
    def held(self) -> CacheStats:
        """What is held now."""
        with self._lock:
            tokens, size = sum(h.length for h in self._held), sum(h.cache.nbytes for h in self._held)
            return CacheStats(len(self._held), tokens, self._taken, self.limit, size)

    def take(self, author: Author, ids: Sequence[int]) -> CachedSequence | None:
        """The context that shares most with `ids`, cut to what it shares; None where nothing is worth reusing.

        Only what `author` may read is looked at. A context that is continued is handed out as it is; one that goes on
        differently is copied.
        """
        with self._lock:
            best, count = None, WORTH - 1
            for held in self._held:
                if all(author.may_read(span.author) for span in held.ledger.spans):
                    shared = common_prefix(held.ids, ids)
                    if shared > count:
                        best, count = held, shared
            if best is None:
                return None
            if best.length - count >= WORTH:
                return best.fork(count)
            self._held.remove(best)
        best.truncate(count)
        return best

    def put(self, sequence: CachedSequence) -> None:
        """Keeps a context that nobody uses any more, if there is room for it alone."""
        with self._lock:
            if not WORTH <= sequence.length <= self.limit:
                return
            sequence.cache.trim()
            self._held.append(sequence)
            while self._taken > self.limit:
                self._held.pop(0)

    @property
    def _taken(self) -> int:
        return sum(held.cache.capacity for held in self._held)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._held.clear()
