"""NF4 by the compiled kernels: bitsandbytes' own values, one launch against the definition, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loraloop.kernels import ops, reference
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.rows import RowSlots

DEVICE = "cuda"
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
SHAPES = [(576, 960), (1536, 576), (4096, 6144), (14336, 4096), (4096, 28672)]
MIX = (1, 0, 3, 2)


def quantized(outputs: int, inputs: int, dtype: torch.dtype = torch.bfloat16) -> Nf4Weight:
    torch.manual_seed(0)
    return Nf4Weight.quantize(torch.randn(outputs, inputs, device=DEVICE) / inputs**0.5, dtype)


def product(x: Tensor, weight: Nf4Weight, A: Tensor, B: Tensor, table: RowSlots) -> Tensor:
    """x times the weight, and what the slots add, in one launch."""
    tables = (table.slots, table.tiles, table.counters)
    return ops.nf4_lora_linear(x, *weight.tensors, weight.out_features, A, B, *tables)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (96, 4), (80, 2)], ids=str)
def test_dequantizes_to_bitsandbytes_values(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    inputs, outputs = shape
    weight = quantized(outputs, inputs, dtype)
    ours = ops.nf4_dequantize(*weight.tensors, outputs, inputs, dtype)
    # scale and offset of an absmax are one rounding for us (a fused multiply-add) and two for bitsandbytes
    places = {torch.float32: 22, torch.bfloat16: 7, torch.float16: 10}[dtype]
    torch.testing.assert_close(ours, weight.dequantize(), rtol=2**-places, atol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 64, 65])
def test_products_agree_with_the_definition(dtype: torch.dtype, shape: tuple[int, int], rows: int) -> None:
    inputs, outputs = shape
    weight = quantized(outputs, inputs)
    x = torch.randn(rows, inputs, device=DEVICE).to(dtype)
    dense = reference.nf4_dequantize(*weight.tensors, outputs, inputs, torch.float32)
    want = x.double() @ dense.double().T
    actual = ops.nf4_linear(x, *weight.tensors, outputs)
    assert (actual.double() - want).abs().max() <= TOLERANCE[dtype] * want.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("rank", [8, 48, 192])
def test_one_launch_agrees_with_the_definition(
    dtype: torch.dtype, shape: tuple[int, int], rows: int, rank: int
) -> None:
    inputs, outputs = shape
    weight = quantized(outputs, inputs)
    x = torch.randn(rows, inputs, device=DEVICE).to(dtype)
    A = (torch.randn(4, rank, inputs, device=DEVICE) / inputs**0.5).to(dtype)
    B = (torch.randn(4, rank, outputs, device=DEVICE) / rank**0.5).transpose(1, 2).to(dtype)
    slots = [MIX[row % len(MIX)] for row in range(rows)]
    table = RowSlots.of(tuple((row, row + 1, slot) for row, slot in enumerate(slots)), DEVICE)
    dense = reference.nf4_dequantize(*weight.tensors, outputs, inputs, torch.float32)
    bare = ops.nf4_linear(x, *weight.tensors, outputs)
    for _ in range(3):  # a launch leaves its counters as it found them
        actual = product(x, weight, A, B, table)
    want = reference.lora_rows(x.float(), x.float() @ dense.T, A.float(), B.float(), table.slots)
    assert (actual.float() - want).abs().max() <= TOLERANCE[dtype] * want.abs().max()
    for row, slot in enumerate(slots):
        if slot == 0:
            assert torch.equal(actual[row], bare[row])
    assert table.counters.tolist() == [0, 0]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    weight = quantized(6144, 4096)
    x = torch.randn(4, 4096, device=DEVICE).bfloat16()
    A = (torch.randn(4, 48, 4096, device=DEVICE) / 64).bfloat16()
    B = torch.randn(4, 48, 6144, device=DEVICE).bfloat16().transpose(1, 2)

    def first(*slots: int) -> Tensor:
        table = RowSlots.of(tuple((row, row + 1, slot) for row, slot in enumerate(slots)), DEVICE)
        return product(x, weight, A, B, table)[0]

    alone = first(1, 0, 0, 0)
    for others in ((1, 1, 1), (2, 0, 3), (3, 2, 2)):
        assert torch.equal(first(1, *others), alone), others


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_permutes_and_table_give_the_same_bits(dtype: torch.dtype) -> None:
    from loraloop.kernels.gpu import triton_nf4

    weight = quantized(960, 576)
    x = torch.randn(3, 576, device=DEVICE).to(dtype)
    ways = [triton_nf4.linear(x, weight.tensors, 960, permute=permute) for permute in (True, False)]
    assert torch.equal(*ways)


@pytest.mark.parametrize("rows", [4, 100])
def test_the_gradient_goes_through(rows: int) -> None:
    weight = quantized(960, 576, torch.float32)
    x = torch.randn(rows, 576, device=DEVICE, requires_grad=True)
    gradient = torch.randn(rows, 960, device=DEVICE)
    (actual,) = torch.autograd.grad(ops.nf4_linear(x, *weight.tensors, 960), x, gradient)
    want = gradient @ weight.dequantize()
    assert (actual - want).abs().max() <= 1e-3 * want.abs().max()
