"""A sequence: the tokens of one context, their cache, and the ledger of who computed them; and its rows in forwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Literal, Protocol

from loraloop.agent.engine.cache.ledger import Author, Ledger
from loraloop.tool_schemas.errors import BaseModelError, LimitError, SkillError, TimeLimitError

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import AnyCache, Attached, Base, Forward, Message, Row
    from loraloop.agent.engine.timer import Clock


Reason = Literal["cancelled", "deadline"]


class Interrupted(TimeLimitError):
    """A run was cancelled, or its time was up, while it waited for the base.

    Attributes:
        reason: `cancelled` or `deadline`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"the run ended while it waited for the base: {reason}")
        self.reason: Reason = reason


class QueueFullError(LimitError):
    """Too much waits for the base already."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The priority, deadline and cancellation of the run for which a sequence is computed.

    Attributes:
        priority: Where not all fit into one forward, higher ones come first; 0 for most, 1 for runs with a person
            waiting.
        deadline: Time of `time.monotonic()` after which nothing more is computed.
        cancelled: Function that is asked between forwards; true ends the waiting.
    """

    priority: int = 0
    deadline: float | None = None
    cancelled: Callable[[], bool] | None = None

    def gone(self) -> Reason | None:
        """The reason why nothing more is wanted; None while something is."""
        if self.deadline is not None and monotonic() >= self.deadline:
            return "deadline"
        return "cancelled" if self.cancelled is not None and self.cancelled() else None


UNBOUNDED = RequestContext()


@dataclass(frozen=True, slots=True)
class MessageSpan:
    """A message and the positions of its tokens."""

    message: Message
    start: int
    end: int


class Executes(Protocol):
    """The interface of the scheduler that a sequence uses."""

    base: Base
    attached: Attached | None

    def compute(self, request: ComputeRequest) -> None: ...

    def leave(self, sequence: CachedSequence) -> None: ...

    def drafting(self, sequence: CachedSequence) -> bool: ...


