"""Gradients of the Triton backend in the interpreter (see test_triton.py) against autograd of the definition."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="runs in test_triton.py's process")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SEGMENTS = (
    ((0, 3, 1), (3, 4, 0), (4, 9, 2)),
    ((0, 9, 1),),
    ((0, 1, 2),),
    ((0, 40, 1), (40, 75, 3)),
    ((0, 2, ((1, 0.5), (3, -0.25))), (2, 5, 3)),
    ((0, 4, 0),),
)


@settings(max_examples=20, deadline=None)
@given(
    segments=st.sampled_from(SEGMENTS),
    present=st.sampled_from(["A B", "A B gain bias", "gain", "A B bias"]),
    sizes=st.sampled_from([(1, 1, 1), (30, 70, 8), (70, 20, 24)]),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 999),
)
def test_gradients_are_those_of_the_definition(segments, present, sizes, dtype, seed) -> None:
    from loraloop.kernels import ops, reference_ops
    from loraloop.kernels.rows import RowSlots

    torch.manual_seed(seed)
    rows, (inputs, outputs, rank) = RowSlots.of(segments), sizes
    made = {
        "x": torch.randn(segments[-1][1], inputs), "y": torch.randn(segments[-1][1], outputs),
        "A": torch.randn(4, rank, inputs) / inputs**0.5, "B": torch.randn(4, outputs, rank) / rank**0.5,
        "gain": torch.randn(4, outputs), "bias": torch.randn(4, outputs),
    }  # fmt: skip
    wanted = [name for name in made if name in ("x", "y") or name in present.split()]
    own = {name: made[name].to(dtype).requires_grad_() if name in wanted else None for name in made}
    exact = {name: made[name].to(dtype).float().requires_grad_() if name in wanted else None for name in made}
    out = ops.adapt(*own.values(), rows.slots, rows.weights, rows.tiles)
    want = reference_ops.adapt(*exact.values(), rows.slots, rows.weights)
    gradient = torch.randn_like(want).to(dtype)
    out.backward(gradient)
    want.backward(gradient.float())
    for name in wanted:
        actual, target = own[name].grad, exact[name].grad
        if target is None:  # not part of the graph: nobody uses a slot, or nothing reads x
            assert actual is None or not actual.any(), name
            continue
        assert actual.dtype is dtype and actual.isfinite().all(), name
        # Relative to what is summed, not to the sum: terms that were rounded to bf16 may cancel.
        limit = TOLERANCE[dtype] * torch.maximum(target.abs().max(), gradient.float().abs().max())
        assert (actual.float() - target).abs().max() <= limit, name


def test_the_gradient_goes_through_frozen_nf4() -> None:
    from loraloop.kernels import ops, reference_ops
    from loraloop.kernels.nf4 import Nf4Weight

    torch.manual_seed(0)
    weight = Nf4Weight.quantize(torch.randn(48, 128))
    dense = reference_ops.nf4_dequantize(*weight.tensors, 48, 128, torch.float32)
    for count in (3, 80):  # the fused kernel, and the dense buffer
        x = torch.randn(count, 128, requires_grad=True)
        out = ops.nf4_linear(x, *weight.tensors, 48)
        torch.testing.assert_close(out, x @ dense.T, rtol=1e-4, atol=1e-4)
        gradient = torch.randn_like(out)
        (actual,) = torch.autograd.grad(out, x, gradient)
        torch.testing.assert_close(actual, gradient @ dense, rtol=1e-4, atol=1e-4)


def test_input_gains_have_gradients() -> None:
    from loraloop.kernels import ops, reference_ops
    from loraloop.kernels.rows import RowSlots

    torch.manual_seed(0)
    rows = RowSlots.of(SEGMENTS[4])
    x, gain = torch.randn(5, 30, requires_grad=True), torch.randn(4, 30, requires_grad=True)
    gradient = torch.randn(5, 30)
    actual = torch.autograd.grad(ops.scale_input(x, gain, rows.slots, rows.weights), (x, gain), gradient)
    want = torch.autograd.grad(reference_ops.scale_input(x, gain, rows.slots, rows.weights), (x, gain), gradient)
    for left, right in zip(actual, want, strict=True):
        torch.testing.assert_close(left, right)
