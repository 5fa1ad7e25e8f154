"""``loraloop eval grammar``: whether schemas are enforced exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loraloop.render.report import BenchmarkReport
    from loraloop.tool_schemas.grammar.conformance import Score

Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", help="Files of schemas with instances (JSON or JSON Lines); our own cases if none is given."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", help="Schemas of each file, at most.")]
ToFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
ShowErrors = Annotated[bool, typer.Option("--show-errors", help="Also the instances that were judged wrongly.")]


def grammar(
    data: Data = None,
    limit: Limit = None,
    show_errors: ShowErrors = False,
    json_file: ToFile = None,
) -> None:
    """Whether schemas are enforced exactly: what can be decoded of valid and invalid instances.

    It is measured as tools are imported (what no grammar enforces is checked when a value closes) and as they are
    written by hand (it is refused). A schema passes if all its instances are judged rightly; a refused one does not.
    """
    from loraloop.render.progress import counting
    from loraloop.tool_schemas.grammar.conformance import CASES, OurJudge, read_cases, score
    from loraloop.tool_sources import check_compiler

    files = data or [CASES]
    cases = [case for file in files for case in list(read_cases(file))[:limit]]
    compiler, _ = check_compiler()
    judges = [OurJudge(compiler, "check"), OurJudge(compiler, "refuse")]
    scores: dict[str, Score] = {}
    for judge in judges:
        with counting(judge.name, len(cases)) as step:
            scores[judge.name] = score(judge, cases, step)
    report = _report(json_file.stem if json_file else "grammar_conformance", scores, [file.name for file in files])
    report.show()
    for name, each in scores.items():
        _console_line(name, each, show_errors)
    if json_file is not None:
        report.write(json_file)


def _report(name: str, scores: dict[str, Score], files: list[str]) -> BenchmarkReport:
    from loraloop.render.report import BenchmarkReport

    ours = scores["loraloop"]
    keywords = {keyword: None for each in scores.values() for keyword, _ in each.refused.most_common()}
    return BenchmarkReport(
        name,
        ours.schemas,
        ours.metrics(),
        peers={system: each.metrics() for system, each in scores.items() if system != "loraloop"},
        details={
            "files": files,
            "refused": {f"{word}/{system}": each.refused[word] for word in keywords for system, each in scores.items()},
            "wrong": {system: [case for case, _ in each.wrong] for system, each in scores.items()},
        },
    )


def _console_line(name: str, score: Score, show_errors: bool) -> None:
    from loraloop.render.console import console

    if score.refused:
        listed = ", ".join(f"{keyword} {count}" for keyword, count in score.refused.most_common(20))
        console().print(f"{name} refuses: {listed}", markup=False)
    if show_errors:
        for case, instance in score.wrong:
            console().print(f"{name} judges wrongly: {case}: {json.dumps(instance)}", markup=False)
