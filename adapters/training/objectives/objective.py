"""What a training minimizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.forward.scored import Reader, Scored


class Objective:
    """A loss that is a sum over a batch; the trainer divides it by the weight of all batches of a step."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What the card calls it."""
        raise NotImplementedError

    def prepare(self, reader: Reader, examples: Sequence[Encoded], folder: Path, fingerprint: str, full: bool) -> None:
        """Checks all examples, and makes ready what does not change while training.

        Args:
            reader: of the base.
            examples: of training and validation.
            folder: of the run, for what a resumed one need not compute again.
            fingerprint: of the base's weights.
            full: whether the skill computes whole contexts.
        """

    def weight(self, examples: Sequence[Encoded]) -> float:
        """What a batch counts: its tokens, or its pairs."""
        return sum(example.counted for example in examples)

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The summed loss `[]`, with a graph where grad is enabled."""
        raise NotImplementedError