class CachedSequence:
    """Keys and values of `ids`. Every forward checks the ledger first and writes it after.

    A skill's virtual tokens (a prefix, a prompt) may stand among them: after `at` tokens, `virtual` positions that are
    no part of `ids`, computed by that skill. The ledger counts positions, everything else counts tokens.

    Args:
        scheduler: Computes; it belongs to one base.
        cache: What is held already; empty where None.

    Attributes:
        request_context: Priority, deadline and cancellation of the run that it is computed for.
        broken: Whether something that is not finite was computed on it; then nobody else may go on from it.
    """

    __slots__ = ("at", "broken", "cache", "due", "ids", "ledger", "request_context", "scheduler", "virtual")

    def __init__(self, scheduler: Executes, cache: AnyCache | None = None) -> None:
        self.scheduler = scheduler
        self.cache = scheduler.base.new_cache() if cache is None else cache
        self.ids: list[int] = []
        self.ledger = Ledger()
        self.at = self.virtual = 0
        self.due: Tensor | None = None  # a prompt's embeddings, computed with the tokens that follow
        self.request_context = RequestContext()
        self.broken = False

    @property
    def length(self) -> int:
        """Tokens that are held."""
        return len(self.ids)

    @property
    def positions(self) -> int:
        """Positions that are taken, virtual tokens that are due included."""
        return len(self.ids) + self.virtual + (0 if self.due is None else len(self.due))

    def begin(self, author: Author) -> None:
        """Puts the author's virtual tokens, if it has any, at the end of what is held.

        Raises:
            LedgerError: if something held is not valid for `author`.
            SkillError: if they are not finite.
        """
        attached = self.scheduler.attached
        found = None if attached is None else attached.virtual(author.slot)
        if found is None:
            return
        self.ledger.check(author, self.positions)
        self.at = len(self.ids)
        if found.prefix:
            if not all(bool(part.isfinite().all()) for pair in found.prefix.values() for part in pair):
                raise not_finite(author)
            self.cache.extend(found.prefix)
            self.virtual = self.cache.length - self.at
            self.ledger.record(author, self.cache.length)
        self.due = found.prompt

    def end(self) -> None:
        """Forgets virtual tokens and all that stands after them."""
        if self.virtual or self.due is not None:
            self._cut(self.at, self.at)

    def feed(self, author: Author, ids: Sequence[int], **wanted: object) -> ComputeRequest:
        """Computes `ids` on top of what is held, with whatever else the base has to do.

        Args:
            author: Who computes.
            ids: At least one token.
            **wanted: Fields of `ComputeRequest`: `keep`, `keep_from`, `logits`, `clock`.

        Raises:
            LedgerError: if something held is not valid for `author`.
            SkillError: if the author's weights give what is not finite.
            QueueFullError: if too much waits for the base.
            Interrupted: if the run was cancelled, or its time is up.
        """
        request = ComputeRequest(self, author, ids, **wanted)  # type: ignore[arg-type]
        self.scheduler.compute(request)
        return request

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens; nothing is computed. Virtual tokens stay if they stand before."""
        if length == len(self.ids):
            return
        self._cut(length, length + self.virtual if length >= self.at else length)

    def forget_half(self) -> None:
        """Forgets what a forward appended that did not come to its end."""
        self.cache.truncate(len(self.ids) + self.virtual)

    def _cut(self, length: int, positions: int) -> None:
        if positions == length:
            self.virtual, self.due = 0, None
        self.cache.truncate(positions)
        del self.ids[length:]
        self.ledger.truncate(positions)

    def fork(self, length: int) -> CachedSequence:
        """A copy of the first `length` tokens that grows apart from this one."""
        whole = self.virtual or self.due is not None
        other = CachedSequence(self.scheduler, self.cache.fork(None if whole else length))
        other.ledger = self.ledger.fork()
        if whole:
            other.ids = list(self.ids)
            other.at, other.virtual, other.due = self.at, self.virtual, self.due
            other.truncate(length)
        else:
            other.ids = self.ids[:length]
            other.ledger.truncate(length)
        return other


@dataclass(slots=True, eq=False)
class ComputeRequest:
    """Tokens that a sequence has to compute next, and what is wanted of them; the scheduler may cut them into chunks.

    Attributes:
        sequence: What they stand on, and are appended to.
        author: Who computes.
        ids: The tokens.
        keep: Layers whose output is kept.
        keep_from: The first of the tokens whose outputs are kept.
        logits: After how many of the last tokens the logits are wanted: 0 for none, at least 1 of a run that goes on
            from token to token.
        clock: Clock that notes how long the request waited, and with how many it shared its forwards.
        states: [L, H] The final states of the last tokens, once all are computed: those whose logits are wanted.
        kept: Hidden states [T, H] of the tokens from `keep_from` on, by layer.
        scores: [L, V] The logits, in fp32.
        error: Why there is none of that.
        done: Tokens that are computed.
    """

    sequence: CachedSequence
    author: Author
    ids: Sequence[int]
    keep: tuple[int, ...] = ()
    keep_from: int = 0
    logits: int = 0
    clock: Clock | None = None
    states: Tensor | None = None
    kept: dict[int, list[Tensor]] = field(default_factory=dict)
    scores: Tensor | None = None
    error: BaseException | None = None
    done: int = 0
    submitted: float = field(default_factory=perf_counter)
    gate: Lock = field(default_factory=Lock)

    @property
    def rest(self) -> int:
        """Tokens that are not computed yet."""
        return len(self.ids) - self.done

    def row(self, count: int) -> Row:
        """The next `count` tokens as a row of a forward; virtual tokens that are due come before them.

        Raises:
            LedgerError: if something that the sequence holds is not valid for the author.
        """
        from loraloop.adapters.base import Row

        sequence = self.sequence
        sequence.ledger.check(self.author, len(sequence.ids) + sequence.virtual)
        tokens = list(self.ids[self.done : self.done + count])
        return Row(tokens, sequence.cache, self.author.slot, sequence.due)

    def take(self, out: Forward, start: int, count: int, finite: bool = True) -> int:
        """Takes what a forward says of the next `count` tokens.

        Args:
            out: The forward.
            start: Where the request's row begins in it.
            count: Tokens of the row.
            finite: Whether all that the forward gave is known to be finite.

        Returns:
            Where the row ends.
        """
        sequence = self.sequence
        before = 0 if sequence.due is None else len(sequence.due)
        first, end = start + before, start + before + count
        if before:
            sequence.virtual, sequence.due = sequence.virtual + before, None
        sequence.ids.extend(self.ids[self.done : self.done + count])
        sequence.ledger.record(self.author, len(sequence.ids) + sequence.virtual)
        if not finite and not bool(out.hidden[start:end].isfinite().all()):
            self.fail(count)
            return end
        skipped = max(self.keep_from - self.done, 0)
        if skipped < count:
            for layer in self.keep:
                self.kept.setdefault(layer, []).append(out.kept[layer][first + skipped : end].clone())
        self.done += count
        if not self.rest:
            self.states = out.hidden[max(end - max(self.logits, 1), first) : end]
        return end

    def fail(self, count: int) -> None:
        """The last `count` tokens gave what is not finite: they are forgotten, and the error names the author."""
        sequence = self.sequence
        sequence.broken = True
        sequence.truncate(len(sequence.ids) - count)
        self.error = not_finite(self.author)


def not_finite(author: Author) -> BaseModelError | SkillError:
    """The error of weights that compute what is no number."""
    if author.bare:
        return BaseModelError("the base computed values that are not finite: convert it again, or use another form")
    return SkillError(
        f"skill {author.skill!r} computed values that are not finite: its weights are damaged; train or fetch it again"
    )
