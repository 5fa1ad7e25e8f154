"""Local JSON pointers in schemas (RFC 6901, as URI fragments)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote


def resolve(root: dict[str, Any], reference: str) -> tuple[Any] | None:
    """Looks up a local reference such as ``#/$defs/Point``.

    Returns:
        The sub-schema in a tuple, or None if the reference is not local or leads nowhere.
    """
    if reference != "#" and not reference.startswith("#/"):
        return None
    place: Any = root
    for part in reference.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isdigit() and int(key) < len(place):
            place = place[int(key)]
        else:
            return None
    return (place,)
