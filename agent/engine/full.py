"""Contexts computed under adapters that act on all of them, kept beside the trunks."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from loraloop.agent.engine.cache_stats import Held
from loraloop.agent.engine.kv_context import Computed, common_prefix
from loraloop.agent.engine.ledger import Author

WORTH = 16
"""Tokens below which a copy is not worth its time."""


class FullCaches:
    """The last contexts under full-activation skills, found again by their author and their tokens. Thread-safe.

    A context that is in use is not here: `take` hands it out, `put` brings it back. So nobody reads what another is
    writing, and what is in use is never let go.

    Args:
        tokens: Positions that they take at most, over all contexts; the least recently used go first. 0 keeps none.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        self.limit = tokens
        self._held: list[Computed] = []
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
    def held(self) -> Held:
        """What is held now."""
        with self._lock:
            tokens, size = sum(h.length for h in self._held), sum(h.cache.nbytes for h in self._held)
            return Held(len(self._held), tokens, self._taken, self.limit, size)

    def take(self, author: Author, ids: Sequence[int]) -> Computed | None:
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

    def put(self, computed: Computed) -> None:
        """Keeps a context that nobody uses any more, if there is room for it alone."""
        with self._lock:
            if not WORTH <= computed.length <= self.limit:
                return
            computed.cache.trim()
            self._held.append(computed)
            while self._taken > self.limit:
                self._held.pop(0)

    @property
    def _taken(self) -> int:
        return sum(held.cache.capacity for held in self._held)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._held.clear()
