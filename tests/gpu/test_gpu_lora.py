"""The compiled Triton kernels on a CUDA device against the definition, at the shapes of real bases."""

from __future__ import annotations

import pytest
import torch

from loraloop.kernels import lora, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
SHAPES = [(576, 960, 48), (576, 3072, 32), (1536, 576, 16), (4096, 28672, 128), (14336, 4096, 64)]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1, 1), (16, 3, 40), (300,)], ids=str)
def test_agrees_with_the_definition(dtype: torch.dtype, shape: tuple[int, int, int], lengths: tuple[int, ...]) -> None:
    inputs, outputs, rank = shape
    torch.manual_seed(0)
    total, slots = sum(lengths), 4
    x, y = torch.randn(total, inputs, device="cuda"), torch.randn(total, outputs, device="cuda")
    A = torch.randn(slots, rank, inputs, device="cuda") / inputs**0.5
    B = (torch.randn(slots, rank, outputs, device="cuda") / rank**0.5).transpose(1, 2)
    ends = torch.tensor(lengths).cumsum(0).tolist()
    segments = tuple(
        (end - length, end, (i * 3 + 1) % slots) for i, (length, end) in enumerate(zip(lengths, ends, strict=True))
    )
    x, y, A, B = (tensor.to(dtype) for tensor in (x, y, A, B))
    expected = reference.lora_linear(x.float(), y.float(), A.float(), B.float(), segments)
    actual = lora.lora_linear(x, y.clone(), A, B, segments)
    assert (actual.float() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()
