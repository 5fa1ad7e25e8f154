"""The benchmark of the training example turns a recipe's report into a document."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def told() -> dict[str, Any]:
    def scores(share: float) -> dict[str, float]:
        return {"exact": share, "exact_n": 4, "exact_low": 0.0, "exact_high": 1.0}

    return {
        "evaluation": {
            "n": 4,
            "scores": {
                "base": scores(0.25),
                "base_told": scores(0.0),
                "skill": scores(0.75),
                "skill_free": scores(0.5),
            },
            "samples": [],
        },
        "routing": {"new_test": 1.0, "known_before": 0.8, "known_after": 0.8},
        "training": {"seconds": 12.5, "steps": 3, "validation_loss": 0.5},
        "data": {"train": 10},
    }


def test_the_document_holds_before_after_routing_and_times(benchmark: Callable[[str], ModuleType]) -> None:
    document = benchmark("train_a_skill").made(told(), 20.0).document()
    assert document["name"] == "train_a_skill" and document["n"] == 4
    assert document["metrics"]["exact_percent"] == 75 and document["metrics"]["free_exact_percent"] == 50
    assert document["metrics"]["whole_s"] == 20 and document["metrics"]["routed_percent"] == 100
    assert document["peers"] == {"base": {"exact_percent": 25}, "base_told": {"exact_percent": 0}}
    assert document["ratios"] == {"exact": 3}
