"""DoRA (arXiv 2402.09353): magnitude and direction of each output apart, m · (W + s B A) / ‖W + s B A‖ by rows.

As in the paper (section 4.3) and in PEFT, the norm takes part in no gradient. A finished skill stores m and the gain
m / ‖W + s B A‖, so that serving it reads no weight of the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.methods.method import Method, modules
from loraloop.adapters.payload.pairs import Factors, grouped, of_module, spread, uniform
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import MODULES, tensor_name


@dataclass(frozen=True, slots=True)
class Dora(Method):
    """Fields as in `Lora`; a "magnitude" [O] beside each pair."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = MODULES
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    name = "dora"

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", self._pairs.targets)

    @property
    def _pairs(self) -> Lora:
        """The method of the pairs alone."""
        return Lora(self.rank, self.alpha, self.targets, self.rank_pattern, self.alpha_pattern)

    def scaling_of(self, layer: int, module: str) -> float:
        """The scaling of a module's pair."""
        return self._pairs.scaling_of(layer, module)

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """LoRA's fp32 start (`lora_A` `[r, K]`, `lora_B` `[O, r]`), and the norms of W's rows as `magnitude` `[O]`."""
        parameters = self._pairs.init(context, seed)
        for layer, module in modules(context.config, self.targets):
            norms = torch.linalg.vector_norm(context.weight(layer, module), dim=1)
            parameters[tensor_name(layer, module, "magnitude")] = norms.cpu().clone().requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Pairs and gains; the norms are taken from the base where the gains are not stored.

        Args:
            parameters: `lora_A` `[r, K]`, `lora_B` `[O, r]`, `magnitude` `[O]` and, in a skill, `gain` `[O]`.
            context: The base, whose weights are read where the gains are not stored.
        """
        factors = self._pairs.factors(parameters)
        stored, magnitudes = of_module(parameters, "gain"), of_module(parameters, "magnitude")
        gains = {
            place: stored[place] if place in stored else magnitudes[place] / _norms_in_training(context, place, pair)
            for place, pair in factors.items()
        }
        return Payload(grouped(factors, context.config), spread(gains, context.config, 1.0))

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """The pairs, magnitudes and gains; the pairs of one rank and with scaling 1 where patterns made them differ.

        Args:
            parameters: `lora_A` `[r, K]`, `lora_B` `[O, r]` and `magnitude` `[O]` of each module.
            context: The base, whose weights are read.

        Returns:
            `lora_A` `[R, K]`, `lora_B` `[O, R]`, `magnitude` `[O]` and `gain` `[O]` of each module, R the one rank.
        """
        found = {name: tensor.detach() for name, tensor in parameters.items()}
        magnitudes, factors = of_module(found, "magnitude"), self._pairs.factors(found)
        if self.rank_pattern or self.alpha_pattern:
            found |= uniform(factors)
        for place, pair in factors.items():
            found[tensor_name(*place, "gain")] = magnitudes[place] / _norms(context, place, pair)
        return found

    def reader(self, tensors: Mapping[str, Tensor]) -> Dora:
        """The method of pairs of one rank, that of the `tensors` `lora_A` `[R, K]`."""
        if not (self.rank_pattern or self.alpha_pattern):
            return self
        rank = max(A.shape[0] for A in of_module(tensors, "lora_A").values())
        return replace(self, rank=rank, alpha=float(rank), rank_pattern={}, alpha_pattern={})


@torch.no_grad()
def _norms(context: MethodContext, place: tuple[int, str], pair: Factors) -> Tensor:
    """‖W + B A‖ of each row, [O]."""
    A, B = pair
    norms: Tensor = torch.linalg.vector_norm(
        torch.addmm(context.weight(*place).to(A.device), B.float(), A.float()), dim=1
    )
    return norms


@torch.no_grad()
def _norms_in_training(context: MethodContext, place: tuple[int, str], pair: Factors) -> Tensor:
    """‖W + B A‖ of each row, [O], from ‖W‖², W Aᵀ and A Aᵀ: no matrix of the weights' size is made at every step."""
    A, B = (part.float() for part in pair)
    cross = (context.times(*place, A).to(B.device) * B).sum(1)
    own = ((B @ (A @ A.T)) * B).sum(1)
    return (context.squares(*place).to(B.device) + 2 * cross + own).clamp_min(1e-12).sqrt()
