"""The CPU kernels in C: built once by the machine's own compiler, and optional; without it torch does the work."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import torch
from torch import Tensor

from loraloop.kernels.cpu.native_types import CLinear, CRequest
from loraloop.kernels.cpu.tiles import TiledWeight
from loraloop.kernels.quantized import Weight

_log = logging.getLogger(__name__)
_SOURCES = Path(__file__).parents[1] / "csrc"
_COMPILERS = ("cc", "gcc", "clang")
ISA: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
"""Tried in this order; a compiler refuses what its machine lacks."""

_lock = threading.Lock()
_loaded: dict[Path, Native | None] = {}


class Native:
    """A loaded library; see csrc/decoder.c.

    Attributes:
        processor: the class of processors that it was built for, such as `AVX2 with VNNI`.
        build: names its source, processor and flags.
    """

    def __init__(self, path: Path) -> None:
        self.build = path.stem
        library = ctypes.CDLL(str(path))
        self._forward, self._product = library.loraloop_forward, library.loraloop_product
        self._forward.argtypes = (ctypes.POINTER(CRequest),)
        address, size = ctypes.c_void_p, ctypes.c_int64
        self._product.argtypes = (ctypes.POINTER(CLinear), address, address, size, ctypes.c_float, size)
        library.loraloop_processor.restype = ctypes.c_char_p
        self.processor: str = library.loraloop_processor().decode()

    def forward(self, request: CRequest) -> None:
        """Runs a forward on torch's number of threads. Releases the interpreter's lock.

        Raises:
            MemoryError: no memory for the activations.
        """
        request.threads = torch.get_num_threads()
        if self._forward(ctypes.byref(request)):
            raise MemoryError("no memory for a forward's activations: feed fewer tokens at once")

    def product(self, matrix: CLinear, x: Tensor, scale: float = 1.0) -> Tensor:
        """`scale * matrix @ x`: fp32 `[M, K]` -> fp32 `[M, O]`."""
        x = x.float().contiguous()
        if x.ndim != 2 or x.shape[1] != matrix.inputs:
            raise ValueError(f"wanted x[M, {matrix.inputs}], not {list(x.shape)}")
        y = torch.empty(x.shape[0], matrix.outputs)
        threads = torch.get_num_threads()
        if self._product(ctypes.byref(matrix), x.data_ptr(), y.data_ptr(), x.shape[0], scale, threads):
            raise MemoryError("no memory for a product's activations")
        return y

    def multiply(self, weight: Weight, x: Tensor) -> Tensor:
        """The product of a weight in tiles: `[M, K]` -> fp32 `[M, O]`."""
        return self.product(CLinear.of(weight), x)


def load(folder: Path) -> Native | None:
    """The library, built into `folder` if it is not there; None without a C compiler or with LORALOOP_NATIVE=0.

    A build belongs to this source and this processor; it is used only if it agrees with torch on small products.
    """
    if os.environ.get("LORALOOP_NATIVE") == "0":
        return None
    with _lock:
        if folder not in _loaded:
            try:
                _loaded[folder] = _opened(folder)
            except (OSError, subprocess.SubprocessError, AttributeError) as error:
                _log.warning("the C kernels cannot be used, and torch's are slower: %s", error)
                _loaded[folder] = None
        return _loaded[folder]


def _opened(folder: Path) -> Native | None:
    """The library of a folder, which is built in a temporary one where that folder cannot be written."""
    try:
        path = build(folder)
    except OSError as error:
        _log.warning("the C kernels are built for this process alone: cannot write to %s (%s)", folder, error.strerror)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            path = build(Path(scratch))
            return _checked(Native(path)) if path else None
    return _checked(Native(path)) if path else None


def _checked(native: Native) -> Native | None:
    """The library, if its products are those of torch."""
    if _agrees(native):
        return native
    _log.warning("the C kernels are not used, since they do not agree with torch's, which are slower")
    return None


def build(folder: Path, flags: list[str] | None = None) -> Path | None:
    """Compiles the library into `folder` unless it is there; None where no compiler can; the log says why.

    Args:
        folder: made if missing; a build's name holds a digest of source, processor and flags.
        flags: the instruction set, instead of this processor's own.
    """
    sources = sorted(_SOURCES.glob("*.[ch]"))
    text = b"".join(source.read_bytes() for source in sources)
    choices = ISA if flags is None else (flags,)
    key = hashlib.sha256(text + _processor().encode() + repr(choices).encode()).hexdigest()[:16]
    path = folder / f"loraloop-{key}.so"
    if path.exists():
        return path
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        _log.warning("no C compiler is here: torch's kernels are used, which are slower (apt install gcc libc6-dev)")
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, path.name)
        for choice in choices:
            command = [compiler, "-O3", *choice, "-fPIC", "-shared", "-pthread", "-o", str(made)]
            command += [str(_SOURCES / "decoder.c"), "-lm"]
            done = subprocess.run(command, capture_output=True, timeout=120, text=True)
            if done.returncode == 0:
                made.replace(path)
                return path
    _log.warning("%s cannot build the C kernels; torch's are used, which are slower: %s", compiler, done.stderr[-2000:])
    return None


def has_compiler() -> bool:
    """Whether this machine can be expected to build the library: a compiler, and the C library's headers."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return False
    probe = "#include <math.h>\n#include <pthread.h>\n"
    command = [compiler, "-x", "c", "-fsyntax-only", "-"]
    return subprocess.run(command, input=probe, capture_output=True, timeout=60, text=True).returncode == 0


def _processor() -> str:
    """Names the instruction set: a library built with it runs only where this is the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return f"{platform.machine()} {platform.processor()}"


def _agrees(native: Native) -> bool:
    """Whether the library's products are torch's, on one tile of each kind."""
    codes = torch.arange(16 * 64).view(16, 64) * 7 % 16
    scales, zeros = torch.full((16, 2), 0.25), torch.arange(32.0).view(16, 2) / 32
    whole = ((codes - 8) * 16).to(torch.int8)
    weights = (
        TiledWeight.int4(codes, scales, zeros),
        TiledWeight.int8(whole, torch.arange(1.0, 17.0) / 64),
        TiledWeight.bf16(whole.float() / 32),
    )
    x = torch.arange(3 * 64.0).view(3, 64).cos()
    exact = [(native.multiply(weight, x), x @ weight.dequantize().float().T) for weight in weights]
    return all(torch.allclose(ours, theirs, rtol=2e-2, atol=0.1) for ours, theirs in exact)
