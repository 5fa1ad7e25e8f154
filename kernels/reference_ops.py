"""The definition of the operations of the op table that take tables of slots, in plain torch; see `kernels.ops`.

`reference.lora_linear` defines the same sum over segments; here it is said for slots as tensors, with gains, biases and
4-bit weights. Everything is summed in fp32 and rounded once to the output's dtype. Differentiable where the op is.
"""

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


def used(slots: Tensor) -> list[tuple[int, int, Tensor]]:
    """(column, slot, rows) of each distinct slot in each column of a table [N, k]."""
    found = []
    for column in range(slots.shape[1]):
        for slot in sorted(set(slots[:, column].tolist())):
            if slot >= 0:
                found.append((column, slot, (slots[:, column] == slot).nonzero()[:, 0]))
    return found


def gains(gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    """[N, C] of (1 - Σ w) + Σ w · gain[slot], for gain [S, C]; 1 for rows on no slot."""
    active = slots >= 0
    total = (1 - (weights * active).sum(1))[:, None].expand(slots.shape[0], gain.shape[1])
    for column, slot, rows in used(slots):
        total = total.index_add(0, rows, weights[rows, column, None] * gain[slot].float())
    return total


def scale_input(x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    """x [N, K] times the input gain [S, K] of each row's slots (IA3's feed-forward, arXiv 2205.05638)."""
    return (x.float() * gains(gain, slots, weights)).to(x.dtype)


def adapt(
    x: Tensor,
    y: Tensor,
    A: Tensor | None,
    B: Tensor | None,
    gain: Tensor | None,
    bias: Tensor | None,
    slots: Tensor,
    weights: Tensor,
    spans: Tensor | None = None,
) -> Tensor:
    """What the rows' slots make of the base's product.

    Of a row with (slot, weight) pairs (s, w), with g = 1 and b = 0 where there are none:

        y · ((1 - Σ w) + Σ w · g_s)  +  Σ w · (g_s · (x A_sᵀ) B_sᵀ + b_s)

    which is y + Σ w · (what slot s alone makes of y - y). A gain includes whatever y holds, the layer's bias too; a
    method whose gain leaves the layer's bias out stores `bias_outside(bias, gain)` as its b.

    Args:
        x: [N, K] inputs.
        y: [N, O] the base's product.
        A: [S, R, K] shrink matrices; None where no slot has a low-rank part.
        B: [S, O, R] expand matrices, the scaling already multiplied in.
        gain: [S, O] output gains (DoRA, arXiv 2402.09353; IA3).
        bias: [S, O] added to the output.
        slots: int32 [N, k] indices of slots; -1 where a row uses fewer.
        weights: fp32 [N, k].
        spans: int32 [S, R, 2]; columns of B outside of [first, last) are taken for zero.

    Returns:
        [N, O] in y's dtype. Rows on no slot keep their bits.
    """
    total = y.float()
    if gain is not None:
        total = total * gains(gain, slots, weights)
    for column, slot, rows in used(slots):
        weight = weights[rows, column, None]
        added = torch.zeros(rows.shape[0], y.shape[1], device=y.device)
        if A is not None and B is not None:
            expand = B[slot].float()
            if spans is not None:
                place = torch.arange(y.shape[1], device=y.device)[:, None]
                inside = (place >= spans[slot, :, 0]) & (place < spans[slot, :, 1])
                expand = torch.where(inside, expand, 0.0)
            added = (weight * (x[rows].float() @ A[slot].float().T)) @ expand.T
        if gain is not None:
            added = added * gain[slot].float()
        if bias is not None:
            added = added + weight * bias[slot].float()
        total = total.index_add(0, rows, added)
    return total.to(y.dtype)


def bias_outside(bias: Tensor, gain: Tensor) -> Tensor:
    """The slot bias that takes a layer's bias [O] out of an output gain [S, O], as DoRA wants it."""
    return bias * (1 - gain)


def nf4_absmax(absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor) -> Tensor:
    """fp32 absmax of each block of 64, from its 8-bit code: a value between -1 and 1, scaled, offset."""
    scales = absmax_scales.repeat_interleave(NESTED)[: absmax.shape[0]]
    return absmax_code[absmax.long()] * scales + offset


def nf4_dequantize(
    codes: Tensor, absmax: Tensor, absmax_code: Tensor, absmax_scales: Tensor, offset: Tensor, rows: int, columns: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Dense values [rows, columns] of bitsandbytes' NF4.

    Args:
        codes: uint8, two codes a byte over the flattened matrix; the upper half of a byte comes first.
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
