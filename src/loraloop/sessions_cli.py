"""``loraloop sessions``: `list`, `show`, `resume`, `export`, `give-up`, `delete` and `prune` what is kept."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.run_options import Beams
from loraloop.tools_cli import Servers

if TYPE_CHECKING:
    from loraloop.agent.sessions.sessions import Session, Sessions

sessions_app = typer.Typer(no_args_is_help=True, help="Sessions: conversations that are kept, and can be gone on with.")


class Form(StrEnum):
    """What `sessions export` writes."""

    json = "json"
    jsonl = "jsonl"
    markdown = "markdown"


class Unfinished(StrEnum):
    """What `--on-unfinished` takes."""

    run_again = "run_again"
    report = "report"
    fail = "fail"


Id = Annotated[str, typer.Argument(help="A session of `loraloop sessions list`.")]
File = Annotated[
    Path | None, typer.Option("--sessions", help="The file of the sessions; by default your own, see `list`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ToolFiles = Annotated[
    list[str] | None, typer.Option("--tools", help="File or folder of tools, or module:attribute; repeatable.")
]


@sessions_app.command("list")
def list_sessions(sessions: File = None, as_json: AsJson = False) -> None:
    """List the sessions, the last written first."""
    from loraloop.cli import console, print_line
    from loraloop.session_show import sessions_table
    from loraloop.tool_schemas.jsontext import dumps

    with _store(sessions) as store:
        listed = store.list()
        if as_json:
            print_line(dumps(listed))
            return
        console().print(sessions_table(listed))
        sys.stderr.write(f"{len(listed)} in {store.path}\n")


@sessions_app.command()
def show(session: Id, sessions: File = None, as_json: AsJson = False) -> None:
    """Show a session's runs: the steps with their skills, and the calls with their states."""
    from loraloop.agent.sessions.export import document
    from loraloop.cli import console, print_line
    from loraloop.session_show import show_session

    with _store(sessions) as store:
        found = store[session]
        if as_json:
            print_line(json.dumps(document(found), ensure_ascii=False))
            return
        show_session(console(), found)


@sessions_app.command()
def resume(
    context: typer.Context,
    session: Id,
    sessions: File = None,
    on_unfinished: Annotated[
        Unfinished | None,
        typer.Option(help="Calls that were interrupted: by default idempotent tools run again, others are reported."),
    ] = None,
    tools: ToolFiles = None,
    mcp: Servers = None,
    skill: Annotated[list[str] | None, typer.Option("--skill", help="As `run` was given it; repeatable.")] = None,
    python: Annotated[bool, typer.Option("--python", help="Run the code that the agent writes, in a sandbox.")] = False,
    tool_choice: Annotated[str, typer.Option(help="auto, required, none, or a tool's name.")] = "auto",
    beams: Beams = None,
    max_steps: Annotated[int, typer.Option(help="Most steps, those before included.")] = 12,
    max_tokens: Annotated[int, typer.Option(help="Most tokens that all steps together may generate.")] = 4096,
    deadline: Annotated[float | None, typer.Option(help="Most seconds, those before included.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    screen: Annotated[bool, typer.Option("--screen/--no-screen", help="Screen for unsafe requests.")] = True,
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come; with --json, events.")] = False,
    base: Annotated[str, typer.Option("--base", help="The base that the run was on.")] = "smollm2-135m",
    bare: Annotated[bool, typer.Option("--bare", help="The base's own weights, as `run --bare`.")] = False,
    quantize: Annotated[str | None, typer.Option("--quantize", help="int4, int8, bf16, fp32 or nf4.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was interrupted, with the options that it was run with.

    What is done is not done again: completed steps and calls are read from the file.
    """
    from loraloop.agent import Agent, Limits, Policy, Sampling
    from loraloop.agent.guard.guard import default_guard
    from loraloop.approving import Waiting
    from loraloop.run_options import forced_skills, open_runtime
    from loraloop.running import run_to_end
    from loraloop.tool_schemas.errors import SessionError
    from loraloop.tool_sources import tools_of

    with _store(sessions) as store:
        found = store[session]
        if found.state != "interrupted":
            raise SessionError(f"session {session!r} is {found.state}: there is no interrupted run to go on with")
        given = tools_of(tools, mcp, context)
        runtime = open_runtime(base, quantize, as_json, bare)
        guard = default_guard(runtime)
        agent = Agent(
            runtime,
            tools=given,
            python=python,
            limits=Limits(max_steps=max_steps, run_tokens=max_tokens, deadline=deadline),
            policy=Policy(skills=forced_skills(runtime, skill or []), tool_choice=tool_choice, beams=beams),
            sampling=Sampling(temperature=temperature, seed=seed),
            guard=guard if screen else replace(guard, input=None),
        )
        choice: Any = on_unfinished.value if on_unfinished else None
        begun = agent.stream(session=found, on_unfinished=choice)
        run_to_end(agent, begun, Waiting(), stream, as_json)


@sessions_app.command()
def export(
    session: Id,
    sessions: File = None,
    form: Annotated[Form, typer.Option("--format", help="json has all of it, jsonl a message a line.")] = Form.json,
    out: Annotated[Path | None, typer.Option("--out", help="A file; standard output without.")] = None,
) -> None:
    """Write a session for other programs, or to be read."""
    from loraloop.agent.sessions.export import document, markdown, message_lines
    from loraloop.tool_schemas.errors import InputError

    with _store(sessions) as store:
        found = store[session]
        if form is Form.json:
            text = json.dumps(document(found), ensure_ascii=False, indent=2) + "\n"
        else:
            text = markdown(found) if form is Form.markdown else message_lines(found)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error


@sessions_app.command("give-up")
def give_up(session: Id, sessions: File = None) -> None:
    """End a run that was interrupted as it is; its completed steps stay."""
    with _store(sessions) as store:
        store[session].give_up()


@sessions_app.command()
def delete(session: Annotated[list[str], typer.Argument(help="Sessions.")], sessions: File = None) -> None:
    """Delete sessions."""
    with _store(sessions) as store:
        found: list[Session] = [store[each] for each in session]
        for each in found:
            each.delete()


@sessions_app.command()
def prune(
    days: Annotated[float, typer.Argument(help="Days since something was last written.", min=0)], sessions: File = None
) -> None:
    """Delete the idle sessions that are older; those that were interrupted stay. Says which."""
    from loraloop.cli import print_line

    with _store(sessions) as store:
        for name in store.prune(timedelta(days=days)):
            print_line(name)


def _store(file: Path | None) -> Sessions:
    """The sessions of a file that is there.

    Raises:
        InputError: It is not.
    """
    from loraloop.agent.sessions.sessions import Sessions, sessions_file
    from loraloop.tool_schemas.errors import InputError

    if file is not None and not file.exists():
        raise InputError(f"there is no file {file}: `loraloop run --session ID --sessions {file}` makes it")
    return Sessions(file or sessions_file())
