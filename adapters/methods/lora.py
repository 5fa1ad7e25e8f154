"""LoRA (arXiv 2106.09685) and rsLoRA (arXiv 2312.03732): a low-rank update of linear modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.payload import LowRank, Payload
from loraloop.adapters.methods.sites import GROUPS, MODULES, Dimensions, module_shape, tensor_name
from loraloop.tool_schemas.errors import InputError, unknown


@dataclass(frozen=True, slots=True)
class Lora:
    """The method: hyper-parameters in, parameters and payload out.

    Attributes:
        rank: r, the width of the update.
        alpha: numerator of the scaling.
        targets: module names; see `sites.MODULES`.
        rslora: scale by alpha / sqrt(r) where plain LoRA scales by alpha / r.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = MODULES
    rslora: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise InputError(f"rank must be at least 1, not {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"alpha must be a positive number, not {self.alpha}")
        if not self.targets:
            raise InputError(f"name at least one target module: {', '.join(MODULES)}")
        for target in self.targets:
            if target not in MODULES:
                raise unknown("target module", target, MODULES)

    @property
    def name(self) -> str:
        return "rslora" if self.rslora else "lora"

    @property
    def scaling(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def init(self, config: Dimensions, seed: int = 0) -> dict[str, Tensor]:
        """Fresh fp32 parameters; the skill starts as the base.

        A is uniform in ±1/sqrt(in-features), which is PEFT's Kaiming start, and B is zero.
        """
        generator = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for layer in range(config.layers):
            for module in MODULES:
                if module not in self.targets:
                    continue
                out_features, in_features = module_shape(config, module)
                bound = 1 / math.sqrt(in_features)
                shrink = torch.empty(self.rank, in_features).uniform_(-bound, bound, generator=generator)
                parameters[tensor_name(layer, module, "lora_A")] = shrink.requires_grad_()
                expand = torch.zeros(out_features, self.rank)
                parameters[tensor_name(layer, module, "lora_B")] = expand.requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], config: Dimensions) -> Payload:
        """Low-rank pairs of each site from the parameters, differentiably; absent modules stay absent."""
        pairs: dict[tuple[int, str], LowRank] = {}
        for layer in range(config.layers):
            for group, parts in GROUPS.items():
                if pair := self._pair(parameters, config, layer, parts):
                    pairs[layer, group] = pair
        return Payload(pairs)

    def _pair(
        self, parameters: Mapping[str, Tensor], config: Dimensions, layer: int, parts: tuple[str, ...]
    ) -> LowRank | None:
        present = [part for part in parts if tensor_name(layer, part, "lora_A") in parameters]
        if not present:
            return None
        shrinks = [parameters[tensor_name(layer, part, "lora_A")] for part in present]
        rank = sum(shrink.shape[0] for shrink in shrinks)
        if len(parts) == 1:
            return LowRank(shrinks[0], parameters[tensor_name(layer, parts[0], "lora_B")] * self.scaling)
        expands, blocks, row, column = [], [], 0, 0
        for part in parts:
            height = module_shape(config, part)[0]
            if part in present:
                expand = parameters[tensor_name(layer, part, "lora_B")] * self.scaling
                width = expand.shape[1]
                expands.append(torch.nn.functional.pad(expand, (column, rank - column - width)))
                blocks.append((width, row, row + height))
                column += width
            else:
                expands.append(shrinks[0].new_zeros(height, rank))
            row += height
        return LowRank(torch.cat(shrinks), torch.cat(expands), tuple(blocks))
