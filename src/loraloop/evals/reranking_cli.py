"""``loraloop eval tools-reranking``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloop.evals.commands import BASE, BaseName, Cases, DrawSeed, SkillFolder, TrainingData, Write


def tools_reranking(
    data: TrainingData,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    beams: Annotated[int, typer.Option("--beams", min=2, max=64, help="Hypotheses of the search.")] = 6,
    margin: Annotated[
        float | None, typer.Option(min=0.1, help="Nats by which a list may be less likely than the likeliest; 4.")
    ] = None,
    limit: Cases = 1000,
    seed: DrawSeed = 0,
    start: Annotated[
        Path | None, typer.Option(help="Folder of a skill whose weights are the start; then few cases do.")
    ] = None,
    outputs: Annotated[Path | None, typer.Option(help="Keep what is found here; a killed run goes on.")] = None,
    write: Write = False,
) -> None:
    """Fit by what the calls that a search finds are compared; no evaluation file is read for it."""
    from rich.table import Table

    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.card import MARGIN
    from loraloop.adapters.skill.skill import Skill, library
    from loraloop.cli import console
    from loraloop.evals.reranking import START, fit, search, store, weights_of
    from loraloop.evals.showing import shown_command
    from loraloop.waiting import counting, loading

    near = MARGIN if margin is None else margin
    folder = Path(skill) if skill else library()["tools"]
    with loading(quiet=False) as progress:
        loaded = Base.load(base, progress=progress)
    trained = Skill.load(folder)
    known = START if start is None else weights_of(start)
    threshold = 0.5 if trained.card.threshold is None else trained.card.threshold.value
    with counting("validation", limit) as step:
        fitted = fit(search(loaded, trained, data, limit, seed, beams, outputs, step, near), threshold, known)
    table = Table("cases", "n", "likeliest", "reranked", "any is right", title=f"{beams} beams (n = {fitted.n})")
    for kind, shares in {**fitted.kinds, "all": fitted.right}.items():
        table.add_row(
            kind, str(shares["n"]), *(f"{100 * shares[it]:.1f} %" for it in ("likeliest", "reranked", "best"))
        )
    console().print(table)
    abstained, lost = (f"{100 * fitted.rates[name]:.1f} %" for name in ("abstained", "lost"))
    console().print(f"calls nothing in {abstained} of the cases without a fitting tool, "
                    f"and in {lost} of the others")  # fmt: skip
    if write:
        options = {
            "base": Path(base).name,
            "skill": skill,
            "beams": beams,
            "margin": margin,
            "limit": limit,
            "seed": seed,
            "start": start,
        }
        command = shown_command("tools-reranking", "tools", [data], options)
        how = {
            "data": "validation part of the tools mixture, five folds",
            "command": f"{command} --write",
        }
        store(fitted, folder, beams, how, near)
