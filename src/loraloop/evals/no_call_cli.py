"""``loraloop eval tools-threshold``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloop.evals.commands import BASE, BaseName, SkillFolder


def tools_threshold(
    data: Annotated[Path, typer.Option("--data", help="The data folder; its training files are split.")],
    base: BaseName = BASE,
    skill: SkillFolder = None,
    limit: Annotated[int, typer.Option("--limit", min=20, help="Validation cases.")] = 1200,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw of the cases.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Store it on the skill's card.")] = False,
) -> None:
    """Choose from which probability the tools skill calls nothing; no evaluation file is read for it."""
    from rich.table import Table

    from loraloop.adapters.base import Base
    from loraloop.adapters.skill import Skill, library
    from loraloop.cli import console
    from loraloop.evals.no_call import choose, store, weigh
    from loraloop.waiting import counting, loading

    folder = Path(skill) if skill else library()["tools"]
    with loading(quiet=False) as progress:
        loaded = Base.load(base, progress=progress)
    with counting("validation", limit) as step:
        found = choose(weigh(loaded, Skill.load(folder), data, limit, seed, step))
    table = Table(
        "", "abstained, no tool fits", "abstained, one does", title=f"no call from {found.value:g} (n = {found.n})"
    )
    for name, prefix in (("at the threshold", ""), ("what is likelier", "likelier/")):
        table.add_row(name, *(f"{100 * found.rates[prefix + key]:.1f} %" for key in ("abstained", "lost")))
    console().print(table)
    if write:
        how = {
            "rule": "the highest share of cases without a fitting tool that call nothing, less that of the others",
            "data": "validation part of the tools mixture",
            "command": f"loraloop eval tools-threshold --data DATA --base {Path(base).name} --limit {limit} "
            f"--seed {seed} --write",
        }
        store(found, folder, how)
