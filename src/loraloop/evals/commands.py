"""``loraloop eval tools|retrieval|code|rewriting``: skills on data, beside the base alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from loraloop.adapters.base import Base
    from loraloop.evals.skills import Evaluation
    from loraloop.report import Report

BASE = "smollm2-135m"

DataPaths = Annotated[
    list[Path],
    typer.Option("--data", help="File of records, or the folder that holds tools/, code/ and retrieval/; repeatable."),
]
BaseName = Annotated[str, typer.Option("--base", help="A name of `loraloop bases`, folder, GGUF file, or hub id.")]
SkillFolder = Annotated[
    str | None, typer.Option("--skill", help="Folder of a skill, or none; by default the shipped one of the base.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Records, at most: the first of each file.")]
Seed = Annotated[int, typer.Option("--seed", help="Any but 0 takes other records than the first.")]
TriesOption = Annotated[
    int, typer.Option("--tries", help="Of code: also the first of N programs that gets through the request's examples.")
]
Told = Annotated[bool, typer.Option("--told", help="Also the base that is told in a sentence what to write.")]
OutputsFile = Annotated[Path | None, typer.Option("--outputs", help="Keep outputs here; a killed run goes on.")]
ToFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
PlotsFolder = Annotated[Path | None, typer.Option("--plots", help="Draw what outputs were taken for, as PNG, here.")]
TrainingData = Annotated[Path, typer.Option("--data", help="The data folder; its training files are split.")]
Cases = Annotated[int, typer.Option("--limit", min=20, help="Validation cases.")]
DrawSeed = Annotated[int, typer.Option("--seed", help="Of the draw of the cases.")]
Write = Annotated[bool, typer.Option("--write", help="Store it on the skill's card.")]
ShowErrors = Annotated[int, typer.Option("--show-errors", min=0, metavar="N", help="Print N errors.")]


def skill_command(name: str, about: str) -> Callable[..., None]:
    """The command that evaluates the skill `name`; all take the same options."""

    def command(
        data: DataPaths,
        base: BaseName = BASE,
        skill: SkillFolder = None,
        limit: Limit = None,
        seed: Seed = 0,
        told: Told = False,
        tries: TriesOption = 1,
        outputs: OutputsFile = None,
        json_file: ToFile = None,
        plots: PlotsFolder = None,
        show_errors: ShowErrors = 0,
    ) -> None:
        from loraloop.adapters.training.data.shipped import eval_files
        from loraloop.evals.asking import skill_of
        from loraloop.evals.cases import data_files, examples
        from loraloop.evals.showing import shown_command
        from loraloop.evals.skills import evaluate
        from loraloop.waiting import counting

        files = data_files(name, data, eval_files(name))
        asked = examples(name, files, limit, seed)
        loaded = load_base(base)
        trained = skill_of(loaded, name, skill)
        with counting(name, len(asked)) as step:
            found = evaluate(name, asked, loaded, trained, told=told, tries=tries, outputs=outputs, step=step)
        command = shown_command(
            name, name, data, _options(base, skill, limit, seed) | {"told": told, "tries": tries if tries > 1 else None}
        )
        report = found.report(json_file.stem if json_file else f"skill_{name}", command, [file.name for file in files])
        show(found, report, json_file, plots, show_errors)

    command.__name__, command.__doc__ = name, about
    return command


tools = skill_command("tools", "Calls: BFCL's records by the leaderboard's rule, others by equality of the calls.")
retrieval = skill_command("retrieval", "Answers from passages: whether there is one, what it cites, and its words.")
code = skill_command("code", "Code: whether it passes its tests, in the sandbox, and whether it is Python.")


def rewriting(
    data: DataPaths,
    base: BaseName = BASE,
    skill: Annotated[str | None, typer.Option("--skill", help="Folder of a skill that rewrites, if any.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    outputs: OutputsFile = None,
    json_file: ToFile = None,
    show_errors: ShowErrors = 0,
) -> None:
    """A conversation's last question rewritten so that it stands alone, against leaving it as it is."""
    from loraloop.evals.asking import skill_of
    from loraloop.evals.cases import data_files
    from loraloop.evals.rewriting import FILES, evaluate, questions
    from loraloop.evals.showing import scores_table, shown_command
    from loraloop.evals.showing import show_errors as print_errors
    from loraloop.waiting import counting

    files = data_files("retrieval", data, FILES)
    asked = questions(files, limit, seed)
    loaded = load_base(base)
    trained = skill_of(loaded, "rewriting", skill)
    with counting("rewriting", len(asked)) as step:
        found = evaluate(asked, loaded, trained, outputs, step)
    console().print(scores_table(f"rewriting, {loaded.name}", len(asked), found.scores))
    print_errors(console(), found.worst(show_errors))
    command = shown_command("rewriting", "retrieval", data, _options(base, skill, limit, seed))
    name = json_file.stem if json_file else "eval_rewriting"
    finish(found.report(name, command, [file.name for file in files]), json_file)


def show(found: Evaluation, report: Report, json_file: Path | None, plots: Path | None, errors: int) -> None:
    """Prints an evaluation of a skill and some of its errors; writes the result and the plots where it is said."""
    from loraloop.evals.showing import scores_table, show_counts, show_errors

    out = console()
    out.print(scores_table(f"{found.name}, {found.facts['base']}", len(found.examples), found.scores))
    show_counts(out, found.errors)
    wrong = found.wrong(found.main)[:errors]
    show_errors(
        out, [(f"{e.id} ({e.kind})", e.messages[-1].content, said, e.completion, why) for e, said, why in wrong]
    )
    finish(report, json_file)
    for path in found.plots(plots) if plots is not None else []:
        sys.stderr.write(f"drawn: {path}\n")


def console() -> Console:
    """Standard output, as the other commands write it."""
    from loraloop import cli

    made: Console = cli.console()
    return made


def _options(base: str, skill: str | None, limit: int | None, seed: int) -> dict[str, object]:
    return {"base": None if base == BASE else base, "skill": skill, "limit": limit, "seed": seed}


def load_base(name: str) -> Base:
    """The base, with progress on standard error."""
    from loraloop.adapters.base import Base
    from loraloop.waiting import loading

    with loading(quiet=False) as progress:
        return Base.load(name, progress=progress)


def finish(report: Report, json_file: Path | None) -> None:
    """Writes the result where a file is given, and says so on standard error."""
    if json_file is not None:
        sys.stderr.write(f"written: {report.write(json_file)}\n")
