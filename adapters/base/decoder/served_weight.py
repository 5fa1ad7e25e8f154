"""A served weight that training multiplies by as it is served, with a gradient of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loraloop.kernels.cpu.native import Native
from loraloop.kernels.cpu.tiles import TiledWeight
from loraloop.kernels.quantized import Int8Weight, Weight


@dataclass(slots=True)
class ServedWeight:
    """A linear map `x[N, K] -> y[N, O]` in fp32: `W` in the tiles it is served in, and `Wᵀ` in int8 for the backward.

    Activations and gradients enter the products in 8 bits, in groups of 32 with a scale each, as in the C decoder.
    """

    tiles: Weight
    transposed: TiledWeight
    native: Native

    @classmethod
    def of(cls, tiles: Weight, native: Native) -> ServedWeight:
        """Quantizes the transposed values: one scale for each input feature. O is a multiple of 32."""
        int8 = Int8Weight.quantize(tiles.dequantize().T, torch.float32)
        return cls(tiles, TiledWeight.int8(int8.codes, int8.scales), native)

    @property
    def out_features(self) -> int:
        return self.tiles.out_features

    @property
    def in_features(self) -> int:
        return self.tiles.in_features

    def __call__(self, x: Tensor) -> Tensor:
        """The product fp32 `[N, O]` of x fp32 `[N, K]`, with a gradient of x."""
        y: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return y

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]` that the tiles stand for."""
        return self.tiles.dequantize()

    def state(self) -> dict[str, Tensor]:
        """The tensors of the tiles, uint8 `[bytes]`."""
        return self.tiles.state()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: ServedWeight) -> Tensor:
        ctx.weight = weight
        return weight.native.multiply(weight.tiles, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.weight.native.multiply(ctx.weight.transposed, grad), None
