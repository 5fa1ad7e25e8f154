"""``loraloop improve`` trains a skill on what its own runs got right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloop.cli.options import AsJson, Quantize
from loraloop.inputs.loading import BaseName, SkillsFolder
from loraloop.render.console import console, print_json


def improve(
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for skills, records and report; an interrupted command continues there."),
    ],
    worlds: Annotated[
        Path | None, typer.Option("--worlds", help="Folder of worlds with slots; see docs/improve.md.")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option("--traces", help="Folder of traces of real runs, rated and corrected.")
    ] = None,
    base: BaseName = "smollm2-135m",
    skill: Annotated[str, typer.Option("--skill", help="The skill that learns; it writes calls.")] = "tools",
    skills: SkillsFolder = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="Maximum minutes of the whole command, without loading the base.")
    ] = 60.0,
    requests: Annotated[int, typer.Option("--requests", min=1, help="Requests that a round runs.")] = 60,
    held_out: Annotated[int, typer.Option("--held-out", min=1, help="Held-out requests that are measured.")] = 60,
    others: Annotated[int, typer.Option("--others", min=1, help="Old records of each source that are measured.")] = 40,
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature of the runs that are learnt from; 0 is greedy.")
    ] = 0.7,
    data: Annotated[Path | None, typer.Option("--data", help="The folder of public sets, for their replay.")] = None,
    quantize: Quantize = None,
    documents: Annotated[
        bool, typer.Option("--documents/--no-documents", help="Whether the assistant has the worlds' documents.")
    ] = True,
    register: Annotated[
        bool, typer.Option("--register/--no-register", help="Register a skill that is kept under its name.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of everything that is sampled.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run an assistant, correct where it first went wrong, train its skill on that, and keep what is better.

    A round runs requests of worlds, trains from the current skill with a replay of old records, and measures the new
    one on held-out requests and old records. It is kept if it is better there and worse nowhere. One that was killed
    goes on when the same command is given again. The worlds' `tools.py` are run.
    """
    from loraloop.improve.loop import ImproveOrder
    from loraloop.improve.loop import improve as improved
    from loraloop.render.training import Watch

    order = ImproveOrder(
        base=base,
        out=out,
        worlds=worlds,
        traces=traces,
        skill=skill,
        skills=skills,
        minutes=minutes,
        requests=requests,
        held_out=held_out,
        others=others,
        temperature=temperature,
        data=data,
        quantize=quantize,
        documents=documents,
        register=register,
        seed=seed,
    )
    report = improved(order, observer=Watch(quiet=as_json))
    if as_json:
        print_json(report.to_dict())
        return
    console().print(report.table(), markup=False, soft_wrap=True)
    console().print(f"held out: {report.before:.1%} → {report.after:.1%}; report: {out / 'report.md'}", markup=False)
