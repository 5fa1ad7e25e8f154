"""Whether predicted calls are right: exactly, or by the rule of the Berkeley Function-Calling Leaderboard (AST).

The second follows the published checker of gorilla's `bfcl-eval`: the name must match, required arguments must be
there, no argument may be unknown, every value must be one of those accepted, and an argument may be missing only if
the empty string is among its accepted values. Order among parallel calls does not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Call = Mapping[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def read_calls(text: str) -> list[dict[str, Any]] | None:
    """The calls in a step's text; None if it is not a list of calls."""
    try:
        calls = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    fits = isinstance(calls, list) and all(
        isinstance(c, dict) and isinstance(c.get("name"), str) and isinstance(c.get("arguments"), dict) for c in calls
    )
    return calls if fits else None


def same_calls(predicted: Sequence[Call], gold: Sequence[Call], tools: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two lists hold the same calls in any order.

    Text is compared without case and repeated spaces, numbers by value; an optional argument that equals the
    schema's default counts as left out, on both sides.
    """
    return sorted(_canonical(c, tools) for c in predicted) == sorted(_canonical(c, tools) for c in gold)


def accepted(
    predicted: Sequence[Call], accepts: Sequence[Mapping[str, Mapping[str, Any]]], tools: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether the calls are right by the leaderboard's rule.

    Args:
        predicted: Calls made.
        accepts: For each call wanted, `{name: {argument: [accepted values]}}`.
        tools: Tools that were offered.
    """
    if len(predicted) != len(accepts):
        return False
    free = list(predicted)
    for wanted in accepts:
        name, arguments = next(iter(wanted.items()))
        match = next((call for call in free if _accepts(call, name, arguments, tools)), None)
        if match is None:
            return False
        free.remove(match)
    return True


def _accepts(call: Call, name: str, wanted: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> bool:
    if call["name"] != name:
        return False
    schema = _parameters(name, tools)
    properties, given = schema.get("properties", {}), call["arguments"]
    if any(required not in given for required in schema.get("required", [])):
        return False
    for argument, value in given.items():
        if argument not in properties or argument not in wanted:
            return False
        if not _typed(value, properties[argument].get("type"), wanted[argument]):
            return False
        if not _value_accepted(value, wanted[argument]):
            return False
    return all(argument in given or "" in values for argument, values in wanted.items())


def _typed(value: Any, kind: Any, values: Sequence[Any]) -> bool:
    types = _TYPES.get(kind) if isinstance(kind, str) else None
    if types is None:
        return True
    if isinstance(value, bool) and bool not in types:
        return False
    # The checker lets a value of another type through where an accepted value (a variable's name) has that type.
    return isinstance(value, types) or any(type(value) is type(option) for option in values if option != "")


def _value_accepted(value: Any, values: Sequence[Any]) -> bool:
    if isinstance(value, dict):
        return any(isinstance(option, dict) and _object_accepted(value, option) for option in values)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return any(
            isinstance(option, list)
            and len(option) == len(value)
            and all(isinstance(o, dict) and _object_accepted(v, o) for v, o in zip(value, option, strict=True))
            for option in values
        )
    return any(_equal(_standard(value), _standard(option)) for option in values)


def _object_accepted(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, item in value.items():
        options = wanted.get(key)
        if options is None or not any(_equal(_standard(item), _standard(option)) for option in options):
            return False
    return all(key in value or "" in options for key, options in wanted.items())


def _standard(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    return value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _parameters(name: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((tool["parameters"] for tool in tools if tool["name"] == name), {})


def _canonical(call: Call, tools: Sequence[Mapping[str, Any]]) -> str:
    schema = _parameters(call["name"], tools)
    required, properties = schema.get("required", []), schema.get("properties", {})
    kept = {
        name: _plain(value)
        for name, value in call["arguments"].items()
        if name in required or _plain(value) != _plain(properties.get(name, {}).get("default"))
    }
    return json.dumps([call["name"], kept], sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.lower().split())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
