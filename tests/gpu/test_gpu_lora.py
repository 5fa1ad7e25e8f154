"""What slots add, by the compiled kernels at the shapes of real bases, against the definition in fp32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loraloop.kernels import ops, reference
from loraloop.kernels.reference import Segments
from loraloop.kernels.rows import RowSlots

DEVICE = "cuda"
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
SHAPES = [(576, 960, 48), (576, 3072, 32), (1536, 576, 16), (4096, 28672, 128), (14336, 4096, 64), (4096, 6144, 768)]
MIX = (1, 0, 3, 2, 1)


def operands(dtype: torch.dtype, inputs: int, outputs: int, rank: int, rows: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    slots = 4
    A = torch.randn(slots, rank, inputs, device=DEVICE) / inputs**0.5
    B = (torch.randn(slots, rank, outputs, device=DEVICE) / rank**0.5).transpose(1, 2)
    x, y = torch.randn(rows, inputs, device=DEVICE), torch.randn(rows, outputs, device=DEVICE)
    return {name: tensor.to(dtype) for name, tensor in {"x": x, "y": y, "A": A, "B": B}.items()}


def segments_of(lengths: tuple[int, ...], slots: tuple[int, ...] = MIX) -> Segments:
    ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
    return tuple(
        (end - length, end, slots[at % len(slots)]) for at, (length, end) in enumerate(zip(lengths, ends, strict=True))
    )


def added(own: dict[str, Tensor], segments: Segments) -> Tensor:
    """y with what the slots add, by the compiled kernels."""
    rows = RowSlots.of(segments, DEVICE)
    ops.lora_linear_(*own.values(), rows.slots, rows.tiles)
    return own["y"]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lengths", [(1,), (1,) * 6, (1,) * 40, (16, 3, 40), (300, 20)], ids=lambda n: str(len(n)))
def test_agrees_with_the_definition(dtype: torch.dtype, shape: tuple[int, int, int], lengths: tuple[int, ...]) -> None:
    own = operands(dtype, *shape, rows=sum(lengths))
    segments = segments_of(lengths)
    slots = RowSlots.of(segments, DEVICE).slots
    expected = reference.lora_rows(*(tensor.float() for tensor in own.values()), slots)
    bare = own["y"].clone()
    actual = added(own, segments)
    assert (actual.float() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()
    for start, end, slot in segments:
        if slot == 0:
            assert torch.equal(actual[start:end], bare[start:end])


@pytest.mark.parametrize("length", [1, 8, 70])
def test_a_row_does_not_depend_on_its_neighbours(length: int) -> None:
    own = operands(torch.bfloat16, 1536, 576, 16, 4 * length)

    def run(*slots: int) -> Tensor:
        changed = {**own, "y": own["y"].clone()}
        return added(changed, segments_of((length,) * 4, slots))[:length]

    alone = run(1, 0, 0, 0)
    for others in ((1, 1, 1), (2, 0, 3), (3, 2, 2)):
        assert torch.equal(run(1, *others), alone), others
