"""What `loraloop eval agent` found: the document, tables, failures and plots."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from loraloop.evals import pictures
from loraloop.evals.agent_eval import Evaluated
from loraloop.evals.agent_scores import (
    Part,
    families,
    file_parts,
    first_steps,
    joined,
    metrics,
    reasons,
    task_parts,
)
from loraloop.evals.agent_systems import ROUTED
from loraloop.evals.tasks import End
from loraloop.report import Report

MEASURES = {"success": "tasks done", "files": "skills' own files", "score": "whole score"}
"""Of the report: the share of tasks done; the mean over skills of what their files give; the mean of both."""


def report(found: Evaluated, name: str, seed: int = 0) -> Report:
    """The document: `system/measure` with intervals, and `routed-system/measure` for paired differences.

    Args:
        found: What was done.
        name: Of the document.
        seed: Of the bootstrap.
    """
    main = ROUTED if ROUTED in found.systems else found.systems[0]
    numbers = metrics(_parts(found), found.systems, seed)
    by_family = {system: families(found.tasks, found.rows[system]) for system in found.systems}
    details: dict[str, Any] = {
        "systems": list(found.systems),
        "tasks": len(found.tasks),
        "examples": len(found.steps),
        "facts": dict(found.facts),
        "families": by_family,
        "reasons": {system: reasons(_rows(found, system)) for system in found.systems},
        "problems": {system: sum("problem" in row for row in rows.values()) for system, rows in found.rows.items()},
        "seconds": {system: _seconds(found, system) for system in found.systems},
        "first_step": {
            system: {f"{wanted}>{said}": n for (wanted, said), n in sorted(first_steps(found.tasks, rows).items())}
            for system, rows in found.rows.items()
        },
    }
    if found.steps:
        details["files"] = {system: _by_file(found, system) for system in found.systems}
    peers = {
        system: {key.split("/", 1)[1]: value for key, value in numbers.items() if key.startswith(f"{system}/")}
        for system in found.systems
        if system != main
    }
    return Report(name, len(found.tasks) + len(found.steps), numbers, peers, details=details)


def show(found: Evaluated, made: Report) -> None:
    """Prints scores, what routing gains, and success by family."""
    from rich.table import Table

    from loraloop.cli import console

    numbers, screen = made.metrics, console()
    measures = [measure for measure in MEASURES if f"{found.systems[0]}/{measure}" in numbers]
    title = f"{made.name} ({len(found.tasks)} tasks, {len(found.steps)} examples), %, 95 % intervals"
    screen.print(title, style="bold")  # a narrow table would wrap it
    table = Table("", *(MEASURES[measure] for measure in measures), "s a task")
    for system in found.systems:
        cells = [_cell(numbers, f"{system}/{measure}") for measure in measures]
        table.add_row(system, *cells, f"{made.details['seconds'][system]:.2f}")
    screen.print(table)
    if ROUTED in found.systems and len(found.systems) > 1:
        gains = Table(
            "routed against", *(MEASURES[measure] for measure in measures), title="paired differences, points"
        )
        for system in found.systems:
            if system != ROUTED:
                keys = [f"{ROUTED}-{system}/{measure}" for measure in measures]
                gains.add_row(system, *(f"{_cell(numbers, key, '+')} p {numbers[f'{key}_p']:.2g}" for key in keys))
        screen.print(gains)
    by_family = made.details["families"]
    screen.print("tasks done by family, %", style="bold")
    table = Table("family", *found.systems)
    for family in by_family[found.systems[0]]:
        table.add_row(family, *(f"{100 * by_family[system][family]:.0f}" for system in found.systems))
    screen.print(table)


def show_failures(found: Evaluated, count: int) -> None:
    """Prints the first failed tasks of the routed system, or of the first one, with what was wanted and done."""
    from loraloop.cli import console

    main = ROUTED if ROUTED in found.systems else found.systems[0]
    failed = [task for task in found.tasks if not found.rows[main][task.id]["right"]]
    for task in failed[: max(0, count)]:
        row, screen = found.rows[main][task.id], console()
        screen.rule(f"{task.id} ({main}): {row['reason']} in turn {row['turn'] + 1}", characters="-")
        screen.print(f"tools:  {', '.join(task.tools) or 'none'}", markup=False)
        for number, turn in enumerate(task.turns):
            screen.print(f"user:   {turn.prompt}", markup=False)
            for step in row["steps"][number] if number < len(row["steps"]) else ():
                calls = f" {step['calls']}" if step.get("calls") else ""
                screen.print(f"  step: {step['skill']} -> {step['outcome']}{calls}", markup=False)
            said = row["output"][number] if number < len(row["output"]) else row.get("problem", "")
            screen.print(f"said:   {said[:400]}", style="red", markup=False)
            screen.print(f"wanted: {_wanted(turn.end)}", style="green", markup=False)


def draw(found: Evaluated, made: Report, folder: Path) -> list[Path]:
    """Draws scores, families, and the router's first choices.

    Raises:
        InputError: matplotlib is not installed.
    """
    numbers = made.metrics
    measure = "score" if found.steps else "success"
    scores = {
        system: tuple(numbers[f"{system}/{measure}{end}"] for end in ("", "_low", "_high")) for system in found.systems
    }
    by_family: dict[str, dict[str, float]] = {}
    for system, values in made.details["families"].items():
        for family, value in values.items():
            by_family.setdefault(family, {})[system] = value
    drawn = [
        pictures.bars(folder / "agent_systems.png", scores, MEASURES[measure]),  # type: ignore[arg-type]
        pictures.shares(folder / "agent_families.png", by_family, "tasks done, %"),
    ]
    if ROUTED in found.systems:
        counts = first_steps(found.tasks, found.rows[ROUTED])
        labels = ("tools", "code", "retrieval", "safety", "none")
        drawn.append(pictures.confusion(folder / "agent_first_step.png", labels, counts, "first step"))
    return drawn


def _parts(found: Evaluated) -> dict[str, list[Part]]:
    tasks = task_parts(found.tasks, found.rows)
    if not found.steps:
        return {"success": tasks}
    by_skill: dict[str, list[str]] = {}
    for step in found.steps:
        by_skill.setdefault(step.skill, []).append(step.id)
    files = file_parts(by_skill, found.rows)
    return {"success": tasks, "files": files, "score": joined(tasks, files)}


def _rows(found: Evaluated, system: str) -> dict[str, Any]:
    return {task.id: found.rows[system][task.id] for task in found.tasks}


def _seconds(found: Evaluated, system: str) -> float:
    """Of a task, in the median: what was kept may have been measured while other work held the processor."""
    return round(statistics.median(float(row["seconds"]) for row in _rows(found, system).values()), 3)


def _by_file(found: Evaluated, system: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for step in found.steps:
        values.setdefault(step.id.split("/")[0], []).append(found.rows[system][step.id]["score"])
    return {name: round(sum(scores) / len(scores), 4) for name, scores in values.items()}


def _cell(numbers: Any, key: str, sign: str = "") -> str:
    value, low, high = (100 * numbers[key + end] for end in ("", "_low", "_high"))
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def _wanted(end: End) -> str:
    told = {name: getattr(end, name) for name in ("kind", "calls", "says", "never", "any_of", "cites", "tests")}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value)
