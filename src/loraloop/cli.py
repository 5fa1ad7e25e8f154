"""The ``loraloop`` command: `demo`, `run`, `chat`, `trace`, `route`, `train`, `data`, `tools`, `eval`, `skills` …

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 `doctor` found a problem or
something failed unexpectedly, 2 bad input or anything else that loraloop refuses, 3 a run waits for approval, 130
interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from loraloop.approving import ApproveIds, Ask, DenyIds, PendingFile, ResumeFile, Waiting, asked_about
from loraloop.chat_cli import chat
from loraloop.data_cli import data_app
from loraloop.doctor import doctor
from loraloop.eval_cli import eval_app
from loraloop.run_options import (
    AsJson,
    Bare,
    BaseName,
    Beams,
    Deadline,
    Documents,
    Instructions,
    MaxSteps,
    MaxTokens,
    PassageFile,
    Prompt,
    Python,
    Quantize,
    Screen,
    Seed,
    Skills,
    Temperature,
    ToolChoice,
    ToolFiles,
    forced_skills,
    open_runtime,
    read_documents,
    read_passages,
    text_of,
)
from loraloop.serve_cli import serve_app
from loraloop.sessions_cli import sessions_app
from loraloop.skills_cli import skills_app
from loraloop.tools_cli import Servers, tools_app
from loraloop.trace_cli import trace_app
from loraloop.train_cli import train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(skills_app, name="skills")
app.add_typer(tools_app, name="tools")
app.add_typer(eval_app, name="eval")
app.add_typer(data_app, name="data")
app.add_typer(sessions_app, name="sessions")
app.add_typer(trace_app, name="trace")
app.add_typer(serve_app, name="serve")
app.command()(train)
app.command()(doctor)
app.command()(chat)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """An agent runtime in which every step runs on the right LoRA skill."""


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    import loraloop

    print_line(json.dumps({"version": loraloop.__version__}) if as_json else loraloop.__version__)


@app.command()
def demo(as_json: AsJson = False, base: BaseName = "smollm2-135m", quantize: Quantize = None) -> None:
    """Five requests, each with its trace: tools, code, retrieval, an unsafe request, plain chat."""
    from loraloop.demo import run_demo

    run_demo(open_runtime(base, quantize, as_json), as_json)


@app.command()
def run(
    context: typer.Context,
    prompt: Prompt = "",
    tools: ToolFiles = None,
    mcp: Servers = None,
    skill: Skills = None,
    passages: PassageFile = None,
    docs: Documents = None,
    instructions: Instructions = "",
    python: Python = False,
    tool_choice: ToolChoice = "auto",
    beams: Beams = None,
    max_steps: MaxSteps = 12,
    max_tokens: MaxTokens = 4096,
    deadline: Deadline = None,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    screen: Screen = True,
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come; with --json, events.")] = False,
    ask: Ask = None,
    pending: PendingFile = None,
    resume: ResumeFile = None,
    approve: ApproveIds = None,
    deny: DenyIds = None,
    session: Annotated[
        str | None, typer.Option("--session", help="Keep the conversation under this name, or go on with it.")
    ] = None,
    sessions: Annotated[
        Path | None, typer.Option("--sessions", help="The file that it is kept in, instead of your own.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write the run's trace here; see `loraloop trace`.")
    ] = None,
    base: BaseName = "smollm2-135m",
    bare: Bare = False,
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """Run one request and show its trace."""
    from loraloop.agent import Agent, Hook, Limits, Policy, Sampling
    from loraloop.agent.guard.guard import default_guard
    from loraloop.agent.sessions.sessions import Sessions
    from loraloop.agent.tracing.tracer import Tracer
    from loraloop.running import run_to_end
    from loraloop.tool_sources import tools_of

    waiting = Waiting(pending, resume, approve or (), deny or ())
    waiting.check(prompt)
    paused = waiting.read()
    request = text_of(prompt) if paused is None else ""
    given, listed, index = tools_of(tools, mcp, context), read_passages(passages), read_documents(docs, passages)
    limits = Limits(max_steps=max_steps, run_tokens=max_tokens, deadline=deadline)
    sampling = Sampling(temperature=temperature, seed=seed)
    runtime = open_runtime(base, quantize, as_json, bare)
    policy = Policy(
        skills=forced_skills(runtime, skill or []), tool_choice=tool_choice, beams=beams, ask=asked_about(ask)
    )
    guard = default_guard(runtime)
    agent = Agent(
        runtime,
        tools=given,
        instructions=instructions,
        python=python,
        limits=limits,
        policy=policy,
        sampling=sampling,
        retriever=index,
        guard=guard if screen else replace(guard, input=None),
        hooks=[] if trace is None else [Hook(Tracer(trace), fatal=True)],
    )
    if paused is not None:
        begun = agent.resume_stream(paused, waiting.decisions(paused))
    else:
        kept = None if session is None else Sessions(sessions).session(session)
        begun = agent.stream(request, passages=listed if index is None else None, session=kept)
    run_to_end(agent, begun, waiting, stream, as_json)


@app.command()
def route(
    context: typer.Context,
    prompt: Prompt,
    tools: ToolFiles = None,
    mcp: Servers = None,
    passages: PassageFile = None,
    instructions: Instructions = "",
    python: Python = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also thresholds and the nearest examples.")] = False,
    base: BaseName = "smollm2-135m",
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """Show which skill the first step of a request would get, without running it."""
    from loraloop.routing import first_route
    from loraloop.tool_sources import tools_of

    request, given, listed = text_of(prompt), tools_of(tools, mcp, context), read_passages(passages)
    runtime = open_runtime(base, quantize, as_json)
    routed = first_route(
        runtime,
        request,
        tools=given,
        passages=listed,
        instructions=instructions,
        python=python,
        explain=explain,
    )
    if as_json:
        from loraloop.agent.result import plain

        print_line(json.dumps(plain(routed), ensure_ascii=False))
        return
    from loraloop.show import show_route

    show_route(console(), routed.screen, routed.route, routed.explanation)


@app.command()
def bases(
    get: Annotated[
        str | None, typer.Option("--get", help="Fetch and convert one, so that later loads are quick.")
    ] = None,
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """List the bases that have a name, and what of them is on this machine."""
    from loraloop.bases import base_rows, bases_table

    if get is not None:
        from loraloop.adapters.base import Base
        from loraloop.waiting import loading

        with loading(as_json) as progress:
            Base.load(get, quantize=quantize, progress=progress)
    rows = base_rows()
    if as_json:
        print_line(json.dumps(rows, ensure_ascii=False))
        return
    console().print(bases_table(rows))


def console() -> Any:
    """Standard output for tables; 100 columns where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


