"""The C library's products on ARM: cross-compiled, and run by an emulator of its processor.

Needs Debian's packages gcc-aarch64-linux-gnu and qemu-user. LORALOOP_EXPECT_NEON=1 makes their absence a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
import torch

from loraloop.kernels.cpu import native
from loraloop.kernels.cpu.native import Native
from loraloop.kernels.cpu.tiles import TiledWeight, TileKind
from tests.kernels.test_native import BUILT, drawn

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
SOURCES = Path(native.__file__).parents[1] / "csrc"
LEVELS = {"neon": "-march=armv8-a", "dotprod": "-march=armv8.2-a+dotprod"}


@pytest.fixture(scope="module", params=LEVELS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    if missing and os.environ.get("LORALOOP_EXPECT_NEON") != "1":
        pytest.skip(f"{' and '.join(missing)} not installed")
    made = tmp_path_factory.mktemp("neon") / "product"
    command = [COMPILER, "-O3", LEVELS[request.param], "-static", "-pthread", f"-I{SOURCES}", "-o", str(made)]
    subprocess.run([*command, str(Path(__file__).with_name("product.c")), "-lm"], check=True, timeout=300)
    return made


@pytest.fixture(scope="module")
def library() -> Native:
    path = native.build(BUILT)
    assert path is not None, "no C compiler"
    return Native(path)


def emulated(program: Path, weight: TiledWeight, x: torch.Tensor) -> torch.Tensor:
    head = [int(weight.kind), weight.data.numel(), weight.in_features, weight.out_features, x.shape[0]]
    given = numpy.array(head, numpy.int64).tobytes() + weight.data.numpy().tobytes() + x.numpy().tobytes()
    done = subprocess.run([EMULATOR, str(program)], input=given, capture_output=True, check=True, timeout=300)
    return torch.frombuffer(bytearray(done.stdout), dtype=torch.float32).view(x.shape[0], weight.out_features)


@pytest.mark.parametrize("count", [1, 19])
@pytest.mark.parametrize("kind", TileKind)
def test_products_are_those_of_this_processor(program: Path, kind: TileKind, count: int, library: Native) -> None:
    weight, _ = drawn(kind, 77, 320, seed=count)
    x = torch.randn(count, 320, generator=torch.Generator().manual_seed(count))
    here, there = library.multiply(weight, x), emulated(program, weight, x)
    assert here.abs().max() > 1
    assert torch.allclose(here, there, rtol=1e-4, atol=1e-3)
