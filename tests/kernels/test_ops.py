"""The op table: what each op computes, what torch is told about it, and that compiled graphs hold it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loraloop.kernels import ops, reference, reference_ops
from loraloop.kernels.reference import Choice, members
from loraloop.kernels.rows import RowSlots

SEGMENTS: reference.Segments = ((0, 2, 1), (2, 3, 0), (3, 5, ((2, 0.5), (1, -0.25))), (5, 6, 3))


def operands(dtype: torch.dtype = torch.float32, grad: bool = False) -> dict[str, Any]:
    torch.manual_seed(0)
    made = {
        "x": torch.randn(6, 64), "y": torch.randn(6, 20), "A": torch.randn(4, 8, 64), "B": torch.randn(4, 20, 8),
        "gain": torch.randn(4, 20), "bias": torch.randn(4, 20),
    }  # fmt: skip
    rows = RowSlots.of(SEGMENTS)
    tensors = {name: tensor.to(dtype).requires_grad_(grad) for name, tensor in made.items()}
    return {**tensors, "slots": rows.slots, "weights": rows.weights, "tiles": rows.tiles}


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
        choice: Choice = min(kind, slots - 1)
        if kind == 3 and slots > 2:
            choice = ((1, 0.5), (2, -1.5))
        segments.append((position, position + length, choice))
        position += length
    used = {slot for _, _, choice in segments for slot, _ in members(choice)}
    x, y = torch.randn(position, sizes[0]), torch.randn(position, sizes[1]).to(dtype)
    A, B = torch.randn(slots, rank, sizes[0]), torch.randn(slots, sizes[1], rank)
    for slot in set(range(slots)) - used:
        A[slot], B[slot] = float("nan"), float("nan")
    rows = RowSlots.of(tuple(segments))
    want = reference.lora_linear(x, y.float(), A, B, tuple(segments)).to(dtype)
    actual = reference_ops.adapt(x, y, A, B, None, None, rows.slots, rows.weights)
    torch.testing.assert_close(actual, want, rtol=2e-2 if dtype is torch.bfloat16 else 1e-4, atol=1e-4)
    changed = y.clone()
    ops.lora_linear_(x, changed, A, B, rows.slots, rows.weights, rows.tiles)
    assert torch.equal(changed, actual)


def test_torch_is_told_the_truth_about_every_op() -> None:
    """Schemas (what is written, what aliases), fakes (shapes, dtypes), gradients and their registration."""
    own = operands(grad=True)
    adapt = list(own.values())
    plain = list(operands().values())
    x, slots, weights = plain[0], own["slots"], own["weights"]
    scale = torch.randn(4, 64, requires_grad=True)
    quantized = (*nf4(), 20)
    cases: dict[str, tuple[Any, ...]] = {
        "lora_linear_": (*plain[:4], *plain[6:]),
        "adapt_": tuple(plain),
        "adapt": tuple(adapt),
        "adapt_backward": (torch.randn(6, 20), *plain),
        "scale_input": (own["x"], scale, slots, weights),
        "scale_input_backward": (torch.randn(6, 64), x, scale.detach(), slots, weights),
        "nf4_dequantize": (*nf4(), 20, 64, torch.bfloat16),
        "nf4_linear": (own["x"], *quantized),
        "nf4_adapt_linear": (x, *quantized, *plain[2:8]),
    }
    assert cases.keys() == ops.SCHEMAS.keys()
    for name, arguments in cases.items():
        torch.library.opcheck(getattr(torch.ops.loraloop, name).default, arguments)
    torch.library.opcheck(ops.adapt, (adapt[0], adapt[1], None, None, adapt[4], None, *adapt[6:]))


@pytest.mark.parametrize("present", ["A B gain bias", "A B", "gain bias"])
def test_gradients_are_those_of_the_definition(present: str) -> None:
    own = {n: t if n in present or n in "x y slots weights tiles" else None for n, t in operands(grad=True).items()}
    leaves = [tensor for name, tensor in own.items() if name in f"y {present}"]
    if "A" in present:
        leaves.append(own["x"])
    gradient = torch.randn(6, 20)
    actual = torch.autograd.grad(ops.adapt(*own.values()), leaves, gradient)
    without_tiles = {name: tensor for name, tensor in own.items() if name != "tiles"}
    want = torch.autograd.grad(reference_ops.adapt(**without_tiles), leaves, gradient)
    for left, right in zip(actual, want, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_holds_the_ops(backend: str) -> None:
    """No graph break: the compiler sees one op with one in-place write, and its result is the op's own."""
    own = operands()
    weight = nf4()

    def step(x: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        y = ops.nf4_linear(x, *weight, 20)
        ops.lora_linear_(x, y, own["A"], own["B"], slots, weights, tiles)
        ops.adapt_(x, y, None, None, own["gain"], own["bias"], slots, weights, tiles)
        return torch.relu(y)

    tables = (own["slots"], own["weights"], own["tiles"])
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    assert torch.equal(compiled(own["x"], *tables), step(own["x"], *tables))


def test_a_compiled_training_step() -> None:
    own = operands(grad=True)
    tables = (own["slots"], own["weights"], own["tiles"])

    def loss(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        y = torch.nn.functional.linear(x, torch.ones(20, 64))
        return ops.adapt(x, y, A, B, None, None, *tables).square().mean()

    inputs = (own["x"], own["A"], own["B"])
    actual = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(*inputs), inputs)
    for left, right in zip(actual, torch.autograd.grad(loss(*inputs), inputs), strict=True):
        torch.testing.assert_close(left, right)
