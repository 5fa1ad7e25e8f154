"""What slots do to a linear layer, in Triton: segmented shrink and expand for a batch whose rows use different slots
(after Punica's SGMV, arXiv 2310.18547), weighted mixtures of slots, gains and biases.

Runs on CUDA, and on a CPU in a process that was started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.gpu.triton_switch import INTERPRETED
from loraloop.kernels.gpu.triton_tiles import any_slot, expand_tile, gains_tile, shrink_tile
from loraloop.kernels.rows import tile_rows


def splits(inputs: int, rows: int) -> int:
    """Into how many parts the shrink's columns are cut, so that few rows still occupy a GPU; fixed by the shape."""
    return 1 if rows == 64 else max(1, min(16, inputs // 512))


def ranks_at_once(rank: int, rows: int) -> int:
    """Ranks a program takes at once. Few for few rows: then more programs share the work, in fewer registers."""
    return 16 if rows <= 16 else max(16, min(64, triton.next_power_of_2(max(rank, 1))))


def shrink_shape(inputs: int, rank: int, rows: int) -> tuple[int, int, int]:
    """(WIDE, DEEP, SPLIT) of a shrink: ranks and columns a program takes at once, and parts of the columns."""
    wide = ranks_at_once(rank, rows)
    deep = max(16, min(256 if rows == 1 else 64, triton.next_power_of_2(inputs)))
    return wide, deep, splits(inputs, rows)


def shrink(x: Tensor, A: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor, spans: Tensor | None = None) -> Tensor:
    """weight · x @ A[slot].T as fp32 [splits, k, N, R]; see `adapt` for the operands. Untouched outside `tiles`."""
    (count, inputs), rank, mix = x.shape, A.shape[1], slots.shape[1]
    rows = tile_rows(count)
    wide, deep, split = shrink_shape(inputs, rank, rows)
    middle = torch.empty(split, mix, count, rank, dtype=torch.float32, device=x.device)
    if tiles.shape[0] == 0:
        return middle
    _shrink[(tiles.shape[0], triton.cdiv(rank, wide), split * mix)](
        x, A, spans, slots, weights, tiles, middle, count, inputs, rank, x.stride(0),
        0 if spans is None else spans.stride(0), A.stride(0), A.stride(1), A.stride(2),
        MIX=mix, SPLIT=split, SPANS=spans is not None, ROWS=rows, WIDE=wide, DEEP=deep,
        WIDEN=rows > 1 and INTERPRETED,
    )  # fmt: skip
    return middle


def adapt(
    x: Tensor,
    y: Tensor,
    A: Tensor | None,
    B: Tensor | None,
    gain: Tensor | None,
    bias: Tensor | None,
    slots: Tensor,
    weights: Tensor,
    tiles: Tensor,
    spans: Tensor | None = None,
) -> Tensor:
    """y becomes what the rows' slots make of it, in place; see `reference_ops.adapt`.

    Args:
        x: [N, K], rows contiguous.
        y: [N, O], rows contiguous; changed.
        A: [S, R, K], any strides; None where no slot has a low-rank part.
        B: [S, O, R], any strides.
        gain: [S, O], contiguous.
        bias: [S, O], contiguous.
        slots, weights, tiles: of `RowSlots`.
        spans: int32 [S, R, 2], contiguous within a slot: outside of [first, last) columns of B are taken for zero and
            not read, and a rank whose span is empty costs nothing.
    """
    middle = None if A is None or B is None else shrink(x, A, slots, weights, tiles, spans)
    return expand(middle, y, B, gain, bias, slots, weights, tiles, spans)


def expand(
    middle: Tensor | None,
    y: Tensor,
    B: Tensor | None,
    gain: Tensor | None,
    bias: Tensor | None,
    slots: Tensor,
    weights: Tensor,
    tiles: Tensor,
    spans: Tensor | None = None,
) -> Tensor:
    """The second half of `adapt`: `middle` is what `shrink` made."""
    if tiles.shape[0] == 0:
        return y
    (count, outputs), mix = y.shape, slots.shape[1]
    rows = tile_rows(count)
    split, rank, strides = 1, 0, (0, 0, 0)
    if middle is not None and B is not None:
        split, rank = middle.shape[0], B.shape[2]
        strides = (B.stride(0), B.stride(1), B.stride(2))
    wide = ranks_at_once(rank, rows)
    columns = max(16, min(128 if rows == 1 else 64, triton.next_power_of_2(outputs)))
    _adapt[(tiles.shape[0], triton.cdiv(outputs, columns))](
        middle, B, spans, gain, bias, y, slots, weights, tiles, count, outputs, rank, y.stride(0),
        0 if spans is None else spans.stride(0), *strides,
        MIX=mix, SPLIT=split, SPANS=spans is not None and rank > 0, LOW_RANK=rank > 0, GAIN=gain is not None,
        BIAS=bias is not None, ROWS=rows, WIDE=wide, COLUMNS=columns, WIDEN=rows > 1 and INTERPRETED,
    )  # fmt: skip
    return y


def scale_input(x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    """x [N, K] times each row's input gain [S, K]; rows on no slot keep their bits."""
    count, inputs = x.shape
    out = torch.empty(count, inputs, dtype=x.dtype, device=x.device)
    columns = min(1024, triton.next_power_of_2(inputs))
    _scale_input[(count, triton.cdiv(inputs, columns))](
        x, gain, out, slots, weights, count, inputs, x.stride(0), MIX=slots.shape[1], COLUMNS=columns
    )
    return out


@triton.jit
def _shrink(  # type: ignore[no-untyped-def]
    x, A, spans, slots, weights, tiles, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
    MIX: tl.constexpr, SPLIT: tl.constexpr, SPANS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    tile, part = tl.load(tiles + tl.program_id(0)), tl.program_id(2)
    shrink_tile(
        x, A, spans, slots, weights, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
        tile, tl.program_id(1), part // MIX, part % MIX, MIX, SPLIT, SPANS, ROWS, WIDE, DEEP, WIDEN,
    )  # fmt: skip


@triton.jit
def _adapt(  # type: ignore[no-untyped-def]
    middle, B, spans, gain, bias, y, slots, weights, tiles, count, outputs, rank, y_row,
    span_slot, B_slot, B_column, B_rank,
    MIX: tl.constexpr, SPLIT: tl.constexpr, SPANS: tl.constexpr,
    LOW_RANK: tl.constexpr, GAIN: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    rows = tl.load(tiles + tl.program_id(0)) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    active = any_slot(slots, rows, count, MIX, ROWS)
    here = active[:, None] & (columns < outputs)[None, :]
    at = y + rows[:, None] * y_row + columns[None, :]
    total = tl.load(at, mask=here, other=0.0).to(tl.float32)
    total = expand_tile(
        total, middle, B, spans, gain, bias, slots, weights, count, outputs, rank, span_slot, B_slot, B_column, B_rank,
        rows, columns, MIX, SPLIT, SPANS, LOW_RANK, GAIN, BIAS, ROWS, WIDE, COLUMNS, WIDEN,
    )  # fmt: skip
    tl.store(at, total.to(y.dtype.element_ty), mask=here)


@triton.jit
def _scale_input(  # type: ignore[no-untyped-def]
    x, gain, out, slots, weights, count, inputs, x_row, MIX: tl.constexpr, COLUMNS: tl.constexpr
):
    rows = tl.program_id(0) + tl.arange(0, 1)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (columns < inputs)[None, :]
    own = tl.load(x + rows[:, None] * x_row + columns[None, :], mask=inside, other=0.0)
    scale = gains_tile(gain, slots, weights, count, inputs, rows, columns, MIX, 1, COLUMNS)
    tl.store(out + rows[:, None] * inputs + columns[None, :], (own.to(tl.float32) * scale).to(own.dtype), mask=inside)
