"""``loraloop eval``: how well the parts do on data, beside what else there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.inputs.loading import BaseName, SkillsFolder, open_base
from loraloop.render.console import console
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.training.data.record import Record
    from loraloop.evals.desk.world import World
    from loraloop.render.report import BenchmarkReport

BASE = "smollm2-135m"

eval_app = typer.Typer(no_args_is_help=True, help="Measure skills, the router, the guard and the whole agent.")
DataPaths = Annotated[
    list[Path],
    typer.Option("--data", help="File of records, or the folder that holds tools/, code/ and retrieval/; repeatable."),
]
SkillFolder = Annotated[
    str | None, typer.Option("--skill", help="Folder of a skill, or none; by default the shipped one of the base.")
]
SkillFolders = Annotated[
    list[str] | None, typer.Option("--skill", help="Folder of a skill, instead of the shipped ones; repeatable.")
]
RouterFolder = Annotated[Path | None, typer.Option("--router", help="Folder of a router; by default the base's own.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Records, at most: the first of each file.")]
Seed = Annotated[int, typer.Option("--seed", help="With a seed other than 0, other records than the first.")]
OutputsFile = Annotated[
    Path | None, typer.Option("--outputs", help="Keep outputs in this file; an interrupted command continues from it.")
]
ToFile = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
ShowErrors = Annotated[int, typer.Option("--show-errors", min=0, metavar="N", help="Print N errors.")]


def _skill_command(name: str, about: str) -> Callable[..., None]:
    """The command that evaluates the skill `name`; all take the same options."""

    def command(
        data: DataPaths,
        base: BaseName = BASE,
        skill: SkillFolder = None,
        limit: Limit = None,
        seed: Seed = 0,
        told: Annotated[
            bool, typer.Option("--told", help="Also measure the base with a sentence that says what to write.")
        ] = False,
        beside: Annotated[
            Path | None, typer.Option(help="Tools that are listed for a record without tools: a file, or a folder.")
        ] = None,
        outputs: OutputsFile = None,
        json_file: ToFile = None,
        show_errors: ShowErrors = 0,
    ) -> None:
        from loraloop.evals.records import data_files, examples
        from loraloop.evals.skills import evaluate, skill_of
        from loraloop.render import scores
        from loraloop.render.progress import counting
        from loraloop.tool_schemas import load_tools

        files = data_files(name, data)
        tools = [tool.to_openai()["function"] for tool in load_tools(beside)] if beside else []
        loaded = open_base(base)
        asked = examples(name, files, limit, seed, header=loaded.prompting.tools_header, beside=tools)
        trained = skill_of(loaded, name, skill)
        with counting(name, len(asked)) as step:
            found = evaluate(name, asked, loaded, trained, base_told=told, outputs=outputs, step=step)
        out = console()
        out.print(scores.scores_table(f"{name}, {loaded.name}", len(asked), found.scores))
        scores.show_counts(out, found.errors)
        wrong = found.wrong(found.main)[:show_errors]
        scores.show_errors(
            out, [(f"{e.id} ({e.kind})", e.messages[-1].content, text, e.completion, why) for e, text, why in wrong]
        )
        _finish(found.report(_name(json_file, f"skill_{name}"), [file.name for file in files]), json_file)

    command.__name__, command.__doc__ = name, about
    return command


for _skill, _about in {
    "tools": "Calls: BFCL's records by the leaderboard's rule, others by equality of the calls.",
    "retrieval": "Answers from passages: whether there is one, what it cites, and its words.",
    "code": "Code: whether it passes its tests, in the sandbox, and whether it is Python.",
}.items():
    eval_app.command()(_skill_command(_skill, _about))


@eval_app.command()
def tune(
    name: Annotated[str, typer.Argument(help="tools, retrieval, safety or verdict.")],
    data: Annotated[list[Path] | None, typer.Option(help="File of records; records of loraloop by default.")] = None,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    limit: Annotated[int, typer.Option(min=20, help="Validation records, at most.")] = 1200,
    refused: Annotated[
        float, typer.Option(min=0, max=1, help="Share of good texts that may be refused (safety, verdict).")
    ] = 0.02,
    write: Annotated[bool, typer.Option("--write", help="Store the threshold on the skill's card.")] = False,
) -> None:
    """Choose from which probability a skill abstains, or refuses, on validation records; give no evaluation file."""
    from rich.table import Table

    from loraloop.evals.records import VALIDATION
    from loraloop.evals.skills import skill_of
    from loraloop.evals.tune import at_most, most_worth, store, weigh
    from loraloop.render.progress import counting
    from loraloop.render.report import command_line
    from loraloop.tool_schemas.errors import unknown

    if name not in VALIDATION:
        raise unknown("skill with a threshold", name, VALIDATION)
    loaded = open_base(base)
    header = loaded.prompting.tools_header
    records = _validation(name, data, limit, header)
    trained = skill_of(loaded, name, skill)
    if trained is None:
        raise InputError(f"{loaded.name} has no skill {name!r}: name the folder of one with --skill")
    with counting("validation", len(records)) as step:
        cases = weigh(loaded, trained, name, records, step=step)
    judges = name in ("safety", "verdict")
    found = at_most(cases, refused) if judges else most_worth(cases)
    table = Table("first opening", "taken rightly", "taken wrongly", "worth", title=f"{found.value:g} (n = {found.n})")
    for row, prefix in (("from the threshold on", ""), ("where it is likelier", "likelier/")):
        table.add_row(row, *(f"{100 * found.rates[prefix + key]:.1f} %" for key in ("hit", "lost", "worth")))
    console().print(table)
    if write:
        from loraloop.adapters.skill.registry import library

        folder = Path(skill) if skill else library(loaded.name)[name]
        rule = f"at most {refused:g} of the good texts are refused" if judges else "the records are worth most"
        store(found, folder, {"rule": rule, "command": command_line()})


def _validation(name: str, data: Sequence[Path] | None, limit: int, header: str) -> Sequence[Record]:
    """The records that choose a threshold: those of the given files, else those of this package."""
    from loraloop.evals.records import data_files, examples, validation_examples

    if data:
        return examples(name, data_files(name, data), limit, header=header)
    return validation_examples(name, limit, header)


@eval_app.command("tune-screen")
def tune_screen(
    data: Annotated[list[Path], typer.Option(help="File of records of yours: the router knows those of loraloop.")],
    base: BaseName = BASE,
    skill: SkillFolder = None,
    router: RouterFolder = None,
    limit: Annotated[int, typer.Option(min=20, help="Validation records, at most.")] = 1200,
    judged: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the unsafe texts that has to be judged.")
    ] = 0.97,
    write: Annotated[bool, typer.Option("--write", help="Store the threshold in the router's folder.")] = False,
) -> None:
    """Choose from which probability the router's screen asks for a verdict, on records that it has not seen."""
    from loraloop.agent import Runtime
    from loraloop.evals.tune import keeping, screened, store_screen
    from loraloop.render.progress import counting
    from loraloop.render.report import command_line
    from loraloop.router.card import shipped_routers

    loaded = open_base(base)
    folder = router or shipped_routers().get(loaded.name)
    if write and folder is None:
        raise InputError(f"no router ships for {loaded.name}: name the folder of one with --router")
    runtime = Runtime.load(loaded, skills=[skill or "safety"], router=folder)
    records = _validation("safety", data, limit, loaded.prompting.tools_header)
    with counting("validation", len(records)) as step:
        found = keeping(screened(runtime, records, step=step), judged)
    hit, lost = (100 * found.rates[key] for key in ("hit", "lost"))
    console().print(
        f"{found.value:g}: judges {hit:.1f} % of the unsafe texts, {lost:.1f} % of the others (n = {found.n})"
    )
    if write and folder is not None:
        rule = f"at least {judged:g} of the unsafe texts are judged"
        store_screen(found, folder, {"rule": rule, "command": command_line()})


