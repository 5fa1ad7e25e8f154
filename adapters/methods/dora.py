"""DoRA (arXiv 2402.09353): magnitude and direction of each output apart, m · (W + s B A) / ‖W + s B A‖ by rows.

As in the paper (section 4.3) and in PEFT, the norm takes part in no gradient. A finished skill stores m and the gain
m / ‖W + s B A‖, so that serving it reads no weight of the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.context import Context
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.methods.method import Plain, checked_positive, checked_rank, checked_targets, modules
from loraloop.adapters.methods.pairs import Factors, grouped, of_module, spread
from loraloop.adapters.methods.payload import Payload
from loraloop.adapters.methods.sites import MODULES, Dimensions, module_shape, tensor_name


@dataclass(frozen=True, slots=True)
class Dora(Plain):
    """Rank, alpha and targets as in `Lora`; a "magnitude" [O] beside each pair."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = MODULES
    name = "dora"

    def __post_init__(self) -> None:
        checked_rank(self.rank)
        checked_positive(self.alpha, "alpha")
        object.__setattr__(self, "targets", checked_targets(self.targets))

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank

    def init(self, context: Context, seed: int = 0) -> dict[str, Tensor]:
        """LoRA's start, and the norms of W as magnitudes."""
        parameters = Lora(self.rank, self.alpha, self.targets).init(context, seed)
        for layer, module in modules(context.config, self.targets):
            norms = torch.linalg.vector_norm(context.weight(layer, module), dim=1)
            parameters[tensor_name(layer, module, "magnitude")] = norms.cpu().clone().requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: Context) -> Payload:
        """Pairs and gains; the norms are taken from the base where the gains are not stored."""
        factors = self._factors(parameters)
        stored, magnitudes = of_module(parameters, "gain"), of_module(parameters, "magnitude")
        gains = {
            place: stored[place] if place in stored else magnitudes[place] / _norms_in_training(context, place, pair)
            for place, pair in factors.items()
        }
        return Payload(grouped(factors, context.config), spread(gains, context.config, 1.0))

    def _factors(self, parameters: Mapping[str, Tensor]) -> dict[tuple[int, str], Factors]:
        expands = of_module(parameters, "lora_B")
        return {place: (A, expands[place] * self.scaling) for place, A in of_module(parameters, "lora_A").items()}

    def finished(self, parameters: Mapping[str, Tensor], context: Context) -> dict[str, Tensor]:
        """The parameters and "layers.<i>.<module>.gain" [O]."""
        found = {name: tensor.detach() for name, tensor in parameters.items()}
        magnitudes = of_module(found, "magnitude")
        for place, pair in self._factors(found).items():
            found[tensor_name(*place, "gain")] = magnitudes[place] / _norms(context, place, pair)
        return found

    def stored(self, config: Dimensions) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a skill's tensors."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, module in modules(config, self.targets):
            outputs, inputs = module_shape(config, module)
            sizes = {
                "lora_A": (self.rank, inputs),
                "lora_B": (outputs, self.rank),
                "magnitude": (outputs,),
                "gain": (outputs,),
            }
            found.update({tensor_name(layer, module, factor): size for factor, size in sizes.items()})
        return found


@torch.no_grad()
def _norms(context: Context, place: tuple[int, str], pair: Factors) -> Tensor:
    """‖W + B A‖ of each row, [O]."""
    A, B = pair
    norms: Tensor = torch.linalg.vector_norm(
        torch.addmm(context.weight(*place).to(A.device), B.float(), A.float()), dim=1
    )
    return norms


@torch.no_grad()
def _norms_in_training(context: Context, place: tuple[int, str], pair: Factors) -> Tensor:
    """The same from ‖W‖², W Aᵀ and A Aᵀ: no matrix of the weights' size is made at every step."""
    A, B = (part.float() for part in pair)
    cross = (context.times(*place, A).to(B.device) * B).sum(1)
    own = ((B @ (A @ A.T)) * B).sum(1)
    return (context.squares(*place).to(B.device) + 2 * cross + own).clamp_min(1e-12).sqrt()
