"""The op table on a CPU: the definition itself. Decoding there goes its own, faster way (`kernels.cpu`).

Shapes are those of `ops.SCHEMAS`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from loraloop.kernels import reference
from loraloop.kernels.reference import nf4_dequantize as nf4_dequantize


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    """Adds what the slots of the rows contribute to y, in place; see `reference.lora_rows`."""
    y.copy_(reference.lora_rows(x, y, A, B, slots, spans))


def nf4_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int
) -> Tensor:
    """The product of x and an NF4 weight `[O, K]`; see `reference.nf4_dequantize`."""
    weight = (codes, absmax, absmax_code, absmax_scales, offset)
    return linear(x, nf4_dequantize(*weight, outputs, x.shape[1], x.dtype))


def nf4_lora_linear(
    x: Tensor, codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, outputs: int,
    A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, counters: Tensor, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`nf4_linear`, and what the rows' slots add to it; see `reference.lora_rows`."""
    y = nf4_linear(x, codes, absmax, absmax_code, absmax_scales, offset, outputs)
    return reference.lora_rows(x, y, A, B, slots, spans)
