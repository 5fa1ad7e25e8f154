"""Scores of a user's skill by its contract, each with its number of records and a 95 % interval."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from loraloop.adapters.training.record import SKILL_OF, Record
from loraloop.adapters.training.score import Runs, bootstrap, rate, score, token_f1

MAIN = {
    "calls": "all",
    "code": "pass_at_1",
    "answer": "answerable_accuracy",
    "verdict": "accuracy",
    "text": "exact",
}
"""The measure that stands for a contract; code without tests has `syntax_valid`."""


def scores(
    contract: str, records: Sequence[Record], outputs: Sequence[str], runs: Runs | None = None
) -> dict[str, float]:
    """Scores of outputs: `x` with `x_n`, `x_low` and `x_high`.

    Text is measured by equality and by the F1 of shared words; where completions are JSON objects also by whether the
    output is one and by each of their fields. The other contracts are measured as the shipped skills are.

    Raises:
        InputError: lists of different length, or empty.
    """
    if contract == "text":
        return _text(records, outputs)
    tests = runs if any(record.gold.get("tests") for record in records) else None
    found = score(SKILL_OF[contract], [record.example() for record in records], outputs, tests)
    return {name: value for name, value in found.items() if not name.startswith("record")}


def main_score(contract: str, found: dict[str, float]) -> str:
    """Name of the measure that stands for a contract among some scores."""
    name = MAIN[contract]
    return name if name in found else "syntax_valid"


def _text(records: Sequence[Record], outputs: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}

    def put(name: str, value: tuple[float, float, float], n: int) -> None:
        found[name], found[f"{name}_low"], found[f"{name}_high"] = value
        found[f"{name}_n"] = n

    wanted = [record.completion for record in records]
    objects = [_object(text) for text in wanted]
    fields = all(value is not None for value in objects)
    said = [_object(text) if fields else None for text in outputs]

    def same(index: int) -> bool:
        if fields:
            return said[index] == objects[index]
        return " ".join(outputs[index].split()) == " ".join(wanted[index].split())

    hits = [same(index) for index in range(len(wanted))]
    put("exact", rate(hits), len(hits))
    if fields:
        put("valid", rate([value is not None for value in said]), len(said))
        by_field: dict[str, list[bool]] = defaultdict(list)
        for gold, got in zip(objects, said, strict=True):
            for name, value in (gold or {}).items():
                by_field[name].append((got or {}).get(name) == value)
        for name, right in by_field.items():
            put(f"field_{name}", rate(right), len(right))
    else:
        shared = [token_f1(output, [gold]) for output, gold in zip(outputs, wanted, strict=True)]
        put("f1", bootstrap(shared, lambda table: float(table.mean())), len(shared))
    return found


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