@eval_app.command()
def safety(
    data: DataPaths,
    base: BaseName = BASE,
    skill: SkillFolder = None,
    router: RouterFolder = None,
    limit: Limit = None,
    seed: Seed = 0,
    peers: Annotated[str, typer.Option(help="To compare with: base, base_told; `none`.")] = "base,base_told",
    outputs: OutputsFile = None,
    json_file: ToFile = None,
    show_errors: ShowErrors = 0,
) -> None:
    """The safety gate at its thresholds: the screen, the verdict, and both as a run has them.

    `pipeline` refuses where the screen asks and the verdict is unsafe. Its score, for the area under the ROC curve, is
    (1 + the verdict's probability) / 2 where the screen asks, and half of the screen's probability where it does not.
    """
    from loraloop.agent import Runtime
    from loraloop.evals.records import data_files, judged_texts
    from loraloop.evals.safety import PEERS, ask, mistakes, report
    from loraloop.render.progress import counting
    from loraloop.tool_schemas.errors import unknown

    names = [] if peers == "none" else _words(peers)
    for name in names:
        if name not in PEERS:
            raise unknown("peer", name, PEERS)
    texts = judged_texts(data_files("safety", data), limit, seed)
    runtime = Runtime.load(open_base(base), skills=[skill or "safety"], router=router)
    with counting("safety", len(texts)) as step:
        gated, others = ask(runtime, texts, names, outputs, step)
    made = report(_name(json_file, "safety"), texts, gated=gated, others=others, runtime=runtime)
    made.show()
    for text, each, where in mistakes(texts, gated)[:show_errors]:
        out = console()
        out.rule(f"{text.id} ({text.category or text.file})")
        out.print(text.text[-700:])
        right = "unsafe" if text.unsafe else "safe"
        line = f"screen {each.screen:.3f}, verdict {each.unsafe:.3f}, said {each.text}"
        out.print(f"{where}: {line}; it is {right}", style="red")
    _finish(made, json_file)


