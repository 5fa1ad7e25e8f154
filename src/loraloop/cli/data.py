"""``loraloop data``: `check` says what is wrong with data; `teacher`, `preferences`, `from-…` make records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loraloop.cli.options import AsJson, Quantize
from loraloop.inputs.loading import BaseName, SkillsFolder
from loraloop.render.console import plural, print_json

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.adapters.training.data.checker import CheckedRecords, Finding
    from loraloop.adapters.training.data.record import Record
    from loraloop.evals.bench import BenchStep

    Transcript = Sequence[Message]

TOGETHER = 8
"""Transcripts that are completed at once; they share the base's forwards."""

data_app = typer.Typer(no_args_is_help=True, help="Training data: what is wrong with it, and making more of it.")


Files = Annotated[list[Path], typer.Argument(help="JSON Lines, JSON, CSV or Parquet.")]
Form = Annotated[str, typer.Option(help="Form of the records; found out from their keys by default.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Maximum number of records.")]
Out = Annotated[Path, typer.Option("--out", help="The JSON Lines file that is written.")]


Contract = Literal["calls", "code", "answer", "verdict", "agreement", "text"]
What = Annotated[Contract, typer.Option(help="What the skill writes.")]


@data_app.command()
def check(
    files: Files,
    held_out: Annotated[
        list[Path] | None, typer.Option("--eval", help="Evaluation files that training must not hold; repeatable.")
    ] = None,
    contract: What = "text",
    form: Form = "auto",
    longest: Annotated[int, typer.Option(min=1, help="Tokens beyond which a record is too long.")] = 1024,
    base: Annotated[
        str, typer.Option(help="Count tokens as this base does; estimated from the characters if not given.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Findings that are printed; --json prints all.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Read data, and report what cannot or should not be trained on, with file and line.

    Exit codes: 0 nothing is broken, 1 some records cannot be used, 2 a file cannot be read.
    """
    from loraloop.adapters.training.data.checker import Checker
    from loraloop.adapters.training.data.readers import Reading
    from loraloop.adapters.training.recipe.gather import check_files

    checker, how = Checker(longest), Reading(contract, form)
    if base:
        from loraloop.adapters.training.recipe.objective import encoded
        from loraloop.inputs.loading import open_base

        loaded = open_base(base, quiet=as_json)
        checker.count = lambda record: encoded(loaded, record).length
        how = Reading(contract, form, header=loaded.prompting.tools_header)
    found = check_files(files, held_out or [], how, checker)
    if as_json:
        counts = {"read": found.read, "usable": len(found.records), "held_out": len(found.held_out)}
        listed = [finding.to_dict() for finding in found.findings]
        print_json({**counts, "counts": found.counts, "findings": listed})
    else:
        _print_checked(found, limit)
    raise typer.Exit(1 if found.errors else 0)


def _print_checked(found: CheckedRecords, limit: int) -> None:
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in found.findings:
        alike.setdefault((finding.place.file, finding.kind, finding.message), []).append(finding)
    for first, *others in [*alike.values()][:limit]:
        sys.stdout.write(f"{first}{f' ({len(others) + 1} records)' if others else ''}\n")
    if len(alike) > limit:
        sys.stdout.write(f"… and {len(alike) - limit} more; --limit or --json shows them\n")
    counts = ", ".join(f"{kind}: {count}" for kind, count in found.counts.items()) or "nothing found"
    examples = plural(len(found.records), "example")
    sys.stdout.write(f"{plural(found.read, 'record')} read, {examples} to train on; {counts}\n")


@data_app.command()
def teacher(
    files: Files,
    out: Out,
    url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint, up to and without /chat/completions.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model at the endpoint.")] = "",
    per_minute: Annotated[float | None, typer.Option(help="Maximum number of requests per minute.")] = None,
    key: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "OPENAI_API_KEY",
    base: BaseName = "",
    quantize: Quantize = None,
    skill: Annotated[str, typer.Option(help="With --base: a skill of it, by name or folder.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of tokens of one completion.")] = 256,
    contract: What = "text",
    form: Form = "auto",
    limit: Limit = None,
) -> None:
    """Have a teacher write the completions: at an endpoint (--url, --model), or a local base (--base).

    Answers of an endpoint are kept beside the output file, so an interrupted command continues when it is given again.
    """
    from loraloop.adapters.training.teacher.making import taught, write_rows
    from loraloop.inputs.loading import open_base
    from loraloop.render.progress import counting
    from loraloop.tool_schemas.errors import InputError

    if bool(url) == bool(base) or bool(url) != bool(model) or (url and skill):
        raise InputError("give a teacher: --url and --model for an endpoint, or --base, and --skill, for a local one")
    _check_place(out, files)
    loaded = open_base(base, quantize) if base else None
    records = _records(files, contract, form, limit, loaded)
    if loaded is None:
        from loraloop.adapters.training.teacher.endpoint import Endpoint

        kept = out.with_name(f"{out.name}.answers")
        teacher = Endpoint(
            url, model, folder=kept, key_variable=key, options={"max_tokens": max_tokens}, per_minute=per_minute
        )
        write: Any = teacher.write
    else:
        form = loaded.prompting.call_form if contract == "calls" and not skill else ""
        several = _writer(loaded, skill, max_tokens, form=form)

        def write(transcripts: Sequence[Transcript], done: Callable[[], None]) -> list[str]:
            return [step.text if step.whole else "" for (step,) in several(transcripts, 1, done)]

    with counting("writing", len(records)) as done:
        rows, cut = taught(records, partial(write, done=done))
    if cut:
        left = f"{plural(cut, 'record')} left out"
        sys.stderr.write(f"{left}: the teacher refused, or did not end within {max_tokens} tokens (--max-tokens)\n")
    write_rows(rows, out)
    sys.stderr.write(f"{plural(len(rows), 'record')} written to {out}\n")


@data_app.command()
def preferences(
    files: Files,
    out: Out,
    skill: Annotated[str, typer.Option(help="Skill whose outputs are judged, by name or folder.")],
    base: BaseName = "smollm2-135m",
    quantize: Quantize = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of outputs sampled for each transcript.")] = 4,
    temperature: Annotated[float, typer.Option(help="Temperature of the sampling.")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of tokens of one output.")] = 256,
    contract: What = "text",
    form: Form = "auto",
    limit: Limit = None,
) -> None:
    """Make preference records from a skill's own right and wrong outputs, for the objectives dpo and kto."""
    from loraloop.adapters.training.teacher.making import preferences as made
    from loraloop.adapters.training.teacher.making import write_rows
    from loraloop.evals.bench import runs_program
    from loraloop.inputs.loading import open_base
    from loraloop.render.progress import counting

    _check_place(out, files)
    loaded = open_base(base, quantize)
    records = _records(files, contract, form, limit, loaded)
    several = _writer(loaded, skill, max_tokens, temperature)
    cut = 0

    def write(transcripts: Sequence[Transcript], samples: int, done: Callable[[], None]) -> list[list[str]]:
        nonlocal cut
        written = several(transcripts, samples, done)
        cut = sum(not step.whole for steps in written for step in steps)
        return [[step.text if step.whole else "" for step in steps] for steps in written]

    with counting("writing", len(records)) as done:
        rows = made(records, write, samples, runs_program, done)
    if cut:
        left = f"{plural(cut, 'output')} left out"
        sys.stderr.write(f"{left}: they did not end within {max_tokens} tokens (--max-tokens)\n")
    write_rows(rows, out)
    sys.stderr.write(f"{len(rows)} pairs written to {out}\n")


@data_app.command("from-traces")
def from_traces(
    place: Annotated[Path, typer.Argument(help="A folder of traces, a trace, or a file of sessions (.db).")],
    out: Out,
    texts: Annotated[
        bool, typer.Option("--texts", help="Take the answers of runs rated good, in place of calls.")
    ] = False,
    tools: Annotated[
        list[str] | None, typer.Option(help="For sessions: the agent's tools, as `run` takes them; repeatable.")
    ] = None,
) -> None:
    """Make training records of real runs: calls that worked or were approved, rated runs, corrections as pairs.

    `loraloop trace rate` says whether a run was good. Secrets are replaced, and duplicates are written once.
    """
    from loraloop.inputs.tool_sources import tools_from_sources
    from loraloop.tool_schemas.errors import InputError
    from loraloop.tool_schemas.folders import files_of
    from loraloop.training.trace_data import from_traces as harvest

    _check_place(out, [file for file in files_of(place) if file == place or file.suffix == ".json"])
    shown = [
        {"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools_from_sources(tools)
    ]
    found = harvest(place, "text" if texts else "calls", shown)
    reasons = "; ".join(f"{reason}: {count}" for reason, count in found.left_out.most_common())
    if not found.records:
        raise InputError(f"{place} gives no records" + (f" ({reasons})" if reasons else ""))
    for path in found.write(out):
        sys.stderr.write(f"written: {path}\n")
    left = f"; left out: {reasons}" if reasons else ""
    sys.stderr.write(f"{plural(len(found.records), 'record')}, {plural(len(found.pairs), 'pair')}{left}\n")


@data_app.command("from-worlds")
def from_worlds(
    worlds: Annotated[Path, typer.Argument(help="A folder of worlds with slots; see recipes/worlds/README.md.")],
    out: Out,
    base: BaseName = "smollm2-135m",
    skills: SkillsFolder = None,
    skill: Annotated[
        list[str] | None, typer.Option(help="Folder of a skill, in place of the one of its name; repeatable.")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests that are drawn, over all worlds.")] = 100,
    temperature: Annotated[float, typer.Option(help="Sampling temperature of the runs; 0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the drawn requests and of the sampling.")] = 0,
    texts: Annotated[bool, typer.Option("--texts", help="Take the answers of the runs, in place of calls.")] = False,
    documents: Annotated[bool, typer.Option(help="Whether the assistant has the worlds' documents.")] = True,
) -> None:
    """Run an assistant on worlds with slots, and make records of the states that its runs reach.

    A step that was right is a record as it is; where one was wrong, the record says what is right there. Records are
    written while the runs go on: an interrupted command keeps what it had. The worlds' `tools.py` are run.
    """
    from loraloop.improve.agents import WorldRun, ask_all, requests_of
    from loraloop.improve.worlds import open_worlds

    _check_place(out, ())
    found = open_worlds(worlds)
    asked = requests_of(found, requests, seed)
    from loraloop.agent.engine.sampler import Sampling
    from loraloop.improve.records import RecordFile
    from loraloop.inputs.loading import forced_skills, open_runtime

    runtime = open_runtime(base, skills=skills)
    forced_skills(runtime, skill or [])
    written = RecordFile(out, "text" if texts else "calls")
    done = 0

    def each(run: WorldRun) -> None:
        nonlocal done
        done += 1
        written.add(run.states)
        row = run.row
        mark = "right" if row["right"] else "WRONG"
        sys.stderr.write(
            f"{done}/{len(asked)} {mark} {row['seconds']:6.1f} s  {row['id']} ({row['kind']})  {row['why']}\n"
        )

    sampling = Sampling(temperature=temperature, seed=seed)
    runs = ask_all(runtime, asked, sampling=sampling, documents=documents, each=each)
    counts = ", ".join(f"{why}: {count}" for why, count in written.counts.most_common())
    right = sum(run.right for run in runs)
    kept = plural(sum(written.counts.values()), "record")
    sys.stderr.write(f"{right} of {plural(len(runs), 'request')} right; {kept} ({counts}): {out}\n")


def _check_place(out: Path, files: Sequence[Path]) -> None:
    """Refuses a place for the records that cannot be written or is one of the files, before any work is done."""
    from loraloop.tool_schemas.errors import InputError
    from loraloop.tool_schemas.folders import writable_folder

    if any(out.exists() and file.exists() and out.samefile(file) for file in files):
        raise InputError(f"{out} is read from, and would be replaced: give another --out")
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder")
    writable_folder(out.parent, f"cannot write {out}", ": give another --out")


def _records(
    files: Sequence[Path], contract: Contract, form: str, limit: int | None, base: Base | None
) -> list[Record]:
    """The usable records of some files, with tools listed as a base lists them; broken ones are an error."""
    from loraloop.adapters.base.prompting import CALLS_HEADER
    from loraloop.adapters.training.data.checker import Checker
    from loraloop.adapters.training.data.readers import Reading
    from loraloop.adapters.training.recipe.gather import check_files
    from loraloop.tool_schemas.errors import InputError

    how = Reading(contract, form, header=CALLS_HEADER if base is None else base.prompting.tools_header)
    found = check_files(files, [], how, Checker(10**9))
    if found.errors:
        raise InputError(
            f"{len(found.errors)} records cannot be used (loraloop data check); the first: {found.errors[0]}"
        )
    return list(found.records)[:limit]


def _writer(
    base: Base, skill: str, max_tokens: int, temperature: float = 0.0, form: str = ""
) -> Callable[[Sequence[Transcript], int, Callable[[], None]], list[list[BenchStep]]]:
    """A function that writes so many completions of each transcript, and says when one of them is done."""
    from loraloop.adapters.training.recipe.objective import find_skill
    from loraloop.agent.engine.sampler import Sampling
    from loraloop.agent.threads import run_all
    from loraloop.evals.bench import Bench

    bench = Bench(base, find_skill(skill, Path.cwd(), base.name) if skill else None, max_tokens)

    def write(transcripts: Sequence[Transcript], samples: int, done: Callable[[], None]) -> list[list[BenchStep]]:
        def completions(place: int) -> list[BenchStep]:
            draws = [Sampling(temperature, seed=place * samples + number) for number in range(samples)]
            steps = [bench.write(transcripts[place], None, extra_prompt=form, sampling=draw) for draw in draws]
            done()
            return steps

        return run_all([partial(completions, place) for place in range(len(transcripts))], TOGETHER)

    return write
