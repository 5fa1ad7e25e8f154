"""What the system messages of the last batches came to, so that examples of one assistant compute theirs once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Ids = tuple[int, ...]
T = TypeVar("T")


@dataclass(slots=True)
class Heads(Generic[T]):
    """Values by system message, those used last.

    Attributes:
        most: tokens of all system messages that are kept.
    """

    most: int = 16_384
    _kept: dict[Ids, T] = field(default_factory=dict)

    def of(self, heads: Sequence[Ids], computed: Callable[[Sequence[Ids]], Sequence[T]]) -> dict[Ids, T]:
        """The values of system messages, those of new ones `computed` in one call; the longest unused make room."""
        new = [head for head in dict.fromkeys(heads) if head not in self._kept]
        made = dict(zip(new, computed(new), strict=True)) if new else {}
        found = {head: made[head] if head in made else self._kept.pop(head) for head in dict.fromkeys(heads)}
        self._kept |= found
        while sum(map(len, self._kept)) > self.most:
            del self._kept[next(iter(self._kept))]
        return found
