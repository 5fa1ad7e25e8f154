"""Low-rank updates of a linear layer in torch, as fast as a CPU does them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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
