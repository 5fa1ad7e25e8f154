"""What the machine can do at most: bytes read a second, and multiplications a second, with our number of threads.

`decode.py` calls `measure` in the run in which it measures its systems, and says how much of it each reaches.
Reading is measured twice: over 1 GiB, which no cache holds, and over as many bytes as the model has, part of which may
lie in the last cache. The rate of multiplications is that of torch's products, in 8 bits or bf16, the best of some
shapes. Where the processor has tiles (AMX), torch uses them, and the rate is two to three times that of its vectors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch

GIB = 2**30
SHAPES = ((1024, 2048, 2048), (2048, 2048, 2048), (1024, 4096, 4096))
ISA = "ONEDNN_MAX_CPU_ISA"
"""The variable that bounds what torch's products use; read once, before the first of them."""


def restrict(flags: str) -> None:
    """Bounds torch's products to the instruction set of kernels that are compiled with these flags.

    The limit would be that of another processor otherwise. Products of bf16 may be emulated then, and are left out.
    """
    wide = "AVX512_CORE" if "avx512" in flags or "x86-64-v4" in flags else "AVX2"
    os.environ[ISA] = f"{wide}_VNNI" if "vnni" in flags else wide


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a machine.

    Attributes:
        read: bytes a second from memory that no cache holds.
        read_model: bytes a second over a buffer of the model's size, read again and again.
        rate: operations a second of a product in 8 bits or in bf16; a multiplication and an addition are two.
    """

    read: float
    read_model: float
    rate: float

    def best(self, other: Limits) -> Limits:
        """The higher of two measurements of each: what disturbs a machine only ever lowers them."""
        return Limits(
            max(self.read, other.read), max(self.read_model, other.read_model), max(self.rate, other.rate)
        )  # fmt: skip

    def read_ms(self, count: float) -> float:
        """Milliseconds to read so many bytes of the model."""
        return 1e3 * count / max(self.read, self.read_model)

    def flops_ms(self, count: float) -> float:
        """Milliseconds for so many operations."""
        return 1e3 * count / self.rate

    def metrics(self) -> dict[str, float]:
        """For a report."""
        return {
            "read_gb_per_s": self.read / 1e9,
            "read_model_gb_per_s": self.read_model / 1e9,
            "product_gop_per_s": self.rate / 1e9,
        }


def measure(model_bytes: int, repeats: int = 3, large: int = GIB) -> Limits:
    """Measures with torch's present number of threads.

    Args:
        model_bytes: size of the second buffer.
        repeats: readings and products of each kind; the best counts.
        large: size of the first buffer.
    """
    with torch.inference_mode():
        return Limits(bandwidth(large, repeats), bandwidth(model_bytes, repeats), products(repeats))


def bandwidth(size: int, repeats: int) -> float:
    """Bytes a second at which a buffer of `size` bytes is read: by a sum, and by a matrix times a vector."""
    rows = max(size // 16_384, 1)
    matrix = torch.ones(rows, 4_096)
    vector = torch.ones(4_096)
    readers = (matrix.sum, matrix.view(torch.int64).sum, lambda: torch.mv(matrix, vector))
    return matrix.nbytes / min(best(reader, repeats) for reader in readers)


def products(repeats: int, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> float:
    """Operations a second of the fastest product of 8-bit or bf16 matrices; of 8-bit ones alone after `restrict`."""
    rates = []
    kinds = ((torch.int8, torch._int_mm), (torch.bfloat16, torch.matmul))
    for rows, inner, columns in shapes:
        for dtype, product in kinds[: 1 if os.environ.get(ISA) else 2]:
            left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
            seconds = best(partial(product, left, right), repeats)
            rates.append(2 * rows * inner * columns / seconds)
    return max(rates)


def best(work: Callable[[], object], repeats: int) -> float:
    """The shortest of some runs in seconds, after one that does not count."""
    work()
    found = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        work()
        found = min(found, perf_counter() - start)
    return found
