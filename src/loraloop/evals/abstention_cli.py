"""``loraloop eval tools-threshold`` and ``retrieval-threshold``."""

from __future__ import annotations

from pathlib import Path

from loraloop.evals.commands import BASE, BaseName, Cases, DrawSeed, SkillFolder, TrainingData, Write


def tools_threshold(
    data: TrainingData,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    limit: Cases = 1200,
    seed: DrawSeed = 0,
    write: Write = False,
) -> None:
    """Choose from which probability the tools skill calls nothing; no evaluation file is read for it."""
    _threshold("tools", "a fitting tool", data, base, skill, limit, seed, write)


def retrieval_threshold(
    data: TrainingData,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    limit: Cases = 600,
    seed: DrawSeed = 0,
    write: Write = False,
) -> None:
    """Choose from which probability the retrieval skill finds no answer; no evaluation file is read for it."""
    _threshold("retrieval", "an answer", data, base, skill, limit, seed, write)


def _threshold(
    name: str, what: str, data: Path, base: str, skill: str | None, limit: int, seed: int, write: bool
) -> None:
    """Chooses, shows and stores the threshold of the skill `name`, or of a folder; `what` is what may be missing."""
    from rich.table import Table

    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill, library
    from loraloop.cli import console
    from loraloop.evals.abstention import choose, store, weigh
    from loraloop.evals.showing import shown_command
    from loraloop.waiting import counting, loading

    folder = Path(skill) if skill else library()[name]
    with loading(quiet=False) as progress:
        loaded = Base.load(base, progress=progress)
    with counting("validation", limit) as step:
        found = choose(weigh(loaded, Skill.load(folder), data, limit, seed, step))
    title = f"abstains from {found.value:g} (n = {found.n})"
    table = Table("abstains", f"without {what}", f"with {what}", "worth", title=title)
    for row, prefix in (("at the threshold", ""), ("what is likelier", "likelier/")):
        table.add_row(row, *(f"{100 * found.rates[prefix + key]:.1f} %" for key in ("abstained", "lost", "worth")))
    console().print(table)
    if write:
        options = {"base": Path(base).name, "skill": skill, "limit": limit, "seed": seed}
        how = {
            "rule": f"the cases are worth most: without {what} abstaining counts 1, else what is written does",
            "data": f"validation part of the {name} mixture",
            "command": f"{shown_command(f'{name}-threshold', name, [data], options)} --write",
        }
        store(found, folder, how)
