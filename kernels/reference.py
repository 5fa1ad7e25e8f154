"""The definition of every operation, in plain torch, on any device; the kernels are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""NormalFloat4 (QLoRA, arXiv 2305.14314), as bitsandbytes has it: the value of each code."""

BLOCK = 64
"""Values that share one absmax."""

NESTED = 256
"""Absmaxes that share one scale of their own."""

Segments = tuple[tuple[int, int, int], ...]
"""(start, end, slot) of each row of a forward in the flat [N, …] matrices, in order and without gaps."""


def lora_rows(x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, spans: Tensor | None = None) -> Tensor:
    """Adds the low-rank product of the slot that each row uses: y + (x A_sᵀ) B_sᵀ, s the slot of the row.

    Args:
        x: [N, K] inputs.
        y: [N, O] the base's product; not changed.
        A: [S, R, K] shrink matrices of all slots, zero-padded to one rank.
        B: [S, O, R] expand matrices, the scaling already multiplied in.
        slots: int32 [N] indices of slots; -1 where a row uses none.
        spans: int32 [S, R, 2]; columns of B outside of [first, last) are taken for zero.

    Returns:
        [N, O] in y's dtype, summed in fp32 and rounded once. Rows on no slot keep their bits.
    """
    total = y.float()
    for slot in sorted(set(slots.tolist()) - {-1}):
        rows, expand = (slots == slot).nonzero()[:, 0], B[slot].float()
        if spans is not None:
            place = torch.arange(y.shape[1], device=y.device)[:, None]
            inside = (place >= spans[slot, :, 0]) & (place < spans[slot, :, 1])
            expand = torch.where(inside, expand, 0.0)
        total = total.index_add(0, rows, (x[rows].float() @ A[slot].float().T) @ expand.T)
    return total.to(y.dtype)


def nf4_absmax(absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor) -> Tensor:
    """fp32 absmax [blocks] of each block of 64, from its 8-bit code: a value between -1 and 1, scaled, offset.

    Args:
        absmax: uint8 [blocks], the coded absmax of each block.
        absmax_code: fp32 [256], what those codes mean.
        absmax_scales: fp32 [ceil(blocks / 256)], the scale of 256 absmaxes.
        offset: fp32 scalar that was taken off all absmaxes.
    """
    scales = absmax_scales.repeat_interleave(NESTED)[: absmax.shape[0]]
    return absmax_code[absmax.long()] * scales + offset


def nf4_dequantize(
    codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, rows: int, columns: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Dense values [rows, columns] of bitsandbytes' NF4.

    Args:
        codes: uint8 [rows · columns / 2, 1], two codes a byte over the flattened matrix; the upper half of a byte comes
            first.
        absmax: uint8 [ceil(rows · columns / 64)], the coded absmax of each block of 64 values.
        absmax_code: fp32 [256], what those codes mean.
        absmax_scales: fp32 [ceil(blocks / 256)], the scale of 256 absmaxes.
        offset: fp32 scalar that was taken off all absmaxes.
    """
    flat = codes.reshape(-1)
    table = torch.tensor(LEVELS, device=codes.device)
    values = torch.stack([table[(flat >> 4).long()], table[(flat & 15).long()]], dim=1).view(-1)[: rows * columns]
    scales = nf4_absmax(absmax, absmax_code, absmax_scales, offset).repeat_interleave(BLOCK)[: rows * columns]
    return (values * scales).to(dtype).view(rows, columns)


def decode_attention(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, window: int | None = None
) -> Tensor:
    """One new token a row against its cached keys and values and itself; see `triton_attention.decode_attention`.

    Args:
        q: [B, heads, D].
        k, v: [B, kv_heads, D] of the new tokens.
        keys, values: [B, kv_heads, C, D] caches.
        lengths: [B] positions of each cache that count.
        window: positions that a token sees, itself included; None for all.

    Returns:
        [B, heads · D] in fp32.
    """
    _, heads, dim = q.shape
    out = []
    for row, length in enumerate(lengths.tolist()):
        first = 0 if window is None else max(0, length + 1 - window)
        here = torch.cat([keys[row, :, first:length].float(), k[row, :, None].to(keys.dtype).float()], dim=1)
        there = torch.cat([values[row, :, first:length].float(), v[row, :, None].to(values.dtype).float()], dim=1)
        group = q[row].float().view(k.shape[1], -1, dim)
        scores = torch.softmax(group @ here.transpose(1, 2) * dim**-0.5, dim=-1)
        out.append((scores @ there).view(heads * dim))
    return torch.stack(out)
