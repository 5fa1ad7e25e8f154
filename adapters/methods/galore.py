"""GaLore (arXiv 2403.03507): whole matrices trained through gradients projected to low rank.

The projection lives in the optimizer. The parameters are the differences from the base's weights. A finished skill
holds their best rank-r approximation, and `retained` says how much of their energy that keeps; `skills merge` of the
parameters themselves (see `adapters.merge`) keeps all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_rank, checked_targets, modules
from loraloop.adapters.payload.pairs import Factors, grouped, low_rank_of, of_module, spread, uniform
from loraloop.adapters.payload.payload import LowRank, Payload
from loraloop.adapters.payload.sites import GROUPS, MODULES, Dimensions, Site, module_shape, tensor_name


@dataclass(frozen=True, slots=True)
class Galore(Method):
    """The method.

    A module with K inputs and O outputs has the parameter `delta` `[O, K]`; a finished skill has `lora_A` `[r, K]` and
    `lora_B` `[O, r]` instead.

    Attributes:
        rank: of the skill that a training ships as; not that of the optimizer's projection.
        targets: module names.
    """

    rank: int = 32
    targets: tuple[str, ...] = MODULES
    name = "galore"

    def __post_init__(self) -> None:
        checked_rank(self.rank)
        object.__setattr__(self, "targets", checked_targets(self.targets))

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """Zeros, fp32: `layers.<i>.<module>.delta` `[O, K]`."""
        return {
            tensor_name(layer, module, "delta"): torch.zeros(module_shape(context.config, module)).requires_grad_()
            for layer, module in modules(context.config, self.targets)
        }

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """The differences, as pairs one factor of which is the identity; a skill's low-rank pairs as they are.

        Args:
            parameters: `delta` `[O, K]` of each module, or a skill's `lora_A` `[r, K]` and `lora_B` `[O, r]`.
            context: Gives the dimensions.
        """
        config = context.config
        expands = of_module(parameters, "lora_B")
        if expands:
            return Payload(grouped({p: (A, expands[p]) for p, A in of_module(parameters, "lora_A").items()}, config))
        return Payload(_dense(of_module(parameters, "delta"), config))

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """Low-rank pairs by truncated singular value decomposition.

        Args:
            parameters: `delta` `[O, K]` of each module.
            context: Is not read.

        Returns:
            `lora_A` `[r, K]` and `lora_B` `[O, r]` of each module.
        """
        deltas = of_module(parameters, "delta")
        if not deltas:
            return {name: tensor.detach() for name, tensor in parameters.items()}
        return uniform({place: low_rank_of(delta.detach(), self.rank) for place, delta in deltas.items()})

    def reader(self, tensors: Mapping[str, Tensor]) -> Galore:
        """The method of the low-rank pairs `tensors` (`lora_A` `[r, K]`), whose rank no module's own exceeds."""
        return replace(self, rank=max(A.shape[0] for A in of_module(tensors, "lora_A").values()))


def retained(parameters: Mapping[str, Tensor], rank: int) -> dict[str, float]:
    """How much of the differences' energy (squared Frobenius norm) a rank keeps: of each, and of "all" together.

    Args:
        parameters: Differences `[O, K]` called `layers.<i>.<module>.delta`; what has another name is passed over.
        rank: The rank that a skill would have.

    Returns:
        Shares between 0 and 1, by `layers.<i>.<module>`, and that of "all".
    """
    found, kept, whole = {}, 0.0, 0.0
    for (layer, module), delta in of_module(parameters, "delta").items():
        energy = torch.linalg.svdvals(delta.detach().double()).square()
        part, total = float(energy[:rank].sum()), float(energy.sum())
        found[f"layers.{layer}.{module}"] = part / total if total else 1.0
        kept, whole = kept + part, whole + total
    return {**found, "all": kept / whole if whole else 1.0}


def _dense(deltas: Mapping[tuple[int, str], Tensor], config: Dimensions) -> dict[Site, LowRank]:
    """Pairs whose identity stands on the smaller side, so that a product costs little more than the difference's."""
    narrow: dict[tuple[int, str], Factors] = {}
    wide: dict[tuple[int, str], Tensor] = {}
    for layer in range(config.layers):
        for parts in GROUPS.values():
            present = [(part, deltas[layer, part]) for part in parts if (layer, part) in deltas]
            if not present:
                continue
            inputs = present[0][1].shape[1]
            if sum(delta.shape[0] for _, delta in present) <= inputs:
                narrow.update({(layer, part): (d, torch.eye(d.shape[0]).to(d)) for part, d in present})
            else:
                wide.update({(layer, part): delta for part, delta in present})
    pairs = {site: LowRank(torch.eye(B.shape[1]).to(B), B) for site, B in spread(wide, config, 0.0).items()}
    return {**pairs, **grouped(narrow, config)}
