"""Several slots in one row: the weighted sum, on every way through the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import reference
from loraloop.kernels.cpu import lora
from loraloop.kernels.reference import Choice, plain

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest relative error against the fp32 reference (of the largest output)."""

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, tuple[tuple[int, int, Choice], ...]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """x, y, A, B and segments on slot 0, single slots and blends."""
    slots, rank = draw(st.integers(2, 6)), draw(st.integers(1, 12))
    inner, outer = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    weights = st.floats(-2, 2, width=16)
    blends = st.lists(st.tuples(st.integers(1, slots - 1), weights), min_size=1, max_size=4, unique_by=lambda m: m[0])
    choices = st.integers(0, slots - 1) | blends.map(tuple)
    runs = draw(st.lists(st.tuples(st.integers(1, 5), choices), min_size=1, max_size=5))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    segments, position = [], 0
    for length, choice in runs:
        segments.append((position, position + length, choice))
        position += length
    A, B = torch.randn(slots, rank, inner), torch.randn(slots, outer, rank)
    return torch.randn(position, inner), torch.randn(position, outer), A, B, tuple(segments)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_definition_is_the_weighted_sum_of_products(problem: Problem) -> None:
    x, y, A, B, segments = problem
    found = reference.lora_linear(x, y, A, B, segments)
    for start, end, choice in segments:
        expected = y[start:end].double()
        for slot, weight in [(choice, 1.0)] * (choice != 0) if isinstance(choice, int) else choice:
            expected = expected + weight * (x[start:end].double() @ A[slot].double().T @ B[slot].double().T)
        torch.testing.assert_close(found[start:end].double(), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    problems(),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_fast_form_agrees_with_the_definition(problem: Problem, activations: torch.dtype, weights: torch.dtype) -> None:
    x, y, A, B, segments = problem
    x, y, A, B = x.to(activations), y.to(activations), A.to(weights), B.to(weights)
    expected = reference.lora_linear(x.float(), y.float(), A.float(), B.float(), segments)
    bare = y.clone()
    actual = lora.lora_linear(x, y, A, B, segments)
    # A sum may be small where its terms are large and cancel: the error is that of the largest term.
    terms = [
        reference.lora_linear(x.float(), y.float() * 0, A.float(), B.float(), ((0, len(x), s),)) for s in range(len(A))
    ]
    largest = max(part.abs().max().item() for part in (expected, *terms))
    limit = 2 * max(TOLERANCE[activations], TOLERANCE[weights]) * largest
    assert actual.dtype == activations
    assert (actual.float() - expected).abs().max().item() <= limit
    for start, end, choice in segments:
        if choice == 0:
            assert torch.equal(actual[start:end], bare[start:end])


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_one_slot_of_weight_one_has_the_bits_of_that_slot(problem: Problem, dtype: torch.dtype) -> None:
    x, y, A, B, segments = (part if isinstance(part, tuple) else part.to(dtype) for part in problem)
    single = tuple((s, e, c if isinstance(c, int) else c[0][0]) for s, e, c in segments)
    wrapped = tuple((s, e, ((c, 1.0),) if c else 0) for s, e, c in single)
    assert torch.equal(lora.lora_linear(x, y.clone(), A, B, single), lora.lora_linear(x, y.clone(), A, B, wrapped))
    assert torch.equal(reference.lora_linear(x, y, A, B, single), reference.lora_linear(x, y, A, B, wrapped))


@settings(max_examples=30, deadline=None)
@given(problems())
def test_a_blend_does_not_depend_on_its_neighbours(problem: Problem) -> None:
    x, y, A, B, segments = problem
    together = lora.lora_linear(x, y.clone(), A, B, segments)
    for kept, (start, end, _) in enumerate(segments):
        others = tuple((s, e, choice if i == kept else 0) for i, (s, e, choice) in enumerate(segments))
        assert torch.equal(lora.lora_linear(x, y.clone(), A, B, others)[start:end], together[start:end])


def test_gradients_reach_every_member() -> None:
    x, y = torch.randn(3, 4, requires_grad=True), torch.randn(3, 5)
    A, B = torch.randn(4, 2, 4, requires_grad=True), torch.randn(4, 5, 2, requires_grad=True)
    lora.lora_linear(x, y, A, B, ((0, 1, 0), (1, 3, ((1, 0.5), (3, -1.0))))).sum().backward()
    assert A.grad is not None and B.grad is not None
    assert A.grad[1].any() and B.grad[3].any() and not A.grad[0].any() and not A.grad[2].any()


@pytest.mark.parametrize(
    "blend, message",
    [
        ((), "names slots other than 0"),
        (((0, 0.5), (1, 0.5)), "names slots other than 0"),
        (((1, 0.5), (1, 0.5)), "each once"),
        (((1, float("nan")),), "finite numbers"),
        (((2, 0.5),), "slot 2 is outside"),
    ],
)
def test_blends_that_make_no_sense(blend: Choice, message: str) -> None:
    x, y, A, B = torch.zeros(3, 4), torch.zeros(3, 5), torch.zeros(2, 2, 4), torch.zeros(2, 5, 2)
    with pytest.raises(ValueError, match=message):
        lora.lora_linear(x, y, A, B, ((0, 3, blend),))


def test_a_choice_is_normalised() -> None:
    assert plain(3) == 3 and plain(((3, 1.0),)) == 3 and plain(((3, 0.5),)) == ((3, 0.5),)
