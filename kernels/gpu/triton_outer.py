"""The gradient of a slot's matrix in Triton: sums of outer products over the rows that use the slot."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.gpu.triton_switch import INTERPRETED

_ROWS = 32
"""Rows a program takes at once."""


def outer(left: Tensor, right: Tensor, slots: Tensor, out: Tensor) -> Tensor:
    """out[s] = Σ left[row]ᵀ right[row] over the rows on slot s, always in the same order; zeros for an unused slot.

    Args:
        left: fp32 [N, R]; rows on no slot are not read.
        right: [N, C], rows contiguous.
        slots: int32 [N, 1].
        out: [S, R, C], any strides; all of it is written.
    """
    (count, rank), width = left.shape, right.shape[1]
    wide = max(16, min(64, triton.next_power_of_2(rank)))
    columns = max(16, min(64, triton.next_power_of_2(width)))
    _outer[(out.shape[0], triton.cdiv(rank, wide), triton.cdiv(width, columns))](
        left, right, slots, out, count, rank, width, left.stride(0), right.stride(0),
        out.stride(0), out.stride(1), out.stride(2), ROWS=_ROWS, WIDE=wide, COLUMNS=columns, WIDEN=INTERPRETED,
    )  # fmt: skip
    return out


def segment_sum(values: Tensor, slots: Tensor, count: int) -> Tensor:
    """fp32 [S, C]: the sum of values [N, C] over the rows on each slot, for slots int32 [N, 1]."""
    chosen = slots[:, 0] == torch.arange(count, device=slots.device)[:, None]
    return torch.where(chosen, 1.0, 0.0) @ values.float()


@triton.jit
def _outer(  # type: ignore[no-untyped-def]
    left, right, slots, out, count, rank, width, left_row, right_row, out_slot, out_rank, out_column,
    ROWS: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(0)
    ranks = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((WIDE, COLUMNS), dtype=tl.float32)
    for start in range(0, count, ROWS):
        rows = start + tl.arange(0, ROWS)
        mine = tl.load(slots + rows, mask=rows < count, other=-1) == slot
        if tl.max(mine.to(tl.int32), axis=0) > 0:
            some = tl.load(
                left + rows[None, :] * left_row + ranks[:, None],
                mask=mine[None, :] & (ranks < rank)[:, None],
                other=0.0,
            )
            other = tl.load(
                right + rows[:, None] * right_row + columns[None, :],
                mask=mine[:, None] & (columns < width)[None, :],
                other=0.0,
            )
            if WIDEN:
                total += tl.dot(some, other.to(tl.float32), input_precision="ieee")
            else:
                total += tl.dot(some.to(other.dtype), other, input_precision="ieee")
    at = out + slot.to(tl.int64) * out_slot + ranks[:, None] * out_rank + columns[None, :] * out_column
    tl.store(at, total.to(out.dtype.element_ty), mask=(ranks < rank)[:, None] & (columns < width)[None, :])
