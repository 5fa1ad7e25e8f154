"""What a bank's slots add to a product on the torch decoder, against the definition."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.payload.attached import BankAttached
from loraloop.kernels import reference
from loraloop.kernels.reference import Segments
from loraloop.kernels.rows import RowSlots

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest relative error against the fp32 reference (of the largest output)."""
DTYPES = st.sampled_from(list(TOLERANCE))

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Segments]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """x, y, A, B and segments on random slots; slots that nobody uses are poisoned with NaN."""
    slots, rank = draw(st.integers(2, 6)), draw(st.integers(1, 20))
    inner, outer = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    runs = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, slots - 1)), min_size=1, max_size=5))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    segments, position = [], 0
    for length, slot in runs:
        segments.append((position, position + length, slot))
        position += length
    A, B = torch.randn(slots, rank, inner), torch.randn(slots, outer, rank)
    for slot in set(range(slots)) - {slot for _, _, slot in segments}:
        A[slot], B[slot] = float("nan"), float("nan")
    return torch.randn(position, inner), torch.randn(position, outer), A, B, tuple(segments)


def defined(x: torch.Tensor, y: torch.Tensor, A: torch.Tensor, B: torch.Tensor, segments: Segments) -> torch.Tensor:
    return reference.lora_rows(x, y, A, B, RowSlots.of(segments).slots)


def added(x: torch.Tensor, y: torch.Tensor, A: torch.Tensor, B: torch.Tensor, segments: Segments) -> torch.Tensor:
    attached = BankAttached(len(A))
    for slot in range(1, len(A)):
        attached.views[slot] = {(0, "o"): (A[slot].T, B[slot].T.contiguous())}
    return attached.linear(0, "o", x, y.clone(), segments)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_definition_is_the_product_of_the_rows_slot(problem: Problem) -> None:
    x, y, A, B, segments = problem
    found = defined(x, y, A, B, segments)
    for start, end, slot in segments:
        expected = y[start:end].double()
        if slot:
            expected = expected + x[start:end].double() @ A[slot].double().T @ B[slot].double().T
        torch.testing.assert_close(found[start:end].double(), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=100, deadline=None)
@given(problems(), DTYPES, DTYPES)
def test_slots_agree_with_the_definition(problem: Problem, activations: torch.dtype, weights: torch.dtype) -> None:
    x, y, A, B, segments = problem
    x, y, A, B = x.to(activations), y.to(activations), A.to(weights), B.to(weights)
    expected = defined(x.float(), y.float(), A.float(), B.float(), segments)
    actual = added(x, y, A, B, segments)
    # A sum may be small where its terms are large and cancel: the error is that of the largest term.
    terms = [
        defined(x.float(), y.float() * 0, A.float(), B.float(), ((0, len(x), slot),)).nan_to_num()
        for slot in range(len(A))
    ]
    largest = max(part.abs().max().item() for part in (expected, *terms))
    assert actual.dtype == activations
    assert (actual.float() - expected).abs().max() <= 2 * max(TOLERANCE[activations], TOLERANCE[weights]) * largest
    for start, end, slot in segments:
        if slot == 0:
            assert torch.equal(actual[start:end], y[start:end])


@settings(max_examples=40, deadline=None)
@given(problems())
def test_a_row_does_not_depend_on_its_neighbours(problem: Problem) -> None:
    x, y, A, B, segments = problem
    together = added(x, y, A, B, segments)
    for kept, (start, end, _) in enumerate(segments):
        others = tuple((s, e, slot if i == kept else 0) for i, (s, e, slot) in enumerate(segments))
        assert torch.equal(added(x, y, A, B, others)[start:end], together[start:end])
