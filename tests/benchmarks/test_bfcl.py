"""How the leaderboard's categories are put together."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_the_three_languages_count_as_one_category(benchmark: Callable[[str], ModuleType]) -> None:
    bfcl = benchmark("bfcl")
    hits = {"simple_python": [True], "simple_java": [False], "simple_javascript": [False]}
    found = bfcl._scores(hits | {name: [True] for name in bfcl.SEVERAL} | {"irrelevance": [False, True]})
    assert found["ast"] == pytest.approx((1 / 3 + 3) / 4)
    assert found["irrelevance"] == 0.5 and found["irrelevance_n"] == 2
