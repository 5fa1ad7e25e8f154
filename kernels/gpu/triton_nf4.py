"""Products with NF4 weights in Triton: dequantized as they are read, with what the rows' slots add, in one launch.

The first programs of a launch compute the shrink of the rows' slots; the others compute the base's product of their
columns, wait for the shrink, expand it and write once. Waiting is safe because the hardware starts programs in order
and the first ones wait for nothing (single-pass prefix sums rest on the same). One matrix holds a whole group (q|k|v,
gate|up).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.device import INTERPRETED
from loraloop.kernels.gpu.triton_lora import shrink_shape
from loraloop.kernels.gpu.triton_nf4_codes import LEVELS_TYPES, unpack
from loraloop.kernels.gpu.triton_tiles import expand_tile, product, shrink_tile
from loraloop.kernels.reference import BLOCK, LEVELS
from loraloop.kernels.rows import FEW

Nf4 = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""codes, absmax, absmax_code, absmax_scales, offset; see `reference.nf4_dequantize`."""


class LoraOperands(NamedTuple):
    """What the rows' slots add to a product; the operands are those of `triton_lora.lora_linear_`.

    Attributes:
        counters: int32 [2], zeros, of which no other launch that may run at the same time knows; left as zeros.
    """

    A: Tensor
    B: Tensor
    slots: Tensor
    counters: Tensor
    spans: Tensor | None = None


COLUMNS = 32
"""Outputs a program computes. With 64 it spends fewer instructions a weight, but more registers and fewer programs."""

BLOCKS = 4
"""Blocks of 64 inputs that a program reads at once, one for each of its warps."""

_levels: dict[torch.device, Tensor] = {}


def levels(device: torch.device) -> Tensor:
    """The value of each NF4 code, fp32 [16], on a device."""
    if device not in _levels:
        _levels[device] = torch.tensor(LEVELS, device=device)
    return _levels[device]


def fits(x: Tensor) -> bool:
    """Whether the fused kernel takes these inputs [N, K]: few rows, of whole blocks."""
    return 0 < x.shape[0] <= FEW and x.shape[1] % BLOCK == 0


