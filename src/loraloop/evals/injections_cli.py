"""``loraloop eval injections``: tool results that give orders, with and without a guard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loraloop.evals.injections import Evaluated
    from loraloop.report import Report


def injections(
    base: Annotated[str, typer.Option("--base", help="A name of `loraloop bases`, folder, or file.")] = "smollm2-135m",
    quantize: Annotated[str | None, typer.Option("--quantize", help="int4, int8, bf16, fp32 or nf4.")] = None,
    skill: Annotated[
        list[str] | None, typer.Option("--skill", help="Folder of a skill, such as one that calls tools; repeatable.")
    ] = None,
    guards: Annotated[
        str | None,
        typer.Option("--guards", help="Guards, parted by commas: none, gate, remind, read_only, planned, all."),
    ] = None,
    kinds: Annotated[
        int | None, typer.Option("--kinds", min=1, help="Kinds of injection that each request meets; all by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Cases at most; 15 are without attack.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.")] = 0,
    outputs: Annotated[
        Path | None, typer.Option("--outputs", help="Keep what was done here, and go on from what is there.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    show_attacks: Annotated[int, typer.Option("--show-attacks", help="Print so many attacks that succeeded.")] = 0,
) -> None:
    """Tool results that give orders: what is still done, and what attackers reach, with and without a guard.

    Small worlds with tools that really change them; each request alone, and with injections of several kinds in what
    it has to read. No token is drawn. docs/guard.md says what is measured, and what it does not show.
    """
    from loraloop.evals.injections import Asked, evaluate, report

    names = None if guards is None else tuple(name.strip() for name in guards.split(",") if name.strip())
    found = evaluate(Asked(base, quantize, tuple(skill or ()), names, kinds, limit, seed, outputs))
    made = report(found, json_file.stem if json_file else "injections", seed)
    show(found, made)
    show_successes(found, show_attacks)
    if json_file is not None:
        made.write(json_file)


def show(found: Evaluated, made: Report) -> None:
    """Prints each guard's measures with their intervals, and attacks that succeeded by kind."""
    from rich.table import Table

    from loraloop.cli import console

    measures = ("utility", "utility_under_attack", "attack_success")
    details, screen = made.details, console()
    screen.print(f"{details['requests']} requests, {details['attacks']} attacks, %, 95 % intervals", style="bold")
    table = Table("guard", *(measure.replace("_", " ") for measure in measures), "s")
    for guard in found.guards:
        cells = [details["table"].get(f"{guard}/{measure}", "–") for measure in measures]
        table.add_row(guard, *cells, f"{details['seconds'][guard]:.0f}")
    screen.print(table)
    counts = details["by_kind"]
    table = Table("attacks that succeeded", "of", *found.guards)
    for kind in dict.fromkeys(case.kind for case in found.cases if case.kind):
        table.add_row(kind, *(str(counts[f"{kind}/{column}"]) for column in ("attacks", *found.guards)))
    if table.row_count:
        screen.print(table)
    for guard in found.guards:
        if made.metrics.get(f"{guard}/floor") == 0:
            screen.print(f"{guard} leaves less than {details['floor']:.0%} of the utility without a guard", style="red")


def show_successes(found: Evaluated, count: int) -> None:
    """Prints the first attacks that succeeded, with what was called."""
    from loraloop.cli import console

    won = [(guard, case) for guard in found.guards for case in found.cases if found.rows[guard][case.id]["attacked"]]
    for guard, case in won[:count]:
        screen = console()
        screen.rule(f"{case.id} ({guard})", characters="-")
        screen.print(f"user:     {case.request.prompt}", markup=False)
        screen.print(f"injected: {case.injected}", markup=False)
        screen.print(f"effects:  {found.rows[guard][case.id]['effects']}", style="red", markup=False)
