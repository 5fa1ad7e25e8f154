"""Direct preference optimization (arXiv 2305.18290): of two branches of one trunk, the wanted one becomes likelier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from torch.nn.functional import logsigmoid

from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import log_probs
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.objectives.reference import Reference
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Dpo(Objective):
    """-log σ(β · ((log π − log π_ref)(chosen) − (log π − log π_ref)(rejected))), a pair.

    Each example has two branches, the chosen one first (`encode_pair`).

    Attributes:
        beta: how hard it is to leave the reference.
        smoothing: probability that a pair is labelled the wrong way round (conservative DPO).
        anchor: weight of the chosen completion's mean cross-entropy a token, which keeps it likely (RPO, arXiv
            2404.19733); without it, both of a pair may become unlikely.
        reference: what is left.
    """

    beta: float = 0.1
    smoothing: float = 0.0
    reference: Reference = field(default_factory=Reference)
    anchor: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta > 0 or not 0 <= self.smoothing < 0.5 or not 0 <= self.anchor < math.inf:
            raise InputError("DPO's beta must be positive, its smoothing lie in 0..0.5, its anchor not be negative")

    @property
    def name(self) -> str:
        anchor = f", anchor={self.anchor:g}" if self.anchor else ""
        return f"dpo(beta={self.beta:g}, smoothing={self.smoothing:g}{anchor}, reference={self.reference.identity})"

    def prepare(self, reader: Reader, examples: Sequence[Encoded], folder: Path, fingerprint: str, full: bool) -> None:
        for example in examples:
            if [branch.desirable for branch in example.branches] != [True, False]:
                raise InputError("DPO learns from pairs: make each example with encode_pair, the chosen text first")
        self.reference.prepare(reader, examples, folder, fingerprint, full)

    def weight(self, examples: Sequence[Encoded]) -> float:
        return len(examples)

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The loss `[]`, summed over the batch's pairs."""
        sums = scored.sums(log_probs(reader.decoder, scored.states, scored.targets))
        ratios = sums - self.reference.of(scored)
        margins = self.beta * (ratios[0::2] - ratios[1::2])
        loss = -((1 - self.smoothing) * logsigmoid(margins) + self.smoothing * logsigmoid(-margins))
        if self.anchor:
            lengths = sums.new_tensor([branch.counted for branch in scored.branches[0::2]])
            loss = loss - self.anchor * sums[0::2] / lengths
        return loss.sum()
