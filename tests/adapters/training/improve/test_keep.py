"""The rule of what is kept: better where it learned, worse nowhere by more than chance explains."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop.adapters.training.improve.keep import Change, verdict
from loraloop.tool_schemas.errors import InputError

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120)


def change(before: list[bool], after: list[bool], name: str = "held out") -> Change:
    return Change.of(name, before, after)


@given(pairs)
def test_the_difference_is_that_of_the_shares(cases: list[tuple[bool, bool]]) -> None:
    before, after = [list(side) for side in zip(*cases, strict=True)]
    found, back = change(before, after), change(after, before)
    assert found.difference == pytest.approx((sum(after) - sum(before)) / len(cases))
    assert back.difference == -found.difference and back.half == found.half >= 0
    assert found.better is (sum(after) > sum(before))
    assert not (found.better and found.worse) and not (found.worse and back.worse)
    assert found.worse is (found.difference < -found.half)


@given(pairs, st.integers(0, 40))
def test_more_losses_never_look_better(cases: list[tuple[bool, bool]], more: int) -> None:
    before, after = [list(side) for side in zip(*cases, strict=True)]
    worse = change([*before, *[True] * more], [*after, *[False] * more])
    if change(before, after).worse:
        assert worse.worse
    if more and not change(before, after).better:
        assert not worse.better


def test_chance_is_no_loss_and_a_real_loss_is() -> None:
    sixty = [True] * 60
    for lost in range(4):
        assert not change(sixty, [False] * lost + [True] * (60 - lost)).worse, lost
    for lost in range(4, 60):
        assert change(sixty, [False] * lost + [True] * (60 - lost)).worse, lost
    told = change(sixty, [False] * 6 + [True] * 54).to_dict()
    assert (told["before"], told["after"], told["lost"], told["difference"]) == (1.0, 0.9, 6, -0.1)
    assert math.isclose(float(told["half"]), 1.959964 * math.sqrt(6 - 36 / 60) / 60, abs_tol=1e-4)


def test_what_is_kept() -> None:
    worse, same, better = (
        change([True, False] * 20, after) for after in ([False] * 40, [True, False] * 20, [True] * 40)
    )
    old = Change("old records", 40, 30, 20, 0, 10)
    assert verdict(better, [same]) == (True, "held out rose by 50.0% (± 15.5%), and nothing fell")
    kept, why = verdict(better, [same, old])
    assert not kept and why.startswith("old records fell by 25.0%")
    for held in (same, worse):
        kept, why = verdict(held, [same])
        assert not kept and "not better" in why
    with pytest.raises(InputError, match="measure the same ones"):
        change([True], [])
