"""The trunk: a transcript whose keys and values are always computed by the bare base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.native_cache import PAGE, NativeCache
from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.prefix_cache import WORTH, CacheStats, FullCaches, Kept, PrefixCache, stats_of
from loraloop.agent.engine.cache.sequence import CachedSequence, MessageSpan, RequestContext
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.transcript import Transcript

if TYPE_CHECKING:
    from loraloop.adapters.base import Attached, Base, Message

CHUNK = 512  # tokens in one prefill forward


class Trunk(Transcript):
    """A transcript with its cache and ledger, and hidden states of the last message.

    Tokens are appended lazily: nothing is computed until `flush` or a branch needs it, so that what a step leaves
    and what follows it go through one forward.

    Args:
        base: The shared model.
        keep_layers: Layers whose hidden states of the last message are kept, for the router.
        attached: The bank's adapters, for branches.
        scheduler: Computes; one of the trunk's own where None.
        context: Positions to use at most; the base's own number where None.
        full: Where contexts under full-activation skills are kept; by default a place of this trunk's own.
        prefixes: Where beginnings are found that other trunks have computed; None: nothing is shared.
    """

    def __init__(
        self,
        base: Base,
        keep_layers: Sequence[int] = (),
        attached: Attached | None = None,
        scheduler: Scheduler | None = None,
        context: int | None = None,
        chunk: int = CHUNK,
        full: FullCaches | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.keep_layers = tuple(keep_layers)
        self.author = Author(base.fingerprints.weights)
        self.scheduler = scheduler or Scheduler(base, attached)
        self.sequence = CachedSequence(self.scheduler)
        super().__init__(base, context)
        self._chunk = chunk
        self._kept: dict[int, list[Tensor]] = {layer: [] for layer in self.keep_layers}
        self._kept_from = 0  # first token whose hidden states are kept
        self._full = FullCaches() if full is None else full
        self._prefixes = prefixes if prefixes is not None and isinstance(self.sequence.cache, NativeCache) else None
        self._open: Branch | None = None

    @property
    def request_context(self) -> RequestContext:
        """Priority, deadline and cancellation of the run that it is computed for."""
        return self.sequence.request_context

    @request_context.setter
    def request_context(self, request_context: RequestContext) -> None:
        self.sequence.request_context = request_context

    @property
    def pending(self) -> int:
        """Tokens appended and not computed yet."""
        return len(self.ids) - self.sequence.length

    def extend(self, ids: Sequence[int]) -> None:
        """Appends tokens; they are computed on slot 0 with whatever follows.

        Raises:
            ContextLengthError: if they do not fit; the trunk is unchanged then.
        """
        self._check_no_branch()
        super().extend(ids)

    def mark(self, message: Message, start: int, more: bool = False) -> MessageSpan:
        """Notes that the tokens from `start` on are `message`, whose hidden states are kept.

        Args:
            message: What the tokens say.
            start: The first of them.
            more: Keep the hidden states of the messages before it too: it is one more of a group.
        """
        span = super().mark(message, start, more)
        if not more:
            self._kept = {layer: [] for layer in self.keep_layers}
            self._kept_from = start
        return span

    def flush(self, clock: Clock | None = None) -> int:
        """Computes what is pending, on slot 0. Returns the number of tokens computed."""
        self._check_no_branch()
        if not self.pending:
            return 0
        clock, prefixes, fresh = clock or Clock(), self._prefixes, not self.sequence.length
        with clock.phase("prefill"):
            if prefixes is not None and fresh and self.pending >= WORTH:
                self._take_prefix(prefixes)
            start = self.sequence.length
            with nullcontext() if prefixes is None else prefixes.reading(self.ids) as reading:
                while self.pending:
                    at = self.sequence.length
                    ids, first = self.ids[at : at + self._chunk], max(self._kept_from - at, 0)
                    done = self.sequence.feed(self.author, ids, keep=self.keep_layers, keep_from=first, clock=clock)
                    for layer, states in done.kept.items():
                        self._kept[layer] += states
                    if prefixes is not None and reading is not None:
                        prefixes.advanced(reading, self.sequence)
                if prefixes is not None and fresh:
                    self._give_prefix(prefixes)
        return self.sequence.length - start

    def _take_prefix(self, prefixes: PrefixCache) -> None:
        """Begins with what other trunks have computed; the states of the last message are this one's own to compute."""
        if prefixes.folder is not None and (first := self._instructed()) <= self._kept_from:
            prefixes.read(self.ids[:first], self.scheduler, self.author)
        wanted = self.ids if not self.keep_layers else self.ids[: self._kept_from]
        found = prefixes.take(wanted, self.request_context) if len(wanted) >= WORTH else None
        if found is not None:
            found.request_context = self.request_context
            self.sequence = found

    def _give_prefix(self, prefixes: PrefixCache) -> None:
        """Lets other trunks begin as this one does: to the end of its first message, and on in whole pages."""
        whole = self.sequence.length // PAGE * PAGE
        first = self.messages[0].end if len(self.messages) > 1 else 0
        if max(whole, first) >= WORTH:
            prefixes.put(self.sequence.fork(max(whole, first)))
        if prefixes.folder is not None:
            prefixes.folder.save(self.sequence, self._instructed())

    def _instructed(self) -> int:
        """Tokens of the instructions and tools that it begins with; 0 where it has none, or nothing else."""
        first = self.messages[0] if len(self.messages) > 1 else None
        return first.end if first is not None and first.message.role == "system" else 0

    def features(self, at: int = -1, clock: Clock | None = None) -> dict[int, Tensor]:
        """Hidden states `[T, H]` of the T tokens of message `at`, by layer. Computes what is pending first.

        Raises:
            ValueError: if they were not kept: only the last message's are, and those of its group.
        """
        self.flush(clock)
        span = self.messages[at]
        kept: dict[int, Tensor] = {}
        for layer, parts in self._kept.items():
            if len(parts) > 1:
                parts[:] = [torch.cat(parts)]
            if not parts or span.start < self._kept_from or len(parts[0]) < span.end - self._kept_from:
                raise ValueError("the hidden states of that message were not kept")
            kept[layer] = parts[0][span.start - self._kept_from : span.end - self._kept_from]
        return kept

    def branch(self, author: Author | None = None, clock: Clock | None = None) -> Branch:
        """Opens a branch at the trunk's end; the trunk can grow again once it is closed.

        Args:
            author: The skill and its slot; the bare base where None.
            clock: Where the time of a prefill goes.
        """
        self._check_no_branch()
        author = author or self.author
        prefilled = self.flush(clock)
        sequence, recomputed = self.sequence, 0
        if author.activation == "full":
            sequence, recomputed = self._full_context(author, clock)
        else:
            sequence.begin(author)
        self._open = Branch(self, author, sequence, prefilled + recomputed, recomputed, closed=self._branch_closed)
        return self._open

    def cut(self, length: int) -> None:
        """Forgets everything after `length` tokens, and messages that do not end before."""
        self._check_no_branch()
        self.sequence.truncate(min(length, self.sequence.length))
        super().cut(length)
        self._kept = {layer: [] for layer in self.keep_layers}
        self._kept_from = length

    def fork(self, length: int) -> Trunk:
        """A copy of the first `length` tokens that grows apart from this one, within the same bounds."""
        self._check_no_branch()
        other = copy(self)
        other.ids, other.messages = list(self.ids), list(self.messages)
        other.sequence = self.sequence.fork(min(length, self.sequence.length))
        other.request_context = self.request_context
        other.cut(length)
        return other

    def rest(self) -> None:
        """Drops what only a running agent needs: kept hidden states, and room for more tokens."""
        self.sequence.cache.trim()
        self.request_context = RequestContext()
        self._kept = {layer: [] for layer in self.keep_layers}
        self._kept_from = len(self.ids)

    def _full_context(self, author: Author, clock: Clock | None) -> tuple[CachedSequence, int]:
        """The context under an adapter that acts on all of it: what is known of it, brought up to date here."""
        clock = clock or Clock()
        with clock.phase("recompute"):
            sequence = self._full.take(author, self.ids)
            if sequence is None:
                sequence = CachedSequence(self.scheduler)
                sequence.begin(author)
            sequence.request_context, start = self.request_context, sequence.length
            while sequence.length < len(self.ids):
                sequence.feed(author, self.ids[sequence.length : sequence.length + self._chunk], clock=clock)
        return sequence, sequence.length - start

    def _check_no_branch(self) -> None:
        if self._open is not None:
            raise RuntimeError("a branch is open on this trunk: close it first")

    def _branch_closed(self, sequence: CachedSequence) -> None:
        """The open branch has ended; what it computed under a full-activation skill is kept."""
        self._open = None
        if sequence is self.sequence:
            sequence.end()
        elif not sequence.broken:
            self._full.put(sequence)


