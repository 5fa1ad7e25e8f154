"""``loraloop eval agent``: the whole agent on tasks over held-out tools, routed and otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SystemNames = Annotated[
    str | None,
    typer.Option("--systems", help="Systems, parted by commas: routed, base, each skill's name, mixture, oracle."),
]


def agent(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of evaluation files: also each skill's own examples.")
    ] = None,
    base: Annotated[str, typer.Option("--base", help="A name of `loraloop bases`, folder, or file.")] = "smollm2-135m",
    quantize: Annotated[str | None, typer.Option("--quantize", help="int4, int8, bf16, fp32 or nf4.")] = None,
    skill: Annotated[
        list[str] | None, typer.Option("--skill", help="Folder of a skill, instead of the shipped ones; repeatable.")
    ] = None,
    router: Annotated[Path | None, typer.Option("--router", help="Folder of a router.")] = None,
    systems: SystemNames = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Tasks at most, and as many examples; 14 hold every family.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the tasks' arguments and of the bootstrap.")] = 0,
    outputs: Annotated[
        Path | None, typer.Option("--outputs", help="Keep what was said here, and go on from what is there.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Draw plots into this folder.")] = None,
    show_errors: Annotated[int, typer.Option("--show-errors", help="Print so many failed tasks.")] = 0,
) -> None:
    """The whole agent: multi-step tasks with checkable ends, by the router, by none, by one skill, by the truth.

    Every system has the same base, tasks, grammars and limits, and draws no token: they differ in what chooses the
    weights of a step. docs/agent-evaluation.md says what the tasks are and how they are judged.
    """
    from loraloop.evals.agent_eval import Asked, evaluate
    from loraloop.evals.agent_report import draw, report, show, show_failures

    names = None if systems is None else tuple(name.strip() for name in systems.split(",") if name.strip())
    asked = Asked(base, quantize, tuple(skill or ()), router, names, data, limit, seed, outputs)
    found = evaluate(asked)
    made = report(found, json_file.stem if json_file else "agent", seed)
    show(found, made)
    show_failures(found, show_errors)
    if json_file is not None:
        made.write(json_file)
    if plots is not None:
        draw(found, made, plots)
