"""Bottleneck adapters: h + up(act(down(h))) on a sub-layer's output, before the residual addition.

Placement "houlsby" (arXiv 1902.00751) has one after attention and one after the MLP, "pfeiffer" (arXiv 2005.00247) one
after the MLP. Widths, activations and the start of `down` (normal, 0.02) are AdapterHub's defaults for its
`DoubleSeqBnConfig` and `SeqBnConfig`; `up` starts at zero, so that a fresh skill is the base, where AdapterHub's is
near it. Both placements read the sub-layer's output alone, as `DoubleSeqBnConfig` does; AdapterHub's `SeqBnConfig`
(`original_ln_before`) feeds its module the sum of that output and the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method
from loraloop.adapters.payload.payload import ACTIVATIONS, Activation, Bottleneck, Payload
from loraloop.tool_schemas.errors import InputError, unknown

PLACEMENTS = {"houlsby": ("attention", "mlp"), "pfeiffer": ("mlp",)}


@dataclass(frozen=True, slots=True)
class BottleneckAdapter(Method):
    """The method.

    A module of width R has the parameters `down` `[R, H]`, `up` `[H, R]`, `down_bias` `[R]` and `up_bias` `[H]`.

    Attributes:
        placement: "houlsby" or "pfeiffer".
        reduction: hidden size over the module's width.
        activation: "relu", "gelu" or "silu"; by default silu for houlsby and relu for pfeiffer.
    """

    placement: str = "pfeiffer"
    reduction: float = 16.0
    activation: str = ""
    name = "bottleneck"

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise unknown("placement", self.placement, PLACEMENTS)
        if not self.activation:
            object.__setattr__(self, "activation", "silu" if self.placement == "houlsby" else "relu")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if not self.reduction > 0:
            raise InputError(f"reduction must be positive, not {self.reduction}")

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """ "layers.<i>.<attention|mlp>.bottleneck.": down [R, H], up [H, R], down_bias [R], up_bias [H]."""
        generator = torch.Generator().manual_seed(seed)
        hidden = context.config.hidden_size
        width = max(1, round(hidden / self.reduction))
        parameters: dict[str, Tensor] = {}
        for layer in range(context.config.layers):
            for part in PLACEMENTS[self.placement]:
                fresh = {
                    "down": torch.empty(width, hidden).normal_(0, 0.02, generator=generator),
                    "up": torch.zeros(hidden, width),
                    "down_bias": torch.zeros(width),
                    "up_bias": torch.zeros(hidden),
                }
                for name, tensor in fresh.items():
                    parameters[f"layers.{layer}.{part}.bottleneck.{name}"] = tensor.requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """A module on each sub-layer.

        Args:
            parameters: `down` `[R, H]`, `up` `[H, R]`, `down_bias` `[R]` and `up_bias` `[H]` of each.
            context: Gives the dimensions.
        """
        found = {}
        for layer in range(context.config.layers):
            for part in PLACEMENTS[self.placement]:
                place = f"layers.{layer}.{part}.bottleneck."
                if f"{place}down" in parameters:
                    down, up, first, second = (
                        parameters.get(place + name) for name in ("down", "up", "down_bias", "up_bias")
                    )
                    assert down is not None and up is not None
                    found[layer, part] = Bottleneck(down, up, first, second, cast(Activation, self.activation))
        return Payload(bottlenecks=found)
