"""Low-rank updates of a linear layer in torch, as fast as a CPU does them."""

from __future__ import annotations

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

    Returns:
        y [N, O] itself.
    """
    if x.dtype is shrink.dtype:
        return y.addmm_(torch.mm(x, shrink), expand)
    return y.add_(torch.mm(torch.mm(x.to(shrink.dtype), shrink), expand))
