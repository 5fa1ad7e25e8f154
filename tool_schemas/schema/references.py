"""Local JSON pointers in schemas (RFC 6901, as URI fragments)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote


def resolve(root: dict[str, Any], reference: str) -> tuple[Any] | None:
    """Looks up a local reference such as ``#/$defs/Point``.

    Returns:
        The sub-schema in a tuple, or None if the reference is not local or leads nowhere.
    """
    found = place_of(root, reference)
    return None if found is None else (found[1],)


def place_of(root: dict[str, Any], reference: str) -> tuple[tuple[str | int, ...], Any] | None:
    """Looks up a local reference.

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
        elif isinstance(place, list) and key.isdigit() and int(key) < len(place):
            place = place[int(key)]
            steps.append(int(key))
        else:
            return None
    return tuple(steps), place
