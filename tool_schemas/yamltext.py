"""YAML files as JSON data."""

from __future__ import annotations

import re
from typing import Any

from loraloop.tool_schemas.errors import SchemaError, needing


def read_yaml(text: str, name: str) -> Any:
    """Reads YAML as JSON data: ``no`` and ``2024-01-01`` are text, as in YAML 1.2.

    Keys may still be numbers, and aliases may make it huge or contain itself: what is done with it has to be bounded.

    Raises:
        SchemaError: If it is no YAML, or PyYAML is not installed.
    """
    with needing(f"{name} is YAML, which needs PyYAML", "'loraloop[openapi]'", SchemaError):
        import yaml
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        pass

    dropped = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in listed if tag not in dropped]
        for first, listed in base.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"
    )
    try:
        return yaml.load(text, Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise SchemaError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:
        raise SchemaError(f"{name} is not usable YAML: {error}") from None


def plain(document: Any, most: int, problem: str) -> Any:
    """The document with text as keys, in place, once it is known to end.

    Args:
        document: What `read_yaml` or a JSON reader gave.
        most: Values that it may have, those that aliases repeat counted each time.
        problem: The message where it has more, or contains itself.

    Raises:
        SchemaError: It has more.
    """
    left, pending = most, [document]
    while pending:
        place = pending.pop()
        if isinstance(place, dict) and not all(isinstance(key, str) for key in place):
            items = [(str(key), value) for key, value in place.items()]
            place.clear()
            place.update(items)
        if isinstance(place, dict | list):
            left -= len(place)
            pending += place.values() if isinstance(place, dict) else place
        if left < 0:
            raise SchemaError(problem)
    return document


MOST_VALUES = 200_000
"""Values of a file that people write, each counted as often as aliases repeat it."""


def expanded(value: Any) -> str:
    """Why aliases make a YAML value unusable: it contains itself, or is huge; empty if they do not."""
    left, inside = MOST_VALUES, set[int]()
    pending: list[tuple[Any, bool]] = [(value, False)]
    while pending:
        each, done = pending.pop()
        if done:
            inside.discard(id(each))
            continue
        left -= 1
        if left < 0:
            return f"it has more than {MOST_VALUES} values, those that aliases repeat counted each time"
        if isinstance(each, dict | list):
            if id(each) in inside:
                return "an alias makes it contain itself"
            inside.add(id(each))
            pending.append((each, True))
            pending += [(inner, False) for inner in (each.values() if isinstance(each, dict) else each)]
    return ""
