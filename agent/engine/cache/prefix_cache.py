"""What is computed once and used again: beginnings of transcripts, and contexts under full-activation skills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from loraloop.adapters.base.decoder.native_cache import distinct
from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.sequence import CachedSequence, Executes, RequestContext

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import BankBytes
    from loraloop.agent.engine.cache.prefix_folder import PrefixFolder

K = TypeVar("K")
WORTH = 16
"""Tokens below which a copy is not worth its time."""
WAIT = 64
"""Tokens from which it is worth waiting for another run that is computing them."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Contexts that are kept for later.

    Attributes:
        count: How many.
        tokens: Tokens in them.
        positions: Positions that their caches take, with what was made for more tokens.
        limit: What `positions` never exceeds.
        bytes: Memory of the caches; what several of them share counts once.
        evicted: Contexts that were let go so far, since there was no room for more.
    """

    count: int
    tokens: int
    positions: int
    limit: int
    bytes: int
    evicted: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that grows with use, each part beside its bound; without the base's weights.

    Attributes:
        trunks: Transcripts of past runs, for conversations that go on (`Runtime(reuse=…)`).
        prefixes: Beginnings of transcripts, shared by runs in memory (`Runtime(reuse=…)`), also with `trunks`.
        contexts: Contexts under full-activation skills (`Runtime(full_reuse=…)`).
        bank: Bytes of the skills' tiers: all slots, and what has been read (`host_bytes=…`).
        grammars: Compiled grammars that are kept.
        grammars_limit: What `grammars` never exceeds; the least recently used go first.
    """

    trunks: CacheStats
    prefixes: CacheStats
    contexts: CacheStats
    bank: BankBytes
    grammars: int
    grammars_limit: int

    @property
    def bytes(self) -> int:
        """Bytes of all caches and tiers; grammars cannot be measured."""
        return self.trunks.bytes + self.prefixes.bytes + self.contexts.bytes + self.bank.device + self.bank.host

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON data."""
        return {**asdict(self), "bytes": self.bytes}


def stats_of(held: Sequence[CachedSequence], limit: int, evicted: int = 0) -> CacheStats:
    """What sequences hold."""
    positions, size = distinct(each.cache for each in held)
    tokens = sum(each.length for each in held)
    return CacheStats(len(held), tokens, positions=positions, limit=limit, bytes=size, evicted=evicted)


def most_alike(held: Iterable[CachedSequence], ids: Sequence[int]) -> tuple[CachedSequence | None, int]:
    """The first of the sequences that share most leading tokens with `ids`, and how many; None where there is none."""
    shared = ((each, common_prefix(each.ids, ids)) for each in held)
    return max(shared, key=lambda pair: pair[1], default=(None, 0))


class Kept(ABC, Generic[K]):
    """What is kept for later, within a bound of positions; the least recently used go first. Thread-safe.

    Args:
        tokens: Positions that it takes at most; 0 keeps nothing.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        self.limit = tokens
        self._kept: list[K] = []  # the last used one is last
        self._evicted = 0
        self._changed = Condition()

    @abstractmethod
    def _stats(self) -> CacheStats:
        """What is held; the lock is too."""

    @property
    def held(self) -> CacheStats:
        """What is held now."""
        with self._changed:
            return self._stats()

    def clear(self) -> None:
        """Forgets all of it."""
        with self._changed:
            self._kept.clear()

    def _keep(self, one: K) -> None:
        """Adds one, and lets go what there is no room for any more; the lock is held."""
        self._kept.append(one)
        while self._kept and self._stats().positions > self.limit:
            self._kept.pop(0)
            self._evicted += 1


@dataclass(slots=True, eq=False)
class PrefixInProgress:
    """A transcript that a run is computing just now.

    Attributes:
        ids: Tokens of the prefix.
        wanted: Tokens from its beginning that others wait for; 0 for none.
    """

    ids: Sequence[int]
    wanted: int = 0