def dequantize(weight: Nf4, rows: int, columns: int, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Dense values [rows, columns].

    Args:
        weight: The tensors of an NF4 weight; see `reference.nf4_dequantize`.
        rows: Outputs of the weight.
        columns: Inputs of the weight.
        dtype: Type of the values.
        out: A buffer `[n]` of this type, n at least rows · columns, which is used again; None makes a new one.
    """
    codes, absmax, absmax_code, absmax_scales, offset = weight
    total = rows * columns
    values = torch.empty(total, dtype=dtype, device=codes.device) if out is None else out[:total]
    size = 1024
    _dequantize[(triton.cdiv(total, 2 * size),)](
        codes, absmax, absmax_code, absmax_scales, offset, levels(codes.device), values, total, SIZE=size
    )
    return values.view(rows, columns)


def linear(
    x: Tensor,
    weight: Nf4,
    outputs: int,
    lora: LoraOperands | None = None,
    permute: bool | None = None,
) -> Tensor:
    """x times an NF4 weight, and what the rows' slots add.

    Args:
        x: Inputs `[N, K]`; N ≤ FEW and K a multiple of 64.
        weight: The tensors of the weight `[O, K]`; see `reference.nf4_dequantize`.
        outputs: O.
        lora: The slots' part; None: the base alone, whose bits rows on no slot have either way.
        permute: Whether codes are turned into values by byte permutes (the default in 16 bits on a GPU) or by a table.

    Returns:
        `[N, O]` in x's dtype.
    """
    count, inputs = x.shape
    codes, absmax, absmax_code, absmax_scales, offset = weight
    rows = 16 if count <= 16 else 32 if count <= 32 else 64
    y = torch.empty(count, outputs, dtype=x.dtype, device=x.device)
    A, B, slots, counters, spans = lora or (None,) * 5
    middle, wide, deep, split, rank, producers = None, 16, 16, 1, 0, 0
    strides: tuple[int, ...] = (0,) * 6
    if A is not None and B is not None:
        rank, strides = A.shape[1], (*A.stride(), *B.stride())
        wide, deep, split = shrink_shape(inputs, rank, 16)
        producers = triton.cdiv(rank, wide) * split
        middle = torch.empty(split, count, rank, dtype=torch.float32, device=x.device)
    consumers = triton.cdiv(outputs, COLUMNS)
    if permute is None:
        permute = not INTERPRETED and torch.version.hip is None and x.dtype in LEVELS_TYPES
    _linear[(producers + consumers,)](
        x, codes, absmax, absmax_code, absmax_scales, offset, levels(x.device), y, middle, A, B, spans,
        slots, counters, count, inputs, outputs, rank, x.stride(0),
        0 if spans is None else spans.stride(0), *strides, producers, consumers,
        LORA=rank > 0, SPANS=spans is not None, SPLIT=split,
        ROWS=rows, COLUMNS=COLUMNS, BLOCKS=BLOCKS, WIDE=wide, DEEP=deep, PERMUTE=permute, WIDEN=INTERPRETED,
        num_warps=4, num_stages=4 if rows == 16 else 3,  # shared memory: below the 99 KB of small GPUs
    )  # fmt: skip
    return y


@triton.jit
def _linear(  # type: ignore[no-untyped-def]
    x, codes, absmax, absmax_code, absmax_scales, offset, levels, y, middle, A, B, spans, slots, counters,
    count, inputs, outputs, rank, x_row, span_slot, A_slot, A_rank, A_column, B_slot, B_column, B_rank,
    producers, consumers,
    LORA: tl.constexpr, SPANS: tl.constexpr, SPLIT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr,
    PERMUTE: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    if program < producers:
        if LORA:
            numbers = tl.cdiv(rank, WIDE)
            shrink_tile(
                x, A, spans, slots, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
                0, program % numbers, program // numbers, SPLIT, SPANS, ROWS, WIDE, DEEP, WIDEN,
            )  # fmt: skip
            tl.debug_barrier()  # all of the program's threads have written
            tl.atomic_add(counters, 1, sem="release")
    else:
        rows = tl.arange(0, ROWS)
        columns = (program - producers) * COLUMNS + tl.arange(0, COLUMNS)
        total = _base_tile(
            x, codes, absmax, absmax_code, absmax_scales, offset, levels, count, inputs, outputs, x_row, rows, columns,
            ROWS, COLUMNS, BLOCKS, PERMUTE, WIDEN,
        )  # fmt: skip
        if LORA:
            while tl.atomic_add(counters, 0, sem="acquire") < producers:
                pass
            tl.debug_barrier()
            total = expand_tile(
                total, middle, B, spans, slots, count, outputs, rank, span_slot, B_slot, B_column, B_rank,
                rows, columns, SPLIT, SPANS, ROWS, WIDE, COLUMNS, WIDEN,
            )  # fmt: skip
        here = (rows < count)[:, None] & (columns < outputs)[None, :]
        tl.store(y + rows[:, None] * outputs + columns[None, :], total.to(y.dtype.element_ty), mask=here)
        if LORA:  # noqa: SIM102 - a constexpr, decided when compiling
            if tl.atomic_add(counters + 1, 1) == consumers - 1:  # the last one: nobody waits any more
                tl.atomic_xchg(counters, 0)
                tl.atomic_xchg(counters + 1, 0)


@triton.jit
def _base_tile(  # type: ignore[no-untyped-def]
    x, codes, absmax, absmax_code, absmax_scales, offset, levels, count, inputs, outputs, x_row, rows, columns,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr, PERMUTE: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """x[rows] @ weight[columns].T: BLOCKS blocks of 64 columns side by side, one for each warp, added up at the end.

    A block's product is scaled by its absmax afterwards. The upper halves of the bytes meet the even columns of x, the
    lower halves the odd ones, so nothing is interleaved. Absmaxes are read two steps ahead of their use.
    """
    here, inside = (rows < count)[None, :, None], (columns < outputs)[None, :]
    blocks = inputs // 64
    own = tl.arange(0, BLOCKS)
    pairs = tl.arange(0, 32)
    shift = tl.load(offset)
    total = tl.zeros((BLOCKS, ROWS, COLUMNS), dtype=tl.float32)
    number = columns[None, :] * blocks + own[:, None]
    known = inside & (own < blocks)[:, None]
    coded = tl.load(absmax + number, mask=known, other=0)
    scale = _scale(coded, absmax_code, absmax_scales, number, known, shift)
    number += BLOCKS
    known = inside & (own + BLOCKS < blocks)[:, None]
    coded = tl.load(absmax + number, mask=known, other=0)
    for first in range(0, blocks, BLOCKS):
        block = first + own
        ahead = inside & (block + 2 * BLOCKS < blocks)[:, None]
        later = tl.load(absmax + number + BLOCKS, mask=ahead, other=0)
        real = (block < blocks)[:, None, None]
        byte = (block * 32)[:, None, None] + pairs[None, :, None]
        packed = tl.load(
            codes + columns.to(tl.int64)[None, None, :] * (inputs // 2) + byte, mask=real & inside[:, None, :], other=0
        )
        place = block[:, None] * 64 + tl.arange(0, 64)[None, :]
        own_x = tl.load(x + rows[None, :, None] * x_row + place[:, None, :], mask=here & real, other=0.0)
        even, odd = tl.split(tl.reshape(own_x, (BLOCKS, ROWS, 32, 2)))
        upper, lower = unpack(packed, levels, x.dtype.element_ty, PERMUTE)
        total += (product(even, upper, ROWS, WIDEN) + product(odd, lower, ROWS, WIDEN)) * scale[:, None, :]
        scale = _scale(coded, absmax_code, absmax_scales, number, known, shift)
        number += BLOCKS
        coded, known = later, ahead
    return tl.sum(total, axis=0)


@triton.jit
def _scale(coded, absmax_code, absmax_scales, number, known, shift):  # type: ignore[no-untyped-def]
    """The absmax of blocks, from their 8-bit codes; 0 where there is no block."""
    value = tl.load(absmax_code + coded) * tl.load(absmax_scales + number // 256, mask=known, other=0.0) + shift
    return tl.where(known, value, 0.0)


@triton.jit
def _dequantize(  # type: ignore[no-untyped-def]
    codes, absmax, absmax_code, absmax_scales, offset, levels, values, total, SIZE: tl.constexpr
):
    """values[2 i], values[2 i + 1] of byte i."""
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = 2 * at < total
    packed = tl.load(codes + at, mask=inside, other=0).to(tl.int32)
    number = at // 32
    coded = tl.load(absmax + number, mask=inside, other=0)
    scale = tl.load(absmax_code + coded) * tl.load(absmax_scales + number // 256, mask=inside, other=0.0)
    scale += tl.load(offset)
    upper, lower = tl.load(levels + (packed >> 4)) * scale, tl.load(levels + (packed & 15)) * scale
    place = tl.program_id(0).to(tl.int64) * 2 * SIZE + tl.arange(0, 2 * SIZE)
    tl.store(values + place, tl.interleave(upper, lower).to(values.dtype.element_ty), mask=place < total)
