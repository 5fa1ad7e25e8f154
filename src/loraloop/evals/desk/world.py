"""Worlds of the desk benchmark, read from folders: `tools.py` has the functions, `world.yaml` all the rest.

`tools.py` defines `fresh()`, which rebuilds the state, and the tools: plain typed functions that `TOOLS` lists.
`world.yaml` holds `instructions`, `changes` (the tools that change something or send something out), `documents`,
`requests`, and maybe `slots`, with which each request stands for many.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from loraloop.evals.desk.request import DeskCall, DeskRequest
from loraloop.evals.desk.template import RequestTemplate, draws
from loraloop.evals.desk.toolbox import Toolbox
from loraloop.evals.desk.world_file import read_world_file
from loraloop.tool_schemas.errors import InputError, ToolError

SHIPPED = Path(str(files("loraloop.recipes"))) / "desk"
"""The folder of the worlds that come with loraloop and that development sees."""
SEALED = SHIPPED / "sealed"
"""The folder of those that only releases are measured with."""


@dataclass(slots=True)
class World:
    """A desk.

    Attributes:
        name: Name of its folder.
        instructions: For the assistant, with today's date.
        documents: Documents, each with `id`, `title` and `text`.
        changes: Names of the tools that change something or send something out.
        requests: What users ask: plain requests, and one held-out draw of each request with slots.
        toolbox: State and tools.
        templates: The requests with slots.
        calls: Calls since `start`.
        turn: The turn that runs.
    """

    name: str
    instructions: str
    documents: Sequence[Mapping[str, str]]
    changes: frozenset[str]
    requests: tuple[DeskRequest, ...]
    toolbox: Toolbox
    templates: tuple[RequestTemplate, ...] = ()
    calls: list[DeskCall] = field(default_factory=list)
    turn: int = 0

    @property
    def module(self) -> ModuleType:
        """The world's `tools.py`."""
        return self.toolbox.module

    @property
    def tools(self) -> list[Callable[..., Any]]:
        """The tools; each call is recorded."""
        return [self._recorded(function) for function in self.module.TOOLS]

    def start(self, request: DeskRequest | None = None) -> None:
        """Rebuilds the state and forgets the calls.

        Args:
            request: What is asked on it, where each request has a state of its own.
        """
        self.toolbox.fresh(request.seed if request is not None else None)
        self.calls, self.turn = [], 0

    def fork(self) -> World:
        """A copy of the world with a state of its own, so that several requests can be asked at once."""
        toolbox = self.toolbox.fork()
        toolbox.fresh()
        return replace(self, toolbox=toolbox, calls=[], turn=0)

    def draw(self, count: int, seed: int = 0, held_out: bool = False) -> list[DeskRequest]:
        """Requests drawn from the templates; see `template.draws`."""
        return draws(self.templates, self.toolbox, count, seed=seed, held_out=held_out)

    def draw_of(
        self, template: RequestTemplate, count: int, seed: int = 0, held_out: bool = False
    ) -> list[DeskRequest]:
        """Requests drawn from one template.

        Args:
            template: A request with slots, of this world.
            count: Number of requests; fewer where the template has no more.
            seed: Seed of the draws.
            held_out: Whether the requests are held out: drawn from other values and other wordings.

        Raises:
            InputError: The template cannot be drawn from; with its place in the world's file.
        """
        return draws([template], self.toolbox, count, seed=seed, held_out=held_out)

    def with_draws(self, count: int, seed: int = 0) -> World:
        """A copy of the world whose requests are the plain ones and so many held-out draws."""
        drawn = {template.id for template in self.templates}
        plain = tuple(request for request in self.requests if request.id.partition("~")[0] not in drawn)
        return replace(self, requests=(*plain, *self.draw(count, seed, held_out=True)))

    def defaults(self, name: str) -> dict[str, Any]:
        """The defaults of a tool's arguments."""
        return self.toolbox.defaults(name)

    def call(self, name: str, arguments: Mapping[str, Any]) -> DeskCall:
        """Makes a call of a tool, and returns its record, with the result or the error."""
        with suppress(ToolError):
            next(tool for tool in self.tools if tool.__name__ == name)(**arguments)
        return self.calls[-1]

    def _recorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        defaults = self.defaults(function.__name__)

        @functools.wraps(function)
        def called(**arguments: Any) -> Any:
            call = DeskCall(function.__name__, {**defaults, **arguments}, self.turn)
            self.calls.append(call)
            try:
                call.result = function(**arguments)
            except Exception as error:
                call.error = f"{type(error).__name__}: {error}"
                raise ToolError(call.error) from error  # which is no surprise here, so nothing logs it
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
    """The world of one folder. Its `tools.py` is run.

    Raises:
        InputError: It is wrong; the message names each mistake with its line.
    """
    toolbox = Toolbox(folder / "tools.py")
    content, plain, templates = read_world_file(folder / "world.yaml", toolbox)
    world = World(
        name=folder.name,
        instructions=content.instructions,
        documents=content.documents,
        changes=frozenset(content.changes),
        requests=tuple(plain),
        toolbox=toolbox,
        templates=tuple(templates),
    )
    for template in templates:
        world.draw_of(template, 1)  # says what is wrong with the values of requests that are learnt from
        world.requests += tuple(world.draw_of(template, 1, held_out=True))
    return world
