"""The slash commands of ``loraloop chat``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.cli.chat.conversation import Conversation
    from loraloop.cli.chat.screen import ChatScreen


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what comes after its name, what it does, and the function of conversation, screen and argument."""

    argument: str
    help: str
    run: Callable[[Conversation, ChatScreen, str], None]


def command(line: str, talk: Conversation, screen: ChatScreen) -> bool:
    """Runs a line that begins with a slash; whether the conversation goes on.

    Raises:
        UnknownNameError: There is no such command; the nearest is named.
        LoraloopError: What it is given is unusable.
    """
    name, _, argument = line.partition(" ")
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    argument = argument.strip()
    known = COMMANDS[name]
    if argument and not known.argument:
        raise InputError(f"{name} takes no argument: leave {argument!r} out")
    if not argument and known.argument and not known.argument.startswith("["):
        raise InputError(f"say {name} {known.argument}")
    known.run(talk, screen, argument)
    return name != "/quit"


def _help(talk: Conversation, screen: ChatScreen, _: str) -> None:
    rows = [(f"{name} {each.argument}".strip(), each.help) for name, each in COMMANDS.items()]
    rows += [("//…", "send a text that begins with a slash"), ("…\\", "go on in the next line")]
    screen.say(_table(rows))


def _tools(talk: Conversation, screen: ChatScreen, _: str) -> None:
    rows = [(tool.name, tool.description) for tool in talk.tools]
    screen.say(_table(rows) if rows else "no tools: start with --tools or --mcp")


def _skills(talk: Conversation, screen: ChatScreen, _: str) -> None:
    bank = talk.runtime.bank
    rows = []
    for name in talk.runtime.skills:
        slot = f"slot {bank.resident[name]}" if name in bank.resident else "not loaded"
        mark = "forced" if name == talk.skill else ""
        rows.append((name, bank.card(name).contract, slot, mark, bank.card(name).description))
    rows.append(("none", "text", "slot 0", "forced" if talk.skill == "none" else "", "the bare base"))
    screen.say(_table(rows))


def _trace(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    from loraloop.render.trace import trace_tree

    if not talk.turns:
        raise InputError("there is no turn yet")
    number = argument or str(len(talk.turns))
    if not number.isdigit() or not 1 <= int(number) <= len(talk.turns):
        raise InputError(f"there is no turn {argument!r}: say 1 to {len(talk.turns)}")
    screen.say(trace_tree(talk.turns[int(number) - 1].trace))


def _skill(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    if argument == "auto":
        talk.skill = None
    else:
        talk.runtime.check(argument)
        talk.skill = argument
    screen.say("the router chooses" if talk.skill is None else f"each answer begins with {talk.skill}")


def _system(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    talk.instructions = argument
    screen.say(f"the system message is {argument!r}" if argument else "there is no system message but the tools")


def _passages(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    from loraloop.inputs.loading import read_passages

    talk.passages = None if argument == "off" else tuple(read_passages(Path(argument)))
    screen.say("no passages" if talk.passages is None else f"{len(talk.passages)} passages for what is asked from now")


def _undo(talk: Conversation, screen: ChatScreen, _: str) -> None:
    screen.say(f"took back: {talk.undo().prompt}")


def _save(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    talk.save(argument)
    screen.say(f"{len(talk.messages)} messages in {argument}")


def _load(talk: Conversation, screen: ChatScreen, argument: str) -> None:
    talk.load(argument)
    screen.say(f"{len(talk.messages)} messages from {argument}")


def _reset(talk: Conversation, screen: ChatScreen, _: str) -> None:
    talk.reset()
    screen.say("a new conversation")


def _quit(talk: Conversation, screen: ChatScreen, _: str) -> None:
    """The loop ends it."""


COMMANDS = {
    "/help": Command("", "this list", _help),
    "/tools": Command("", "what can be called", _tools),
    "/skills": Command("", "what can be chosen, and where it is", _skills),
    "/trace": Command("[N]", "the last turn step by step, or turn N", _trace),
    "/skill": Command("NAME|auto", "the skill that each answer begins with; auto: the router's choice", _skill),
    "/system": Command("[TEXT]", "what the agent should keep to", _system),
    "/passages": Command("FILE|off", "what to answer from", _passages),
    "/undo": Command("", "take the last turn back", _undo),
    "/save": Command("FILE", "write the messages", _save),
    "/load": Command("FILE", "go on from saved messages", _load),
    "/reset": Command("", "forget the messages", _reset),
    "/quit": Command("", "leave; Ctrl-D does it too", _quit),
}


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
