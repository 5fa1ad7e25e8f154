"""The op table: what each op computes, what torch is told about it, and that compiled graphs hold it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loraloop.kernels import ops, reference
from loraloop.kernels.rows import RowSlots

SEGMENTS: reference.Segments = ((0, 2, 1), (2, 3, 0), (3, 5, 2), (5, 6, 3))


def operands() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "x": torch.randn(6, 64), "y": torch.randn(6, 20), "A": torch.randn(4, 8, 64), "B": torch.randn(4, 20, 8),
    }  # fmt: skip


def nf4() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (20 * 64 // 2, 1), dtype=torch.uint8, generator=generator)
    absmax = torch.randint(0, 256, (20,), dtype=torch.uint8, generator=generator)
    return codes, absmax, torch.linspace(-1, 1, 256), torch.tensor([0.5]), torch.tensor(1.0)


@settings(max_examples=40, deadline=None)
@given(
    slots=st.integers(2, 5), rank=st.integers(1, 20), sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    runs=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]), seed=st.integers(0, 999),
)  # fmt: skip
def test_tables_of_slots_mean_what_segments_mean(slots, rank, sizes, runs, dtype, seed) -> None:
    torch.manual_seed(seed)
    segments, position = [], 0
    for length, kind in runs:
        segments.append((position, position + length, min(kind, slots - 1)))
        position += length
    used = {slot for _, _, slot in segments}
    x, y = torch.randn(position, sizes[0]), torch.randn(position, sizes[1]).to(dtype)
    A, B = torch.randn(slots, rank, sizes[0]), torch.randn(slots, sizes[1], rank)
    for slot in set(range(slots)) - used:
        A[slot], B[slot] = float("nan"), float("nan")
    rows = RowSlots.of(tuple(segments))
    parts = [x[start:end] @ A[slot].T @ B[slot].T * bool(slot) for start, end, slot in segments]
    want = (y.float() + torch.cat(parts)).to(dtype)
    actual = reference.lora_rows(x, y, A, B, rows.slots)
    torch.testing.assert_close(actual, want, rtol=2e-2 if dtype is torch.bfloat16 else 1e-4, atol=1e-4)
    changed = y.clone()
    ops.lora_linear_(x, changed, A, B, rows.slots, rows.tiles)
    assert torch.equal(changed, actual)


def test_torch_is_told_the_truth_about_every_op() -> None:
    """Schemas (what is written, what aliases), fakes (shapes, dtypes), gradients and their registration."""
    own, rows, quantized = operands(), RowSlots.of(SEGMENTS), (*nf4(), 20)
    tables = (own["A"], own["B"], rows.slots, rows.tiles)
    cases: dict[str, tuple[Any, ...]] = {
        "lora_linear_": (own["x"], own["y"], *tables),
        "nf4_dequantize": (*nf4(), 20, 64, torch.bfloat16),
        "nf4_linear": (own["x"].clone().requires_grad_(), *quantized),
        "nf4_lora_linear": (own["x"], *quantized, *tables, rows.counters),
    }
    assert cases.keys() == ops.SCHEMAS.keys()
    for name, arguments in cases.items():
        torch.library.opcheck(getattr(torch.ops.loraloop, name).default, arguments)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_holds_the_ops(backend: str) -> None:
    """No graph break: the compiler sees one op with one in-place write, and its result is the op's own."""
    own, weight, rows = operands(), nf4(), RowSlots.of(SEGMENTS)

    def step(x: Tensor, slots: Tensor, tiles: Tensor) -> Tensor:
        y = ops.nf4_linear(x, *weight, 20)
        ops.lora_linear_(x, y, own["A"], own["B"], slots, tiles)
        return torch.relu(y)

    tables = (rows.slots, rows.tiles)
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    assert torch.equal(compiled(own["x"], *tables), step(own["x"], *tables))
