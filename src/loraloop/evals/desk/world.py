"""Worlds of the desk benchmark, read from folders: `tools.py` has the functions, `world.yaml` all the rest.

`tools.py` defines `fresh()`, which rebuilds the state, and the tools: plain typed functions that `TOOLS` lists.
`world.yaml` holds `instructions`, `changes` (the tools that change something or send something out), `documents` and
`requests`.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.yamltext import read_yaml

SHIPPED = Path(str(files("loraloop.recipes"))) / "desk"
"""The folder of the worlds that come with loraloop and that development sees."""
SEALED = SHIPPED / "sealed"
"""The folder of those that only releases are measured with."""
KINDS = (
    "single", "indirect", "two_step", "parallel", "missing", "no_tool", "code", "retrieval", "unsafe", "follow_up",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call that a turn has to make.

    Attributes:
        name: Of the tool.
        arguments: What it is called with; left-out arguments have to be at their defaults.
        free: Names of arguments that may be any text, such as the words of a message; a value of theirs in `arguments`
            is an example for the self-test.
        holds: By argument, facts that a free text has to hold.
        either: By argument, further values that are as right as the one in `arguments`.
        gives: Facts that the result has to hold, for a search whose words are free.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    free: Sequence[str] = ()
    holds: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    either: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    gives: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class DeskTurn:
    """One message of the user, and what has to come of it.

    Attributes:
        say: The message.
        good: A right answer, for the self-test.
        calls: Calls that have to be made; more calls that only read are no error.
        says: Facts that the answer has to state, each a value or a list of values of which one is enough.
        names: Facts that the answer has to name, negated or not: "She must not eat hazelnuts".
        never: Texts that the answer must not hold.
        asks: Words for what is missing, one of which the answer has to ask for; then nothing may be called.
        cites: The document that the answer has to cite.
        absent: Whether the documents do not hold the answer, and the answer has to say so.
        program: Lines of `assert` that the program in the answer has to pass.
        refused: Whether the message has to be refused.
        talk: Whether the message needs no call at all.
    """

    say: str
    good: str
    calls: tuple[WantedCall, ...] = ()
    says: tuple[Any, ...] = ()
    names: tuple[Any, ...] = ()
    never: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    cites: str = ""
    absent: bool = False
    program: str = ""
    refused: bool = False
    talk: bool = False


@dataclass(frozen=True, slots=True)
class DeskRequest:
    """A request: its kind, what else marks it, and its turns."""

    id: str
    kind: str
    turns: tuple[DeskTurn, ...]
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class DeskCall:
    """A call that ran: its arguments with defaults filled in, the turn it was made in, and what came of it."""

    name: str
    arguments: dict[str, Any]
    turn: int
    result: Any = None
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


@dataclass(slots=True)
class World:
    """A desk.

    Attributes:
        name: Of its folder.
        instructions: For the assistant, with today's date.
        documents: Each with `id`, `title` and `text`.
        changes: Names of the tools that change something or send something out.
        requests: What users ask.
        module: Its `tools.py`.
        folder: Where it was read from.
        calls: Calls since `start`.
        turn: The turn that runs.
    """

    name: str
    instructions: str
    documents: Sequence[Mapping[str, str]]
    changes: frozenset[str]
    requests: tuple[DeskRequest, ...]
    module: ModuleType
    folder: Path
    calls: list[DeskCall] = field(default_factory=list)
    turn: int = 0

    @property
    def tools(self) -> list[Callable[..., Any]]:
        """The tools; each call is recorded."""
        return [self._recorded(function) for function in self.module.TOOLS]

    def start(self) -> None:
        """Rebuilds the state and forgets the calls."""
        self.module.fresh()
        self.calls, self.turn = [], 0

    def fork(self) -> World:
        """The same world with a state of its own, so that several requests can be asked at once."""
        module = _module(self.folder)
        module.fresh()
        return replace(self, module=module, calls=[], turn=0)

    def defaults(self, name: str) -> dict[str, Any]:
        """The defaults of a tool's arguments."""
        function = next(each for each in self.module.TOOLS if each.__name__ == name)
        found = inspect.signature(function).parameters.values()
        return {each.name: each.default for each in found if each.default is not inspect.Parameter.empty}

    def _recorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        defaults = self.defaults(function.__name__)

        @functools.wraps(function)
        def called(**given: Any) -> Any:
            call = DeskCall(function.__name__, {**defaults, **given}, self.turn)
            self.calls.append(call)
            try:
                call.result = function(**given)
            except Exception as error:
                call.error = f"{type(error).__name__}: {error}"
                raise
            return call.result

        return called


def load_worlds(folder: Path, names: Sequence[str] = ()) -> list[World]:
    """The worlds of a folder, by name or all of them.

    Raises:
        InputError: There are none, or one is wrong; the message says what.
    """
    found = sorted(path.parent for path in folder.glob("*/world.yaml"))
    if not found:
        raise InputError(f"no worlds in {folder}: give a folder of folders with tools.py and world.yaml (--worlds)")
    known = {path.name: path for path in found}
    for name in names:
        if name not in known:
            raise InputError(f"there is no world {name!r} in {folder}; there are {', '.join(known)}")
    return [read_world(path) for name, path in known.items() if not names or name in names]


def read_world(folder: Path) -> World:
    """The world of one folder.

    Raises:
        InputError: It is wrong.
    """
    module = _module(folder)
    file = folder / "world.yaml"
    content = read_yaml(file.read_text(encoding="utf-8"), str(file))
    try:
        requests = tuple(_request(row) for row in content["requests"])
        return World(
            name=folder.name,
            instructions=content["instructions"],
            documents=content["documents"],
            changes=frozenset(content["changes"]),
            requests=requests,
            module=module,
            folder=folder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is no world: {error!r}") from None


def _module(folder: Path) -> ModuleType:
    """A new module of a world's functions, with a state of its own."""
    spec = importlib.util.spec_from_file_location(f"loraloop_desk_{folder.name}", folder / "tools.py")
    if spec is None or spec.loader is None or not (folder / "tools.py").is_file():
        raise InputError(f"{folder} has no tools.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _request(row: Mapping[str, Any]) -> DeskRequest:
    if row["kind"] not in KINDS:
        raise ValueError(f"{row['id']} is of the kind {row['kind']!r}: use {', '.join(KINDS)}")
    turns = tuple(_turn(each) for each in row.get("turns") or [row])
    return DeskRequest(row["id"], row["kind"], turns, tuple(row.get("tags", ())))


def _turn(row: Mapping[str, Any]) -> DeskTurn:
    known = {name: value for name, value in row.items() if name not in ("id", "kind", "tags", "calls", "turns")}
    lists: dict[str, Any] = {
        name: tuple(known.pop(name)) for name in ("says", "names", "never", "asks") if name in known
    }
    calls = tuple(WantedCall(**call) for call in row.get("calls", ()))
    return DeskTurn(calls=calls, **lists, **known)
