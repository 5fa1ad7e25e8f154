"""What the Triton kernels share: products of tiles, and the shrink and expand of a tile of rows on several slots.

A tile's rows are multiplied once by the matrices of each distinct slot among them, and each row keeps the product of
its own. So a matrix is read once a tile, however many rows use it, and no row's bits depend on its neighbours' slots.
"""

from __future__ import annotations

import triton
import triton.language as tl

_END = tl.constexpr(2**31 - 1)


@triton.jit
def product(left, right, ROWS: tl.constexpr, WIDEN: tl.constexpr):  # type: ignore[no-untyped-def]
    """left [ROWS, D] @ right [D, C], summed in fp32."""
    if WIDEN:
        result = tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    elif ROWS == 1:
        result = tl.sum(tl.trans(left).to(tl.float32) * right.to(tl.float32), axis=0)[None, :]
    else:
        result = tl.dot(left, right, input_precision="ieee")
    return result


@triton.jit
def next_slot(own, after):  # type: ignore[no-untyped-def]
    """The smallest slot of `own` [ROWS] above `after`; _END where there is none."""
    return tl.min(tl.where(own > after, own, _END), axis=0)


@triton.jit
def shrink_tile(  # type: ignore[no-untyped-def]
    x, A, spans, slots, middle, count, inputs, rank, x_row, span_slot, A_slot, A_rank, A_column,
    tile, number, split,
    SPLIT: tl.constexpr, SPANS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """middle[split, rows, ranks] = x[rows] @ A[slot, ranks].T over one split of the columns."""
    rows = tile * ROWS + tl.arange(0, ROWS)
    here = rows < count
    own = tl.load(slots + rows, mask=here, other=-1)
    ranks = number * WIDE + tl.arange(0, WIDE)
    share = tl.cdiv(tl.cdiv(inputs, DEEP), SPLIT) * DEEP
    begin = split * share
    end = tl.minimum(inputs, begin + share)
    kept = tl.zeros((ROWS, WIDE), dtype=tl.float32)
    slot = next_slot(own, -1)
    while slot < _END:
        used = ranks < rank
        if SPANS:
            span = spans + slot * span_slot + ranks * 2
            used = used & (tl.load(span + 1, mask=used, other=0) > tl.load(span, mask=used, other=0))
        total = tl.zeros((ROWS, WIDE), dtype=tl.float32)
        for start in tl.range(begin, end, DEEP, num_stages=3):
            columns = start + tl.arange(0, DEEP)
            inside = columns < inputs
            left = tl.load(
                x + rows[:, None] * x_row + columns[None, :], mask=here[:, None] & inside[None, :], other=0.0
            )
            right = tl.load(
                A + slot.to(tl.int64) * A_slot + ranks[None, :] * A_rank + columns[:, None] * A_column,
                mask=used[None, :] & inside[:, None],
                other=0.0,
            )
            total += product(left.to(right.dtype), right, ROWS, WIDEN)
        kept = tl.where((own == slot)[:, None], total, kept)
        slot = next_slot(own, slot)
    at = (split * count + rows).to(tl.int64) * rank
    tl.store(middle + at[:, None] + ranks[None, :], kept, mask=here[:, None] & (ranks < rank)[None, :])


@triton.jit
def expand_tile(  # type: ignore[no-untyped-def]
    total, middle, B, spans, slots, count, outputs, rank, span_slot, B_slot, B_column, B_rank, rows, columns,
    SPLIT: tl.constexpr, SPANS: tl.constexpr,
    ROWS: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """`total` [ROWS, COLUMNS], the base's product, with what each row's slot adds to it; see `reference.lora_rows`."""
    here, inside = rows < count, columns < outputs
    own = tl.load(slots + rows, mask=here, other=-1)
    slot = next_slot(own, -1)
    while slot < _END:
        added = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for start in tl.range(0, rank, WIDE, num_stages=1):
            ranks = start + tl.arange(0, WIDE)
            used = ranks < rank
            wanted = used[:, None] & inside[None, :]
            reached = 1
            if SPANS:  # parts that lie side by side reach few columns each
                span = spans + slot * span_slot + ranks * 2
                first = tl.load(span, mask=used, other=0)
                last = tl.load(span + 1, mask=used, other=0)
                wanted = wanted & (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
                overlap = (first < tl.max(columns, axis=0) + 1) & (last > tl.min(columns, axis=0))
                reached = tl.max(overlap.to(tl.int32), axis=0)
            if reached > 0:
                left = tl.zeros((ROWS, WIDE), dtype=tl.float32)
                for split in tl.range(0, SPLIT, num_stages=1):  # unrolled it takes too many registers
                    at = (split * count + rows).to(tl.int64) * rank
                    left += tl.load(
                        middle + at[:, None] + ranks[None, :], mask=here[:, None] & used[None, :], other=0.0
                    )
                right = tl.load(
                    B + slot.to(tl.int64) * B_slot + columns[None, :] * B_column + ranks[:, None] * B_rank,
                    mask=wanted,
                    other=0.0,
                )
                added += product(left.to(right.dtype), right, ROWS, WIDEN)
        total = tl.where((own == slot)[:, None], total + added, total)
        slot = next_slot(own, slot)
    return total
