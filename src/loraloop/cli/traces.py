"""``loraloop trace``: shows the document of a run, compares two, runs one again. Exit code 1: they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloop.cli.options import AsJson, Quantize, ToolSources, command
from loraloop.inputs.loading import BaseName, SkillsFolder, forced_skills, open_runtime
from loraloop.render.console import console, print_json, print_line
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.tracing.diff import Differences

trace_app = typer.Typer(no_args_is_help=True, help="Traces: show, rate, compare, run again.")

TraceFile = Annotated[Path, typer.Argument(help="A trace, as `loraloop run --trace FILE` writes it.")]

Full = Annotated[bool, typer.Option("--full", help="Show texts in full, and every event.")]
Width = Annotated[int | None, typer.Option("--width", help="Columns; by default the terminal's.")]
Tolerance = Annotated[float, typer.Option("--tolerance", help="Largest difference of probabilities that is ignored.")]


@trace_app.command()
def show(file: TraceFile, full: Full = False, width: Width = None, as_json: AsJson = False) -> None:
    """Draw a run: its steps, with routes, tokens and times, and their calls."""
    from loraloop.agent.tracing.trace import Trace
    from loraloop.render.trace import trace_tree

    trace = Trace.load(file)
    if as_json:
        print_line(trace.to_json())
        return
    console(width).print(trace_tree(trace, full))


@trace_app.command()
def rate(
    file: TraceFile,
    rating: Annotated[Literal["good", "bad"], typer.Argument(help="good or bad.")],
    correct: Annotated[
        str, typer.Option(help="What was wanted: a JSON list of calls (null for what to ask for), or the answer.")
    ] = "",
    step: Annotated[int | None, typer.Option(min=0, help="The step that --correct is about.")] = None,
) -> None:
    """Say whether a run did what was wanted, for `loraloop data from-traces`. It is kept beside the trace."""
    from loraloop.training.trace_data import rate as keep

    console().print(f"kept in {keep(file, rating, correct, step)}")


@trace_app.command()
def diff(
    before: TraceFile,
    after: TraceFile,
    tolerance: Tolerance = 1e-3,
    full: Full = False,
    width: Width = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what ran, each step, each call, the end. Times, dates and run ids are no difference."""
    from loraloop.agent.tracing.diff import diff as compared
    from loraloop.agent.tracing.trace import Trace

    found = compared(Trace.load(before), Trace.load(after), tolerance=tolerance)
    _report(found, bool(found), full, width, as_json)


@trace_app.command()
@command
def replay(
    context: typer.Context,
    file: TraceFile,
    tools: ToolSources,
    live_tools: Annotated[
        bool, typer.Option("--live-tools", help="Run the tools; without it, each call returns its recorded result.")
    ] = False,
    skill: Annotated[
        list[str] | None, typer.Option(help="Folder of a skill that the run had besides; repeatable.")
    ] = None,
    base: BaseName = "",
    quantize: Quantize = None,
    skills: SkillsFolder = None,
    save: Annotated[str, typer.Option(help="Write the new run's trace here: a file or `folder/`.")] = "",
    full: Full = False,
    width: Width = None,
    as_json: AsJson = False,
) -> None:
    """Run a trace's request again, on the base that it names, and compare. What ran is shown, and is no difference."""
    from loraloop.agent.tracing.replay import replay as again
    from loraloop.agent.tracing.trace import Trace

    trace = Trace.load(file)
    offered = tools.load(context.with_resource) or None
    if live_tools and trace.tools and offered is None:
        raise InputError("--live-tools needs the tools: give --tools or --mcp as the run had them")
    bare = trace.runtime.router.kind == "Unrouted"
    used = trace.runtime.base
    runtime = open_runtime(base or used.name, quantize or (None if base else used.form), as_json, bare, skills)
    forced_skills(runtime, skill or [])
    found = again(trace, runtime, tools=offered, live=live_tools)
    if save and found.trace is not None:
        found.trace.save(save)
    _report(found, bool(found.behaviour), full, width, as_json)


@trace_app.command()
def schema() -> None:
    """Print the JSON Schema of a trace."""
    from loraloop.agent.tracing.schema import trace_schema

    print_line(json.dumps(trace_schema(), indent=2, ensure_ascii=False))


def _report(found: Differences, differs: bool, full: bool, width: int | None, as_json: bool) -> None:
    """Prints what is different, and ends the command with 1 if that counts."""
    from loraloop.agent.values.step import plain
    from loraloop.render.trace import differences

    if as_json:
        shown = {name: plain(getattr(found, name)) for name in ("setup", "behaviour", "notes")}
        print_json({"differs": differs, **shown})
    else:
        console(width).print(differences(found, full))
    if differs:
        raise typer.Exit(1)
