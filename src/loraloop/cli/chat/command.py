"""``loraloop chat``: a conversation on the terminal, or line by line through pipes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloop.cli.options import AgentOptions, BaseOptions, PassageFile, ToolSources
from loraloop.cli.run.approval import decisions_at_terminal
from loraloop.inputs.loading import read_documents, read_passages
from loraloop.tool_schemas.errors import InputError, file_errors

if TYPE_CHECKING:
    from loraloop.agent import PendingRun
    from loraloop.agent.agent import Decisions
    from loraloop.cli.chat.conversation import Conversation
    from loraloop.cli.chat.screen import ChatScreen
    from loraloop.tool_schemas import Tool


def chat(
    context: typer.Context,
    agent: AgentOptions,
    tools: ToolSources,
    base: BaseOptions,
    passages: PassageFile = None,
    messages: Annotated[Path | None, typer.Option(help="Go on from a file that /save wrote.")] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder for a trace of each turn.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Answers alone, without routes and calls.")] = False,
    history: Annotated[bool, typer.Option(help="Keep typed lines in the cache folder.")] = True,
) -> None:
    """Talk with the agent. `/help` lists what else can be said; piped lines are answered one by one."""
    from loraloop.agent.tracing.tracer import Tracer
    from loraloop.cli.chat.conversation import Conversation

    if agent.docs and passages is not None:
        raise InputError("--docs and --passages both say what to answer from: give one of them")
    offered, listed, index = tools.load(context.with_resource), read_passages(passages), read_documents(agent.docs)
    runtime = base.open(quiet)
    settings = agent.settings(runtime, index)
    names = settings["policy"].skills
    settings["policy"] = replace(settings["policy"], skills=names[1:])
    tracer = Tracer(f"{traces}{os.sep}", keep=1) if traces else None
    talk = Conversation(runtime, offered, settings, traces=tracer, approve=_decisions if sys.stdin.isatty() else None)
    talk.instructions = agent.instructions
    talk.skill = names[0] if names else None
    talk.passages = tuple(listed) or None
    if messages is not None:
        talk.load(messages)
        talk.instructions = agent.instructions or talk.instructions
    talk.agent()  # says now what is wrong with the settings
    code = converse(talk, quiet=quiet, history=history)
    if code:
        raise typer.Exit(code)


def _decisions(pending: PendingRun, tools: Mapping[str, Tool]) -> Decisions:
    """Decisions of the person at the terminal about calls that wait; Ctrl-C denies them."""
    try:
        return decisions_at_terminal(pending, tools)
    except (typer.Abort, KeyboardInterrupt):
        return pending.denied("stopped")


def converse(talk: Conversation, *, quiet: bool = False, history: bool = False) -> int:
    """Reads lines and answers them until there are no more.

    Args:
        talk: The conversation.
        quiet: Answers alone.
        history: Whether lines typed on a terminal are kept for the next time.

    Returns:
        The exit code: 0; off a terminal 2 where a line was refused, 1 where one failed unexpectedly.
    """
    from loraloop.cli.chat.screen import ChatScreen
    from loraloop.tool_schemas.errors import LoraloopError

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen, code = ChatScreen(talk.runtime, terminal, quiet), 0
    with _editing(talk, history) if terminal else nullcontext(_piped) as read:
        if terminal and not quiet:
            screen.say(f"{talk.runtime.base.name}, skills {', '.join(talk.runtime.skills) or 'none'}. /help for help.")
        while True:
            try:
                line = _line(read)
            except EOFError:
                break
            except KeyboardInterrupt:
                if not terminal:
                    raise
                sys.stdout.write("\n")
                continue
            try:
                if not _answered(line, talk, screen):
                    break
            except BrokenPipeError:  # nobody reads it any more
                raise
            except LoraloopError as error:
                screen.error(str(error))
                code = code or 2
            except Exception as error:
                screen.error(f"{type(error).__name__}: {error}")
                code = 1
    if terminal:
        sys.stdout.write("\n")
    return 0 if terminal else code


def _answered(line: str, talk: Conversation, screen: ChatScreen) -> bool:
    """Does what a line says; whether the conversation goes on."""
    from loraloop.cli.chat.slash_commands import command

    if not line.strip():
        return True
    if line.startswith("/") and not line.startswith("//"):
        return command(line.strip(), talk, screen)
    with _stoppable(talk) if screen.terminal else nullcontext():
        for event in talk.ask(line[1:] if line.startswith("//") else line):
            screen.event(event)
    return True


def _line(read: Callable[[str], str]) -> str:
    """A line; one that ends with a backslash goes on in the next, if there is one."""
    line = read("> ")
    while line.endswith("\\"):
        line = line[:-1]
        with suppress(EOFError):
            line = f"{line}\n{read('… ')}"
    return line


@contextmanager
def _stoppable(talk: Conversation) -> Iterator[None]:
    """While the block runs, Ctrl-C stops the answer; a second one interrupts."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not talk.stop():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        signal.signal(signal.SIGINT, before)


def _piped(prompt: str) -> str:
    """The next line of standard input, where no terminal is; the prompt is not shown."""
    with file_errors("cannot read standard input"):
        line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


@contextmanager
def _editing(talk: Conversation, history: bool) -> Iterator[Callable[[str], str]]:
    """Line editing, completion of commands and names, and the lines of earlier times."""
    try:
        import readline
    except ImportError:  # a Python without it
        yield input
        return
    from loraloop.adapters.base.loading.folders import cache_folder
    from loraloop.cli.chat.slash_commands import COMMANDS

    file = cache_folder() / "chat_history"

    def complete(text: str, state: int) -> str | None:
        line = readline.get_line_buffer()
        known = ["auto", "none", *talk.runtime.skills] if line.startswith("/skill ") else list(COMMANDS)
        found = [each for each in known if each.startswith(text)] if line.startswith("/") else []
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    if history:
        with suppress(OSError):
            readline.read_history_file(file)
        readline.set_history_length(1000)
    try:
        yield input
    finally:
        readline.set_completer(None)
        if history:
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch(mode=0o600)
                readline.write_history_file(file)
