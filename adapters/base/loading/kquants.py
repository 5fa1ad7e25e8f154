"""Blocks of a GGUF file as 4-bit codes or as values.

Q4_0, Q4_1 and Q4_K are affine in groups of 32 columns, so their codes are served as they are. Every other kind is
dequantized by the `gguf` package; the int4 form serves it in int8. Layouts: ggml-quants.h of
https://github.com/ggml-org/ggml. A Q4_K block holds 256 values of a row in 144 bytes: two fp16 numbers d and dmin,
twelve bytes with a 6-bit scale s and a 6-bit minimum m for each group, and 128 bytes of nibbles; a value is
d·s·code - dmin·m.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraloop.adapters.base.loading.source import CHUNK, Codes4, Fine

PLAIN = {"F32": np.float32, "F16": np.float16, "BF16": np.int16}
CODES = ("Q4_0", "Q4_1", "Q4_K")
FINE = ("Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0", "Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS")
KINDS = (*CODES, *FINE, *PLAIN)

Bytes = np.ndarray[Any, Any]


def decode(kind: str, data: Bytes, shape: tuple[int, ...]) -> Tensor | Codes4 | Fine:
    """A tensor of a GGUF file from its bytes, which are not changed.

    Args:
        kind: one of `KINDS`.
        data: The tensor's bytes.
        shape: of the tensor; a quantized one is `[O, K]` with K a multiple of the block.

    Returns:
        The tensor `[*shape]` in the file's dtype, or a quantized one as codes or fp32 values `[O, K]`.
    """
    if kind in PLAIN:
        values = torch.from_numpy(np.array(data).view(PLAIN[kind]).reshape(shape))
        return values.view(torch.bfloat16) if kind == "BF16" else values
    if kind in CODES:
        return {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k}[kind](data, *shape)
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    fine = np.empty(shape, dtype=np.float32)
    step = max(1, CHUNK // shape[1])
    for start in range(0, shape[0], step):
        fine[start : start + step] = dequantize(data[start : start + step], GGMLQuantizationType[kind])
    return Fine(torch.from_numpy(fine))


def _q4_0(data: Bytes, rows: int, columns: int) -> Codes4:
    blocks = data.view(np.uint8).reshape(rows, columns // 32, 18)
    scales = _halves(blocks[..., :2])[..., 0]
    return Codes4(_nibbles(blocks[..., 2:], rows, columns), scales, torch.zeros_like(scales))


def _q4_1(data: Bytes, rows: int, columns: int) -> Codes4:
    blocks = data.view(np.uint8).reshape(rows, columns // 32, 20)
    scales, minimums = _halves(blocks[..., :4]).unbind(-1)
    return Codes4(_nibbles(blocks[..., 4:], rows, columns), scales.contiguous(), minimums + 8 * scales)


def _q4_k(data: Bytes, rows: int, columns: int) -> Codes4:
    blocks = data.view(np.uint8).reshape(rows, columns // 256, 144)
    d, dmin = _halves(blocks[..., :4]).unbind(-1)
    s, m = _scales_and_minimums(blocks[..., 4:16])
    scales = (d[..., None] * s).view(rows, -1)
    zeros = 8 * scales - (dmin[..., None] * m).view(rows, -1)
    return Codes4(_nibbles(blocks[..., 16:].reshape(rows, -1, 32), rows, columns), scales, zeros)


def _scales_and_minimums(packed: Bytes) -> tuple[Tensor, Tensor]:
    """The eight 6-bit scales and minimums of each Q4_K block, fp32 `[…, 8]`, from its twelve bytes.

    Bytes 0-3 and 4-7 hold the first four of each in their low six bits. The second four have their low four bits in the
    nibbles of bytes 8-11 and their high two in the top of bytes 0-3 (scales) and 4-7 (minimums).
    """
    first, second, third = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    s = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], axis=-1)
    m = np.concatenate([second & 63, (third >> 4) | (second >> 6) << 4], axis=-1)
    return torch.from_numpy(s).float(), torch.from_numpy(m).float()


def _halves(packed: Bytes) -> Tensor:
    """fp16 numbers as fp32."""
    return torch.from_numpy(np.ascontiguousarray(packed).view(np.float16).astype(np.float32))


def _nibbles(packed: Bytes, rows: int, columns: int) -> Tensor:
    """Codes `[O, K]` of runs of bytes `[O, runs, n]` whose low nibbles come first, then their high ones."""
    return torch.from_numpy(np.concatenate([packed & 15, packed >> 4], axis=-1).reshape(rows, columns))
