"""The op table on CUDA: the Triton kernels, and the GPU's matrix product where rows are many.

A Triton kernel is launched on the current device, so every op makes its operands' device the current one first.
Shapes are those of `ops.SCHEMAS`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from loraloop.kernels.device import on_device
from loraloop.kernels.gpu import triton_lora, triton_nf4
from loraloop.kernels.gpu.triton_nf4 import LoraOperands, Nf4

_dense: dict[tuple[torch.device, torch.dtype, int], Tensor] = {}


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    """Adds what the slots of the rows contribute to y, in place; see `reference.lora_rows`."""
    with on_device(x):
        triton_lora.lora_linear_(x, y, A, B, slots, tiles, spans)


def nf4_dequantize(
    codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, rows: int, columns: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Dense values of an NF4 weight `[O, K]`; see `reference.nf4_dequantize`."""
    with on_device(codes):
        return triton_nf4.dequantize((codes, absmax, absmax_code, absmax_scales, offset), rows, columns, dtype)


def nf4_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int
) -> Tensor:
    """The product of x and an NF4 weight `[O, K]`; see `reference.nf4_dequantize`."""
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    with on_device(x):
        return triton_nf4.linear(x, weight, outputs) if triton_nf4.fits(x) else _through_dense(x, weight, outputs)


def nf4_lora_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int,
    A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, counters: Tensor, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`nf4_linear`, and what the rows' slots add to it; see `reference.lora_rows`."""
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    with on_device(x):
        if triton_nf4.fits(x):
            return triton_nf4.linear(x, weight, outputs, LoraOperands(A, B, slots, counters, spans))
        y = _through_dense(x, weight, outputs)
        triton_lora.lora_linear_(x, y, A, B, slots, tiles, spans)
        return y


def _through_dense(x: Tensor, weight: Nf4, outputs: int) -> Tensor:
    """Dequantizes, then multiplies. All weights of a stream share one buffer, which may be replaced by a larger one.

    A captured graph reads the same memory at every replay, so a capture takes a buffer of the graph's own.
    """
    total = outputs * x.shape[1]
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        buffer = torch.empty(total, dtype=x.dtype, device=x.device)
    else:
        stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
        found = _dense.get((x.device, x.dtype, stream))
        if found is None or found.numel() < total:
            found = _dense[x.device, x.dtype, stream] = torch.empty(total, dtype=x.dtype, device=x.device)
        buffer = found
    return linear(x, triton_nf4.dequantize(weight, outputs, x.shape[1], x.dtype, buffer))
