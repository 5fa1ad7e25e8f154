"""The op table on a CPU: the definition itself. Decoding there goes its own, faster way (`kernels.lora`, C)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from loraloop.kernels import backward, reference_ops


class _Pieces:
    """`backward.Pieces` in plain torch."""

    def shrink(self, x: Tensor, A: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        out = torch.zeros(x.shape[0], A.shape[1], device=x.device)
        for _, slot, rows in reference_ops.used(slots):
            out[rows] = weights[rows] * (x[rows].float() @ A[slot].float().T)
        return out

    def expand(self, middle: Tensor, y: Tensor, B: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        for _, slot, rows in reference_ops.used(slots):
            y[rows] += middle[rows] @ B[slot].float().T
        return y

    def outer(self, left: Tensor, right: Tensor, slots: Tensor, out: Tensor) -> Tensor:
        out.zero_()
        for _, slot, rows in reference_ops.used(slots):
            out[slot] = left[rows].T @ right[rows].float()
        return out

    def segment_sum(self, values: Tensor, slots: Tensor, count: int) -> Tensor:
        out = torch.zeros(count, values.shape[1], device=values.device)
        for _, slot, rows in reference_ops.used(slots):
            out[slot] = values[rows].float().sum(0)
        return out


_PIECES = _Pieces()


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor,
    spans: Tensor | None = None,
) -> None:  # fmt: skip
    y.copy_(reference_ops.adapt(x, y, A, B, None, None, slots, weights, spans))


def adapt_(
    x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor,
    weights: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    y.copy_(reference_ops.adapt(x, y, A, B, gain, bias, slots, weights, spans))


def adapt(
    x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor,
    weights: Tensor, tiles: Tensor,
) -> Tensor:  # fmt: skip
    out = reference_ops.adapt(x, y, A, B, gain, bias, slots, weights)
    return out.clone() if out is y else out.contiguous()


def adapt_backward(
    grad: Tensor, x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None,
    slots: Tensor, weights: Tensor, tiles: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    return backward.adapt_backward(_PIECES, grad, x, y, A, B, gain, bias, slots, weights, tiles)


def scale_input(x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    return reference_ops.scale_input(x, gain, slots, weights).contiguous()


def scale_input_backward(
    grad: Tensor, x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    return backward.scale_input_backward(_PIECES, grad, x, gain, slots, weights)


def nf4_dequantize(
    codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, rows: int, columns: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    return reference_ops.nf4_dequantize(codes, absmax, absmax_code, absmax_scales, offset, rows, columns, dtype)


def nf4_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int
) -> Tensor:
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    return linear(x, reference_ops.nf4_dequantize(*weight, outputs, x.shape[1], x.dtype))


def nf4_adapt_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int,
    A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None, slots: Tensor, weights: Tensor,
    input_gain: Tensor | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    scaled = x if input_gain is None else reference_ops.scale_input(x, input_gain, slots, weights)
    y = nf4_linear(scaled, codes, absmax, absmax_code, absmax_scales, offset, outputs)
    return reference_ops.adapt(x, y, A, B, gain, bias, slots, weights, spans)
