"""Supervised fine-tuning: next-token cross-entropy on the completions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import cross_entropy
from loraloop.adapters.training.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Sft(Objective):
    """Mean cross-entropy a completion token, over all branches."""

    name: str = "sft"

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The cross-entropy `[]`, summed over the batch's completion tokens."""
        return cross_entropy(reader.decoder, scored.states, scored.targets)
