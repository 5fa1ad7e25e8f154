"""What routers said to labelled states, and how good it was: F1, calibration and the screen, with 95 % intervals."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.router.labels import CHOICES

if TYPE_CHECKING:
    from loraloop.router.states import State

ENOUGH = 20
"""States of an outcome below which its F1 says too little to be averaged."""
BINS = 10
DRAWS = 1000
KINDS = ("first", "follow_up", "tool_result", "dropped")


@dataclass(frozen=True, slots=True)
class RouterOutput:
    """What a router says to one state.

    Attributes:
        skill: The outcome it chose.
        probabilities: Of the outcomes that could be chosen.
        unsafe: Whether its screen was positive; None where it has none.
    """

    skill: str
    probabilities: Mapping[str, float]
    unsafe: bool | None = None

    @property
    def best(self) -> tuple[str, float]:
        """The most probable outcome, before abstention, and its probability."""
        return max(self.probabilities.items(), key=lambda item: item[1])


def scores(states: Sequence[State], said: Sequence[RouterOutput]) -> dict[str, float]:
    """All figures of one split: the choice whole, by kind, by tools present or absent; calibration; the screen."""
    judged = [(s, a) for s, a in zip(states, said, strict=True) if s.label is not None]
    metrics: dict[str, float] = {}
    cuts = {"": judged}
    cuts |= {f"{kind}.": [pair for pair in judged if pair[0].kind == kind] for kind in KINDS}
    cuts["tools_present."] = [pair for pair in judged if pair[0].state.tools]
    cuts["tools_absent."] = [pair for pair in judged if not pair[0].state.tools]
    for prefix, pairs in cuts.items():
        if pairs:
            metrics |= {f"{prefix}{name}": value for name, value in _choice(pairs).items()}
    if judged:
        metrics |= _calibration(judged)
        metrics["abstained"] = sum(a.skill != a.best[0] for _, a in judged) / len(judged)
    for name, unsafe in (("recall", True), ("false_positives", False)):
        flags = [a.unsafe for s, a in zip(states, said, strict=True) if s.unsafe is unsafe and a.unsafe is not None]
        if flags:
            metrics[f"screen.{name}"], metrics[f"screen.{name}.n"] = sum(flags) / len(flags), float(len(flags))
    return metrics


def by_source(states: Sequence[State], said: Sequence[RouterOutput]) -> dict[str, float]:
    """Recall of each outcome of each source, with n, and the screen's share of positives."""
    cells: dict[str, list[bool]] = {}
    for s, a in zip(states, said, strict=True):
        source = "practice" if s.source.startswith("practice_") else s.source
        if s.label is not None:
            cells.setdefault(f"source.{source}.{s.label}.recall", []).append(a.skill == s.label)
        if s.unsafe is not None and a.unsafe is not None:
            name = "recall" if s.unsafe else "false_positives"
            cells.setdefault(f"screen.{name}.{source}", []).append(a.unsafe)
    found: dict[str, float] = {}
    for name, hits in sorted(cells.items()):
        found[name], found[f"{name}.n"] = round(sum(hits) / len(hits), 4), float(len(hits))
    return found


def counts(states: Sequence[State], said: Sequence[RouterOutput]) -> Counter[tuple[str, str]]:
    """How often which outcome was chosen, by (right, chosen)."""
    return Counter((s.label, a.skill) for s, a in zip(states, said, strict=True) if s.label is not None)


def _choice(pairs: Sequence[tuple[State, RouterOutput]]) -> dict[str, float]:
    """Precision, recall, F1 of each outcome; macro-F1 over those with `ENOUGH` states (all if none has)."""
    table = Counter((str(s.label), a.skill) for s, a in pairs)
    names = [*CHOICES, *sorted({a.skill for _, a in pairs} - set(CHOICES))]
    found: dict[str, float] = {}
    for name in CHOICES:
        of = sum(table[name, other] for other in names)
        chosen = sum(table[other, name] for other in names)
        if of:
            hit = table[name, name]
            found |= {f"{name}.n": of, f"{name}.recall": hit / of, f"{name}.precision": hit / chosen if chosen else 0.0}
            found[f"{name}.f1"] = 2 * hit / (of + chosen)
    seen = [name for name in CHOICES if f"{name}.n" in found]
    counted = tuple(name for name in seen if found[f"{name}.n"] >= ENOUGH) or tuple(seen)
    found |= interval("macro_f1", [(s.text, ((str(s.label), a.skill),)) for s, a in pairs], counted)
    found["accuracy"] = sum(table[name, name] for name in CHOICES) / len(pairs)
    found["n"] = len(pairs)
    return found


