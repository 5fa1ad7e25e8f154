"""Whether calls are right by the rule of the Berkeley Function-Calling Leaderboard (AST, Python categories).

The rule is that of the checker published in `bfcl-eval`: the function's name must match, required arguments must be
there, no argument may be unknown, every value must have the argument's type and be one of those accepted, and an
argument may be missing only if the empty string is among its accepted values. Order among calls does not matter.
`benchmarks/bfcl.py` asks the published checker itself. The rule's less obvious sides, kept here:

- A whole number is taken for a `number`, but not inside a list of numbers, and `3.0` is no `integer`.
- A value of another type than the argument's passes the type check if the first accepted value has that type (the
  checker takes it for a variable's name); it is then compared as it is.
- Text is compared without case, spaces and ``,./-_*^``; in lists and objects only where it stands at the top.
- An empty list is right for an optional list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Call = Mapping[str, Any]
MISTAKES = ("wrong value", "wrong type", "unexpected argument", "missing argument", "wrong function")
"""What is wrong with one call, from the least to the most."""
_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


def unaccepted(
    predicted: Sequence[Call], accepts: Sequence[Mapping[str, Mapping[str, Any]]], tools: Sequence[Mapping[str, Any]]
) -> str:
    """Why calls are not accepted: `wrong count` or one of `MISTAKES`; empty if they are.

    Of several calls that could stand for the wanted one, the reason is that of the nearest.
    """
    if len(predicted) != len(accepts):
        return "wrong count"
    free = list(predicted)
    for wanted in accepts:
        name, arguments = next(iter(wanted.items()))
        found = [_mistake(call, name, arguments, schema_of(name, tools)) for call in free]
        if "" not in found:
            return min(found, key=MISTAKES.index)
        del free[found.index("")]
    return ""


def schema_of(name: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The parameters of the first tool of that name; empty if there is none."""
    return next((tool["parameters"] for tool in tools if tool["name"] == name), {})


def _mistake(call: Call, name: str, wanted: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if call["name"] != name:
        return "wrong function"
    properties, arguments = schema.get("properties", {}), call["arguments"]
    if any(required not in arguments for required in schema.get("required", [])):
        return "missing argument"
    for argument, value in arguments.items():
        if argument not in properties or argument not in wanted:
            return "unexpected argument"
        if wrong := _wrong(value, properties[argument], wanted[argument]):
            return wrong
    missing = any(argument not in arguments and "" not in values for argument, values in wanted.items())
    return "missing argument" if missing else ""


def _wrong(value: Any, schema: Mapping[str, Any], options: Sequence[Any]) -> str:
    """`wrong type`, `wrong value`, or empty."""
    expected = _type(schema)
    if expected is None:
        return "" if value in options else "wrong value"
    if expected is float and type(value) is int:
        value = _as_float(value)
    first = _first_type(options)
    as_it_is = first is not None and first is not expected
    nested = _type(schema["items"]) if expected is list and isinstance(schema.get("items"), dict) else None
    if type(value) is expected:
        if nested is not None and isinstance(value, list) and not _items_typed(value, nested, options):
            return "wrong type"
    elif first is None or type(value) is not first:
        return "wrong type"
    else:
        as_it_is = True
    return "" if (value in options if as_it_is else _is_option(value, nested, options)) else "wrong value"


def _type(schema: Mapping[str, Any]) -> type | None:
    """The Python type of a schema; text where it names none (the leaderboard's `any`), None where it names several."""
    kind = schema.get("type", "string")
    return _TYPES.get(kind) if isinstance(kind, str) else None


def _first_type(options: Sequence[Any]) -> type | None:
    return next((type(option) for option in options if option != ""), None)


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:
        return value


def _items_typed(value: Sequence[Any], nested: type, options: Sequence[Any]) -> bool:
    """Whether all items have the nested type, or that of an accepted list's first item."""

    def fits(option: Any) -> bool:
        return not isinstance(option, list) or all(type(item) in (nested, _first_type(option)) for item in value)

    return any(fits(option) for option in options)


def _is_option(value: Any, nested: type | None, options: Sequence[Any]) -> bool:
    if isinstance(value, dict):
        return any(_object_fits(value, option) for option in options)
    if isinstance(value, list) and nested is dict:
        return any(_objects_fit(value, option) for option in options)
    if isinstance(value, str):
        return _plain(value) in [_plain(option) for option in options if isinstance(option, str)]
    if isinstance(value, list):  # an accepted "" stands for an empty list, as it has no items
        return _plain_items(value) in [_plain_items(option) for option in options if isinstance(option, list | str)]
    return value in options


def _objects_fit(values: list[Any], option: Any) -> bool:
    if not isinstance(option, list | str) or len(option) != len(values):
        return False
    return all(isinstance(v, dict) and _object_fits(v, o) for v, o in zip(values, option, strict=True))


def _object_fits(value: Mapping[str, Any], wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return False
    every = {key: options if isinstance(options, list) else [options] for key, options in wanted.items()}
    for key, item in value.items():
        if _plain(item) not in [_plain(option) for option in every.get(key, ())]:
            return False
    return all(key in value or "" in options for key, options in every.items())


def _plain(value: Any) -> Any:
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value


def _plain_items(values: Sequence[Any]) -> list[Any]:
    return [_plain(value) for value in values]
