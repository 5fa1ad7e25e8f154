"""A base as training sees it: differentiable products of the values that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.decoder import Decoder, Layer
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
from loraloop.adapters.base.decoder.served_weight import ServedWeight
from loraloop.adapters.base.decoder.shards import ShardedWeight, Shards
from loraloop.adapters.payload.sites import GROUPS
from loraloop.kernels.nf4 import Nf4Weight, has_kernels
from loraloop.kernels.quantized import DenseWeight, Weight
from loraloop.tool_schemas.errors import InputError

Precision = Literal["base", "bf16", "fp32", "served"]
_VECTORS = ("attention_norm", "mlp_norm", "qkv_bias", "q_norm", "k_norm")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "served": torch.float32}


def training_view(base: Base, precision: Precision = "base", shards: Shards | None = None) -> Decoder:
    """The base's decoder over dense weights; they are dequantized once, here.

    On a GPU, NF4 stays as it is, unless it is shared out: its op has a gradient.

    Args:
        base: it, quantized or not.
        precision: what is computed in: as the base, bf16 (an fp32 base trains in a fraction of the time), fp32, or
            `served`: the layers' products are the C decoder's own, forward and backward, everything else is fp32.
        shards: shares the weights out among all processes, layer by layer, and says where they go; norms and biases are
            small, so every process holds them. None: every process holds everything.

    Raises:
        InputError: `served` is wanted of a base that the C decoder does not serve, or of weights that are shared out.
    """
    served = base.decoder
    native = served.native if isinstance(served, NativeDecoder) and precision == "served" and not shards else None
    if precision == "served" and native is None:
        raise InputError(
            "precision 'served' needs the C decoder, which serves int4, int8 and bf16 bases on a CPU with a C "
            "compiler, and a base that each process holds whole: set precision to 'fp32' or 'bf16'"
        )
    dtype, device = DTYPES.get(precision, served.dtype), shards.device if shards else served.device

    def held(weights: Mapping[str, Weight]) -> Mapping[str, Weight]:
        """The weights of the forward's next place."""
        if shards:
            return shards.add({name: weight.dequantize().to(dtype) for name, weight in weights.items()})
        return {name: differentiable(weight) for name, weight in weights.items()}

    def differentiable(weight: Weight) -> Weight:
        if isinstance(weight, Nf4Weight) and has_kernels(weight.codes.device):
            return weight
        return DenseWeight(weight.dequantize().to(dtype))

    def vector(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.to(device, dtype)

    def layer_of(layer: Layer) -> Layer:
        weights: Mapping[str, Weight] = {name: getattr(layer, name) for name in GROUPS}
        if native is None:
            weights = held(weights)
        else:
            weights = {name: ServedWeight.of(weight, native) for name, weight in weights.items()}
        vectors = {name: vector(getattr(layer, name)) for name in _VECTORS}
        return Layer(**weights, **vectors)  # type: ignore[arg-type]

    tied = served.head is served.embedding
    embedding = held({"embedding": served.embedding})["embedding"]  # dense: rows of tiles are slow to read
    layers = [layer_of(layer) for layer in served.layers]
    if not tied:
        head = held({"head": served.head})["head"]
    else:
        head = shards.repeat(embedding) if shards and isinstance(embedding, ShardedWeight) else embedding
    assert isinstance(embedding, DenseWeight | ShardedWeight)
    norm = served.norm.to(device, dtype)
    return Decoder(served.config, embedding, layers, norm=norm, head=head, dtype=dtype, device=device)
