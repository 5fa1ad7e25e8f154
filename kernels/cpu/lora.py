"""Low-rank updates of a linear layer: the CPU's fast form and the choice of a backend."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from loraloop.kernels import reference
from loraloop.kernels.reference import Segments, plain
from loraloop.kernels.rows import RowSlots


def add_low_rank(x: Tensor, y: Tensor, shrink: Tensor, expand: Tensor) -> Tensor:
    """y += (x @ shrink) @ expand, in place: two small products, no copies where the dtypes agree.

    For one token both are matrix-vector products whose matrices are read once, row by row. On a CPU the fast matrices
    are fp32: torch's bf16 products cost about 8 µs a call before any work is done.

    Args:
        x: [N, K].
        y: [N, O], changed.
        shrink: [K, R], the transposed view of a row-major [R, K].
        expand: [R, O], row-major.
    """
    if x.dtype is shrink.dtype:
        return y.addmm_(torch.mm(x, shrink), expand)
    return y.add_(torch.mm(torch.mm(x.to(shrink.dtype), shrink), expand))


def add_blend(x: Tensor, y: Tensor, pairs: Iterable[tuple[Tensor, Tensor, float]]) -> Tensor:
    """y += the weighted sum of several low-rank products, in place and rounded once.

    Args:
        x: [N, K].
        y: [N, O], changed.
        pairs: (shrink [K, R], expand [R, O], weight) of each, as `add_low_rank` takes them.
    """
    if y.dtype is torch.float32:
        for shrink, expand, weight in pairs:
            y.addmm_(torch.mm(x.to(shrink.dtype), shrink).float(), expand.float(), alpha=weight)
        return y
    total = y.float()
    for shrink, expand, weight in pairs:
        total.add_(torch.mm(torch.mm(x.to(shrink.dtype), shrink), expand), alpha=weight)
    return y.copy_(total)


def lora_linear(x: Tensor, y: Tensor, A: Tensor, B: Tensor, segments: Segments) -> Tensor:
    """`reference.lora_linear`, by the fastest backend for these operands.

    The result may reuse y's storage; use what is returned. Every run of rows is computed on its own, so its bits do
    not depend on what its neighbours use.
    """
    wants_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, y, A, B))
    if x.is_cuda:
        from loraloop.kernels import ops

        reference.check_lora_linear(x, y, A, B, segments)
        rows = RowSlots.of(segments, x.device)
        if wants_grad:
            adapted: Tensor = ops.adapt(x, y, A, B, None, None, rows.slots, rows.weights, rows.tiles)
            return adapted
        ops.lora_linear_(x, y, A, B, rows.slots, rows.weights, rows.tiles)
        return y
    if wants_grad:
        return reference.lora_linear(x, y, A, B, segments)
    reference.check_lora_linear(x, y, A, B, segments)
    for start, end, choice in segments:
        choice = plain(choice)
        if not choice or end == start:
            continue
        if isinstance(choice, int):
            add_low_rank(x[start:end], y[start:end], A[choice].T, B[choice].T)
        else:
            add_blend(x[start:end], y[start:end], [(A[slot].T, B[slot].T, weight) for slot, weight in choice])
    return y
