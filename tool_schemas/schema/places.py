"""The places of a schema: walking over its sub-schemas, JSON paths, and local references (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.keywords import ENFORCED, HOLDS, Holds

Parts = tuple[str | int, ...]
"""The keys and indices that lead to a place."""

MOST_PLACES = 5_000  # sub-schemas of one schema
DEEPEST = 50  # levels of a schema that is given
_AROUND = 8  # more levels, that a list of calls may put around it


def json_path(parts: Any, start: str = "$") -> str:
    """Writes the keys and indices that lead to a place, such as ``$.items[0].name``."""
    path = start
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if part.isidentifier() or part.startswith("$") else f"[{dumps(part)}]"
    return path


def pointer(parts: Parts) -> str:
    """A local reference to a place, as a URI fragment."""
    steps = (str(part).replace("~", "~0").replace("/", "~1").replace("%", "%25") for part in parts)
    return "#" + "".join(f"/{step}" for step in steps)


def subschemas(schema: dict[str, Any], table: Mapping[str, Holds] = HOLDS) -> Iterator[tuple[Parts, Any]]:
    """The sub-schemas that stand directly in a schema, each with the keys that lead to it.

    Args:
        schema: A schema of any draft.
        table: The keywords that count; `ENFORCED` gives the sub-schemas that the grammar applies.
    """
    for key, value in schema.items():
        holds = table.get(key, "")
        if holds == "map" and isinstance(value, dict):
            yield from (((key, name), inner) for name, inner in value.items() if isinstance(inner, dict | bool))
        elif isinstance(value, list) and (holds == "list" or key == "items"):
            yield from (((key, index), inner) for index, inner in enumerate(value))
        elif holds == "schema" and isinstance(value, dict | bool):
            yield (key,), value


def every(root: Any, deepest: int = DEEPEST + _AROUND) -> Iterator[tuple[Parts, dict[str, Any]]]:
    """Every schema object of a tree, the root first, each with the keys that lead to it.

    Raises:
        SchemaError: If there are more than `MOST_PLACES` of them, or they are nested more than `deepest` levels deep.
    """
    pending: list[tuple[Parts, int, Any]] = [((), 0, root)]
    count = 0
    while pending:
        parts, depth, schema = pending.pop()
        if not isinstance(schema, dict):
            continue
        count += 1
        if count > MOST_PLACES:
            raise SchemaError(f"has more than {MOST_PLACES} sub-schemas; split it into several tools", "$")
        if depth > deepest:
            raise SchemaError(f"is nested more than {deepest} deep; flatten it", json_path(parts[:12]))
        yield parts, schema
        found = [((*parts, *steps), depth + 1, inner) for steps, inner in subschemas(schema)]
        pending += reversed(found)


def applied(root: dict[str, Any]) -> Iterator[tuple[Parts, dict[str, Any]]]:
    """Every schema object that the grammar applies to a part of the value; each referenced one once.

    Args:
        root: A normalised schema.
    """
    pending: list[tuple[Parts, Any]] = [((), root)]
    seen: set[int] = set()
    while pending:
        parts, schema = pending.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield parts, schema
        found = [((*parts, *steps), inner) for steps, inner in subschemas(schema, ENFORCED)]
        target = place_of(root, schema["$ref"]) if isinstance(schema.get("$ref"), str) else None
        pending += reversed([*found, *([] if target is None else [target])])


def place_of(root: dict[str, Any], reference: str) -> tuple[Parts, Any] | None:
    """Looks up a local reference such as ``#/$defs/Point``.

    Returns:
        The keys that lead to the sub-schema and the sub-schema, or None if the reference is not local or leads nowhere.
    """
    if reference != "#" and not reference.startswith("#/"):
        return None
    place: Any = root
    steps: list[str | int] = []
    for part in reference.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
            steps.append(key)
        elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
            steps.append(int(key))
        else:
            return None
    return tuple(steps), place


def resolve(root: dict[str, Any], reference: str) -> tuple[Any] | None:
    """The sub-schema that a local reference leads to, in a tuple; None if it is not local or leads nowhere."""
    found = place_of(root, reference)
    return None if found is None else (found[1],)


def followed(root: dict[str, Any], schema: Any) -> Any:
    """The schema itself, or what its reference leads to."""
    for _ in range(32):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        target = resolve(root, schema["$ref"])
        schema = target[0] if target else {}
    return schema


def literals(schema: Any) -> list[Any] | None:
    """The only values that can fit a schema, where it lists them."""
    if isinstance(schema, dict) and "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema, dict) and isinstance(schema.get("enum"), list) else None
