"""The op table on a CPU: the definition itself. Decoding there goes its own, faster way (`kernels.cpu`)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from loraloop.kernels import reference
from loraloop.kernels.reference import nf4_dequantize as nf4_dequantize


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    """Adds what the slots of the rows contribute to y, in place; see `reference.lora_rows`.

    Args:
        x: Inputs `[N, K]`.
        y: The base's product `[N, O]`; changed in place.
        A: Shrink matrices `[S, R, K]` of all slots.
        B: Expand matrices `[S, O, R]` of all slots, the scaling already multiplied in.
        slots: int32 `[N]`, the slot of each row; -1 where a row uses none.
        tiles: int32 `[T]`, the row tiles in which any row uses a slot; not read here.
        spans: int32 `[S, R, 2]`; columns of B outside of [first, last) are taken for zero.
    """
    y.copy_(reference.lora_rows(x, y, A, B, slots, spans))


def nf4_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int
) -> Tensor:
    """The product of x and an NF4 weight `[O, K]`; see `reference.nf4_dequantize`.

    Args:
        x: Inputs `[N, K]`.
        codes: uint8 `[O · K / 2, 1]`, two codes a byte.
        absmax: uint8 `[blocks]`, the coded absmax of each block of 64 values.
        absmax_code: fp32 `[256]`, what those codes mean.
        absmax_scales: fp32 `[ceil(blocks / 256)]`, the scale of 256 absmaxes.
        offset: fp32 `[]` that was taken off all absmaxes.
        outputs: O.

    Returns:
        `[N, O]` in x's dtype.
    """
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    return linear(x, nf4_dequantize(*weight, outputs, x.shape[1], x.dtype))


def nf4_lora_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int,
    A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, counters: Tensor, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`nf4_linear`, and what the rows' slots add to it; see `reference.lora_rows`.

    Args:
        x: Inputs `[N, K]`.
        codes: uint8 `[O · K / 2, 1]`, two codes a byte.
        absmax: uint8 `[blocks]`, the coded absmax of each block of 64 values.
        absmax_code: fp32 `[256]`, what those codes mean.
        absmax_scales: fp32 `[ceil(blocks / 256)]`, the scale of 256 absmaxes.
        offset: fp32 `[]` that was taken off all absmaxes.
        outputs: O.
        A: Shrink matrices `[S, R, K]` of all slots.
        B: Expand matrices `[S, O, R]` of all slots, the scaling already multiplied in.
        slots: int32 `[N]`, the slot of each row; -1 where a row uses none.
        tiles: int32 `[T]`, the row tiles in which any row uses a slot; not read here.
        counters: int32 `[2]`, zeros before and after; not read here.
        spans: int32 `[S, R, 2]`; columns of B outside of [first, last) are taken for zero.

    Returns:
        `[N, O]` in x's dtype.
    """
    y = nf4_linear(x, codes, absmax, absmax_code, absmax_scales, offset, outputs)
    return reference.lora_rows(x, y, A, B, slots, spans)
