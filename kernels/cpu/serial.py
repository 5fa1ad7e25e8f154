"""Torch operations on the calling thread alone, while other threads keep their own number of cores."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


@cache
def _openmp() -> Any:
    """The OpenMP library that torch has loaded; None where it has another kind of threads."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "omp_set_num_threads") else None
    except (OSError, TypeError):
        return None


@contextmanager
def serial() -> Iterator[None]:
    """Small copies and sums gain nothing from a second core, and lose much where that core is busy with a forward.

    `torch.set_num_threads` would tell every thread; OpenMP's own setting belongs to the calling one.
    """
    library, threads = _openmp(), torch.get_num_threads()
    if library is None or threads == 1:
        yield
        return
    library.omp_set_num_threads(1)
    try:
        yield
    finally:
        library.omp_set_num_threads(threads)
