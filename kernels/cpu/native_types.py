"""The structures of csrc/model.h, field by field, and how they are filled from tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor

from loraloop.kernels.cpu.tiles import LANES, TiledWeight
from loraloop.kernels.quantized import StackedWeight, Weight

GROUPS = ("qkv", "o", "gate_up", "down")
BLOCKS = 3  # diagonal blocks of an expand matrix at most
_PARTS = 3

_int, _pointer, _float = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float


class CPart(ctypes.Structure):
    _fields_ = (("data", _pointer), ("rows", _int), ("kind", _int))


class CLinear(ctypes.Structure):
    _fields_ = (("parts", CPart * _PARTS), ("count", _int), ("inputs", _int), ("outputs", _int), ("bias", _pointer))

    @classmethod
    def of(cls, weight: Weight, bias: Tensor | None = None) -> CLinear:
        """Points to a weight's tiles and a bias [O] in fp32; the caller keeps both alive.

        Raises:
            TypeError: it is not in tiles.
        """
        parts = weight.parts if isinstance(weight, StackedWeight) else (weight,)
        made = cls(count=len(parts), inputs=weight.in_features, outputs=weight.out_features)
        made.bias = bias.data_ptr() if bias is not None else None
        for place, part in zip(made.parts, parts, strict=False):
            if not isinstance(part, TiledWeight):
                raise TypeError(f"the C kernels read TiledWeight, not {type(part).__name__}")
            place.data, place.kind = part.data.data_ptr(), int(part.kind)
            place.rows = -(-part.out_features // LANES) * LANES
        return made


class CLayer(ctypes.Structure):
    _fields_ = (
        ("groups", CLinear * len(GROUPS)),
        ("attention_norm", _pointer),
        ("mlp_norm", _pointer),
        ("q_norm", _pointer),
        ("k_norm", _pointer),
        ("rotated", _int),
    )


class CShape(ctypes.Structure):
    _fields_ = (("heads", _int), ("kv_heads", _int), ("head_dim", _int), ("window", _int), ("scale", _float))


class CModel(ctypes.Structure):
    _fields_ = (
        ("attention", CShape),
        ("hidden", _int),
        ("inner", _int),
        ("layers", _int),
        ("eps", _float),
        ("residual_scale", _float),
        ("embedding_scale", _float),
        ("layer", ctypes.POINTER(CLayer)),
        ("norm", _pointer),
        ("head", CLinear),
        ("embedding", CLinear),
    )


class CPair(ctypes.Structure):
    """A site's low-rank matrices: shrink bf16 [R, K], expand bf16 [R, O], and where the latter is not zero."""

    _fields_ = (
        ("shrink", _pointer),
        ("expand", _pointer),
        ("rank", _int),
        ("inputs", _int),
        ("outputs", _int),
        ("blocks", _int),
        ("block", (_int * 4) * BLOCKS),
    )

    @classmethod
    def of(cls, shrink: Tensor, expand: Tensor, blocks: Sequence[tuple[int, int, int]] = ()) -> CPair:
        """Points to matrices that the caller keeps alive.

        Args:
            shrink: bf16 [R, K], contiguous; K a multiple of 32.
            expand: bf16 [R, O], contiguous; O a multiple of 16.
            blocks: (ranks, first column, one past the last) of a block-diagonal expand, from the top; none if dense.

        Raises:
            ValueError: operands that the kernels cannot read.
        """
        import torch

        (rank, inputs), (height, outputs) = shrink.shape, expand.shape
        for tensor in (shrink, expand):
            if tensor.dtype is not torch.bfloat16 or not tensor.is_contiguous():
                raise ValueError(f"wanted a contiguous bf16 tensor, not {tensor.dtype} {list(tensor.shape)}")
        if rank != height or inputs % 32 or outputs % LANES:
            raise ValueError(f"shrink[R, K] and expand[R, O] do not fit: {list(shrink.shape)}, {list(expand.shape)}")
        made = cls(shrink.data_ptr(), expand.data_ptr(), rank, inputs, outputs)
        at = 0
        for ranks, first, end in blocks or ((rank, 0, outputs),):
            if made.blocks == BLOCKS or first % LANES or end % LANES or not 0 <= first <= end <= outputs:
                raise ValueError(f"blocks {list(blocks)} do not fit {rank} ranks of {outputs} columns")
            made.block[made.blocks][:] = (at, at + ranks, first, end)
            made.blocks += 1
            at += ranks
        if at != rank:
            raise ValueError(f"blocks {list(blocks)} do not cover {rank} ranks")
        return made


ACTIVATIONS = ("relu", "gelu", "silu")
AFTER = ("attention", "mlp")


class CBottleneck(ctypes.Structure):
    """A module on a sub-layer's output: both matrices bf16 [R, H], biases fp32 [R] and [H] or none."""

    _fields_ = (
        ("down", _pointer),
        ("up", _pointer),
        ("down_bias", _pointer),
        ("up_bias", _pointer),
        ("width", _int),
        ("activation", _int),
    )

    @classmethod
    def of(
        cls, down: Tensor, up: Tensor, down_bias: Tensor | None, up_bias: Tensor | None, activation: str
    ) -> CBottleneck:
        """Points to tensors that the caller keeps alive.

        Args:
            down: bf16 `[R, H]`, contiguous.
            up: bf16 `[R, H]`, contiguous.
            down_bias: fp32 `[R]`, or None.
            up_bias: fp32 `[H]`, or None.
            activation: One of `ACTIVATIONS`.

        Raises:
            ValueError: operands that the kernels cannot read.
        """
        import torch

        for tensor in (down, up):
            if tensor.dtype is not torch.bfloat16 or not tensor.is_contiguous() or tensor.shape != down.shape:
                raise ValueError(f"wanted contiguous bf16 [R, H], not {tensor.dtype} {list(tensor.shape)}")
        biases = (None if bias is None else vector(bias) for bias in (down_bias, up_bias))
        return cls(down.data_ptr(), up.data_ptr(), *biases, down.shape[0], ACTIVATIONS.index(activation))


class CExtra(ctypes.Structure):
    """What a skill changes in a layer besides its pairs."""

    _fields_ = (
        ("gain", _pointer * len(GROUPS)),
        ("bias", _pointer * len(GROUPS)),
        ("input_gain", _pointer * len(GROUPS)),
        ("after", CBottleneck * len(AFTER)),
    )


def vector(values: Tensor) -> int:
    """Address of a contiguous fp32 vector `[N]`.

    Raises:
        ValueError: It is of another type, or not contiguous.
    """
    import torch

    if values.dtype is not torch.float32 or not values.is_contiguous():
        raise ValueError(f"wanted a contiguous fp32 vector, not {values.dtype} {list(values.shape)}")
    return values.data_ptr()


class CCache(ctypes.Structure):
    _fields_ = (("pages", _pointer), ("length", _int))


class CRow(ctypes.Structure):
    _fields_ = (
        ("cache", CCache),
        ("tokens", _int),
        ("pairs", _pointer),
        ("beyond", _pointer),
    )


class CRequest(ctypes.Structure):
    _fields_ = (
        ("model", ctypes.POINTER(CModel)),
        ("rows", ctypes.POINTER(CRow)),
        ("count", _int),
        ("tokens", _pointer),
        ("cos", _pointer),
        ("sin", _pointer),
        ("hidden", _pointer),
        ("kept", _int),
        ("keep", _pointer),
        ("kept_to", _pointer),
        ("threads", _int),
        ("embeddings", _pointer),
    )
