"""VeRA (arXiv 2310.11454): one pair of frozen random matrices for all layers, and two trained vectors a module.

The update is diag(b) B diag(d) A. A and B are drawn as PEFT draws them from `projection_prng_key`: Kaiming-uniform, A
[r, widest input] first, then B [widest output, r]; a module takes A's first columns and B's first rows. A skill stores
the vectors and the seed only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_rank, checked_targets, modules
from loraloop.adapters.payload.pairs import Factors, of_module, spread
from loraloop.adapters.payload.payload import LowRank, Payload
from loraloop.adapters.payload.sites import MODULES, Dimensions, group_shape, module_shape, tensor_name


@dataclass(frozen=True, slots=True)
class Vera(Method):
    """The method.

    A module with K inputs and O outputs has the parameters `vera_d` `[r]` and `vera_b` `[O]`; the shared matrices are
    `[r, K]` and `[O, r]` for it.

    Attributes:
        rank: of the shared matrices.
        targets: module names.
        seed: of the shared matrices (PEFT's `projection_prng_key`); not that of a training.
        d_initial: what the vectors d start at; the vectors b start at 0.
    """

    rank: int = 256
    targets: tuple[str, ...] = MODULES
    seed: int = 0
    d_initial: float = 0.1
    name = "vera"

    def __post_init__(self) -> None:
        checked_rank(self.rank)
        object.__setattr__(self, "targets", checked_targets(self.targets))

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """The vectors "vera_d" [r] and "vera_b" [O] of each module."""
        parameters: dict[str, Tensor] = {}
        for layer, module in modules(context.config, self.targets):
            outputs, _ = module_shape(context.config, module)
            d, b = torch.full((self.rank,), self.d_initial), torch.zeros(outputs)
            parameters[tensor_name(layer, module, "vera_d")] = d.requires_grad_()
            parameters[tensor_name(layer, module, "vera_b")] = b.requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Pairs A and diag(b) B diag(d): what shares an input shares A, so a group's pair is as wide as a module's.

        Args:
            parameters: d is `vera_d` `[r]`, b is `vera_b` `[O]` of each module.
            context: Gives the dimensions.
        """
        config = context.config
        shrink, expand = self.projections(config)
        scales, widths = of_module(parameters, "vera_b"), of_module(parameters, "vera_d")
        expands = {
            place: scales[place][:, None] * expand[: len(scales[place])].to(d.device) * d for place, d in widths.items()
        }
        return Payload(
            {
                site: LowRank(shrink[:, : group_shape(config, site[1])[1]].to(B), B)
                for site, B in spread(expands, config, 0.0).items()
            }
        )

    def factors(self, parameters: Mapping[str, Tensor], config: Dimensions) -> dict[tuple[int, str], Factors]:
        """The pair diag(d) A `[r, K]` and diag(b) B `[O, r]` of each module apart, as a LoRA file holds it.

        Args:
            parameters: d is `vera_d` `[r]`, b is `vera_b` `[O]` of each module.
            config: The base's dimensions.
        """
        shrink, expand = self.projections(config)
        scales = of_module(parameters, "vera_b")
        found = {}
        for place, d in of_module(parameters, "vera_d").items():
            outputs, inputs = module_shape(config, place[1])
            A, B = shrink[:, :inputs].to(d.device), expand[:outputs].to(d.device)
            found[place] = d[:, None] * A, scales[place][:, None] * B
        return found

    def projections(self, config: Dimensions) -> Factors:
        """A [r, widest input] and B [widest output, r]."""
        sizes = [module_shape(config, module) for module in self.targets]
        return _drawn(self.seed, self.rank, max(out for out, _ in sizes), max(inner for _, inner in sizes))


@lru_cache(maxsize=4)
def _drawn(seed: int, rank: int, outputs: int, inputs: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)

    def kaiming(rows: int, columns: int) -> Tensor:
        bound = math.sqrt(3.0) * (math.sqrt(2.0) / math.sqrt(columns))
        return torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)

    return kaiming(rank, inputs), kaiming(outputs, rank)