@eval_app.command()
def router(
    data: Annotated[
        Path, typer.Option(help="File of routed messages or of records, or the folder of evaluation files.")
    ],
    base: BaseName = BASE,
    folder: RouterFolder = None,
    limit: Limit = None,
    seed: Seed = 0,
    outputs: OutputsFile = None,
    cache: Annotated[Path | None, typer.Option(help="Keep features here, for other routers.")] = None,
    json_file: ToFile = None,
    show_errors: ShowErrors = 0,
) -> None:
    """The router at its thresholds: on its own sources' evaluation files, and on sources it never saw (`cross`)."""
    from loraloop.evals.harness import OutputCache
    from loraloop.evals.router import RouterEvaluation, ask_router, facts_of, states_of, timed
    from loraloop.render.progress import counting
    from loraloop.router import Router

    loaded = open_base(base)
    found = RouterEvaluation(states_of(data, limit, seed, loaded.prompting.tools_header))
    chosen = Router.load(folder) if folder else Router.shipped(loaded.name)
    chosen.check(loaded)
    known = OutputCache(outputs, facts_of(loaded, folder, seed))
    with counting("router", sum(map(len, found.states.values()))) as step:
        ask_router(found, loaded, chosen, known, step=step, cache=cache)
    timed(found, chosen, loaded)
    made = found.report(_name(json_file, "router"))
    made.show()
    out = console()
    for state, output in found.errors(show_errors):
        out.rule(f"{state.source} ({state.kind})")
        for message in state.messages:
            out.print(f"{message.role}: {message.content[-700:]}")
        listed = ", ".join(f"{name} {p:.2f}" for name, p in output.probabilities.items())
        out.print(f"output: {output.skill} ({listed})", style="red")
        out.print(f"wanted: {state.label}", style="green")
    _finish(made, json_file)


