"""``loraloop eval safety`` and ``loraloop eval safety-thresholds``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loraloop.agent import Runtime
    from loraloop.evals.safety import Gated, Said
    from loraloop.evals.safety_cases import Case
    from loraloop.evals.safety_thresholds import Thresholds
    from loraloop.report import Report

BASE = "smollm2-135m"
PEERS = "base,base_told,tfidf"

Data = Annotated[
    list[Path],
    typer.Option("--data", help="File of judged texts, or the folder that holds safety/; repeatable."),
]
BaseName = Annotated[str, typer.Option("--base", help="A name of `loraloop bases`, folder, GGUF file, or hub id.")]
Skill = Annotated[str, typer.Option("--skill", help="The safety skill: a name, or its folder.")]
RouterFolder = Annotated[Path | None, typer.Option("--router", help="Folder of a router; the shipped one if none.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Texts of each file, at most.")]
Seed = Annotated[int, typer.Option("--seed", help="Any but 0 takes other texts than the first.")]
Peers = Annotated[str, typer.Option("--peers", help="To compare with: base, base_told, tfidf; `none`.")]
Outputs = Annotated[Path | None, typer.Option("--outputs", help="Keep outputs here; a killed run goes on.")]
ToFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
Plots = Annotated[Path | None, typer.Option("--plots", help="Draw ROC curves as PNG into this folder.")]
ShowErrors = Annotated[int, typer.Option("--show-errors", min=0, metavar="N", help="Print N mistakes of the gate.")]


def add_to(app: typer.Typer) -> None:
    """Adds both commands."""
    app.command()(safety)
    app.command("safety-thresholds")(safety_thresholds)


def safety(
    data: Data,
    base: BaseName = BASE,
    skill: Skill = "safety",
    router: RouterFolder = None,
    limit: Limit = None,
    seed: Seed = 0,
    peers: Peers = PEERS,
    outputs: Outputs = None,
    json_file: ToFile = None,
    plots: Plots = None,
    show_errors: ShowErrors = 0,
) -> None:
    """The safety gate at its thresholds: the screen, the verdict, and both as a run has them.

    `pipeline` refuses where the screen asks and the verdict is unsafe. Its score, for the area under the ROC curve, is
    (1 + the verdict's probability) / 2 where the screen asks, and half of the screen's probability where it does not.
    """
    from loraloop.evals.cases import data_files
    from loraloop.evals.safety import PEERS as KNOWN
    from loraloop.evals.safety import ask
    from loraloop.evals.safety_cases import file_cases
    from loraloop.evals.safety_words import tfidf
    from loraloop.tool_schemas.errors import unknown
    from loraloop.waiting import counting

    names = [] if peers == "none" else [name.strip() for name in peers.split(",") if name.strip()]
    for name in names:
        if name not in KNOWN:
            raise unknown("peer", name, KNOWN)
    files = data_files("safety", data)
    cases = file_cases(files, limit, seed)
    runtime = _runtime(base, skill, router)
    with counting("safety", len(cases)) as step:
        gated, others = ask(runtime, cases, [n for n in names if n != "tfidf"], outputs, step)
    trained = next((path for path in data if (path / "safety" / "prompts.train.jsonl").is_file()), None)
    if "tfidf" in names and trained is not None:
        others["tfidf"] = tfidf(trained, cases)
    command = _command(data, base, skill, router, limit, seed, peers)
    report, systems = _report(json_file.stem if json_file else "safety", command, cases, gated, others, runtime)
    report.show()
    _show_mistakes(cases, gated, show_errors)
    if json_file is not None:
        sys.stderr.write(f"written: {report.write(json_file)}\n")
    if plots is not None:
        _draw(plots, cases, systems)


def safety_thresholds(
    data: Annotated[Path, typer.Option("--data", help="The data folder; its training files are split.")],
    base: BaseName = BASE,
    skill: Skill = "safety",
    router: RouterFolder = None,
    limit: Annotated[int, typer.Option("--limit", min=20, help="Validation texts.")] = 600,
    seed: Seed = 0,
    refused: Annotated[float, typer.Option(help="Most made harmless requests to refuse; of all, half.")] = 0.1,
    lost: Annotated[float, typer.Option(help="Most made unsafe requests that the screen may let pass.")] = 0.05,
    outputs: Outputs = None,
    write: Annotated[bool, typer.Option("--write", help="Store them: on the skill's card and in --router.")] = False,
) -> None:
    """Choose the gate's thresholds on the validation part of the training files; no evaluation file is read for it."""
    from loraloop.evals.safety import ask
    from loraloop.evals.safety_cases import validation_cases
    from loraloop.evals.safety_thresholds import choose, store
    from loraloop.waiting import counting

    cases = validation_cases(data, limit, seed)
    runtime = _runtime(base, skill, router)
    with counting("validation", len(cases)) as step:
        gated, _ = ask(runtime, cases, (), outputs, step)
    found = choose(cases, gated, refused, lost)
    _show_thresholds(found)
    if write:
        how = {
            "rule": f"the screen lets at most {lost:g} of made unsafe requests pass; the gate refuses at most "
            f"{refused:g} of made harmless requests, and {refused / 2:g} of all harmless ones",
            "data": "validation part of safety/prompts.train.jsonl, and made requests whose words no training has",
            "command": f"loraloop eval safety-thresholds --data DATA --limit {limit} --seed {seed} "
            f"--refused {refused:g} --lost {lost:g} --write",
        }
        store(found, _folder(skill), router, how)


def _folder(skill: str) -> Path:
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.tool_schemas.errors import unknown

    known = known_skills()
    if skill in known:
        return known[skill]
    if not Path(skill).is_dir():
        raise unknown("skill", skill, known)
    return Path(skill)


def _runtime(base: str, skill: str, router: Path | None) -> Runtime:
    from loraloop.adapters.base import Base
    from loraloop.agent import Runtime
    from loraloop.waiting import loading

    with loading(quiet=False) as progress:
        return Runtime.load(Base.load(base, progress=progress), skills=[_folder(skill)], router=router)


def _command(
    data: Sequence[Path], base: str, skill: str, router: Path | None, limit: int | None, seed: int, peers: str
) -> str:
    """What measures the same again, without this machine's folders."""
    words = ["loraloop eval safety"]
    words += [f"--data {'DATA' if path.is_dir() else path.name}" for path in data]
    words += [f"--base {Path(base).name}"] if base != BASE else []
    words += [f"--skill {Path(skill).name}"] if skill != "safety" else []
    words += [f"--router {router.name}"] if router else []
    words += [f"--limit {limit}"] if limit else []
    words += [f"--seed {seed}"] if seed else []
    words += [f"--peers {peers}"] if peers != PEERS else []
    return " ".join(words)


def _report(
    name: str,
    command: str,
    cases: Sequence[Case],
    gated: Sequence[Gated],
    others: dict[str, list[Said]],
    runtime: Runtime,
) -> tuple[Report, dict[str, list[Said]]]:
    from loraloop.evals.asking import TOLD
    from loraloop.evals.safety import facts_of
    from loraloop.evals.safety_scores import scores
    from loraloop.report import Report

    systems = {part: [each.parts[part] for each in gated] for part in ("pipeline", "screen", "verdict")} | others
    found = {system: scores(cases, said) for system, said in systems.items()}
    ours = found.pop("pipeline")
    ours["asked"] = sum(each.asked for each in gated) / len(gated)
    safe = [each.asked for case, each in zip(cases, gated, strict=True) if not case.unsafe]
    if safe:
        ours["asked_of_safe"] = sum(safe) / len(safe)
    ours["verdict_ms"] = 1e3 * sum(each.seconds for each in gated) / len(gated)
    base = found.get("base", {})
    compared: tuple[str, ...] = ("recall", "auroc")
    ratios = {key: ours[key] / base[key] for key in compared if base.get(key) and key in ours}
    facts = facts_of(runtime, cases)
    details = {"files": list(dict.fromkeys(case.file for case in cases)), "gate": facts}
    if "base_told" in found:
        details["told"] = TOLD["safety"]
    return Report(name, len(cases), ours, found, ratios, details, command), systems


def _draw(folder: Path, cases: Sequence[Case], systems: dict[str, list[Said]]) -> None:
    from loraloop.evals.pictures import roc
    from loraloop.evals.safety_scores import curves

    files = dict.fromkeys(case.file for case in cases)
    for name in ("", *files):
        rows = [k for k, case in enumerate(cases) if not name or case.file == name]
        part = [cases[k] for k in rows]
        if len({case.unsafe for case in part}) < 2:
            continue
        chosen = {system: [said[k] for k in rows] for system, said in systems.items()}
        path = roc(folder / f"safety_roc{'_' if name else ''}{name}.png", curves(part, chosen), name or "all files")
        sys.stderr.write(f"drawn: {path}\n")


def _show_mistakes(cases: Sequence[Case], gated: Sequence[Gated], count: int) -> None:
    from loraloop.cli import console
    from loraloop.evals.safety_scores import mistakes

    for mistake in mistakes(cases, gated)[:count]:
        out, case = console(), mistake.case
        out.rule(f"{case.id} ({case.category or case.file})")
        out.print(case.text[-700:], markup=False)
        out.print(
            f"{mistake.where}: screen {mistake.gated.screen:.3f}, verdict {mistake.gated.unsafe:.3f}, "
            f"said {mistake.gated.text}; it is {'unsafe' if case.unsafe else 'safe'}",
            style="red",
            markup=False,
        )


def _show_thresholds(found: Thresholds) -> None:
    from rich.table import Table

    from loraloop.cli import console

    table = Table(
        "", "share", title=f"verdict from {found.verdict:.4g}, screen from {found.screen:.4g} (n = {found.n})"
    )
    for name, share in found.rates.items():
        table.add_row(name, f"{100 * share:.1f} %")
    console().print(table)
