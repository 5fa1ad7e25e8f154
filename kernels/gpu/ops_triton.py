"""The op table on CUDA: the Triton kernels, and the GPU's matrix product where rows are many."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from loraloop.kernels import backward
from loraloop.kernels.gpu import triton_lora, triton_nf4, triton_outer
from loraloop.kernels.gpu.triton_nf4 import Nf4
from loraloop.kernels.rows import RowSlots

_dense: dict[tuple[torch.device, torch.dtype, int], Tensor] = {}


class _Pieces:
    """`backward.Pieces` in Triton."""

    def shrink(self, x: Tensor, A: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        return triton_lora.shrink(x, A, slots, weights, tiles).sum(0)[0]

    def expand(self, middle: Tensor, y: Tensor, B: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        return triton_lora.expand(middle[None, None], y, B, None, None, slots, weights, tiles)

    outer = staticmethod(triton_outer.outer)
    segment_sum = staticmethod(triton_outer.segment_sum)


_PIECES = _Pieces()


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor,
    spans: Tensor | None = None,
) -> None:  # fmt: skip
    triton_lora.adapt(x, y, A, B, None, None, slots, weights, tiles, spans)


def adapt_(
    x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor,
    weights: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    triton_lora.adapt(x, y, A, B, gain, bias, slots, weights, tiles, spans)


def adapt(
    x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor,
    weights: Tensor, tiles: Tensor,
) -> Tensor:  # fmt: skip
    out = y.clone(memory_format=torch.contiguous_format)
    return triton_lora.adapt(x, out, A, B, gain, bias, slots, weights, tiles)


def adapt_backward(
    grad: Tensor, x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None,
    slots: Tensor, weights: Tensor, tiles: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    return backward.adapt_backward(_PIECES, grad, x, y, A, B, gain, bias, slots, weights, tiles)


def scale_input(x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    return triton_lora.scale_input(x, gain, slots, weights)


def scale_input_backward(
    grad: Tensor, x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    return backward.scale_input_backward(_PIECES, grad, x, gain, slots, weights)


def nf4_dequantize(
    codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, rows: int, columns: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    return triton_nf4.dequantize((codes, absmax, absmax_code, absmax_scales, offset), rows, columns, dtype)


def nf4_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int
) -> Tensor:
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    return triton_nf4.linear(x, weight, outputs) if triton_nf4.fits(x) else _through_dense(x, weight, outputs)


def nf4_adapt_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int,
    A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor, weights: Tensor,
    input_gain: Tensor | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    if triton_nf4.fits(x):
        return triton_nf4.linear(x, weight, outputs, A, B, gain, bias, input_gain, slots, weights, spans)
    scaled = x if input_gain is None else triton_lora.scale_input(x, input_gain, slots, weights)
    y = _through_dense(scaled, weight, outputs)
    return triton_lora.adapt(x, y, A, B, gain, bias, slots, weights, RowSlots.all_tiles(slots, weights).tiles, spans)


def _through_dense(x: Tensor, weight: Nf4, outputs: int) -> Tensor:
    """Dequantizes into a buffer that all weights of a stream share, then multiplies."""
    total = outputs * x.shape[1]
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    buffer = _dense.get((x.device, x.dtype, stream))
    if buffer is None or buffer.numel() < total:
        buffer = _dense[x.device, x.dtype, stream] = torch.empty(total, dtype=x.dtype, device=x.device)
    return linear(x, triton_nf4.dequantize(weight, outputs, x.shape[1], x.dtype, buffer))
