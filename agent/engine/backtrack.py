"""Going back: which token of a value that failed its check is decoded again, and what must not come there."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

RETRIES = 48  # values that one step may decode again
SPENT = 3  # times its token limit that a step may decode, all in all


@dataclass(slots=True)
class Backtrack:
    """The choices of one step, and which of them are taken back.

    A value that fails is decoded again from its most uncertain token: the one whose best alternative was the most
    probable against it. That token is banned there, as long as what precedes it stays.

    Attributes:
        left: Values that may still be decoded again.
    """

    left: int = RETRIES
    _gaps: dict[int, float] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _banned: dict[int, set[int]] = field(default_factory=dict)

    def ban_(self, index: int, logits: Tensor) -> None:
        """Sets the logits [V] of tokens that may not come at a place to minus infinity, in place."""
        banned = self._banned.get(index)
        if banned:
            logits[sorted(banned)] = float("-inf")

    def note(self, index: int, token: int, logits: Tensor) -> None:
        """Remembers a choice.

        Args:
            index: Its place among the generated tokens.
            token: What was chosen.
            logits: [V] What it was chosen from.
        """
        values, ids = logits.topk(2)
        other = values[1] if int(ids[0]) == token else values[0]
        self._tokens[index] = token
        self._gaps[index] = float(logits[token] - other)  # infinite where nothing else may come

    def back_to(self, start: int, shown: int) -> int | None:
        """The place from which to decode again, its token banned there; None if there is none, or no try is left.

        Args:
            start: Where the value begins; if no token of it can change, the last one before it that can.
            shown: Tokens that were given out already and stay.
        """
        free = [index for index, gap in self._gaps.items() if index >= shown and gap < float("inf")]
        inside = [index for index in free if index >= start]
        if not free or self.left < 1:
            return None
        self.left -= 1
        index = min(inside, key=lambda place: (self._gaps[place], place)) if inside else max(free)
        self._banned = {place: tokens for place, tokens in self._banned.items() if place <= index}
        self._banned.setdefault(index, set()).add(self._tokens[index])
        for place in [place for place in self._gaps if place >= index]:
            del self._gaps[place], self._tokens[place]
        return index
