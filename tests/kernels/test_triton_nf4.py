"""NF4 products in Triton's interpreter (see test_triton.py) against bitsandbytes' own values and the definition."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import reference
from loraloop.kernels.rows import RowSlots

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytest.importorskip("bitsandbytes", reason="bitsandbytes is installed on Linux only")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="runs in test_triton.py's process")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
POOL = (0, 1, 2, 3)


def quantized(outputs: int, inputs: int) -> Any:
    from loraloop.kernels.nf4 import Nf4Weight

    return Nf4Weight.quantize(torch.randn(outputs, inputs) * torch.rand(outputs, 1) * 3)


@settings(max_examples=15, deadline=None)
@given(outputs=st.integers(2, 50), inputs=st.integers(1, 200).map(lambda n: 2 * n), seed=st.integers(0, 999))
def test_dequantizes_to_the_defined_values(outputs: int, inputs: int, seed: int) -> None:
    from loraloop.kernels.gpu import triton_nf4

    torch.manual_seed(seed)
    weight = quantized(outputs, inputs)
    exact = reference.nf4_dequantize(*weight.tensors, outputs, inputs, torch.float32)
    assert torch.equal(triton_nf4.dequantize(weight.tensors, outputs, inputs, torch.float32), exact)
    buffer = torch.full((outputs * inputs + 7,), float("nan"), dtype=torch.bfloat16)
    values = triton_nf4.dequantize(weight.tensors, outputs, inputs, torch.bfloat16, buffer)
    # The interpreter cuts bfloat16 off where a GPU rounds it: one unit in the last place.
    far = (values.float() - weight.dequantize().float()).abs() - 2**-7 * exact.abs()
    assert far.max().item() <= 0
    assert buffer[outputs * inputs :].isnan().all()


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    outputs, inputs = draw(st.integers(20, 100)), 64 * draw(st.sampled_from([1, 2, 3, 5, 9]))
    rows, rank = draw(st.sampled_from([1, 2, 5, 17, 40])), draw(st.sampled_from([3, 8, 24, 80]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    operands: dict[str, Any] = {
        "A": torch.randn(4, rank, inputs) / inputs**0.5, "B": torch.randn(4, rank, outputs).transpose(1, 2),
    }  # fmt: skip
    for tensor in operands.values():
        tensor[0] = float("nan")  # nobody uses it
    return {
        "x": torch.randn(rows, inputs), "weight": quantized(outputs, inputs),
        "segments": tuple((row, row + 1, draw(st.sampled_from(POOL))) for row in range(rows)),
        **operands,
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(problem=problems(), dtype=st.sampled_from(list(TOLERANCE)))
def test_one_launch_agrees_with_the_definition(problem: dict[str, Any], dtype: torch.dtype) -> None:
    from loraloop.kernels.gpu import triton_nf4

    weight, segments = problem.pop("weight"), problem.pop("segments")
    x, A, B = (tensor.to(dtype) for tensor in problem.values())
    rows = RowSlots.of(segments)
    lora = triton_nf4.LoraOperands(A, B, rows.slots, rows.counters)
    actual = triton_nf4.linear(x, weight.tensors, weight.out_features, lora)
    bare = triton_nf4.linear(x, weight.tensors, weight.out_features)
    assert rows.counters.tolist() == [0, 0]

    x, A, B = (tensor.float().nan_to_num() for tensor in (x, A, B))
    dense = reference.nf4_dequantize(*weight.tensors, weight.out_features, x.shape[1], torch.float32)
    want = reference.lora_rows(x, x @ dense.T, A, B, rows.slots)
    error = ((actual.float() - want).abs().max() / want.abs().max()).item()
    assert error <= TOLERANCE[dtype]
    for row, (_, _, slot) in enumerate(segments):
        if slot == 0:
            assert torch.equal(actual[row], bare[row])


@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_does_not_depend_on_its_neighbours(rows: int) -> None:
    from loraloop.kernels.gpu import triton_nf4

    torch.manual_seed(0)
    weight = quantized(40, 128)
    x, A, B = torch.randn(rows, 128), torch.randn(4, 8, 128), torch.randn(4, 40, 8)

    def first(*slots: int) -> torch.Tensor:
        table = RowSlots.of(tuple((row, row + 1, slot) for row, slot in enumerate(slots)))
        lora = triton_nf4.LoraOperands(A, B, table.slots, table.counters)
        return triton_nf4.linear(x, weight.tensors, 40, lora)[0]

    alone = first(1, *[0] * (rows - 1))
    for other in POOL:
        assert torch.equal(first(1, *[other] * (rows - 1)), alone)


def test_the_gradient_goes_through_frozen_weights() -> None:
    from loraloop.kernels import ops

    torch.manual_seed(0)
    weight = quantized(48, 128)
    dense = reference.nf4_dequantize(*weight.tensors, 48, 128, torch.float32)
    for count in (3, 80):  # the fused kernel, and the dense buffer
        x = torch.randn(count, 128, requires_grad=True)
        out = ops.nf4_linear(x, *weight.tensors, 48)
        torch.testing.assert_close(out, x @ dense.T, rtol=1e-4, atol=1e-4)
        gradient = torch.randn_like(out)
        (actual,) = torch.autograd.grad(out, x, gradient)
        torch.testing.assert_close(actual, gradient @ dense, rtol=1e-4, atol=1e-4)