def macro_f1(table: Mapping[tuple[str, str], float], counted: Sequence[str]) -> float:
    """Mean F1 over some outcomes of counts by (right, chosen); one that does not occur there is left out."""
    sizes: dict[str, float] = {}
    for pair, n in table.items():
        for name in pair:
            sizes[name] = sizes.get(name, 0.0) + n
    f1 = [2 * table.get((c, c), 0) / sizes[c] for c in counted if sizes.get(c)]
    return sum(f1) / max(1, len(f1))


def interval(
    name: str, cells: Sequence[tuple[str, Sequence[tuple[str, str]]]], counted: Sequence[str]
) -> dict[str, float]:
    """Macro-F1 and its 95 % interval by a bootstrap over requests: states of one request stand or fall together.

    Args:
        name: Of the figure.
        cells: For each state, its request and its (right, chosen).
        counted: Outcomes that enter the mean.
    """
    groups: dict[str, Counter[tuple[str, str]]] = {}
    for key, pairs in cells:
        groups.setdefault(key, Counter()).update(pairs)
    kinds = sorted({pair for table in groups.values() for pair in table})
    rows = [[float(table[kind]) for kind in kinds] for table in groups.values()]

    def value(totals: Sequence[float]) -> float:
        return macro_f1(dict(zip(kinds, totals, strict=True)), counted)

    return spread(name, rows, value)


def spread(name: str, rows: Sequence[Sequence[float]], value: Callable[[Sequence[float]], float]) -> dict[str, float]:
    """A figure of column totals, `{name}`, and its 95 % percentile-bootstrap interval, `{name}_low` and `_high`.

    Args:
        name: Of the figure.
        rows: What each drawn thing adds to the columns `[N, K]`.
        value: From totals `[K]` to the figure.
    """
    import torch

    table = torch.tensor(rows, dtype=torch.float64)
    chosen = torch.randint(len(table), (DRAWS, len(table)), generator=torch.Generator().manual_seed(0))
    times = torch.zeros(DRAWS, len(table), dtype=torch.float64).scatter_add_(
        1, chosen, torch.ones_like(chosen).double()
    )
    drawn = sorted(value(totals) for totals in (times @ table).tolist())
    low, high = drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS) - 1]
    return {name: value(table.sum(0).tolist()), f"{name}_low": low, f"{name}_high": high}


def _calibration(pairs: Sequence[tuple[State, RouterOutput]]) -> dict[str, float]:
    """Expected calibration error over equally wide bins (Naeini et al. 2015), with its interval."""
    rows = []
    for s, a in pairs:
        best, confidence = a.best
        row = [0.0] * (3 * BINS)
        place = min(int(confidence * BINS), BINS - 1)
        row[place], row[BINS + place], row[2 * BINS + place] = 1.0, confidence, float(best == s.label)
        rows.append(row)

    def value(totals: Sequence[float]) -> float:
        n = sum(totals[:BINS])
        return sum(abs(totals[BINS + k] - totals[2 * BINS + k]) for k in range(BINS)) / n

    return spread("ece", rows, value)


def median(name: str, values: Sequence[float]) -> dict[str, float]:
    """A median with its 95 % bootstrap interval."""
    rng = random.Random(0)
    middle = len(values) // 2
    drawn = sorted(sorted(rng.choices(values, k=len(values)))[middle] for _ in range(DRAWS))
    low, high = drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS) - 1]
    return {name: sorted(values)[middle], f"{name}_low": low, f"{name}_high": high}