class TrunkStore(Kept[Trunk]):
    """The last trunks, found again by their leading messages. Thread-safe.

    The ids that a step generated are part of its trunk, so they are spliced in as they are: a conversation that
    comes back as text is not tokenized again.

    Args:
        tokens: Positions that their caches take at most, over all trunks: their tokens, and what was made for more.
    """

    def take(self, messages: Sequence[Message]) -> Trunk | None:
        """The trunk that shares most with `messages`, cut to what it shares; None if nothing is worth reusing.

        A trunk that is continued leaves the store; one that only shares a beginning is copied.
        """
        with self._changed:
            best, count, length = None, 0, WORTH - 1
            for trunk in reversed(self._kept):
                n = common_prefix([span.message for span in trunk.messages], list(messages))
                end = trunk.messages[n - 1].end if n else 0
                if end > length:
                    best, count, length = trunk, n, end
            if best is None:
                return None
            if count == len(best.messages):
                self._kept.remove(best)
                best.cut(length)
                return best
            return best.fork(length)

    def put(self, trunk: Trunk) -> None:
        """Keeps a trunk that nobody uses any more."""
        trunk.rest()
        with self._changed:
            self._keep(trunk)

    def _stats(self) -> CacheStats:
        """What is held; tokens that are not computed yet count as if they were."""
        stats = stats_of([trunk.sequence for trunk in self._kept], self.limit, self._evicted)
        pending = sum(trunk.pending for trunk in self._kept)
        return replace(stats, tokens=stats.tokens + pending, positions=stats.positions + pending)
