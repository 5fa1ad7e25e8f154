"""`lora_linear` in Triton: segmented shrink and expand for a batch whose rows use different slots (after Punica's SGMV,
arXiv 2310.18547).

A program works on a block of rows of one segment, so that no row's bits depend on its neighbours' slots; the grid holds
the blocks of active segments only. Runs on CUDA, and on a CPU in a process that was started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.reference import Segments

_ROWS = (1, 16, 64)
"""Rows of a block. One: plain multiply and sum, for decode. The others: tensor cores, whose tiles begin at 16."""


_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""The interpreter multiplies the bits of bfloat16 tiles as integers, so there they are widened first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The work that a forward's segments make; the same for all of its layers.

    Attributes:
        blocks: int32 [n, 3] on the device: first row, one past the last row, slot.
        rows: most rows of a block. Fixed by the segments' lengths, whatever their slots.
    """

    blocks: Tensor
    rows: int


def plan(segments: Segments, device: torch.device | str, shift: int = 0) -> Plan:
    """Cuts the segments on slots other than 0 into blocks; `shift` is added to their slots."""
    longest = max((end - start for start, end, _ in segments), default=1)
    rows = next((rows for rows in _ROWS if rows >= longest), _ROWS[-1])
    blocks = [
        (first, min(first + rows, end), slot + shift)
        for start, end, slot in segments
        if isinstance(slot, int) and slot
        for first in range(start, end, rows)
    ]
    return Plan(torch.tensor(blocks, dtype=torch.int32, device=device).view(-1, 3), rows)


def lora_linear(x: Tensor, y: Tensor, A: Tensor, B: Tensor, work: Plan) -> Tensor:
    """y += the low-rank product of each block's slot, in place; see `reference.lora_linear`.

    Args:
        x: [N, K], rows contiguous.
        y: [N, O], rows contiguous; changed.
        A: [S, R, K], any strides.
        B: [S, O, R], any strides.
        work: of this forward's segments; the slots are indices into A and B.
    """
    count = work.blocks.shape[0]
    if count == 0:
        return y
    inputs, outputs, rank = x.shape[1], y.shape[1], A.shape[1]
    middle = torch.empty(x.shape[0], rank, dtype=torch.float32, device=x.device)
    rows = work.rows
    widen = rows > 1 and _INTERPRETED
    wide = max(16, min(64, triton.next_power_of_2(rank)))
    deep = max(16, min(256 if rows == 1 else 64, triton.next_power_of_2(inputs)))
    _shrink[(count, triton.cdiv(rank, wide))](
        x, A, middle, work.blocks, inputs, rank, x.stride(0), A.stride(0), A.stride(1), A.stride(2),
        ROWS=rows, WIDE=wide, DEEP=deep, WIDEN=widen,
    )  # fmt: skip
    columns = max(16, min(128 if rows == 1 else 64, triton.next_power_of_2(outputs)))
    _expand[(count, triton.cdiv(outputs, columns))](
        middle, B, y, work.blocks, outputs, rank, y.stride(0), B.stride(0), B.stride(1), B.stride(2),
        ROWS=rows, WIDE=wide, COLUMNS=columns, WIDEN=widen,
    )  # fmt: skip
    return y


@triton.jit
def _product(left, right, ROWS: tl.constexpr, WIDEN: tl.constexpr):  # type: ignore[no-untyped-def]
    """left [ROWS, D] @ right [D, C], summed in fp32."""
    if WIDEN:
        product = tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    elif ROWS == 1:
        product = tl.sum(tl.trans(left).to(tl.float32) * right.to(tl.float32), axis=0)[None, :]
    else:
        product = tl.dot(left, right, input_precision="ieee")
    return product


@triton.jit
def _shrink(  # type: ignore[no-untyped-def]
    x, A, middle, blocks, inputs, rank, x_row, A_slot, A_rank, A_column,
    ROWS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """middle[block, ranks] = x[block] @ A[slot, ranks].T"""
    block = blocks + tl.program_id(0) * 3
    first, last, slot = tl.load(block), tl.load(block + 1), tl.load(block + 2).to(tl.int64)
    rows = first + tl.arange(0, ROWS)
    ranks = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    total = tl.zeros((ROWS, WIDE), dtype=tl.float32)
    for start in range(0, inputs, DEEP):
        columns = start + tl.arange(0, DEEP)
        inside = columns < inputs
        left = tl.load(
            x + rows[:, None] * x_row + columns[None, :], mask=(rows < last)[:, None] & inside[None, :], other=0.0
        )
        right = tl.load(
            A + slot * A_slot + ranks[None, :] * A_rank + columns[:, None] * A_column,
            mask=(ranks < rank)[None, :] & inside[:, None],
            other=0.0,
        )
        total += _product(left.to(right.dtype), right, ROWS, WIDEN)
    tl.store(
        middle + rows[:, None] * rank + ranks[None, :], total, mask=(rows < last)[:, None] & (ranks < rank)[None, :]
    )


@triton.jit
def _expand(  # type: ignore[no-untyped-def]
    middle, B, y, blocks, outputs, rank, y_row, B_slot, B_column, B_rank,
    ROWS: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """y[block, columns] += middle[block] @ B[slot, columns].T"""
    block = blocks + tl.program_id(0) * 3
    first, last, slot = tl.load(block), tl.load(block + 1), tl.load(block + 2).to(tl.int64)
    rows = first + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    here = (rows < last)[:, None] & (columns < outputs)[None, :]
    at = y + rows[:, None] * y_row + columns[None, :]
    total = tl.load(at, mask=here, other=0.0).to(tl.float32)
    for start in range(0, rank, WIDE):
        ranks = start + tl.arange(0, WIDE)
        left = tl.load(
            middle + rows[:, None] * rank + ranks[None, :],
            mask=(rows < last)[:, None] & (ranks < rank)[None, :],
            other=0.0,
        )
        right = tl.load(
            B + slot * B_slot + columns[None, :] * B_column + ranks[:, None] * B_rank,
            mask=(columns < outputs)[None, :] & (ranks < rank)[:, None],
            other=0.0,
        )
        total += _product(left.to(right.dtype), right, ROWS, WIDEN)
    tl.store(at, total.to(y.dtype.element_ty), mask=here)
