"""Scores of a user's skill by its contract, each with its number of records and a 95 % interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from loraloop.adapters.training.data.record import SKILL_OF, Record
from loraloop.adapters.training.scoring.score import Runs, Scores, paired, score, token_f1
from loraloop.tool_schemas.jsontext import loads_or

MAIN = {
    "calls": "all",
    "code": "pass_at_1",
    "answer": "answerable_accuracy",
    "verdict": "accuracy",
    "agreement": "exact",
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
    if contract in ("text", "agreement"):
        return _text(paired(records, outputs))
    tests = runs if any(record.gold.get("tests") for record in records) else None
    found = score(SKILL_OF[contract], records, outputs, tests)
    return {name: value for name, value in found.items() if not name.startswith("record")}


def main_score(contract: str, found: dict[str, float]) -> str:
    """Name of the measure that stands for a contract among some scores."""
    name = MAIN[contract]
    return name if name in found else "syntax_valid"


def _text(pairs: Sequence[tuple[Record, str]]) -> dict[str, float]:
    wanted = [record.completion for record, _ in pairs]
    outputs = [output for _, output in pairs]
    found = Scores()
    golds = [gold for text in wanted if (gold := _object(text)) is not None]
    if len(golds) < len(pairs):
        hits = [output.split() == text.split() for output, text in zip(outputs, wanted, strict=True)]
        found.rate("exact", hits)
        found.mean("f1", [token_f1(output, [text]) for output, text in zip(outputs, wanted, strict=True)])
        return dict(found)
    objects = [_object(output) for output in outputs]
    found.rate("exact", [value == gold for value, gold in zip(objects, golds, strict=True)])
    found.rate("valid", [value is not None for value in objects])
    by_field: dict[str, list[bool]] = defaultdict(list)
    for gold, value in zip(golds, objects, strict=True):
        for name, part in gold.items():
            by_field[name].append((value or {}).get(name) == part)
    for name, right in by_field.items():
        found.rate(f"field_{name}", right)
    return dict(found)


def _object(text: str) -> dict[str, Any] | None:
    value = loads_or(text)
    return value if isinstance(value, dict) else None
