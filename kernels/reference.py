"""The definition of every operation, in plain torch: differentiable, on any device. Backends are tested against it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Blend = tuple[tuple[int, float], ...]
"""(slot, weight) pairs whose updates are added: slots distinct and none 0, weights finite."""

Choice = int | Blend
"""What a row uses: a slot, or several of them at once."""

Segments = tuple[tuple[int, int, Choice], ...]
"""(start, end, choice) of each row of a forward in the flat [N, …] matrices, in order and without gaps."""


def members(choice: Choice) -> Blend:
    """The (slot, weight) pairs of a choice; none for slot 0."""
    if isinstance(choice, int):
        return ((choice, 1.0),) if choice else ()
    return choice


def plain(choice: Choice) -> Choice:
    """The same choice, as a plain slot where it is one slot of weight 1.

    Raises:
        ValueError: an empty blend, slot 0 or a slot twice in it, a weight that is not finite.
    """
    if isinstance(choice, int):
        return choice
    slots = [slot for slot, _ in choice]
    if not slots or min(slots) < 1 or len(set(slots)) != len(slots):
        raise ValueError(f"a blend names slots other than 0, each once, not {slots}")
    if not all(math.isfinite(weight) for _, weight in choice):
        raise ValueError(f"the weights of a blend are finite numbers, not {[weight for _, weight in choice]}")
    return slots[0] if len(slots) == 1 and choice[0][1] == 1 else choice


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
    for start, end, choice in segments:
        if start != position or end < start:
            raise ValueError(f"segments must cover the {x.shape[0]} rows in order without gaps, not {segments}")
        for slot, _ in members(plain(choice)):
            if not 0 <= slot < A.shape[0]:
                raise ValueError(f"slot {slot} is outside 0..{A.shape[0] - 1}")
        position = end
    if position != x.shape[0]:
        raise ValueError(f"segments must cover the {x.shape[0]} rows in order without gaps, not {segments}")


def lora_linear(x: Tensor, y: Tensor, A: Tensor, B: Tensor, segments: Segments) -> Tensor:
    """Adds to each run of rows the low-rank product of the slot it uses, or the weighted products of several slots.

    Args:
        x: [N, K] inputs.
        y: [N, O] the base's product; not changed.
        A: [S, R, K] shrink matrices of all slots, zero-padded to one rank.
        B: [S, O, R] expand matrices, the scaling already multiplied in.
        segments: (start, end, choice) runs that cover the N rows in order. Rows on slot 0 (the base) keep their bits.

    Returns:
        [N, O] in y's dtype. Products are formed in A's dtype and rounded once, after the sum. A blend of one slot of
        weight 1 has the bits of that slot.

    Raises:
        ValueError: shapes, segments or slots do not fit.
    """
    check_lora_linear(x, y, A, B, segments)
    runs = []
    for start, end, choice in segments:
        part, rows = y[start:end], x[start:end].to(A.dtype)
        for slot, weight in members(choice):
            part = part + (weight * (rows @ A[slot].T)) @ B[slot].T
        runs.append(part.to(y.dtype))
    return torch.cat(runs) if runs else y
