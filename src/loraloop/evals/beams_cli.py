"""``loraloop eval tools-beams``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloop.evals.commands import BASE, BaseName, Cases, DrawSeed, SkillFolder, TrainingData, Write


def tools_beams(
    data: TrainingData,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    widths: Annotated[str, typer.Option("--widths", help="Numbers of hypotheses, with commas.")] = "1,2,4,8",
    limit: Cases = 400,
    seed: DrawSeed = 0,
    write: Write = False,
) -> None:
    """Choose how many hypotheses the search for tool calls keeps; no evaluation file is read for it."""
    from rich.table import Table

    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.card import MOST_BEAMS
    from loraloop.adapters.skill.skill import Skill, library
    from loraloop.cli import console
    from loraloop.evals.beams import choose, compare, store
    from loraloop.evals.showing import shown_command
    from loraloop.waiting import counting, loading

    folder = Path(skill) if skill else library()["tools"]
    try:
        numbers = sorted({int(each) for each in widths.split(",")})
    except ValueError:
        numbers = [0]
    if not 1 <= numbers[0] <= numbers[-1] <= MOST_BEAMS:
        raise typer.BadParameter(f"{widths!r}: give numbers from 1 to {MOST_BEAMS} with commas, such as 1,2,4,8")
    with loading(quiet=False) as progress:
        loaded = Base.load(base, progress=progress)
    with counting("validation", limit) as step:
        found = compare(loaded, Skill.load(folder), data, numbers, limit, seed, step)
    chosen = choose(found)
    table = Table("beams", "right", "ms a step", title=f"{chosen.beams} beams (n = {limit})")
    for width in found:
        table.add_row(str(width.beams), f"{100 * width.right:.1f} %", f"{width.ms:g}")
    console().print(table)
    if write:
        options = {"base": Path(base).name, "skill": skill, "widths": widths, "limit": limit, "seed": seed}
        how = {
            "rule": "the fewest within half a point of the most right",
            "data": "validation part of the tools mixture",
            "right": {str(width.beams): width.right for width in found},
            "n": limit,
            "command": f"{shown_command('tools-beams', 'tools', [data], options)} --write",
        }
        store(chosen.beams, folder, how)
