"""From rows to scores: success with intervals, and what routing gains over each other system, paired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loraloop.evals.agent_systems import ROUTED
from loraloop.evals.tasks import Task

DRAWS = 4000
_NOTHING = ("no_call", "not_answerable", "repeated")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Values of every system on the same cases, with the weight of their mean in a score."""

    weight: float
    values: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float = 1.0

    def named(self, name: str) -> dict[str, float]:
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def task_parts(tasks: Sequence[Task], rows: Mapping[str, Mapping[str, Row]]) -> list[Part]:
    """The tasks as one part: each counts alike.

    Args:
        tasks: All that were done.
        rows: By system and task.
    """
    return [Part(1.0, {name: [float(found[task.id]["right"]) for task in tasks] for name, found in rows.items()})]


def file_parts(identities: Mapping[str, Sequence[str]], rows: Mapping[str, Mapping[str, Row]]) -> list[Part]:
    """The examples of files, a part for each skill; each skill counts alike.

    Args:
        identities: Of the examples, by skill.
        rows: By system and example.
    """
    return [
        Part(1 / len(identities), {name: [float(found[key]["score"]) for key in keys] for name, found in rows.items()})
        for keys in identities.values()
    ]


def joined(tasks: Sequence[Part], files: Sequence[Part]) -> list[Part]:
    """The whole score: half of it the tasks, half the files."""
    return [Part(part.weight / 2, part.values) for part in (*tasks, *files)]


def mean(parts: Sequence[Part], system: str, seed: int = 0) -> Interval:
    """A system's score with its percentile interval; cases are drawn within their part."""
    tables = [np.asarray(part.values[system], dtype=float) for part in parts]
    weights = [part.weight for part in parts]
    drawn = _drawn(tables, weights, seed)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(_weighted(tables, weights), float(low), float(high))


def difference(parts: Sequence[Part], one: str, other: str, seed: int = 0) -> Interval:
    """How much better one system is than another on the same cases: paired bootstrap with a two-sided p."""
    tables = [np.asarray(part.values[one], dtype=float) - np.asarray(part.values[other], dtype=float) for part in parts]
    weights = [part.weight for part in parts]
    drawn = _drawn(tables, weights, seed)
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Interval(_weighted(tables, weights), float(low), float(high), min(1.0, 2 * (int(tail) + 1) / (DRAWS + 1)))


def families(tasks: Sequence[Task], rows: Mapping[str, Row]) -> dict[str, float]:
    """Success by family."""
    hits: dict[str, list[bool]] = {}
    for task in tasks:
        hits.setdefault(task.family, []).append(bool(rows[task.id]["right"]))
    return {family: round(sum(found) / len(found), 4) for family, found in hits.items()}


def reasons(rows: Mapping[str, Row]) -> dict[str, int]:
    """How often each reason made a task fail, the most frequent first."""
    return dict(Counter(row["reason"] for row in rows.values() if row.get("reason")).most_common())


def first_steps(tasks: Sequence[Task], rows: Mapping[str, Row]) -> dict[tuple[str, str], int]:
    """What was chosen first against what is right there, as counts of (wanted, said).

    A verdict of safe is passed over, and so is a skill that wrote nothing where something else was right: the design
    sends such a run on.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        wanted = task.turns[0].skills[0]
        traces = rows[task.id]["steps"]
        said = [
            step["skill"]
            for step in (traces[0] if traces else [])
            if step["outcome"] != "safe" and (step["skill"] == wanted or step["outcome"] not in _NOTHING)
        ]
        counts[wanted, said[0] if said else "none"] += 1
    return dict(counts)


def metrics(parts: Mapping[str, Sequence[Part]], names: Sequence[str], seed: int) -> dict[str, float]:
    """Every number of the report, as `system/measure`, and `routed-system/measure` for the paired differences.

    Args:
        parts: By measure: `success`, `files`, `score`.
        names: Systems.
        seed: Of the bootstrap.
    """
    found: dict[str, float] = {}
    for measure, own in parts.items():
        for name in names:
            found |= mean(own, name, seed).named(f"{name}/{measure}")
        for name in names if ROUTED in names else ():
            if name != ROUTED:
                gained = difference(own, ROUTED, name, seed)
                found |= gained.named(f"{ROUTED}-{name}/{measure}") | {f"{ROUTED}-{name}/{measure}_p": gained.p}
    return found


def _weighted(tables: Sequence[Any], weights: Sequence[float]) -> float:
    return float(sum(weight * table.mean() for table, weight in zip(tables, weights, strict=True)))


def _drawn(tables: Sequence[Any], weights: Sequence[float], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    total = np.zeros(DRAWS)
    for table, weight in zip(tables, weights, strict=True):
        places = rng.integers(0, len(table), (DRAWS, len(table)))
        total += weight * table[places].mean(axis=1)
    return total
