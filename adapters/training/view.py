"""A base as training sees it: differentiable products of the values that it serves."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder import Decoder, Layer
from loraloop.kernels.nf4 import Nf4Weight, has_kernels
from loraloop.kernels.quantized import DenseWeight, Weight

Precision = Literal["base", "bf16", "fp32"]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def training_view(base: Base, precision: Precision = "base") -> Decoder:
    """The base's decoder over dense weights; they are dequantized once, here.

    On a GPU, NF4 stays as it is: its op has a gradient.

    Args:
        base: it, quantized or not.
        precision: what is computed in: as the base, bf16 (an fp32 base trains in a fraction of the time), or fp32.
    """
    served = base.decoder
    dtype = DTYPES.get(precision, served.dtype)

    def differentiable(weight: Weight) -> Weight:
        if isinstance(weight, Nf4Weight) and has_kernels(weight.codes.device):
            return weight
        return DenseWeight(weight.dequantize().to(dtype))

    def vector(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.to(dtype)

    layers = [
        Layer(
            layer.attention_norm.to(dtype),
            differentiable(layer.qkv),
            differentiable(layer.o),
            layer.mlp_norm.to(dtype),
            differentiable(layer.gate_up),
            differentiable(layer.down),
            vector(layer.qkv_bias),
            vector(layer.q_norm),
            vector(layer.k_norm),
        )
        for layer in served.layers
    ]
    head = DenseWeight(served.head.dequantize().to(dtype))
    tied = served.head is served.embedding
    embedding = head if tied else DenseWeight(served.embedding.dequantize().to(dtype))  # rows of tiles are slow to read
    return Decoder(served.config, embedding, layers, served.norm.to(dtype), head, dtype, served.device)
