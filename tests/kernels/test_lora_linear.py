from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import reference
from loraloop.kernels.cpu import lora

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest relative error against the fp32 reference (of the largest output)."""


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, ...]:
    """x, y, A, B and segments of random shapes and slot mixes; unused slots are poisoned with NaN."""
    slots, rank = draw(st.integers(1, 5)), draw(st.integers(1, 20))
    inner, outer = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    runs = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(0, slots - 1)), min_size=1, max_size=6))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    segments, position = [], 0
    for length, slot in runs:
        segments.append((position, position + length, slot))
        position += length
    A, B = torch.randn(slots, rank, inner), torch.randn(slots, outer, rank)
    for slot in set(range(slots)) - {slot for _, _, slot in segments if slot}:
        A[slot], B[slot] = float("nan"), float("nan")
    return torch.randn(position, inner), torch.randn(position, outer), A, B, tuple(segments)


@settings(max_examples=60, deadline=None)
@given(
    problems(),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_fast_form_agrees_with_the_definition(problem, activations, weights) -> None:
    x, y, A, B, segments = problem
    x, y, A, B = x.to(activations), y.to(activations), A.to(weights), B.to(weights)
    expected = reference.lora_linear(x.float(), y.float(), A.float(), B.float(), segments)
    bare = y.clone()
    actual = lora.lora_linear(x, y, A, B, segments)
    assert actual.dtype == activations
    limit = max(TOLERANCE[activations], TOLERANCE[weights]) * expected.abs().max().item()
    assert (actual.float() - expected).abs().max().item() <= limit
    for start, end, slot in segments:
        if slot == 0:
            assert torch.equal(actual[start:end], bare[start:end])


@settings(max_examples=30, deadline=None)
@given(problems())
def test_a_row_does_not_depend_on_its_neighbours(problem) -> None:
    x, y, A, B, segments = problem
    A, B = A.nan_to_num(), B.nan_to_num()
    together = lora.lora_linear(x, y.clone(), A, B, segments)
    for kept in range(len(segments)):
        start, end, slot = segments[kept]
        others = tuple((s, e, v if i == kept else 0) for i, (s, e, v) in enumerate(segments))
        alone = lora.lora_linear(x, y.clone(), A, B, others)
        assert torch.equal(alone[start:end], together[start:end]), slot


def test_gradients_flow_where_they_are_wanted() -> None:
    x, y = torch.randn(3, 4, requires_grad=True), torch.randn(3, 5)
    A, B = torch.randn(2, 2, 4, requires_grad=True), torch.randn(2, 5, 2, requires_grad=True)
    lora.lora_linear(x, y, A, B, ((0, 1, 0), (1, 3, 1))).sum().backward()
    assert A.grad[1].any() and B.grad[1].any() and not A.grad[0].any()
    assert x.grad[1:].any() and not x.grad[0].any()


@pytest.mark.parametrize(
    "shapes, segments, message",
    [
        (((3, 4), (3, 5), (2, 2, 4), (2, 5, 2)), ((0, 2, 1),), "cover the 3 rows"),
        (((3, 4), (3, 5), (2, 2, 4), (2, 5, 2)), ((0, 2, 1), (1, 3, 1)), "cover the 3 rows"),
        (((3, 4), (3, 5), (2, 2, 4), (2, 5, 2)), ((0, 3, 2),), "slot 2 is outside"),
        (((3, 4), (3, 5), (2, 2, 4), (2, 5, 3)), ((0, 3, 1),), "not x"),
        (((4,), (3, 5), (2, 2, 4), (2, 5, 2)), ((0, 3, 1),), "wants x"),
    ],
)
def test_operands_that_do_not_fit(shapes, segments, message) -> None:
    x, y, A, B = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        lora.lora_linear(x, y, A, B, segments)
