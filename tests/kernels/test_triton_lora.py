"""What slots add, in Triton, against the definition, in Triton's interpreter (see test_triton.py)."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loraloop.kernels import reference
from loraloop.kernels.reference import Segments
from loraloop.kernels.rows import RowSlots

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="runs in test_triton.py's process")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest error against the definition in fp32, relative to the largest output."""


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Operands of random shapes and slots. What must not be read is NaN: unused slots, and B outside of spans."""
    slots, rank = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 8, 16, 20, 48, 80, 256]))
    inputs, outputs = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    lengths = st.just(1) if draw(st.booleans()) else st.integers(1, 40)
    runs = draw(st.lists(st.tuples(lengths, st.integers(0, slots - 1)), min_size=1, max_size=4))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    segments, position = [], 0
    for length, slot in runs:
        segments.append((position, position + length, slot))
        position += length
    tensors = {
        "A": torch.randn(slots, rank, inputs),
        "B": torch.randn(slots, rank, outputs).transpose(1, 2) / rank**0.5,
    }
    unread = set(range(slots)) - {slot for _, _, slot in segments}
    for tensor in tensors.values():
        tensor[list(unread)] = float("nan")
    spans = None
    if draw(st.booleans()):
        ends = torch.randint(0, outputs + 1, (slots, rank, 2)).sort(-1).values.int()
        place = torch.arange(outputs)[None, :, None]
        outside = (place < ends[:, None, :, 0]) | (place >= ends[:, None, :, 1])
        tensors["B"][outside] = float("nan")
        tensors["A"][(ends[..., 0] == ends[..., 1])] = float("nan")
        spans = ends
    operands = {"x": torch.randn(position, inputs), "y": torch.randn(position, outputs), **tensors}
    return {**operands, "spans": spans, "segments": tuple(segments)}


def added(x: Tensor, y: Tensor, A: Tensor, B: Tensor, segments: Segments, spans: Tensor | None = None) -> Tensor:
    from loraloop.kernels.gpu import triton_lora

    rows = RowSlots.of(segments)
    triton_lora.lora_linear_(x, y, A, B, rows.slots, rows.tiles, spans)
    return y


def expected(problem: dict[str, Any]) -> Tensor:
    """The definition in fp32. It multiplies by what the kernels do not read, so poison is taken out first."""
    rows = RowSlots.of(problem["segments"])
    x, y, A, B = (problem[name].float().nan_to_num() for name in ("x", "y", "A", "B"))
    return reference.lora_rows(x, y, A, B, rows.slots, problem["spans"])


def largest(problem: dict[str, Any]) -> Tensor:
    """The largest sum of the magnitudes that are added up: what rounding errors are relative to where terms cancel."""
    rows = RowSlots.of(problem["segments"])
    x, y, A, B = (problem[name].float().nan_to_num().abs() for name in ("x", "y", "A", "B"))
    return reference.lora_rows(x, y, A, B, rows.slots, problem["spans"]).max()


@settings(max_examples=50, deadline=None)
@given(problem=problems(), dtype=st.sampled_from(list(TOLERANCE)))
def test_agrees_with_the_definition(problem: dict[str, Any], dtype: torch.dtype) -> None:
    kept = ("segments", "spans")
    problem = {n: v if n in kept or v is None else v.to(dtype) for n, v in problem.items()}
    want, rounding = expected(problem), torch.finfo(dtype).eps * largest(problem)
    bare = problem["y"].clone()
    actual = added(**problem)
    assert (actual.float() - want).abs().max() <= max(TOLERANCE[dtype] * want.abs().max(), rounding)
    for start, end, slot in problem["segments"]:
        if slot == 0:
            assert torch.equal(actual[start:end], bare[start:end])


def operands(rows: int, slots: int = 4) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "x": torch.randn(rows, 33), "y": torch.randn(rows, 20), "A": torch.randn(slots, 8, 33),
        "B": torch.randn(slots, 20, 8),
    }  # fmt: skip


@pytest.mark.parametrize("length", [1, 5, 70])
def test_a_row_does_not_depend_on_its_neighbours(length: int) -> None:
    def run(*others: int) -> Tensor:
        segments = tuple((i * length, (i + 1) * length, slot) for i, slot in enumerate((1, *others)))
        return added(segments=segments, **operands(3 * length))[:length]

    alone = run(0, 0)
    for others in ((2, 0), (1, 2), (3, 1), (3, 2)):
        assert torch.equal(run(*others), alone), others
