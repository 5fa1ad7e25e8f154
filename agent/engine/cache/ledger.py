"""The ledger: for each span of a cache, who computed it; and who may read it.

Reused keys and values are only right under the weights that made them. Three rules say which:

- the bare base reads what the bare base computed;
- a skill of activation `branch` reads the bare base's spans and its own (it was trained to);
- a skill of activation `full` reads its own spans only.
"""

from __future__ import annotations

from dataclasses import dataclass

from loraloop.tool_schemas.errors import LoraloopError

ACTIVATIONS = ("branch", "full")


class LedgerError(LoraloopError):
    """A cached span was about to be read under weights for which it is not valid."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who computes a span: the base's weights, and the skill on top of them.

    `skill` and `slot` are empty and 0 for the bare base. `adapter` identifies the skill's weights, so that a slot
    that was loaded again with others is another author.
    """

    weights: str
    skill: str = ""
    slot: int = 0
    activation: str = "branch"
    adapter: str = ""

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}: use one of {', '.join(ACTIVATIONS)}")
        if bool(self.skill) != bool(self.slot):
            raise ValueError(f"skill {self.skill!r} cannot run on slot {self.slot}: slot 0 is the bare base")

    @property
    def bare(self) -> bool:
        return not self.skill

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.weights, self.skill, self.adapter, self.activation)

    def may_read(self, other: Author) -> bool:
        """Whether keys and values that `other` computed are valid for this author."""
        if self.identity == other.identity:
            return True
        return other.bare and self.activation == "branch" and self.weights == other.weights

    def __str__(self) -> str:
        who = f"skill {self.skill!r} ({self.activation})" if self.skill else "the bare base"
        return f"{who} on weights {self.weights[:8] or '?'}"


@dataclass(frozen=True, slots=True)
class Span:
    """Positions `start` to `end` of a cache and their author."""

    start: int
    end: int
    author: Author


class Ledger:
    """The authors of one cache's positions, in order and without gaps."""

    __slots__ = ("spans",)

    def __init__(self, spans: list[Span] | None = None) -> None:
        self.spans: list[Span] = spans or []

    @property
    def length(self) -> int:
        return self.spans[-1].end if self.spans else 0

    def record(self, author: Author, end: int) -> None:
        """Positions from the ledger's end to `end` were computed by `author`."""
        start = self.length
        if end < start:
            raise ValueError(f"cannot record up to {end}: {start} positions are recorded already")
        if end == start:
            return
        last = self.spans[-1] if self.spans else None
        if last is not None and last.author == author:
            self.spans[-1] = Span(last.start, end, author)
        else:
            self.spans.append(Span(start, end, author))

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` positions."""
        while self.spans and self.spans[-1].start >= length:
            self.spans.pop()
        if self.spans and self.spans[-1].end > length:
            last = self.spans[-1]
            self.spans[-1] = Span(last.start, length, last.author)

    def check(self, reader: Author, length: int) -> None:
        """Verifies that `reader` may read the first `length` positions.

        Raises:
            LedgerError: if a span is not valid for the reader, or positions are missing from the ledger.
        """
        if length > self.length:
            raise LedgerError(f"the cache holds {length} positions, but the ledger knows {self.length} of them")
        for span in self.spans:
            if span.start >= length:
                return
            if span.author is not reader and not reader.may_read(span.author):
                raise LedgerError(
                    f"positions {span.start} to {span.end} were computed by {span.author} and are not valid for "
                    f"{reader}: recompute them under it"
                )

    def fork(self) -> Ledger:
        return Ledger(list(self.spans))


@dataclass(frozen=True, slots=True)
class Active:
    """A skill that is ready to run, and the seconds that took."""

    author: Author
    seconds: float
