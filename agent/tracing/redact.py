"""What of a trace is somebody's text: masked by a function, or left out. Works on the trace's JSON data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LEFT_OUT = "(left out)"
"""Stands for an error whose text is left out, because it is no secret that there was one."""

_PARTS = ("prompt", "messages", "passages", "steps", "end", "error")
_TEXTS = ("prompt", "content", "text", "title", "output")
_DATA = ("arguments", "wanted", "result", "value")
_NAMES = frozenset(
    {"activation", "category", "decided_by", "event", "hook", "masked", "name", "reason", "routed"}
    | {"runners_up", "skill", "skills", "slot", "tools", "written_by"}
)


def over_texts(value: Any, mask: Callable[[str], str]) -> Any:
    """JSON data with `mask` let over its texts, but for the names of fields."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: over_texts(item, mask) for key, item in value.items()}
    return [over_texts(item, mask) for item in value] if isinstance(value, list) else value


def masked(trace: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    """The trace with `mask` let over each text of users, tools and the model, in structures text by text."""

    def over(value: Any) -> Any:
        return over_texts(value, mask)

    return {**_changed(trace, over, over), "content": "masked"}


def emptied(trace: dict[str, Any]) -> dict[str, Any]:
    """The trace without texts, arguments, results, schemas of answers and what events say."""

    def nothing(value: Any) -> Any:
        return "" if isinstance(value, str) else {} if isinstance(value, dict) else None

    changed = _changed(trace, nothing, lambda error: LEFT_OUT)
    settings = changed["settings"]
    guard = {**settings["guard"], "refusal": ""}
    return {**changed, "content": "none", "settings": {**settings, "guard": guard, "output": None}}


def _changed(trace: dict[str, Any], over: Callable[[Any], Any], error: Callable[[str], str]) -> dict[str, Any]:
    def walk(value: Any, key: str = "") -> Any:
        if key == "error":
            return error(value) if value else value
        if key in _DATA or (key in _TEXTS and isinstance(value, str)):
            return over(value)
        if key == "spans":
            return []  # places in a text that is another one now
        if key == "origin" and value is not None:
            return {**value, "passages": []}  # so are these
        if isinstance(value, dict):
            return {name: walk(item, name) for name, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    def changed(name: str, value: Any) -> Any:
        known = name in _NAMES or isinstance(value, int | float | None)
        return value if known else over(value)

    events = [
        {**each, "data": {name: changed(name, value) for name, value in each["data"].items()}}
        for each in trace["events"]
    ]
    parts = {name: walk(trace[name], name) for name in _PARTS}
    parts["passages"] = [{**each, "source": over(each["source"])} for each in parts["passages"]]
    return {**trace, **parts, "events": events}
