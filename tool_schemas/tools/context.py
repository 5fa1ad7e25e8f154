"""What a tool may know besides its arguments: the caller's dependencies, and where in the run it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

D = TypeVar("D", default=Any)


@dataclass(frozen=True, slots=True)
class Left:
    """The rest of the run's limits when a tool is called.

    Attributes:
        steps: Steps after the current one.
        calls: Calls of tools after this one.
        tokens: Tokens that later steps may generate.
        seconds: Until the run's deadline; None without one.
    """

    steps: int = 0
    calls: int = 0
    tokens: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Context(Generic[D]):
    """What a tool's parameter of this type is filled with: ``def find(context: Context[Shop], name: str) -> str``.

    Attributes:
        deps: What the caller gave the run as `deps`: a connection, a user, a clock.
        run_id: The run.
        step: The step, from 0.
        attempt: Which try of this tool it is, from 1; above that after a `ToolRetry`.
        left: What the limits leave.
        signal: Says whether the run was cancelled, whenever it is asked.
    """

    deps: D
    run_id: str = ""
    step: int = 0
    attempt: int = 1
    left: Left = Left()
    signal: Callable[[], bool] = lambda: False

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled by now; a tool that takes long may look at it and return."""
        return self.signal()


@dataclass(frozen=True, slots=True)
class Binding:
    """How a tool's function takes the arguments of a call.

    Attributes:
        bind: Turns validated arguments into (positional, keyword) arguments; None: they are the keywords.
        context: The function's parameter that is filled with a `Context` at each call; empty for none.
        deps: The class of the context's `deps`; None for anything.
        optional: Whether the function can be called without a context.
    """

    bind: Callable[[dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]] | None = None
    context: str = ""
    deps: type[Any] | None = None
    optional: bool = False
