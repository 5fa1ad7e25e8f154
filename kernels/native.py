"""The CPU kernels in C: built once by the machine's own compiler, and optional; without it torch does the work."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

_FLAGS: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
"""Tried in this order; a compiler refuses what its machine lacks."""

_lock = threading.Lock()
_loaded: dict[Path, Native | None] = {}


class _Pair(ctypes.Structure):
    _fields_ = (
        ("shrink", ctypes.c_void_p),
        ("expand", ctypes.c_void_p),
        ("spans", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
    )


class Native:
    """A loaded library; see `lora.c`."""

    def __init__(self, path: Path) -> None:
        self._add: Callable[[int, int, int, int], int] = ctypes.CDLL(str(path)).lora_add
        self._add.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    def pair(self, shrink: Tensor, expand: Tensor, spans: Tensor) -> NativePair:
        """Binds the matrices of one site; see `NativePair`."""
        return NativePair(self._add, shrink, expand, spans)


class NativePair:
    """y += (x @ shrink.T) @ expand of one site, for a few rows.

    Args:
        shrink: bf16 [R, K], contiguous.
        expand: bf16 [R, O], contiguous.
        spans: int32 [R, 2] from `spans`: which columns of each row of `expand` are read.
    """

    __slots__ = ("_add", "_at", "_keep")

    def __init__(self, add: Callable[[int, int, int, int], int], shrink: Tensor, expand: Tensor, spans: Tensor) -> None:
        for tensor, dtype in ((shrink, torch.bfloat16), (expand, torch.bfloat16), (spans, torch.int32)):
            if tensor.dtype is not dtype or not tensor.is_contiguous():
                raise ValueError(f"wanted a contiguous {dtype} tensor, not {tensor.dtype} {list(tensor.shape)}")
        if shrink.shape[0] != expand.shape[0] or spans.shape != (shrink.shape[0], 2):
            raise ValueError("shrink[R, K], expand[R, O] and spans[R, 2] do not fit together")
        pointers = (tensor.data_ptr() for tensor in (shrink, expand, spans))
        pair = _Pair(*pointers, shrink.shape[0], shrink.shape[1], expand.shape[1])
        self._keep = (pair, shrink, expand, spans)
        self._add, self._at = add, ctypes.addressof(pair)

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """Changes y[N, O] for x[N, K], both bf16 and contiguous (not checked: this runs a hundred times a token)."""
        if self._add(self._at, x.data_ptr(), y.data_ptr(), x.shape[0]):
            raise MemoryError("no memory for a row of activations")


def spans(rank: int, outputs: int, blocks: Sequence[tuple[int, int, int]] = ()) -> Tensor:
    """int32 [R, 2]: the columns between which each row of an expand matrix [R, O] may differ from zero.

    Args:
        rank: R.
        outputs: O.
        blocks: (rows, first column, one past the last) of a block-diagonal matrix, from the top; empty for a dense one.
    """
    rows = [(first, end) for count, first, end in blocks for _ in range(count)] or [(0, outputs)] * rank
    if len(rows) != rank or not all(0 <= first <= end <= outputs for first, end in rows):
        raise ValueError(f"blocks {blocks} do not cover {rank} rows of {outputs} columns")
    return torch.tensor(rows, dtype=torch.int32)


def load(folder: Path) -> Native | None:
    """The library, built into `folder` if it is not there; None without a C compiler or with LORALOOP_NATIVE=0.

    A build belongs to this source and this processor; it is used only if it agrees with torch on a small product.
    """
    if os.environ.get("LORALOOP_NATIVE") == "0":
        return None
    with _lock:
        if folder not in _loaded:
            try:
                path = _build(folder)
                native = Native(path) if path else None
                _loaded[folder] = native if native and _agrees(native) else None
            except (OSError, subprocess.SubprocessError, AttributeError):
                _loaded[folder] = None
        return _loaded[folder]


def _build(folder: Path) -> Path | None:
    source = Path(__file__).with_name("lora.c")
    key = hashlib.sha256(source.read_bytes() + _processor().encode()).hexdigest()[:16]
    path = folder / f"lora-{key}.so"
    if path.exists():
        return path
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, path.name)
        for flags in _FLAGS:
            command = [compiler, "-O3", *flags, "-fPIC", "-shared", "-o", str(made), str(source)]
            if subprocess.run(command, capture_output=True, timeout=60).returncode == 0:
                made.replace(path)
                return path
    return None


def _processor() -> str:
    """Names the instruction set: a library built with it runs only where this is the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return f"{platform.machine()} {platform.processor()}"


def _agrees(native: Native) -> bool:
    shrink, expand = torch.ones(5, 67).cumsum(1) / 67, torch.ones(5, 33).cumsum(0) / 5
    x, y = torch.ones(2, 67, dtype=torch.bfloat16), torch.zeros(2, 33, dtype=torch.bfloat16)
    A, B = shrink.bfloat16(), expand.bfloat16()
    native.pair(A, B, spans(5, 33))(x, y)
    return torch.allclose(y.float(), x.float() @ A.float().T @ B.float(), rtol=1e-2)
