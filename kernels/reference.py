"""The definition of every operation, in plain torch: differentiable, on any device. Backends are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

Segments = tuple[tuple[int, int, int], ...]
"""(start, end, slot) of each row of a forward in the flat [N, …] matrices, in order and without gaps."""


def check_lora_linear(x: Tensor, y: Tensor, A: Tensor, B: Tensor, segments: Segments) -> None:
    """Raises ValueError for operands that do not fit together; see `lora_linear`."""
    if x.ndim != 2 or y.ndim != 2 or A.ndim != 3 or B.ndim != 3:
        raise ValueError("lora_linear wants x[N, K], y[N, O], A[S, R, K], B[S, O, R]")
    fits = (
        x.shape[0] == y.shape[0]
        and x.shape[1] == A.shape[2]
        and y.shape[1] == B.shape[1]
        and A.shape[:2] == (B.shape[0], B.shape[2])
    )
    if not fits:
        shapes = ", ".join(f"{name}{list(t.shape)}" for name, t in (("x", x), ("y", y), ("A", A), ("B", B)))
        raise ValueError(f"lora_linear wants x[N, K], y[N, O], A[S, R, K], B[S, O, R], not {shapes}")
    position = 0
    for start, end, slot in segments:
        if start != position or end < start:
            raise ValueError(f"segments must cover the {x.shape[0]} rows in order without gaps, not {segments}")
        if not 0 <= slot < A.shape[0]:
            raise ValueError(f"slot {slot} is outside 0..{A.shape[0] - 1}")
        position = end
    if position != x.shape[0]:
        raise ValueError(f"segments must cover the {x.shape[0]} rows in order without gaps, not {segments}")


def lora_linear(x: Tensor, y: Tensor, A: Tensor, B: Tensor, segments: Segments) -> Tensor:
    """Adds to each run of rows the low-rank product of the slot it uses.

    Args:
        x: [N, K] inputs.
        y: [N, O] the base's product; not changed.
        A: [S, R, K] shrink matrices of all slots, zero-padded to one rank.
        B: [S, O, R] expand matrices, the scaling already multiplied in.
        segments: (start, end, slot) runs that cover the N rows in order. Rows on slot 0 (the base) keep their bits.

    Returns:
        [N, O] in y's dtype. The product is formed in A's dtype and rounded once, after the sum.

    Raises:
        ValueError: shapes, segments or slots do not fit.
    """
    check_lora_linear(x, y, A, B, segments)
    runs = []
    for start, end, slot in segments:
        part = y[start:end]
        if slot:
            part = (part + (x[start:end].to(A.dtype) @ A[slot].T) @ B[slot].T).to(y.dtype)
        runs.append(part)
    return torch.cat(runs) if runs else y
