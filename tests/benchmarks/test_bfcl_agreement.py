"""The calls that both checkers are asked about: right ones are right, and each change does what its name says."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECORD: dict[str, Any] = {
    "id": "parallel_0",
    "category": "parallel",
    "tools": [
        {
            "name": "trip",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "legs": {"type": "array", "items": {"type": "number"}},
                    "flags": {"type": "object"},
                },
                "required": ["city"],
            },
        }
    ],
    "accepts": [
        {"trip": {"city": ["Oslo", ""], "days": [3, ""], "legs": [[1.5, 2.0], ""], "flags": [{"fast": [True]}, ""]}},
        {"trip": {"city": ["Rome"], "days": [2]}},
    ],
}


@pytest.fixture(scope="module")
def bfcl(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("bfcl_agreement")


def test_right_calls_are_right_and_take_every_form(bfcl: ModuleType) -> None:
    made = [bfcl.right_calls(RECORD, random.Random(seed)) for seed in range(20)]
    assert all(bfcl.ours(RECORD, calls) for calls in made)
    assert len({json.dumps(calls) for calls in made}) > 4


def test_changes_break_what_they_must(bfcl: ModuleType) -> None:
    def changed(name: str, seed: int) -> list[dict[str, Any]]:
        rng = random.Random(seed)
        calls = copy.deepcopy(bfcl.right_calls(RECORD, rng))
        bfcl.CHANGES[name](calls, rng)
        return calls

    for seed in range(20):
        assert bfcl.ours(RECORD, changed("order", seed))
        for name in ("argument added", "function", "call left out", "call twice"):
            assert not bfcl.ours(RECORD, changed(name, seed)), name
    for name in bfcl.CHANGES:
        assert changed(name, 1) == changed(name, 1), "the same seed changes the same"


def test_what_systems_said_is_judged_too(bfcl: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "outputs.jsonl"
    rows = [
        {"base": "x"},
        {"system": "skill", "example": "parallel_0", "output": "[]"},
        {"system": "base", "example": "parallel_0", "output": "[{"},
        {"system": "base", "example": "another", "output": "[]"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = list(bfcl.items({"parallel_0": RECORD}, file, 0))
    assert [origin for origin, _, _ in found] == ["right calls", *bfcl.CHANGES, "said by skill"]
