"""Memory for tensors that a CPU streams at every token."""

from __future__ import annotations

import contextlib
import mmap

import torch
from torch import Tensor

_LARGE = 1 << 21  # bytes of a huge page


def block(size: int) -> mmap.mmap:
    """Anonymous memory of `size` bytes: zeros, of which only touched pages become resident.

    Huge pages are asked for: reading a hundred megabytes a token from pages of 4 KiB costs as many address look-ups.
    """
    if hasattr(mmap, "MAP_PRIVATE"):  # a forked child gets a copy, and huge pages are given to private memory only
        memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:  # Windows
        memory = mmap.mmap(-1, max(size, 1))
    if size >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros `[*shape]` in a block of their own; see `block`."""
    count = 1
    for size in shape:
        count *= size
    return torch.frombuffer(block(count * dtype.itemsize), dtype=dtype, count=count).view(shape)
