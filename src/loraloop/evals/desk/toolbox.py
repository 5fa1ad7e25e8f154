"""The `tools.py` of a world: its state and its tools. A fork is a second copy whose state is its own."""

from __future__ import annotations

import importlib.util
import inspect
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from loraloop.tool_schemas.errors import InputError


class Toolbox:
    """Functions and state of a world.

    Args:
        file: The `tools.py`; its code runs.

    Attributes:
        module: The loaded file.
        functions: The tools by name.

    Raises:
        InputError: The file is missing, or defines no `fresh()` or no list `TOOLS`.
    """

    def __init__(self, file: Path) -> None:
        spec = importlib.util.spec_from_file_location(f"loraloop_desk_{file.parent.name}", file)
        if spec is None or spec.loader is None or not file.is_file():
            raise InputError(f"{file.parent} has no tools.py")
        self.file = file
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        if not callable(getattr(self.module, "fresh", None)) or not getattr(self.module, "TOOLS", None):
            raise InputError(f"{file} needs fresh(), which rebuilds the state, and TOOLS, the list of its functions")
        self.functions: Mapping[str, Callable[..., Any]] = {each.__name__: each for each in self.module.TOOLS}
        self.seeded = bool(inspect.signature(self.module.fresh).parameters)
        self.state: Any = None

    def fork(self) -> Toolbox:
        """A copy of the toolbox with a state of its own, for another thread."""
        return Toolbox(self.file)

    def fresh(self, seed: str | None = None) -> Any:
        """Rebuilds the state and returns it.

        Args:
            seed: Seed of the state, where `fresh` takes a random generator.
        """
        self.state = self.module.fresh(random.Random(seed or "0")) if self.seeded else self.module.fresh()
        return self.state

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """The parameters of a tool, by name."""
        return dict(inspect.signature(self.functions[name]).parameters)

    def defaults(self, name: str) -> dict[str, Any]:
        """The defaults of a tool's arguments."""
        found = self.parameters(name).values()
        return {each.name: each.default for each in found if each.default is not inspect.Parameter.empty}
