"""Evaluations on a terminal: a table of scores with their intervals, counts of errors, and errors one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.adapters.training.recipe.report import interval
from loraloop.adapters.training.scoring.score import summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST = 700
"""Characters of a request that are shown: its end."""


def scores_table(title: str, n: int, scores: Mapping[str, Mapping[str, float]]) -> Table:
    """Scores in percent with 95 % intervals, a column for each system; then mean times."""
    from rich.table import Table

    table = Table("", "n", *(name.replace("_", " ") for name in scores), title=f"{title} (n = {n})")
    named: dict[str, float] = {}
    for found in scores.values():
        named |= {name: found[f"{name}_n"] for name in summary(found) if name not in named}
    for name, count in named.items():
        table.add_row(name, f"{count:.0f}", *(interval(found, name) for found in scores.values()))
    for name in ("prefill_ms", "step_ms", "total_ms"):
        cells = [f"{found[name]:.0f} ms" if name in found else "" for found in scores.values()]
        if any(cells):
            table.add_row(name, "", *cells)
    return table


def show_errors(console: Console, wrong: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Prints (title, request, said, wanted, reason) of errors."""
    for title, request, said, wanted, reason in wrong:
        console.rule(title)
        console.print(request[-LONGEST:], markup=False)
        console.print(f"said:   {said}", style="red", markup=False)
        console.print(f"wanted: {wanted}", style="green", markup=False)
        console.print(f"why:    {reason}", markup=False)


def show_counts(console: Console, errors: Mapping[str, Mapping[str, int]]) -> None:
    """Prints a line for each system with what it got wrong."""
    for system, counts in errors.items():
        listed = ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "nothing wrong"
        console.print(f"{system.replace('_', ' ')}: {listed}", markup=False, soft_wrap=True)


def shown_command(evaluation: str, kind: str, data: Sequence[Path], options: Mapping[str, object]) -> str:
    """The command that measures the same again: what matters to the figures, without this machine's folders."""
    words = ["loraloop", "eval", evaluation]
    for path in data:
        inside = path.parent.name == kind
        words += ["--data", ("DATA/" + f"{kind}/{path.name}" if inside else path.name) if path.is_file() else "DATA"]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value not in (None, False, 0):
            words += [f"--{name}", _folder(Path(str(value))) if name in ("skill", "start") else str(value)]
    return " ".join(words)


def _folder(path: Path) -> str:
    return path.name if path.is_absolute() else path.as_posix()
