"""``loraloop sessions``: `list`, `show`, `resume`, `export`, `give-up`, `delete` and `prune` what is kept."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloop.cli.options import AgentOptions, AsJson, BaseOptions, ToolSources, command
from loraloop.cli.run.approval import Waiting, decisions_at_terminal
from loraloop.cli.run.command import run_to_end
from loraloop.inputs.loading import read_documents
from loraloop.render.console import console, print_json, print_line
from loraloop.tool_schemas.errors import file_errors

if TYPE_CHECKING:
    from loraloop.agent.sessions.sessions import Session, Sessions

sessions_app = typer.Typer(no_args_is_help=True, help="Sessions: conversations that are kept and can be continued.")


Id = Annotated[str, typer.Argument(help="A session of `loraloop sessions list`.")]
Place = Annotated[
    str,
    typer.Option("--sessions", help="Where they are: a file, or postgresql://…; by default your own file, see `list`."),
]


@sessions_app.command("list")
def list_sessions(sessions: Place = "", as_json: AsJson = False) -> None:
    """List the sessions, the last written first."""
    from loraloop.render.sessions import sessions_table
    from loraloop.tool_schemas.jsontext import dumps

    with _store(sessions) as store:
        listed = store.list()
        if as_json:
            print_line(dumps(listed))
            return
        console().print(sessions_table(listed))
        sys.stderr.write(f"{len(listed)} in {store.place}\n")


@sessions_app.command()
def show(session: Id, sessions: Place = "", as_json: AsJson = False) -> None:
    """Show a session's runs: the steps with their skills, and the calls with their states."""
    from loraloop.agent.sessions.export import document
    from loraloop.render.sessions import show_session

    with _store(sessions) as store:
        found = store[session]
        if as_json:
            print_json(document(found))
            return
        show_session(console(), found)


@sessions_app.command()
@command
def resume(
    context: typer.Context,
    session: Id,
    agent: AgentOptions,
    tools: ToolSources,
    base: BaseOptions,
    sessions: Place = "",
    on_unfinished: Annotated[
        Literal["run_again", "report", "fail"] | None,
        typer.Option(help="Calls that were interrupted: by default idempotent tools run again, others are reported."),
    ] = None,
    approve: Annotated[
        list[str] | None, typer.Option(help="Id of a waiting call that is approved, or `all`; repeatable.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="ID or ID=REASON of a waiting call that is denied; repeatable.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come; with --json, events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was interrupted or waits for approval, with the options that it was run with.

    What is done is not done again: completed steps and calls are read from the file.
    """
    from loraloop.tool_schemas.errors import SessionError

    with _store(sessions) as store:
        found, waiting, decided = store[session], Waiting(approve=approve, deny=deny), bool(approve or deny)
        pending = None if found.result is None else found.result.pending
        if found.state != "interrupted" and pending is None:
            raise SessionError(f"session {session!r} is {found.state}: there is no interrupted run to go on with")
        if pending is None and decided:
            raise SessionError(f"no call of session {session!r} waits: leave --approve and --deny out")
        if pending is not None and not decided and not waiting.asks:
            calls = ", ".join(f"{call.id} {call.name}" for call in pending.waiting)
            how = "give --approve ID (or all) and --deny ID=REASON, or resume it on a terminal, where you are asked"
            raise SessionError(f"session {session!r} waits for approval ({calls}): {how}")
        made = agent.agent(base.open(as_json), tools.load(context.with_resource), read_documents(agent.docs))
        if pending is None:
            begun = made.stream(session=found, on_unfinished=on_unfinished)
        else:
            asked = {tool.name: tool for tool in made.tools}
            decisions = waiting.decisions(pending) if decided else decisions_at_terminal(pending, asked)
            begun = made.resume_stream(pending, decisions, session=found)
        run_to_end(made, begun, waiting, stream=stream, as_json=as_json, session=found)


@sessions_app.command()
def export(
    session: Id,
    sessions: Place = "",
    form: Annotated[
        Literal["json", "jsonl"],
        typer.Option("--format", help="json: everything; jsonl: one message a line."),
    ] = "json",
    out: Annotated[Path | None, typer.Option(help="A file; standard output without.")] = None,
) -> None:
    """Write a session for other programs, or to be read."""
    from loraloop.agent.sessions.export import document, message_lines

    with _store(sessions) as store:
        found = store[session]
        if form == "json":
            text = json.dumps(document(found), ensure_ascii=False, indent=2) + "\n"
        else:
            text = message_lines(found)
    if out is None:
        sys.stdout.write(text)
        return
    with file_errors(f"cannot write {out}"):
        out.write_text(text, encoding="utf-8")


@sessions_app.command("give-up")
def give_up(session: Id, sessions: Place = "") -> None:
    """End a run that was interrupted as it is; its completed steps stay."""
    with _store(sessions) as store:
        store[session].give_up()


@sessions_app.command()
def delete(session: Annotated[list[str], typer.Argument(help="Sessions.")], sessions: Place = "") -> None:
    """Delete sessions."""
    with _store(sessions) as store:
        found: list[Session] = [store[each] for each in session]
        for each in found:
            each.delete()


@sessions_app.command()
def prune(
    days: Annotated[
        float,
        typer.Argument(help="Delete idle sessions without changes for so many days.", min=0, max=timedelta.max.days),
    ],
    sessions: Place = "",
) -> None:
    """Delete idle sessions to which nothing was written for so many days, and print their names."""

    with _store(sessions) as store:
        for name in store.prune(timedelta(days=days)):
            print_line(name)


def _store(place: str) -> Sessions:
    """The sessions of a file that is there, or of PostgreSQL.

    Raises:
        InputError: The file is not there.
    """
    from loraloop.agent.sessions.sessions import Sessions, sessions_place
    from loraloop.tool_schemas.errors import InputError

    if place and "://" not in place and not Path(place).exists():
        raise InputError(f"there is no file {place}: `loraloop run --session ID --sessions {place}` makes it")
    return Sessions(place or sessions_place())
