"""``loraloop run``, ``loraloop route`` and ``loraloop demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.cli.options import (
    AgentOptions,
    AsJson,
    BaseOptions,
    Instructions,
    PassageFile,
    Prompt,
    Python,
    ToolSources,
    text_of,
)
from loraloop.cli.run.approval import WAITS, Waiting, decisions_at_terminal
from loraloop.inputs.loading import read_documents, read_passages
from loraloop.render.console import console, print_json, print_line
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent import Agent, RunResult, RunStream
    from loraloop.agent.sessions.sessions import Session

REFUSED, CUT = 4, 5
"""Exit codes of a run that was refused, and of one that a limit ended before its answer was whole."""


def run(
    context: typer.Context,
    agent: AgentOptions,
    tools: ToolSources,
    base: BaseOptions,
    waiting: Waiting,
    prompt: Prompt = "",
    passages: PassageFile = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come; with --json, events.")] = False,
    session: Annotated[
        str | None, typer.Option(help="Keep the conversation under this name, or go on with it.")
    ] = None,
    sessions: Annotated[
        str | None, typer.Option(help="A file of sessions, or postgresql://…, instead of your own file.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write the run's trace to this file, or into this folder; see `loraloop trace`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one request and show its trace.

    Exit codes: 0 an answer, 2 bad input, 3 it waits for approval, 4 it was refused, 5 a limit cut it off.
    """
    from loraloop.agent import Hook
    from loraloop.agent.sessions.sessions import Sessions
    from loraloop.agent.tracing.tracer import Tracer

    waiting.check(prompt)
    if sessions and session is None:
        raise InputError("--sessions says where a session is kept, and none is named: give --session NAME too")
    paused = waiting.read()
    request = text_of(prompt) if paused is None else ""
    if agent.docs and passages is not None:
        raise InputError("--docs and --passages both say what to answer from: give one of them")
    offered, listed, index = tools.load(context.with_resource), read_passages(passages), read_documents(agent.docs)
    hooks = [] if trace is None else [Hook(Tracer(trace), fatal=True)]
    made = agent.agent(base.open(as_json), offered, index, hooks=hooks)
    kept = None if session is None else Sessions(sessions).session(session)
    if paused is not None:
        begun = made.resume_stream(paused, waiting.decisions(paused), session=kept)
    else:
        begun = made.stream(request, passages=listed if index is None else None, session=kept)
    run_to_end(made, begun, waiting, stream=stream, as_json=as_json, session=kept)


def run_to_end(
    agent: Agent[Any, Any],
    run: RunStream[Any],
    waiting: Waiting,
    *,
    stream: bool,
    as_json: bool,
    session: Session | None = None,
) -> None:
    """Reads a run, asks about calls that wait where somebody can be asked, and shows what came of it.

    Args:
        agent: The agent that the run belongs to.
        run: It has not begun.
        waiting: Where a run that waits goes.
        stream: Show tokens, or with `as_json` events, as they come.
        as_json: Print one document instead of tables.
        session: Where the run is kept.

    Raises:
        typer.Exit: The run waits for approval, was refused, or was cut off.
    """
    from loraloop.render.progress import watch
    from loraloop.render.streaming import stream_run

    def read(part: RunStream[Any]) -> RunResult[Any]:
        return stream_run(part, as_json) if stream else watch(part, as_json)

    result = read(run)
    while result.pending is not None and waiting.asks:
        decisions = decisions_at_terminal(result.pending, {tool.name: tool for tool in agent.tools})
        result = read(agent.resume_stream(result.pending, decisions, session=session))
    if as_json and not stream:
        print_line(result.to_json())
    elif not stream:
        from loraloop.render.result import show_result

        show_result(console(), result)
    if result.pending is not None:
        waiting.keep(result.pending, session)
        raise typer.Exit(WAITS)
    if result.stop_reason == "refused":
        raise typer.Exit(REFUSED)
    if not result.complete:
        raise typer.Exit(CUT)


def route(
    context: typer.Context,
    tools: ToolSources,
    base: BaseOptions,
    prompt: Prompt,
    passages: PassageFile = None,
    instructions: Instructions = "",
    python: Python = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show thresholds and the nearest examples too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which skill the first step of a request would get, without running it."""
    from loraloop.cli.run.routing import first_route
    from loraloop.render.result import show_route

    request, offered, listed = text_of(prompt), tools.load(context.with_resource), read_passages(passages)
    routed = first_route(
        base.open(as_json),
        request,
        tools=offered,
        passages=listed,
        instructions=instructions,
        python=python,
        explain=explain,
    )
    if as_json:
        from loraloop.agent.values.step import plain

        print_json(plain(routed))
        return
    show_route(console(), routed.screen, routed.route, routed.explanation)


def demo(base: BaseOptions, as_json: AsJson = False) -> None:
    """Five requests, each with its trace: tools, code, retrieval, an unsafe request, plain chat."""
    from loraloop.cli.run.demo import run_demo

    run_demo(base.open(as_json), as_json)
