"""Kahneman-Tversky optimization (arXiv 2402.01306): single outputs, each wanted or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import log_probs
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.objectives.reference import Reference
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Kto(Objective):
    """λ_D (1 − σ(β(r − z))) of a desirable output, λ_U (1 − σ(β(z − r))) of another; r = log π − log π_ref.

    z, never below 0 and without a gradient, estimates how far the policy has left the reference: the mean of r over
    a forward's outputs, each put on the next one's trunk. So it belongs to a forward: accumulating several is not the
    same as one large one.

    Attributes:
        beta: how hard it is to leave the reference.
        desirable, undesirable: λ_D and λ_U; keep λ_D · n_D within 1 … 4/3 of λ_U · n_U.
        reference: what is left.
    """

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    reference: Reference = field(default_factory=Reference)

    def __post_init__(self) -> None:
        if not (self.beta > 0 and self.desirable > 0 and self.undesirable > 0):
            raise InputError("KTO's beta and weights must be positive")

    @property
    def name(self) -> str:
        weights = f"desirable={self.desirable:g}, undesirable={self.undesirable:g}"
        return f"kto(beta={self.beta:g}, {weights}, reference={self.reference.identity})"

    def prepare(self, reader: Reader, examples: Sequence[Encoded], folder: Path, fingerprint: str, full: bool) -> None:
        if len({branch.desirable for example in examples for branch in example.branches}) < 2:
            raise InputError("KTO learns from wanted and unwanted outputs: give examples of both kinds")
        self.reference.prepare(reader, examples, folder, fingerprint, full)

    def weight(self, examples: Sequence[Encoded]) -> float:
        return sum(len(example.branches) for example in examples)

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The loss `[]`, summed over the batch's outputs."""
        sums = scored.sums(log_probs(reader.decoder, scored.states, scored.targets))
        ratios, far = sums - self.reference.of(scored), self._far(reader, scored)
        wanted = torch.tensor([branch.desirable for branch in scored.branches], device=ratios.device)
        good = self.desirable * (1 - torch.sigmoid(self.beta * (ratios - far)))
        bad = self.undesirable * (1 - torch.sigmoid(self.beta * (far - ratios)))
        return torch.where(wanted, good, bad).sum()

    @torch.no_grad()
    def _far(self, reader: Reader, scored: Scored) -> Tensor:
        """z of a batch; 0 where no output has another trunk to be put on."""
        shifted = mismatched(scored.examples)
        if not shifted:
            return torch.zeros((), device=scored.states.device)
        full = scored.past is None
        policy = reader.read(shifted, scored.payload, full=full, past=scored.past)
        sums = policy.sums(log_probs(reader.decoder, policy.states, policy.targets))
        return (sums - self.reference.sums(reader, shifted, full, policy.past)).mean().clamp_(min=0)


def mismatched(examples: Sequence[Encoded]) -> list[Encoded]:
    """Each example's trunk with the first output of the next one; none where there is only one example."""
    if len(examples) < 2:
        return []
    following = [*examples[1:], examples[0]]
    return [
        replace(example, branches=(replace(other.branches[0], at=example.branches[0].at, desirable=True),))
        for example, other in zip(examples, following, strict=True)
    ]
