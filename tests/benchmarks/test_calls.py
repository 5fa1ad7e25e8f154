"""Calls at temperature 1 under random schemas, another skill for each: none may be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType

import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Runtime


@pytest.fixture(scope="module")
def calls(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("calls")


def decode(calls: ModuleType, runtime: Runtime, count: int, seed: int) -> list[object]:
    """Outcomes until so many calls were decoded."""
    found: list[object] = []
    outcomes = calls.outcomes(runtime, calls.mixed(None, seed), seed)
    while sum(each.calls for each in found) < count:
        found.append(next(outcomes))
        assert found[-1].result not in ("not_parsed", "not_valid"), found[-1]
    return found


def test_thirty_calls(calls: ModuleType, base: Base) -> None:
    done = decode(calls, Runtime.load(base), 30, 12)
    assert not {each.result for each in done} & {"not_parsed", "not_valid"}


@pytest.mark.slow
def test_two_hundred_calls(calls: ModuleType, base: Base) -> None:
    done = decode(calls, Runtime.load(base), 200, 11)
    metrics = calls.report(done, 1.0, 1).metrics
    assert metrics["not_parsed"] == metrics["not_valid"] == 0
    assert metrics["calls"] >= 200 and metrics["lists"] > len(done) * 0.7
    right = Counter((each.mode, each.skill) for each in done if each.result == "valid")
    assert all(right[mode, skill] for mode in ("refuse", "check") for skill in ("tools", "safety", "code", "none"))


def test_wrong_calls_are_seen(calls: ModuleType) -> None:
    schemas = {
        "f": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]}
    }
    good = [{"name": "f", "arguments": {"day": "2024-02-29"}}]
    assert calls.valid(good, schemas)
    for bad in (
        [],
        {},
        [{"name": "g", "arguments": {"day": "2024-02-29"}}],
        [{"name": "f", "arguments": {"day": "2023-02-29"}}],
        [{"name": "f", "arguments": {}}],
        [{**good[0], "more": 1}],
    ):
        assert not calls.valid(bad, schemas)


def test_the_counts(calls: ModuleType) -> None:
    def outcome(index: int, result: str, count: int = 0, **more: str) -> object:
        return calls.Outcome(index, "drawn", "check", "tools", result, count, **more)

    report = calls.report(
        [outcome(0, "valid", 2), outcome(1, "not_valid", text="[]"), outcome(2, "refused", keyword="not")], 1.0, 3
    )
    assert report.n == report.metrics["calls"] == 3 and report.metrics["not_valid"] == 1
    assert report.details["refused_by_keyword"] == {"not": 1} and len(report.details["wrong"]) == 1


def test_random_schemas_are_the_same_for_one_seed(calls: ModuleType) -> None:
    first, second = calls.mixed(None, 3), calls.mixed(None, 3)
    assert [next(first) for _ in range(40)] == [next(second) for _ in range(40)]
