"""What slots add to a linear layer, in Triton: segmented shrink and expand for a batch whose rows use different slots
(after Punica's SGMV, arXiv 2310.18547).

Runs on CUDA, and on a CPU in a process that was started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraloop.kernels.device import INTERPRETED
from loraloop.kernels.gpu.triton_tiles import expand_tile, shrink_tile
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


def shrink(x: Tensor, A: Tensor, slots: Tensor, tiles: Tensor, spans: Tensor | None = None) -> Tensor:
    """x @ A[slot].T of each row; untouched outside `tiles`.

    Args:
        x: `[N, K]`, rows contiguous.
        A: `[S, R, K]`, any strides.
        slots: int32 `[N]`, the slot of each row; -1 where a row uses none.
        tiles: int32 `[T]`, the row tiles in which any row uses a slot.
        spans: int32 `[S, R, 2]`; a rank whose span is empty is not computed.

    Returns:
        fp32 `[splits, N, R]`, to be added up over the splits.
    """
    (count, inputs), rank = x.shape, A.shape[1]
    rows = tile_rows(count)
    wide, deep, split = shrink_shape(inputs, rank, rows)
    middle = torch.empty(split, count, rank, dtype=torch.float32, device=x.device)
    if tiles.shape[0] == 0:
        return middle
    _shrink[(tiles.shape[0], triton.cdiv(rank, wide), split)](
        x, A, spans, slots, tiles, middle, count, inputs, rank, x.stride(0),
        0 if spans is None else spans.stride(0), A.stride(0), A.stride(1), A.stride(2),
        SPLIT=split, SPANS=spans is not None, ROWS=rows, WIDE=wide, DEEP=deep,
        WIDEN=rows > 1 and INTERPRETED,
    )  # fmt: skip
    return middle


def lora_linear_(
    x: Tensor, y: Tensor, A: Tensor, B: Tensor, slots: Tensor, tiles: Tensor, spans: Tensor | None = None,
) -> None:  # fmt: skip
    """y += what the rows' slots add, in place; see `reference.lora_rows`.

    Args:
        x: [N, K], rows contiguous.
        y: [N, O], rows contiguous; changed.
        A: [S, R, K], any strides.
        B: [S, O, R], any strides.
        slots, tiles: of `RowSlots`.
        spans: int32 [S, R, 2], contiguous within a slot: outside of [first, last) columns of B are taken for zero and
            not read, and a rank whose span is empty costs nothing.
    """
    if tiles.shape[0] == 0:
        return
    middle = shrink(x, A, slots, tiles, spans)
    (count, outputs), rank = y.shape, B.shape[2]
    rows = tile_rows(count)
    columns = max(16, min(128 if rows == 1 else 64, triton.next_power_of_2(outputs)))
    _expand[(tiles.shape[0], triton.cdiv(outputs, columns))](
        middle, B, spans, y, slots, tiles, count, outputs, rank, y.stride(0),
        0 if spans is None else spans.stride(0), B.stride(0), B.stride(1), B.stride(2),
        SPLIT=middle.shape[0], SPANS=spans is not None,
        ROWS=rows, WIDE=ranks_at_once(rank, rows), COLUMNS=columns, WIDEN=rows > 1 and INTERPRETED,
    )  # fmt: skip


@triton.jit
def _shrink(  # type: ignore[no-untyped-def]
    x, A, spans, slots, tiles, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
    SPLIT: tl.constexpr, SPANS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    shrink_tile(
        x, A, spans, slots, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
        tl.load(tiles + tl.program_id(0)), tl.program_id(1), tl.program_id(2), SPLIT, SPANS, ROWS, WIDE, DEEP, WIDEN,
    )  # fmt: skip


@triton.jit
def _expand(  # type: ignore[no-untyped-def]
    middle, B, spans, y, slots, tiles, count, outputs, rank, y_row, span_slot, B_slot, B_column, B_rank,
    SPLIT: tl.constexpr, SPANS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    rows = tl.load(tiles + tl.program_id(0)) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    active = tl.load(slots + rows, mask=rows < count, other=-1) >= 0  # other rows keep their bits: they are not written
    here = active[:, None] & (columns < outputs)[None, :]
    at = y + rows[:, None] * y_row + columns[None, :]
    total = tl.load(at, mask=here, other=0.0).to(tl.float32)
    total = expand_tile(
        total, middle, B, spans, slots, count, outputs, rank, span_slot, B_slot, B_column, B_rank,
        rows, columns, SPLIT, SPANS, ROWS, WIDE, COLUMNS, WIDEN,
    )  # fmt: skip
    tl.store(at, total.to(y.dtype.element_ty), mask=here)
