"""A balance: how likely each of two ways is in which a constrained text may go on, and which one a threshold takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from torch import Tensor


class Balance:
    """Weighs two ways at the token where they part; with a threshold it also takes one of them.

    The probability is the model's over the tokens that the grammar allows there: several tokens may begin the same
    way, and each counts for the way that its text is on. A token whose text is on both (a vocabulary may hold `[]`
    beside `[`) counts for the one that is written with it. The probability does not depend on the threshold, nor on
    how tokens are sampled; so a lower threshold never takes the first way less often.

    Args:
        first: How a text begins on the first way.
        second: How it begins on the second; neither text begins with the other.
        piece: The bytes of a token.
        threshold: Probability of the first way from which it is taken, otherwise the second is; None: the sampler
            chooses among the tokens of both.
        written: The tokens in which the tokenizer writes each of the two texts.

    Attributes:
        probability: Of the first way; None until the ways have parted.
    """

    def __init__(
        self,
        first: str,
        second: str,
        piece: Callable[[int], bytes],
        threshold: float | None = None,
        written: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        self._ways = first.encode(), second.encode()
        self._piece = piece
        self._written = written
        self.threshold = threshold
        self.probability: float | None = None

    def taking(self, threshold: float | None) -> Balance:
        """The same ways, weighed afresh, with another threshold."""
        other = copy(self)
        other.threshold, other.probability = threshold, None
        return other

    def weigh_(self, ids: Sequence[int], logits: Tensor, otherwise: float | None = None) -> None:
        """Looks at the logits `[V]` after `ids`, minus infinity where the grammar forbids a token; changed in place.

        Args:
            ids: The text so far.
            logits: Of what follows.
            otherwise: The threshold where it has none.
        """
        if self.probability is not None:
            return
        head = b"".join(map(self._piece, ids))
        if not all(_along(head, way) for way in self._ways):
            return
        sides: tuple[list[int], list[int]] = [], []
        undecided: list[int] = []
        for token in logits.isfinite().nonzero().flatten().tolist():
            on = [_along(head + self._piece(token), way) for way in self._ways]
            if on[0] == on[1]:
                on = [list(own[: len(ids) + 1]) == [*ids, token] for own in self._written]
            if on[0] != on[1]:
                sides[on[1]].append(token)
            else:
                undecided.append(token)
        if not all(sides):
            return
        weights = logits[[*sides[0], *sides[1]]].double().softmax(0)
        self.probability = float(weights[: len(sides[0])].sum())
        threshold = otherwise if self.threshold is None else self.threshold
        if threshold is not None:
            lost = sides[self.probability >= threshold]
            logits[[*lost, *undecided]] = float("-inf")


def _along(text: bytes, way: bytes) -> bool:
    """Whether a text is on a way as far as both go."""
    size = min(len(text), len(way))
    return text[:size] == way[:size]
