"""The Triton form of lora_linear against the definition, in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import reference

pytest.importorskip("triton", reason="triton is installed on Linux only")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
inside = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that test_in_the_interpreter starts")


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
def test_in_the_interpreter() -> None:
    """Triton chooses between compiling and interpreting when it is first imported: hence a process of its own."""
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, reference.Segments]:
    slots, rank = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 8, 16, 20, 48, 80]))
    inner, outer = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    lengths = st.just(1) if draw(st.booleans()) else st.integers(1, 40)
    runs = draw(st.lists(st.tuples(lengths, st.integers(0, slots - 1)), min_size=1, max_size=4))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    segments, position = [], 0
    for length, slot in runs:
        segments.append((position, position + length, slot))
        position += length
    A, B = torch.randn(slots, rank, inner), torch.randn(slots, rank, outer).transpose(1, 2)
    for slot in set(range(slots)) - {slot for _, _, slot in segments if slot}:
        A[slot], B[slot] = float("nan"), float("nan")
    return torch.randn(position, inner), torch.randn(position, outer), A, B, tuple(segments)


@inside
@settings(max_examples=40, deadline=None)
@given(problem=problems(), dtype=st.sampled_from(list(TOLERANCE)))
def test_agrees_with_the_definition(problem, dtype: torch.dtype) -> None:
    from loraloop.kernels import triton_lora

    x, y, A, B = (tensor.to(dtype) for tensor in problem[:4])
    segments = problem[4]
    expected = reference.lora_linear(x.float(), y.float(), A.float(), B.float(), segments)
    bare = y.clone()
    actual = triton_lora.lora_linear(x, y, A, B, triton_lora.plan(segments, "cpu"))
    assert actual is y
    assert (actual.float() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()
    for start, end, slot in segments:
        if slot == 0:
            assert torch.equal(actual[start:end], bare[start:end])


@inside
@pytest.mark.parametrize("length", [1, 5, 70])
def test_a_row_does_not_depend_on_its_neighbours(length: int) -> None:
    from loraloop.kernels import triton_lora

    torch.manual_seed(0)
    x, y, A, B = torch.randn(3 * length, 33), torch.randn(3 * length, 20), torch.randn(3, 8, 33), torch.randn(3, 20, 8)

    def first(*slots: int) -> torch.Tensor:
        segments = tuple((i * length, (i + 1) * length, slot) for i, slot in enumerate(slots))
        return triton_lora.lora_linear(x, y.clone(), A, B, triton_lora.plan(segments, "cpu"))[:length]

    assert torch.equal(first(1, 2, 0), first(1, 0, 0)) and torch.equal(first(1, 1, 2), first(1, 0, 0))


@inside
def test_the_grid_holds_active_rows_only() -> None:
    from loraloop.kernels import triton_lora

    assert triton_lora.plan(((0, 3, 0), (3, 4, 0)), "cpu").blocks.shape == (0, 3)
    work = triton_lora.plan(((0, 40, 0), (40, 60, 2), (60, 61, 1)), "cpu")
    assert work.rows == 64 and work.blocks.tolist() == [[40, 60, 2], [60, 61, 1]]


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("rows", [1, 16])
def test_compiles_for_gpus(capability: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to machine code for Ampere and Hopper, which needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from loraloop.kernels import triton_lora

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {"x": "*bf16", "y": "*bf16", "A": "*bf16", "B": "*bf16", "middle": "*fp32", "blocks": "*i32"}
    for kernel, tile in ((triton_lora._shrink, {"DEEP": 64}), (triton_lora._expand, {"COLUMNS": 64})):
        constants = {"ROWS": rows, "WIDE": 16, "WIDEN": False, **tile}
        signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
        built = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", capability, 32))
        assert built.asm["cubin"] and ("mma" in built.asm["ptx"]) == (rows > 1)
