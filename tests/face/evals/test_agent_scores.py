"""Scores of the whole agent: means with intervals, paired differences, families, reasons and first choices."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.evals import agent_scores as scores
from loraloop.evals.agent_scores import Part
from loraloop.evals.task_families import all_tasks

VALUES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


@settings(deadline=None, max_examples=30)
@given(VALUES)
def test_differences_are_paired_and_intervals_hold_the_value(pairs: list[tuple[bool, bool]]) -> None:
    part = Part(1.0, {"a": [float(a) for a, _ in pairs], "b": [float(b) for _, b in pairs]})
    for system in ("a", "b"):
        found = scores.mean([part], system)
        assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    gained, lost = scores.difference([part], "a", "b"), scores.difference([part], "b", "a")
    assert (
        gained.value
        == pytest.approx(-lost.value)
        == pytest.approx(scores.mean([part], "a").value - scores.mean([part], "b").value)
    )
    assert 0 < gained.p <= 1 and gained.p == lost.p
    assert scores.difference([part], "a", "a") == scores.Interval(0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_is_significant_and_a_small_one_is_not() -> None:
    part = Part(1.0, {"a": [1.0] * 60, "b": [1.0, 0.0] * 30, "c": [0.0] + [1.0] * 59})
    assert scores.difference([part], "a", "b").p < 0.01 < 0.3 < scores.difference([part], "a", "c").p


def test_skills_count_alike_and_tasks_as_much_as_files() -> None:
    rows: dict[str, dict[str, Any]] = {"x": {"1": {"score": 1.0}, "2": {"score": 0.0}, "3": {"score": 0.5}}}
    files = scores.file_parts({"tools": ["1", "2"], "code": ["3"]}, rows)
    assert scores.mean(files, "x").value == pytest.approx(0.5)
    whole = scores.joined([Part(1.0, {"x": [1.0, 1.0]})], files)
    assert scores.mean(whole, "x").value == pytest.approx(0.75)


def test_metrics_are_named_by_system_and_pair() -> None:
    part = Part(1.0, {"routed": [1.0, 0.0], "base": [0.0, 0.0]})
    found = scores.metrics({"success": [part]}, ("routed", "base"), 0)
    assert found["routed/success"] == 0.5 and found["routed-base/success"] == 0.5
    assert {"routed/success_low", "routed/success_high", "routed-base/success_p"} <= set(found)
    assert scores.metrics({"success": [part]}, ("routed", "base"), 0) == found


def test_families_reasons_and_first_steps() -> None:
    tasks = all_tasks()[:14]
    rows: dict[str, dict[str, Any]] = {}
    for task in tasks:
        right = task.family == "chat"
        steps = [{"skill": "tools", "outcome": "no_call"}, {"skill": "none", "outcome": "text"}]
        rows[task.id] = {"right": right, "reason": "" if right else "no_call", "steps": [steps]}
    assert scores.families(tasks, rows)["chat"] == 1 and scores.families(tasks, rows)["single"] == 0
    assert scores.reasons(rows) == {"no_call": 13}
    counts = scores.first_steps(tasks, rows)
    assert counts["tools", "tools"] == 6 and counts["none", "none"] == 5, "a tool skill that calls nothing is no error"
