"""``loraloop eval router``: screen and choice on labelled states, beside simpler systems."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loraloop.evals.router_run import Evaluation

Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder that holds tools/, code/, retrieval/ …, or one file of records or of routed messages."
    ),
]
BaseName = Annotated[str, typer.Option("--base", help="A name of `loraloop bases`, folder, GGUF file, or hub id.")]
RouterFolder = Annotated[Path | None, typer.Option("--router", help="Folder of a router; by default the shipped one.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="States of each split, at most.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the contexts round requests, and of samples.")]
Peers = Annotated[
    str, typer.Option("--peers", help="What else is measured: tfidf, minilm, zero_shot (the base is asked); or none.")
]
Asked = Annotated[int, typer.Option("--asked", min=1, help="States that zero_shot is asked about, at most.")]
FittedOn = Annotated[int | None, typer.Option("--fitted-on", min=50, help="Training states for tfidf and minilm.")]
OutputsFile = Annotated[Path | None, typer.Option("--outputs", help="Keep outputs here; a killed run goes on.")]
CacheFolder = Annotated[Path | None, typer.Option("--cache", help="Keep features here, for other routers.")]
ToFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
PlotsFolder = Annotated[Path | None, typer.Option("--plots", help="Draw confusion, reliability and risk here, as PNG.")]
ShowErrors = Annotated[int, typer.Option("--show-errors", min=0, metavar="N", help="Print N errors.")]


def router(
    data: Data,
    base: BaseName = "smollm2-135m",
    router_folder: RouterFolder = None,
    limit: Limit = None,
    seed: Seed = 0,
    peers: Peers = "tfidf,minilm,zero_shot",
    asked: Asked = 120,
    fitted_on: FittedOn = None,
    outputs: OutputsFile = None,
    cache: CacheFolder = None,
    json_file: ToFile = None,
    plots: PlotsFolder = None,
    show_errors: ShowErrors = 0,
) -> None:
    """The router at its thresholds: on its own sources' evaluation files, and on sources it never saw (`cross`).

    `tfidf` and `minilm` are fitted on the router's own training states, so they need the whole folder.
    """
    from loraloop.adapters.base import Base
    from loraloop.evals.kept import Kept
    from loraloop.evals.router_run import Evaluation, ask_base, ask_fitted, ask_router, sample, states_of, timed
    from loraloop.router import Router
    from loraloop.waiting import counting, loading

    wanted, notes = _peers(peers, data)
    for note in notes:
        sys.stderr.write(note + "\n")
    found = Evaluation(states_of(data, limit, seed))
    with loading(False) as progress:
        loaded = Base.load(base, progress=progress)
    chosen = Router.load(router_folder) if router_folder else Router.load()
    chosen.check(loaded)
    facts = {"base": loaded.fingerprints.weights, "router": _sha(router_folder), "seed": seed}
    kept = Kept(outputs, facts)
    with counting("router", sum(map(len, found.states.values()))) as step:
        ask_router(found, loaded, chosen, kept, step, cache)
    timed(found, chosen, loaded)
    train = None
    for name in [name for name in wanted if name != "zero_shot"]:
        if train is None:
            from loraloop.router.states import build

            train = sample(build(data, "train", seed=seed), fitted_on, seed)
        ask_fitted(found, name, train)
    if "zero_shot" in wanted:
        with counting("zero_shot", asked) as step:
            ask_base(found, loaded, asked, seed, kept, step)
    given = {"base": base, "limit": limit, "seed": seed, "peers": peers, "asked": asked, "fitted-on": fitted_on}
    report = found.report(json_file.stem if json_file else "router", _command(data, given))
    report.show()
    _print_errors(found, show_errors)
    for path in found.plots(plots) if plots is not None else []:
        sys.stderr.write(f"drawn: {path}\n")
    if json_file is not None:
        sys.stderr.write(f"written: {report.write(json_file)}\n")


def _peers(given: str, data: Path) -> tuple[list[str], list[str]]:
    """The peers that can be measured here, and why others cannot."""
    from loraloop.evals.router_peers import available

    names = [] if given == "none" else [name.strip() for name in given.split(",") if name.strip()]
    kept, notes = [], []
    for name in names:
        why = available(name) or ("needs the whole data folder" if data.is_file() and name != "zero_shot" else "")
        if why:
            notes.append(f"{name} is not measured: it {why}")
        else:
            kept.append(name)
    return kept, notes


def _sha(folder: Path | None) -> str:
    from loraloop.adapters.base.loading.convert import file_sha256
    from loraloop.router.router import WEIGHTS

    return file_sha256((folder or WEIGHTS) / "router.safetensors")


def _command(data: Path, given: Mapping[str, object]) -> str:
    """What measures the same again, without this machine's folders."""
    words = ["loraloop", "eval", "router", "--data", data.name if data.is_file() else "DATA"]
    usual = {"base": "smollm2-135m", "seed": 0, "peers": "tfidf,minilm,zero_shot", "asked": 120}
    for name, value in given.items():
        if value != usual.get(name):
            words += [f"--{name}", str(value)]
    return " ".join(words)


def _print_errors(found: Evaluation, count: int) -> None:
    from loraloop.cli import console

    out = console()
    for state, said in found.errors(count):
        out.rule(f"{state.source} ({state.kind})")
        for message in state.messages:
            shown = (
                message.content
                if len(message.content) < 700
                else message.content[:340] + " … " + message.content[-340:]
            )
            out.print(f"{message.role}: {shown}", markup=False)
        listed = ", ".join(f"{name} {p:.2f}" for name, p in said.probabilities.items())
        out.print(f"said:   {said.skill} ({listed})", style="red", markup=False)
        out.print(f"wanted: {state.label}", style="green", markup=False)
