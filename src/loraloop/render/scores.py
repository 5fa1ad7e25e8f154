"""Evaluations on a terminal: scores with their intervals, counts of errors, and errors one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
    for title, request, written, wanted, reason in wrong:
        console.rule(title)
        console.print(request[-LONGEST:])
        console.print(f"output: {written}", style="red")
        console.print(f"wanted: {wanted}", style="green")
        console.print(f"why:    {reason}")


def show_counts(console: Console, errors: Mapping[str, Mapping[str, int]]) -> None:
    """Prints a line for each system with what it got wrong."""
    for system, counts in errors.items():
        listed = ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "nothing wrong"
        console.print(f"{system.replace('_', ' ')}: {listed}", soft_wrap=True)


def desk_table(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> Table:
    """Requests of the desk benchmark that came out right: a row a kind and a tag, a column a world, all with interval.

    Below stand the requests in which something was done unasked or on a value from nowhere.
    """
    from rich.table import Table

    worlds = list(dict.fromkeys(row["id"].partition("/")[0] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    tags = sorted({tag for row in rows for tag in row["tags"]})

    def add(label: str, name: str, hit: Callable[[Mapping[str, Any]], bool | None]) -> None:
        cells = []
        for world in (*worlds, ""):
            hits = [hit(row) for row in rows if world in ("", row["id"].partition("/")[0]) and hit(row) is not None]
            cells.append(f"{sum(map(bool, hits))} of {len(hits)}" if hits else "")
        table.add_row(label, *cells, interval(metrics, name))

    table = Table("right", *worlds, "all", "95 %", title=f"desk: median {metrics['s_p50']:.2f} s a request")

    def within(group: str) -> Callable[[Mapping[str, Any]], bool | None]:
        return lambda row: row["right"] if group in (row["kind"], *row["tags"]) else None

    for group in (*kinds, *tags):
        add(group.replace("_", " "), group, within(group))
    add("all", "right", lambda row: row["right"])
    table.add_section()
    add("unasked effects", "unasked_effects", lambda row: bool(row["unasked"]))
    add("values from nowhere", "ungrounded_values", lambda row: bool(row["ungrounded"]))
    return table


def show_failures(console: Console, rows: Sequence[Mapping[str, Any]], count: int) -> None:
    """Prints the first requests that came out wrong, with their transcripts."""
    for row in [row for row in rows if not row["right"]][:count]:
        console.rule(f"{row['id']} ({row['kind']}): {row['why']}", characters="-")
        for turn in row["turns"]:
            console.print(f"user:   {turn['say']}")
            console.print(f"steps:  {' '.join(turn['steps'])} ({turn['stop']})", style="dim")
            for call, result in turn["calls"]:
                console.print(f"call:   {call} -> {result}")
            console.print(f"answer: {turn['answer'][:LONGEST]}")
