"""``loraloop train`` makes a skill of a recipe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.cli.options import AsJson
from loraloop.render.console import console, print_json
from loraloop.render.progress import loading
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from loraloop.adapters.training.recipe.preview import Estimate
    from loraloop.adapters.training.recipe.report import RecipeReport
    from loraloop.adapters.training.recipe.run import Prepared
    from loraloop.render.training import Watch


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; see docs/training.md.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show examples as tokenized and estimate time and memory; write nothing.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Examples that --dry-run shows.")] = 2,
    data: Annotated[
        Path | None, typer.Option(help="The folder of public sets that the recipe's `public` sources need.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write to, in place of the recipe's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train the skill that a recipe describes, measure it, register it, and have the router use it.

    The recipe of a router fits that router. A run that was killed goes on from its last checkpoint when the same
    command is given again.
    """
    from loraloop.render.training import Watch

    first = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` started
    watch = Watch(quiet=as_json or not first)
    from loraloop.training.run import is_router_recipe, run_recipe, run_router_recipe

    if is_router_recipe(recipe):
        if dry_run:
            raise InputError(f"--dry-run is for recipes of skills, and {recipe} has none: add skill, or leave it out")
        folder = str(run_router_recipe(recipe, data=data or "", output=out or "", observer=watch))
        if as_json:
            print_json({"router": folder})
        else:
            console().print(f"router: {folder}", soft_wrap=True)
        return
    if dry_run:
        prepared, reckoned = _measured(recipe, data, watch)
        if first:
            _show_dry_run(prepared, examples, reckoned, as_json)
        return
    try:
        report = run_recipe(recipe, data=data or "", output=out or "", observer=watch)
    except KeyboardInterrupt:
        sys.stderr.write("give the same command again: it goes on from its last checkpoint\n")
        raise
    if not first:
        return
    if as_json:
        sys.stdout.write(json.dumps(report.to_dict(), ensure_ascii=False, default=str) + "\n")
        return
    _show(report)


def _measured(recipe: Path, data: Path | None, watch: Watch) -> tuple[Prepared, Estimate]:
    """A training that is ready to begin, and what it would take; each process of it measures a few steps."""
    from loraloop.adapters.training.recipe.preview import estimate
    from loraloop.adapters.training.recipe.recipe_file import read_recipe
    from loraloop.adapters.training.recipe.run import load_base, prepare
    from loraloop.training.run import check_router

    read = read_recipe(recipe, data=data or "")
    check_router(read)
    with loading(watch.quiet) as progress:
        base = load_base(read, progress)
    prepared = prepare(read, base)
    watch.say("measuring a few steps …")
    return prepared, estimate(prepared)


def _show_dry_run(prepared: Prepared, count: int, reckoned: Estimate, as_json: bool) -> None:
    from loraloop.adapters.training.recipe.preview import pieces, shown
    from loraloop.render.training import clock

    examples = [shown(prepared.base, example) for example in prepared.train[:count]]
    if as_json:
        print_json({"data": prepared.gathered.counts, "examples": examples, "estimate": reckoned.to_dict()})
        return
    out = console()
    for number, example in enumerate(examples, 1):
        trunk, branches = example["trunk"], example["branches"]
        learnt = ", ".join(str(len(branch["learnt"]["ids"])) for branch in branches)
        out.print(f"example {number}: a trunk of {len(trunk['ids'])} tokens; {learnt} tokens of its branch learnt")
        out.print(_marked(pieces(prepared.base, trunk["ids"]), branches), soft_wrap=True)
        out.print()
    counts = prepared.gathered.counts
    out.print(
        f"{counts['train']} records to train on, {counts['valid']} to validate, {counts['held_out']} to evaluate; "
        f"{reckoned.tokens[0]:.0f} tokens each, {reckoned.tokens[1]:.0f} of them learnt",
        soft_wrap=True,
    )
    out.print(
        f"{reckoned.steps} steps of {reckoned.step_seconds:.2f} s and validations of "
        f"{reckoned.validation_seconds:.1f} s: {clock(reckoned.seconds)}; {reckoned.memory_mb:,.0f} MB at most. "
        "Nothing was written.",
        soft_wrap=True,
    )


def _marked(trunk: Sequence[str], branches: Sequence[dict[str, Any]]) -> Text:
    """The tokens of an example: branches are marked where they stand, with a bar between tokens that are learnt."""
    from rich.text import Text

    parts: list[tuple[str, str]] = []
    done = 0
    for branch in sorted(branches, key=lambda branch: branch["at"]):
        parts.append(("".join(trunk[done : branch["at"]]), "dim"))
        parts.append(("⟦branch: " if branch["desirable"] else "⟦unwanted branch: ", "bold"))
        parts += [(branch["invocation"]["text"], "cyan"), ("⟧", "bold")]
        parts += [("│".join(branch["learnt"]["pieces"]), "bold green"), ("⟦end⟧", "bold")]
        done = branch["at"]
    parts.append(("".join(trunk[done:]), "dim"))
    return Text.assemble(*parts)


def _show(report: RecipeReport) -> None:
    from rich.table import Table

    from loraloop.adapters.training.recipe.report import SYSTEMS, interval, measures

    out = console()
    if report.evaluation:
        scores = report.evaluation["scores"]
        systems = [name for name in SYSTEMS if name in scores]
        table = Table("", *(SYSTEMS[name] for name in systems), title=f"{report.name} (n = {report.evaluation['n']})")
        for name in measures(scores):
            table.add_row(name.replace("_", " "), *(interval(scores[system], name) for system in systems))
        out.print(table)
        out.print("percent, with 95 % intervals")
    if report.routing:
        found = report.routing
        out.print(
            f"router: other skills {found['known_before']:.1%} → {found['known_after']:.1%}; "
            f"{found.get('new_test', found['new_held_out']):.1%} of {report.name}'s requests reach it"
        )
    for note in report.notes:
        out.print(f"note: {note}", soft_wrap=True)
    out.print(f"skill: {report.skill}", soft_wrap=True)
    if report.registered is not None:
        out.print(f"registered as {report.name}: loraloop run --skill {report.name} …")
    out.print(f"report: {report.folder / 'report.md'}", soft_wrap=True)