@eval_app.command()
def desk(
    worlds: Annotated[
        Path | None, typer.Option(help="Folder of worlds: tools.py, which is run, and world.yaml.")
    ] = None,
    world: Annotated[list[str] | None, typer.Option(help="Only this world; repeatable.")] = None,
    base: BaseName = BASE,
    skills: SkillsFolder = None,
    skill: SkillFolders = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="No trained skills and no router: the base calls tools, then answers.")
    ] = False,
    own_calls: Annotated[bool, typer.Option("--own-calls", help="With --bare: calls in the base's format.")] = False,
    kinds: Annotated[str, typer.Option(help="Only requests of these kinds, separated by commas.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Requests of each world, at most.")] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Held-out draws of each world's requests with slots; 0: one of each.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    documents: Annotated[bool, typer.Option(help="Whether the assistant has the world's documents.")] = True,
    together: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Requests at a time; seconds are of a sample.")
    ] = 1,
    sealed: Annotated[
        bool,
        typer.Option("--sealed", help="The sealed worlds, which are for releases alone, in place of the open ones."),
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="No model: right outcomes have to pass the checks, wrong ones to fail.")
    ] = False,
    json_file: ToFile = None,
    show_errors: Annotated[int, typer.Option(min=0, metavar="N", help="Print N failures.")] = 0,
) -> None:
    """Everyday requests to an assistant with seven tools, a state and documents: how many come out right, by kind.

    Strict about effects: the right call with the right arguments, nothing changed that nobody asked for. Lenient about
    words: an answer states the fact that counts, in any usual format. Every call is approved. See docs/evaluation.md.
    """
    if sealed and show_errors and not self_test:
        raise InputError("--show-errors has no effect with --sealed: leave it out")
    found = _desk_worlds(worlds, world or (), sealed)
    if draws:
        found = [each.with_draws(draws, seed) for each in found]
    if self_test:
        return _self_test(found)
    if sealed:
        sys.stderr.write(
            "The sealed worlds are opened once per release: nothing may be trained on or chosen by what they show.\n"
        )
    from loraloop.evals.desk.runner import ALONE, report, run, sample
    from loraloop.inputs.loading import forced_skills, open_runtime
    from loraloop.render.scores import desk_table, show_failures

    runtime = open_runtime(base, bare=bare, skills=skills, own_calls=own_calls)
    forced_skills(runtime, skill or [])

    def step(row: Mapping[str, Any]) -> None:
        mark, why = "right" if row["right"] else "WRONG", "" if sealed else row["why"]
        sys.stderr.write(f"{mark} {row['seconds']:6.2f} s  {row['id']} ({row['kind']})  {why}\n")

    asked = partial(run, runtime, documents=documents, step=step)
    rows = asked(found, kinds=_words(kinds), limit=limit, together=together)
    if together > 1:
        sys.stderr.write(f"{ALONE} of them one at a time, for the seconds:\n")
    alone = asked(sample(found, _words(kinds), limit, ALONE)) if together > 1 else None
    facts = {"base": runtime.base.name, "together": together}
    made = report(rows, _name(json_file, "desk"), facts, alone, sealed=sealed)
    console().print(desk_table(rows, made.metrics))
    show_failures(console(), rows, show_errors)
    _finish(made, json_file)


def _desk_worlds(worlds: Path | None, names: Sequence[str], sealed: bool) -> list[World]:
    """The worlds that are measured: the sealed ones, those of a folder, or the open ones that ship."""
    from loraloop.evals.desk.world import SEALED, SHIPPED, load_worlds

    if sealed and worlds:
        raise InputError("--sealed has worlds of its own: leave out --worlds")
    if sealed and not SEALED.is_dir():
        raise InputError("the sealed worlds are in loraloop's repository and not in its wheel: run this in a checkout")
    return load_worlds(worlds or (SEALED if sealed else SHIPPED), names)


def _self_test(worlds: Sequence[World]) -> None:
    from loraloop.evals.bench import runs_program
    from loraloop.evals.desk.selftest import problems

    wrong = 0
    for world in worlds:
        tried, found = problems(world, runs_program)
        console().print(f"{world.name}: {len(world.requests)} requests, {tried} wrong outcomes, {len(found)} problems")
        for line in found:
            console().print(line)
        wrong += len(found)
    if wrong:
        raise typer.Exit(1)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _name(json_file: Path | None, usual: str) -> str:
    return json_file.stem if json_file else usual


def _finish(report: BenchmarkReport, json_file: Path | None) -> None:
    """Writes the result where a file is given, and says so on standard error."""
    if json_file is not None:
        sys.stderr.write(f"written: {report.write(json_file)}\n")
