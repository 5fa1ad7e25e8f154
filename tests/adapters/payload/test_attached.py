"""What a bank's slots add to a product on the torch decoder, against the definition: single slots and blends."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.payload.attached import BankAttached
from loraloop.kernels import reference
from loraloop.kernels.reference import Choice, Segments

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest relative error against the fp32 reference (of the largest output)."""
DTYPES = st.sampled_from(list(TOLERANCE))

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Segments]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """x, y, A, B and segments on slot 0, single slots and blends; slots that nobody uses are poisoned with NaN."""
    slots, rank = draw(st.integers(2, 6)), draw(st.integers(1, 20))
    inner, outer = draw(st.integers(1, 70)), draw(st.integers(1, 70))
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
    for slot in set(range(slots)) - {slot for _, _, choice in segments for slot, _ in reference.members(choice)}:
        A[slot], B[slot] = float("nan"), float("nan")
    return torch.randn(position, inner), torch.randn(position, outer), A, B, tuple(segments)


def added(x: torch.Tensor, y: torch.Tensor, A: torch.Tensor, B: torch.Tensor, segments: Segments) -> torch.Tensor:
    attached = BankAttached(len(A))
    for slot in range(1, len(A)):
        attached.views[slot] = {(0, "o"): (A[slot].T, B[slot].T.contiguous())}
    return attached.linear(0, "o", x, y.clone(), tuple((s, e, reference.plain(choice)) for s, e, choice in segments))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_definition_is_the_weighted_sum_of_products(problem: Problem) -> None:
    x, y, A, B, segments = problem
    found = reference.lora_linear(x, y, A, B, segments)
    for start, end, choice in segments:
        expected = y[start:end].double()
        for slot, weight in reference.members(choice):
            expected = expected + weight * (x[start:end].double() @ A[slot].double().T @ B[slot].double().T)
        torch.testing.assert_close(found[start:end].double(), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=100, deadline=None)
@given(problems(), DTYPES, DTYPES)
def test_slots_agree_with_the_definition(problem: Problem, activations: torch.dtype, weights: torch.dtype) -> None:
    x, y, A, B, segments = problem
    x, y, A, B = x.to(activations), y.to(activations), A.to(weights), B.to(weights)
    expected = reference.lora_linear(x.float(), y.float(), A.float(), B.float(), segments)
    actual = added(x, y, A, B, segments)
    # A sum may be small where its terms are large and cancel: the error is that of the largest term.
    terms = [
        reference.lora_linear(x.float(), y.float() * 0, A.float(), B.float(), ((0, len(x), slot),)).nan_to_num()
        for slot in range(len(A))
    ]
    largest = max(part.abs().max().item() for part in (expected, *terms))
    assert actual.dtype == activations
    assert (actual.float() - expected).abs().max() <= 2 * max(TOLERANCE[activations], TOLERANCE[weights]) * largest
    for start, end, choice in segments:
        if choice == 0:
            assert torch.equal(actual[start:end], y[start:end])


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_one_slot_of_weight_one_has_the_bits_of_that_slot(problem: Problem, dtype: torch.dtype) -> None:
    x, y, A, B, segments = (part if isinstance(part, tuple) else part.nan_to_num().to(dtype) for part in problem)
    single = tuple((s, e, c if isinstance(c, int) else c[0][0]) for s, e, c in segments)
    wrapped = tuple((s, e, ((c, 1.0),) if c else 0) for s, e, c in single)
    assert torch.equal(added(x, y, A, B, single), added(x, y, A, B, wrapped))
    assert torch.equal(reference.lora_linear(x, y, A, B, single), reference.lora_linear(x, y, A, B, wrapped))


@settings(max_examples=40, deadline=None)
@given(problems())
def test_a_row_does_not_depend_on_its_neighbours(problem: Problem) -> None:
    x, y, A, B, segments = problem
    together = added(x, y, A, B, segments)
    for kept, (start, end, _) in enumerate(segments):
        others: list[tuple[int, int, Choice]] = [(s, e, c if i == kept else 0) for i, (s, e, c) in enumerate(segments)]
        assert torch.equal(added(x, y, A, B, tuple(others))[start:end], together[start:end])