class PrefixCache(Kept[CachedSequence]):
    """Beginnings of transcripts, computed by the bare base once and held by all runs that begin so. Thread-safe.

    Runs hold the same pages of memory: taking a beginning copies at most its last page. A run that would compute what
    another is just computing waits for it.

    Args:
        tokens: Positions that they take at most; the least recently used go first. 0 keeps none.
        folder: Where first messages of earlier processes are, and this one's are kept; None: nowhere.
    """

    def __init__(self, tokens: int = 16_384, folder: PrefixFolder | None = None) -> None:
        super().__init__(tokens)
        self.folder = folder
        self._pinned: list[CachedSequence] = []
        self._reading: list[PrefixInProgress] = []

    @property
    def held(self) -> CacheStats:
        """What is held now, pinned beginnings included."""
        with self._changed:
            return stats_of([*self._pinned, *self._kept], self.limit, self._evicted)

    def take(self, ids: Sequence[int], request_context: RequestContext) -> CachedSequence | None:
        """The longest beginning of `ids` that is held; None if none is worth a copy.

        Args:
            ids: A transcript.
            request_context: The caller's; it ends the waiting.
        """
        with self._changed:
            while (reading := self._in_progress(ids)) is not None and not request_context.gone():
                reading.wanted = max(reading.wanted, common_prefix(reading.ids, ids))
                self._changed.wait(0.05)
            best, count = self._best(ids)
            if best is None or count < WORTH:
                return None
            if best in self._kept:
                self._kept.remove(best)
                self._kept.append(best)
            return best.fork(count)

    @contextmanager
    def reading(self, ids: Sequence[int]) -> Iterator[PrefixInProgress]:
        """While the block runs, others who begin so wait for it."""
        now = PrefixInProgress(ids)
        with self._changed:
            self._reading.append(now)
        try:
            yield now
        finally:
            with self._changed:
                self._reading.remove(now)
                self._changed.notify_all()

    def advanced(self, now: PrefixInProgress, sequence: CachedSequence) -> None:
        """A part of it is computed: what others wait for is given to them."""
        if 0 < now.wanted <= sequence.length:
            self.put(sequence.fork(now.wanted))
            now.wanted = 0

    def put(self, sequence: CachedSequence, pinned: bool = False) -> None:
        """Keeps a beginning, of which nobody goes on to write; with `pinned`, whatever else comes."""
        with self._changed:
            if pinned:
                self._pinned.append(sequence)
            elif WORTH <= sequence.length <= self.limit:
                known = len(sequence.ids)
                self._kept = [e for e in self._kept if e.ids != sequence.ids[: len(e.ids)] or len(e.ids) > known]
                self._keep(sequence)
            self._changed.notify_all()

    def read(self, ids: Sequence[int], scheduler: Executes, author: Author) -> None:
        """Takes a first message from the folder, unless all of it is held already."""
        with self._changed:
            known = self._best(ids)[1] == len(ids)
        found = None if known or self.folder is None else self.folder.load(ids, scheduler, author)
        if found is not None:
            self.put(found)

    def clear(self) -> None:
        """Forgets all of them, pinned ones too."""
        with self._changed:
            self._kept.clear()
            self._pinned.clear()

    def _stats(self) -> CacheStats:
        return stats_of(self._kept, self.limit, self._evicted)

    def _best(self, ids: Sequence[int]) -> tuple[CachedSequence | None, int]:
        return most_alike((*self._pinned, *self._kept), ids)

    def _in_progress(self, ids: Sequence[int]) -> PrefixInProgress | None:
        """The sequence that another run is computing for a beginning of `ids`, if it is worth waiting for."""
        found = ((common_prefix(each.ids, ids), each) for each in self._reading)
        shared, reading = max(found, key=lambda pair: pair[0], default=(0, None))
        return reading if shared >= self._best(ids)[1] + WAIT else None


class FullCaches(Kept[CachedSequence]):
    """The last contexts under full-activation skills, found again by their author and their tokens. Thread-safe.

    A context that is in use is not here: `take` hands it out, `put` brings it back. So nobody reads what another is
    writing, and what is in use is never let go.

    Args:
        tokens: Positions that they take at most, over all contexts; the least recently used go first. 0 keeps none.
    """

    def take(self, author: Author, ids: Sequence[int]) -> CachedSequence | None:
        """The context that shares most with `ids`, cut to what it shares; None where nothing is worth reusing.

        Only what `author` may read is looked at. A context that is continued is handed out as it is; one that goes on
        differently is copied.
        """
        with self._changed:
            valid = [each for each in self._kept if all(author.may_read(span.author) for span in each.ledger.spans)]
            best, count = most_alike(valid, ids)
            if best is None or count < WORTH:
                return None
            if best.length - count >= WORTH:
                return best.fork(count)
            self._kept.remove(best)
        best.truncate(count)
        return best

    def put(self, sequence: CachedSequence) -> None:
        """Keeps a context that nobody uses any more, if there is room for it alone."""
        with self._changed:
            if WORTH <= sequence.length <= self.limit:
                sequence.cache.trim()
                self._keep(sequence)

    def _stats(self) -> CacheStats:
        return stats_of(self._kept, self.limit, self._evicted)
