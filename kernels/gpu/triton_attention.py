"""Attention of one new token a row at decode, in Triton, over caches that are named by their addresses.

Addresses, capacities and lengths are read from the device, so one captured CUDA graph serves any caches at any length,
and a cache may grow between two replays. The keys of a row are cut into splits that work at once; a second launch joins
them (after Flash-Decoding).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.device import INTERPRETED

_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
PROGRAMS = 256
"""Programs wanted at least: about two for each multiprocessor of a large GPU."""


def decode_attention(
    q: Tensor, k: Tensor, v: Tensor, addresses: Tensor, capacities: Tensor, lengths: Tensor, dtype: torch.dtype,
    planes: tuple[int, int], window: int | None = None,
) -> Tensor:  # fmt: skip
    """Appends k and v to the rows' caches and attends; see `reference.decode_attention`.

    Args:
        q: [B, heads, D].
        k, v: [B, kv_heads, D].
        addresses: int64 [B]; at each lies a contiguous store [planes, kv_heads, capacity, D] of `dtype`.
        capacities: int64 [B], above the lengths.
        lengths: int64 [B], tokens that each cache holds; the new one is written behind them.
        dtype: of the caches.
        planes: of the keys and of the values.
        window: positions that a token sees, itself included.

    Returns:
        [B, heads · D] in fp32.
    """
    (count, heads, dim), kv_heads = q.shape, k.shape[1]
    q, k, v = (tensor.contiguous() for tensor in (q, k, v))
    group = heads // kv_heads
    splits = max(1, min(32, triton.cdiv(PROGRAMS, count * kv_heads)))
    wide, grouped = triton.next_power_of_2(dim), max(16, triton.next_power_of_2(group))
    parts = torch.empty(count * kv_heads, splits, group, dim + 2, dtype=torch.float32, device=q.device)
    out = torch.empty(count, heads * dim, dtype=torch.float32, device=q.device)
    _attend[(count * kv_heads, splits)](
        q, k, v, addresses, capacities, lengths, parts, planes[0], planes[1], kv_heads, dim**-0.5,
        window or 0, GROUP=group, GROUPED=grouped, DIM=dim, WIDE=wide, DEEP=64, SPLITS=splits, TYPE=_TYPES[dtype],
        WIDEN=INTERPRETED,
    )  # fmt: skip
    _join[(count * kv_heads, group)](parts, out, GROUP=group, DIM=dim, WIDE=wide, SPLITS=splits)
    return out


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    q, k, v, addresses, capacities, lengths, parts, key_plane, value_plane, kv_heads, scale, window,
    GROUP: tl.constexpr, GROUPED: tl.constexpr, DIM: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr,
    SPLITS: tl.constexpr, TYPE: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """parts[row and key head, split, query head] = (sum of weighted values [DIM], largest score, sum of weights)."""
    at, split = tl.program_id(0), tl.program_id(1)
    row, head = at // kv_heads, at % kv_heads
    # Stores begin at multiples of 16 bytes, as torch allocates them: the compiler may read whole vectors.
    store = tl.multiple_of(tl.load(addresses + row).to(tl.pointer_type(TYPE)), 16)
    capacity, length = tl.load(capacities + row), tl.load(lengths + row)
    keys = store + (key_plane * kv_heads + head) * capacity * DIM
    values = store + (value_plane * kv_heads + head) * capacity * DIM
    dims, queries = tl.arange(0, WIDE), tl.arange(0, GROUPED)
    wide = dims < DIM
    own = tl.load(
        q + (at * GROUP + queries)[:, None] * DIM + dims[None, :],
        mask=(queries < GROUP)[:, None] & wide[None, :], other=0.0,
    ).to(TYPE)  # fmt: skip
    most = tl.full((GROUPED,), float("-inf"), dtype=tl.float32)
    weight = tl.zeros((GROUPED,), dtype=tl.float32)
    total = tl.zeros((GROUPED, WIDE), dtype=tl.float32)
    if split == 0:  # the new token: kept in registers, and written for the steps that follow
        key = tl.load(k + at * DIM + dims, mask=wide, other=0.0).to(TYPE)
        value = tl.load(v + at * DIM + dims, mask=wide, other=0.0).to(TYPE)
        tl.store(keys + length * DIM + dims, key, mask=wide)
        tl.store(values + length * DIM + dims, value, mask=wide)
        most = tl.sum(own.to(tl.float32) * key.to(tl.float32)[None, :], axis=1) * scale
        weight += 1.0
        total += value.to(tl.float32)[None, :]
    first = tl.where(window > 0, tl.maximum(length + 1 - window, 0), 0)
    share = tl.cdiv(tl.cdiv(length - first, DEEP), SPLITS) * DEEP
    begin = first + split * share
    end = tl.minimum(length, begin + share)
    for start in range(begin, end, DEEP):
        places = start + tl.arange(0, DEEP)
        inside = places < end
        block = tl.load(keys + places[None, :] * DIM + dims[:, None], mask=inside[None, :] & wide[:, None], other=0.0)
        if WIDEN:
            scores = tl.dot(own.to(tl.float32), block.to(tl.float32), input_precision="ieee") * scale
        else:
            scores = tl.dot(own, block, input_precision="ieee") * scale
        scores = tl.where(inside[None, :], scores, float("-inf"))
        largest = tl.maximum(most, tl.max(scores, axis=1))
        shares = tl.exp(scores - largest[:, None])
        fade = tl.exp(most - largest)
        block = tl.load(values + places[:, None] * DIM + dims[None, :], mask=inside[:, None] & wide[None, :], other=0.0)
        if WIDEN:
            total = total * fade[:, None] + tl.dot(shares, block.to(tl.float32), input_precision="ieee")
        else:
            total = total * fade[:, None] + tl.dot(shares.to(block.dtype), block, input_precision="ieee")
        weight = weight * fade + tl.sum(shares, axis=1)
        most = largest
    part = parts + ((at * SPLITS + split) * GROUP + queries) * (DIM + 2)
    real = queries < GROUP
    tl.store(part[:, None] + dims[None, :], total, mask=real[:, None] & wide[None, :])
    tl.store(part + DIM, most, mask=real)
    tl.store(part + DIM + 1, weight, mask=real)


@triton.jit
def _join(  # type: ignore[no-untyped-def]
    parts, out, GROUP: tl.constexpr, DIM: tl.constexpr, WIDE: tl.constexpr, SPLITS: tl.constexpr
):
    """Joins the splits of one query head; an empty split has a largest score of -inf."""
    at, query = tl.program_id(0), tl.program_id(1)
    dims = tl.arange(0, WIDE)
    most = float("-inf")
    for split in tl.static_range(SPLITS):
        most = tl.maximum(most, tl.load(parts + ((at * SPLITS + split) * GROUP + query) * (DIM + 2) + DIM))
    total = tl.zeros((WIDE,), dtype=tl.float32)
    weight = 0.0
    for split in tl.static_range(SPLITS):
        part = parts + ((at * SPLITS + split) * GROUP + query) * (DIM + 2)
        fade = tl.exp(tl.load(part + DIM) - most)
        weight += fade * tl.load(part + DIM + 1)
        total += fade * tl.load(part + dims, mask=dims < DIM, other=0.0)
    tl.store(out + (at * GROUP + query) * DIM + dims, total / weight, mask=dims < DIM)
