"""Reading a callable: its name, its docstring, and its parameters with their types."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from loraloop.tool_schemas.errors import SchemaError

_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SINGLE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_ELSEWHERE = {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "patternProperties"}  # properties may stand there

_LEFT_OUT = object()  # the default of a key that need not be there


@dataclass(frozen=True, slots=True)
class Signature:
    """What a callable says of itself.

    Attributes:
        name: What it is called.
        description: The function's docstring without the parts about parameters, results and errors.
        parameters: Each parameter with its resolved annotation; not those that a `functools.partial` has filled in.
        descriptions: What the docstring says of each parameter, by name.
    """

    name: str
    description: str
    parameters: tuple[tuple[inspect.Parameter, Any], ...]
    descriptions: dict[str, str]


def check_keywords(function: Callable[..., Any], schema: dict[str, Any], called: str) -> None:
    """Checks that a function takes the properties of a schema as keywords, as far as its signature says.

    Args:
        function: A wrapper counts as what it is itself, since it may fill in parameters.
        schema: The schema of the arguments.
        called: The tool, for errors.

    Raises:
        SchemaError: A property is no parameter, or a parameter without a default no property.
    """
    try:
        takes = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return
    properties = schema.get("properties", {})
    named = {each.name for each in takes if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    lacks = next((name for name in properties if name not in named), None)
    if lacks is not None and not any(each.kind is each.VAR_KEYWORD for each in takes):
        reason = f"has no parameter {lacks!r}, which the schema has"
        raise SchemaError(f"tool {called!r}: the function {reason}; name its parameters as the schema does")
    if schema.keys() & _ELSEWHERE or schema.get("additionalProperties") or "properties" not in schema:
        return
    given = named & properties.keys()
    needed = (each.name for each in takes if each.default is each.empty and each.kind not in _MANY)
    if (missing := next((name for name in needed if name not in given), None)) is not None:
        reason = f"needs {missing!r}, which no property of the schema gives it by name"
        raise SchemaError(f"tool {called!r}: the function {reason}; give it a default, or leave it out")


def read_signature(function: Callable[..., Any], name: str | None = None) -> Signature:
    """Reads a function, a method, a class, a partial of one of them, or an object that can be called.

    The docstring may be in Google, NumPy, Sphinx or Epytext style.

    Args:
        function: Sync or async.
        name: What it is called in errors and in the result, instead of its own name.

    Raises:
        SchemaError: If a parameter has no type, is ``*args`` or untyped ``**kwargs``, or an annotation cannot be read.
    """
    import docstring_parser

    if not callable(function):
        raise SchemaError(f"{function!r} cannot be called; give a typed function")
    inner, filled = _unwrapped(function)
    called = name or str(getattr(inner, "__name__", type(inner).__name__))
    text = inspect.getdoc(inner) or ""
    if not text and not inspect.isroutine(inner) and not inspect.isclass(inner):
        text = inspect.getdoc(type(inner).__call__) or ""
    doc = docstring_parser.parse("" if _made_up(inner, text) else text)
    descriptions = {
        one.strip().lstrip("*"): described.description or ""
        for described in doc.params
        for one in described.arg_name.split(",")
    }
    description = "\n".join(filter(None, (doc.short_description, doc.long_description)))
    return Signature(called, description, tuple(_parameters(function, inner, filled, called)), descriptions)


def _made_up(inner: Any, text: str) -> bool:
    """Whether a docstring is the one that `dataclasses` makes up, the class's signature."""
    return inspect.isclass(inner) and hasattr(inner, "__dataclass_fields__") and text.startswith(f"{inner.__name__}(")


def _unwrapped(function: Callable[..., Any]) -> tuple[Any, set[str]]:
    """The callable inside of partials, and the names of the parameters that they have filled in by keyword."""
    filled: set[str] = set()
    inner: Any = function
    while isinstance(inner, functools.partial):
        filled |= set(inner.keywords)
        inner = inner.func
    return inner, filled


def _parameters(
    function: Callable[..., Any], inner: Any, filled: set[str], called: str
) -> list[tuple[inspect.Parameter, Any]]:
    hinted = inner.__init__ if inspect.isclass(inner) else inner
    if not inspect.isclass(inner) and not inspect.isroutine(inner):
        hinted = type(inner).__call__
    try:
        hints = typing.get_type_hints(hinted, localns=_names_around(hinted), include_extras=True)
        listed = list(inspect.signature(function).parameters.values())
    except (NameError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        raise SchemaError(
            f"tool {called!r}: its annotations cannot be read: {error}; import or define the types before the tool"
        ) from error
    kept = [each for parameter in listed for each in _unpacked(parameter, hints) if each.name not in filled]
    for index, parameter in enumerate(kept):
        if parameter.kind not in (*_SINGLE, inspect.Parameter.KEYWORD_ONLY):
            raise SchemaError(
                f"tool {called!r}: {parameter} takes any number of arguments, which a schema cannot list; "
                "name them, or use Tool.from_schema"
            )
        if parameter.name not in hints:
            bound = "" if index or parameter.name not in ("self", "cls") else ", or make the tool of a bound method"
            raise SchemaError(f"tool {called!r}: parameter {parameter.name!r} has no type; annotate it{bound}")
    return [(parameter, _by_value(hints[parameter.name])) for parameter in kept]


def _unpacked(parameter: inspect.Parameter, hints: dict[str, Any]) -> list[inspect.Parameter]:
    """The parameter, or for ``**options: Unpack[SomeTypedDict]`` one for each key, its type added to the hints."""
    import typing_extensions

    annotation = hints.get(parameter.name)
    unpacked = typing.get_origin(annotation) in (typing.Unpack, typing_extensions.Unpack)
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD or not unpacked:
        return [parameter]
    listed = []
    typed = typing.get_args(annotation)[0]
    for name, hint in typing.get_type_hints(typed, include_extras=True).items():
        required, inner = name in typed.__required_keys__, hint
        while typing.get_origin(inner) in (typing.Required, typing.NotRequired):
            required, (inner,) = typing.get_origin(inner) is typing.Required, typing.get_args(inner)
        hints[name] = inner
        default = inspect.Parameter.empty if required else _LEFT_OUT
        listed.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=inner))
    return listed


def _names_around(function: Any) -> dict[str, Any]:
    """The local names of the functions now running in which `function` may have been written.

    Annotations that are text can name types that are local to them.
    """
    home = getattr(inspect.unwrap(function), "__globals__", None)
    names: dict[str, Any] = {}
    frame = sys._getframe(1) if home is not None and "<locals>" in getattr(function, "__qualname__", "") else None
    while frame is not None:
        if frame.f_globals is home and frame.f_locals is not home:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _by_value(annotation: Any) -> Any:
    """The annotation, with ``Literal[Color.RED]`` taking the member's value, which is what JSON has."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        members = [each for each in arguments if isinstance(each, enum.Enum)]
        if not members:
            return annotation
        from pydantic import BeforeValidator

        def member(value: Any) -> Any:
            return next((each for each in members if type(each.value) is type(value) and each.value == value), value)

        return Annotated[annotation, BeforeValidator(member)]
    changed = tuple(_by_value(each) for each in arguments) if origin is not Annotated else arguments
    if origin is Annotated:
        inner = _by_value(arguments[0])
        return annotation if inner is arguments[0] else Annotated[(inner, *arguments[1:])]
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    if origin in (Union, types.UnionType):
        return Union[changed]  # noqa: UP007
    return annotation.copy_with(changed) if hasattr(annotation, "copy_with") else origin[changed]
