"""Supervised fine-tuning: next-token cross-entropy on the completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import cross_entropy


@dataclass(frozen=True, slots=True)
class Sft:
    """Mean cross-entropy a completion token, over all branches."""

    name: str = "sft"

    def prepare(self, reader: Reader, examples: Sequence[Encoded], folder: Path, fingerprint: str, full: bool) -> None:
        return None

    def weight(self, examples: Sequence[Encoded]) -> float:
        return sum(example.counted for example in examples)

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The cross-entropy `[]`, summed over the batch's completion tokens."""
        return cross_entropy(reader.decoder, scored.states, scored.targets)
