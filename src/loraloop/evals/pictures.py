"""Plots of evaluations as PNG: confusion, reliability, ROC, risk against coverage, bars, and tables of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 10
"""Of a reliability plot."""


def confusion(path: Path, labels: Sequence[str], counts: Mapping[tuple[str, str], int], title: str = "") -> Path:
    """A matrix of counts by (wanted, said), each row shaded by its shares."""
    figure, axes = _figure(1.2 + 0.8 * len(labels), 0.9 + 0.75 * len(labels), title)
    rows = [[counts.get((wanted, said), 0) for said in labels] for wanted in labels]
    axes.imshow([[n / max(1, sum(row)) for n in row] for row in rows], cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(rows):
        for x, n in enumerate(row):
            axes.text(
                x, y, str(n), ha="center", va="center", color="white" if 2 * n > sum(row) else "black", fontsize=9
            )
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("said")
    axes.set_ylabel("wanted")
    return _written(figure, path)


def reliability(
    path: Path, confidences: Sequence[float], hits: Sequence[bool], title: str = "", bins: int = 10
) -> Path:
    """Accuracy against confidence in bins of equal width, with the number of cases in each."""
    figure, axes = _figure(4.2, 3.8, title)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    points = []
    for index in range(BINS):
        inside = [
            (c, h) for c, h in zip(confidences, hits, strict=True) if index <= min(c * BINS, BINS - 1e-9) < index + 1
        ]
        if inside:
            points.append(
                (sum(c for c, _ in inside) / len(inside), sum(h for _, h in inside) / len(inside), len(inside))
            )
    for x, y, n in points:
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(5, -9), fontsize=7, color="0.4")
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", lw=1.2)
    return _written(_squared(figure, axes, "confidence", "right"), path)


def roc(path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[bool]]], title: str = "") -> Path:
    """ROC curves of named (scores, labels), each with its area; `auroc` and `roc_points` compute them."""
    figure, axes = _figure(4.2, 3.8, title)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    for name, (scores, labels) in curves.items():
        x, y = zip(*roc_points(scores, labels), strict=True)
        axes.plot(x, y, lw=1.4, label=f"{name} ({auroc(scores, labels):.3f})")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _written(_squared(figure, axes, "false positives", "recall"), path)


def risk_coverage(path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[bool]]], title: str = "") -> Path:
    """Error among the most confident share of cases, for named (confidences, hits)."""
    figure, axes = _figure(4.6, 3.6, title)
    for name, (confidences, hits) in curves.items():
        x, y = zip(*risk_points(confidences, hits), strict=True)
        axes.plot(x, y, lw=1.4, label=name)
    axes.set_xlabel("coverage")
    axes.set_ylabel("error")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    return _written(figure, path)


def bars(path: Path, scores: Mapping[str, tuple[float, float, float]], title: str = "") -> Path:
    """Named (value, low, high) in [0, 1] as bars with their intervals."""
    figure, axes = _figure(1.6 + 0.75 * len(scores), 3.4, title)
    values = [value for value, _, _ in scores.values()]
    below = [max(0.0, value - low) for value, low, _ in scores.values()]
    above = [max(0.0, high - value) for value, _, high in scores.values()]
    axes.bar(list(scores), values, width=0.6, color="#4c78a8", yerr=[below, above], capsize=3, ecolor="0.3")
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", labelrotation=30)
    return _written(figure, path)


def shares(path: Path, rows: Mapping[str, Mapping[str, float]], title: str = "") -> Path:
    """A table of shares in [0, 1] by row and column, each cell shaded by its share."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, axes = _figure(2.2 + 0.75 * len(columns), 0.9 + 0.34 * len(rows), title)
    table = [[row.get(name, 0.0) for name in columns] for row in rows.values()]
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            color = "white" if value > 0.5 else "black"
            axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), list(rows))
    return _written(figure, path)


def roc_points(scores: Sequence[float], labels: Sequence[bool]) -> list[tuple[float, float]]:
    """(false positive rate, recall) at every threshold, from none to all; equal scores move together.

    Raises:
        InputError: one of the two kinds is missing.
    """
    positives, negatives = sum(labels), len(labels) - sum(labels)
    if not positives or not negatives:
        raise InputError("a ROC curve needs cases of both kinds")
    ranked = sorted(zip(scores, labels, strict=True), key=lambda pair: -pair[0])
    points, hits, false = [(0.0, 0.0)], 0, 0
    for place, (score, label) in enumerate(ranked):
        hits, false = hits + label, false + (not label)
        if place + 1 == len(ranked) or ranked[place + 1][0] != score:
            points.append((false / negatives, hits / positives))
    return points


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a positive case scores above a negative one; ties count half.

    Raises:
        InputError: one of the two kinds is missing.
    """
    points = roc_points(scores, labels)
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def risk_points(confidences: Sequence[float], hits: Sequence[bool]) -> list[tuple[float, float]]:
    """(coverage, error) of the most confident cases, from few to all; equal confidences move together."""
    ranked = sorted(zip(confidences, hits, strict=True), key=lambda pair: -pair[0])
    points, wrong = [], 0
    for place, (confidence, hit) in enumerate(ranked):
        wrong += not hit
        if place + 1 == len(ranked) or ranked[place + 1][0] != confidence:
            points.append(((place + 1) / len(ranked), wrong / (place + 1)))
    return points


def _figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'loraloop[train]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    return figure, axes


def _squared(figure: Figure, axes: Axes, x: str, y: str) -> Figure:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure


def _written(figure: Figure, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})  # type: ignore[no-untyped-call]
    return path
