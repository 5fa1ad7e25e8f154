"""What a tool may know besides its arguments: the caller's dependencies, and where in the run it is called."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic

from typing_extensions import TypeVar

from loraloop.tool_schemas.errors import InputError, SchemaError

if TYPE_CHECKING:
    from loraloop.tool_schemas.tools.tool import Tool

D = TypeVar("D", default=Any)


@dataclass(frozen=True, slots=True)
class Left:
    """What the limits leave a run when a tool is called.

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
        cancelled: Whether the run was cancelled; a tool that takes long may ask and return.
    """

    deps: D
    run_id: str = ""
    step: int = 0
    attempt: int = 1
    left: Left = Left()
    cancelled: Callable[[], bool] = lambda: False


def without_context(
    parameters: Sequence[tuple[inspect.Parameter, Any]], called: str
) -> tuple[dict[str, Any], list[tuple[inspect.Parameter, Any]]]:
    """A function's parameters without the one that takes a `Context`, and the fields of a tool that say which it is.

    Args:
        parameters: Each with its annotation.
        called: The tool, for errors.

    Raises:
        SchemaError: If more than one takes a context, or it cannot be passed by name.
    """
    takes = [(parameter, annotation) for parameter, annotation in parameters if _is_context(annotation)]
    if not takes:
        return {}, list(parameters)
    if len(takes) > 1:
        raise SchemaError(f"tool {called!r}: {' and '.join(one.name for one, _ in takes)} take a context; keep one")
    ((parameter, annotation),) = takes
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise SchemaError(f"tool {called!r}: {parameter.name!r} takes a context, which is passed by name; drop the '/'")
    rest = [each for each in parameters if each[0] is not parameter]
    inner = next(iter(typing.get_args(_bare(annotation))), None)
    return {"context": parameter.name, "deps": inner if _checkable(inner) else None}, rest


def check_deps(deps: object, wanted: type[Any] | None, tools: Sequence[Tool]) -> None:
    """Checks what a run is given as `deps`.

    Args:
        deps: What it is.
        wanted: The class that the agent says; None for anything.
        tools: Those that take a context may say a class too.

    Raises:
        InputError: It is something else; the message says who wants what.
    """
    who = [(f"tool {tool.name!r}", tool.deps) for tool in tools if tool.context]
    for name, kind in (("the agent", wanted), *who):
        if kind is not None and not isinstance(deps, kind):
            given = "none were given" if deps is None else f"{type(deps).__name__} was given"
            raise InputError(f"{name} needs deps of the type {kind.__name__}, and {given}: run it with deps=…")


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _checkable(kind: object) -> bool:
    """Whether `isinstance` can be asked about it."""
    try:
        isinstance(None, kind)  # type: ignore[arg-type]
    except TypeError:
        return False
    return isinstance(kind, type)


def _is_context(annotation: Any) -> bool:
    bare = _bare(annotation)
    return bare is Context or typing.get_origin(bare) is Context