def print_line(text: str) -> None:
    """Writes one line to standard output."""
    sys.stdout.write(text + "\n")


def main() -> None:
    """Runs the command line; every error is one line on standard error."""
    share_the_processor()
    sys.exit(run_command(sys.argv[1:]))


def share_the_processor() -> None:
    """Shortens how long OpenMP's threads spin for each other, unless the user has set it; before torch is loaded.

    Where other programs keep the cores busy, libgomp's default makes two threads far slower than one.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run_command(arguments: list[str]) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name. ``--debug`` may stand anywhere.

    Returns:
        The exit code.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        return guarded(arguments)


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings as one line on standard error; other packages' are for developers."""
    if category.__module__.startswith("loraloop"):
        sys.stderr.write(f"warning: {' '.join(str(message).split())}\n")


def guarded(arguments: list[str]) -> int:
    """Runs one command and turns whatever it raises into a line and an exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = typer.main.get_command(app)(arguments, prog_name="loraloop", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads it any more
        return 0
    except Exception as error:
        from loraloop.tool_schemas.errors import LoraloopError

        if debug:
            raise
        said = getattr(error, "format_message", None)  # a usage error
        if said is not None:
            message, code = said(), 2
        elif isinstance(error, LoraloopError):
            message, code = str(error), 2
        else:
            message, code = f"{type(error).__name__}: {error} (--debug shows where)", 1
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
        return code
