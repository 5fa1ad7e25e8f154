"""``loraloop eval tools-shares``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloop.evals.commands import BASE, BaseName, Cases, DrawSeed, SkillFolder, TrainingData


def tools_shares(
    data: TrainingData,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    shares: Annotated[
        str, typer.Option(help="Shares of the skill's update, with commas; 0 is the base.")
    ] = "0.5,0.75,1",
    limit: Cases = 400,
    seed: DrawSeed = 0,
    outputs: Annotated[Path | None, typer.Option(help="Keep outputs here; a killed run goes on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the skill with the best share to this folder.")] = None,
) -> None:
    """Choose how much of a skill's update is kept beside the bare base; no evaluation file is read for it."""
    from rich.table import Table

    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill, library
    from loraloop.cli import console
    from loraloop.evals.shares import choose, compare, of_share
    from loraloop.waiting import counting, loading

    trained = Skill.load(Path(skill) if skill else library()["tools"])
    try:
        numbers = sorted({float(each) for each in shares.split(",")})
    except ValueError:
        raise typer.BadParameter(f"{shares!r}: give numbers with commas, such as 0.5,0.75,1") from None
    with loading(quiet=False) as progress:
        loaded = Base.load(base, progress=progress)
    with counting("validation", limit) as step:
        found = compare(loaded, trained, data, numbers, limit, seed, outputs, step)
    chosen = choose(found)
    table = Table("share", "right", title=f"n = {chosen.n}")
    for each in found:
        table.add_row(f"{each.share:g}", f"{100 * each.right:.1f} %")
    console().print(table)
    console().print(f"best with {chosen.share:g} of the update")
    if out:
        of_share(trained, chosen.share).save(out)
        console().print(f"written to {out}: choose its threshold and weights next "
                        "(`loraloop eval tools-reranking --write`)")  # fmt: skip
