"""Trunks kept between runs, so that a conversation goes on without reading itself again."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

from loraloop.agent.engine.cache_stats import Held
from loraloop.agent.engine.full import WORTH

if TYPE_CHECKING:
    from loraloop.adapters.base import Message
    from loraloop.agent.engine.trunk import Trunk


class TrunkStore:
    """The last trunks, found again by their leading messages. Thread-safe.

    The ids that a step generated are part of its trunk, so they are spliced in as they are: a conversation that
    comes back as text is not tokenized again.

    Args:
        tokens: Positions that their caches take at most, over all trunks: their tokens, and what was made for more.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        self._limit = tokens
        self._trunks: list[Trunk] = []
        self._lock = Lock()

    @property
    def held(self) -> Held:
        """What is held now."""
        with self._lock:
            caches = [trunk.computed.cache for trunk in self._trunks]
            tokens = sum(len(trunk.ids) for trunk in self._trunks)
            return Held(len(caches), tokens, self._taken, self._limit, sum(cache.nbytes for cache in caches))

    def take(self, messages: Sequence[Message]) -> Trunk | None:
        """The trunk that shares most with `messages`, cut to what it shares; None if nothing is worth reusing.

        A trunk that is continued leaves the store; one that only shares a beginning is copied.
        """
        with self._lock:
            best, count, length = None, 0, WORTH - 1
            for trunk in reversed(self._trunks):
                n = _shared(trunk, messages)
                end = trunk.messages[n - 1].end if n else 0
                if end > length:
                    best, count, length = trunk, n, end
            if best is None:
                return None
            if count == len(best.messages):
                self._trunks.remove(best)
                best.cut(length)
                return best
            return best.fork(length)

    def put(self, trunk: Trunk) -> None:
        """Keeps a trunk that nobody uses any more."""
        trunk.rest()
        with self._lock:
            self._trunks.append(trunk)
            while self._taken > self._limit:
                self._trunks.pop(0)

    @property
    def _taken(self) -> int:
        return sum(max(trunk.computed.cache.capacity, len(trunk.ids)) for trunk in self._trunks)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._trunks.clear()


def _shared(trunk: Trunk, messages: Sequence[Message]) -> int:
    count = 0
    for span, message in zip(trunk.messages, messages, strict=False):
        if span.message != message:
            break
        count += 1
    return count
