"""The one JSON text form: compact, as the grammars produce it and as every transcript holds it."""

from __future__ import annotations

import json
from collections import UserString
from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from functools import cache
from typing import Any


def _plain(value: Any) -> Any:
    """What `json` cannot write, as plain data: pydantic models, dataclasses, enums, dates, sets, bytes."""
    from pydantic_core import to_jsonable_python

    try:
        return to_jsonable_python(value, fallback=_opened, bytes_mode="base64")
    except UnicodeError:  # pydantic writes half of a surrogate pair in no key, and a model's bytes only as UTF-8
        opened = adapter(Any).dump_python(value, by_alias=True, fallback=_opened)
        return to_jsonable_python(_written(opened), bytes_mode="base64")


def _opened(value: Any) -> Any:
    """The data of a mapping, a sequence, an array, a tensor or a table; the text of anything else."""
    for name in ("tolist", "to_dict"):
        if callable(method := getattr(type(value), name, None)):
            try:
                data = method(value)
            except Exception:  # a method of this name that means something else
                break
            return str(value) if data is value else data
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if is_sequence(value) else str(value)


def is_sequence(value: Any) -> bool:
    """Whether a value holds others one after another, such as a list, a set or the keys of a dict; no text or bytes."""
    texts = (str, UserString, bytes, bytearray, memoryview)
    return isinstance(value, Sequence | Set | ValuesView) and not isinstance(value, texts)


@cache
def adapter(kind: Any) -> Any:
    """Pydantic's adapter of a type, made once."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _written(value: Any) -> Any:
    """The value without what JSON has no word for: NaN and infinities become null, halves of surrogate pairs U+FFFD."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, dict):
        return {_whole(key) if isinstance(key, str) else key: _written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value


def _whole(text: str) -> str:
    """The text with halves of surrogate pairs replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def dumps(value: Any) -> str:
    """Writes a value as compact JSON: no spaces, non-ASCII characters as they are, keys in their own order.

    Pydantic models, dataclasses, enums, dates, mappings, sequences and sets are written as the data they hold, and so
    are objects with a method `tolist` or `to_dict`, such as arrays and data frames; other objects as ``str(value)``;
    NaN and infinities as null; an unpaired surrogate as U+FFFD, so that the text can always be encoded.

    Args:
        value: Anything; a tool's result, for instance.

    Returns:
        One line of JSON.

    Raises:
        ValueError: If the value contains itself, or is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False)
    except (ValueError, TypeError):  # a NaN, or a key that is no string
        try:
            plain = _written(_plain(_written(value)))
        except RecursionError:
            raise ValueError("the value contains itself, or is nested too deeply") from None
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _whole(text)
    return text


def strict_loads(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Reads JSON without the words ``NaN`` and ``Infinity``, which Python's reader takes as well.

    Args:
        text: What is read.
        pairs: Makes each object of its members; a dict where None.

    Raises:
        ValueError: If it is no JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)


def loads_or(text: str | bytes, default: Any = None) -> Any:
    """The value of a JSON text; `default` where it is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return default


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def levels(value: Any) -> int:
    """How deeply JSON data is nested: 0 for a text or a number, 1 for a list of these."""
    deepest, waiting = 0, [(value, 0)]
    while waiting:
        inner, depth = waiting.pop()
        if isinstance(inner, dict | list):
            deepest = max(deepest, depth + 1)
            waiting += [(each, depth + 1) for each in (inner.values() if isinstance(inner, dict) else inner)]
    return deepest


def shortened(text: str, most: int) -> str:
    """The text; where it has more characters than that, its beginning and "…"."""
    return text if len(text) <= most else text[: most - 1] + "…"


def fold(text: str | None) -> str:
    """The text on one line: every run of white space becomes one space."""
    return " ".join(text.split()) if text else ""
