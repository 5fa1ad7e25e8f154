"""``loraloop run`` and approval: asking on a terminal, or a file with which ``loraloop run --resume`` goes on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.tool_schemas.errors import InputError, SchemaError, file_errors

if TYPE_CHECKING:
    from loraloop.agent import Approve, Deny, PendingCall, PendingRun
    from loraloop.agent.sessions.sessions import Session
    from loraloop.tool_schemas import Tool

WAITS = 3
"""Exit code of a run that waits for approval."""
EVERY = "all"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The command line's options about runs that wait: where they go, where one comes from, and what is decided."""

    pending: Annotated[
        Path | None,
        typer.Option(help="Do not ask for approval here: write the run that waits to this file, exit code 3."),
    ] = None
    resume: Annotated[
        Path | None, typer.Option(help="Resume the run in a file that --pending wrote; give no prompt.")
    ] = None
    approve: Annotated[
        list[str] | None, typer.Option(help="With --resume: id of a call that is approved, or `all`; repeatable.")
    ] = None
    deny: Annotated[
        list[str] | None, typer.Option(help="With --resume: ID or ID=REASON of a call that is denied; repeatable.")
    ] = None

    def check(self, prompt: str) -> None:
        """Raises InputError if the options do not go together."""
        if self.resume is None and (self.approve or self.deny):
            raise InputError("--approve and --deny need a pending run: name its file with --resume FILE")
        if self.resume is not None and prompt:
            raise InputError("--resume takes no prompt, since the pending run has one: leave the prompt out")

    @property
    def asks(self) -> bool:
        """Whether somebody can be asked here."""
        return self.pending is None and sys.stdin.isatty() and sys.stderr.isatty()

    def read(self) -> PendingRun | None:
        """The run to go on with.

        Raises:
            InputError: The file cannot be read, or holds something else.
        """
        from loraloop.agent import PendingRun

        if self.resume is None:
            return None
        with file_errors(f"cannot read the run in {self.resume}"):
            content = self.resume.read_bytes()
        try:
            return PendingRun.from_json(content)
        except InputError as error:
            raise InputError(f"{self.resume}: {error}") from None

    def decisions(self, pending: PendingRun) -> dict[str, Approve | Deny]:
        """Decisions of ``--approve`` and ``--deny``; a call that is denied by name is not among `all`.

        Raises:
            InputError: They contradict each other.
        """
        from loraloop.agent import Approve, Deny

        decisions: dict[str, Approve | Deny] = {}
        for text in self.deny or ():
            name, _, reason = text.partition("=")
            decisions[name] = Deny(reason)
        approved = self.approve or ()
        for name in approved:
            if name in decisions:
                raise InputError(f"--approve and --deny both name {name}: choose one")
        if EVERY in approved:
            decisions = {**{call.id: Approve() for call in pending.waiting}, **decisions}
        return {**decisions, **{name: Approve() for name in approved if name != EVERY}}

    def keep(self, pending: PendingRun, session: Session | None) -> None:
        """Writes a run that waits to its file, whole or not at all, for nobody else to read; says how to go on."""
        if self.pending is None:
            how = "give --pending FILE to keep it and go on with it later"
            if session is not None:
                command = f"`loraloop sessions resume {session.id}` with the same tools, base and --sessions"
                how = f"on a terminal, {command} asks about its calls; elsewhere give it --approve ID (or all)"
            sys.stderr.write(f"the run waits for approval: {how}\n")
            return
        scratch = self.pending.with_name(f".{self.pending.name}.{os.getpid()}")
        with file_errors(f"cannot write the run to {self.pending}"):
            with os.fdopen(
                os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(pending.to_json() + "\n")
            scratch.replace(self.pending)
        sys.stderr.write(
            f"the run waits for approval in {self.pending}: go on with the same options and "
            f"--resume {self.pending} --approve ID (or all), --deny ID=REASON\n"
        )


def decisions_at_terminal(pending: PendingRun, tools: Mapping[str, Tool]) -> dict[str, Approve | Deny]:
    """Asks somebody at the terminal about each call that waits.

    Args:
        pending: The run.
        tools: Tools by name; edited arguments have to fit their schemas.

    Raises:
        typer.Abort: They have had enough.
    """
    from loraloop.agent import Approve, Deny

    decisions: dict[str, Approve | Deny] = {}
    rest = False
    for call in pending.waiting:
        if not rest:
            typer.echo(f"{call.id}  {call.name} {_shown(call.arguments)}", err=True)
        while call.id not in decisions:
            word = "y" if rest else typer.prompt("run it? [y]es, [n]o, [e]dit, yes to [a]ll", err=True).strip().lower()
            if word in ("y", "yes", "a", "all"):
                rest = rest or word in ("a", "all")
                decisions[call.id] = Approve()
            elif word in ("n", "no"):
                reason = typer.prompt("why not? (the model is told)", default="", show_default=False, err=True)
                decisions[call.id] = Deny(reason.strip())
            elif word in ("e", "edit"):
                edited = _edited(call, tools.get(call.name))
                if edited is not None:
                    decisions[call.id] = Approve(arguments=edited)
    return decisions


def _edited(call: PendingCall, tool: Tool | None) -> dict[str, Any] | None:
    """Other arguments; None if they do not fit."""
    try:
        arguments = json.loads(_written(call.arguments))
        if not isinstance(arguments, dict):
            raise SchemaError("arguments are a JSON object")
        if tool is not None:
            tool.validate(arguments)
    except (ValueError, OSError, SchemaError) as error:
        typer.echo(f"that cannot be used: {error}", err=True)
        return None
    return arguments


def _written(arguments: Mapping[str, Any]) -> str:
    """Arguments as the user edits them: in the editor that ``VISUAL`` or ``EDITOR`` names, or else on one line."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not editor:
        return str(typer.prompt("arguments as JSON", default=_shown(arguments), err=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(json.dumps(arguments, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        subprocess.run([*editor, str(file)], check=False)
        return file.read_text(encoding="utf-8")


def _shown(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False)
