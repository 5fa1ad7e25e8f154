"""Regular expressions that validate a text, rewritten for the text's JSON spelling, for the outlines_core engine.

What comes out matches only strings whose value the pattern finds in Python and in ECMA-262: shorthands are ASCII,
control characters appear as escapes or not at all. It may match fewer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

Intervals = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
_PLAIN: Intervals = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0xA0, 0xD7FF), (0xE000, LAST))
_ESCAPES = {'"': '"', "\\": "\\", "\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f"}
_DIGITS: Intervals = ((0x30, 0x39),)
_WORD: Intervals = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Intervals = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_ASCII: Intervals = ((0, 0x7F),)
_MOST_REPEATS = 2000


def without(these: Intervals, those: Intervals) -> Intervals:
    """The code points of `these` that are not in `those`."""
    left = list(these)
    for low, high in those:
        left = [part for a, b in left for part in ((a, min(b, low - 1)), (max(a, high + 1), b)) if part[0] <= part[1]]
    return tuple(left)


def both(these: Intervals, those: Intervals) -> Intervals:
    """The code points that are in both."""
    return tuple((max(a, low), min(b, high)) for a, b in these for low, high in those if max(a, low) <= min(b, high))


def spelled(points: Intervals) -> str | None:
    """One character of a set as JSON spells it; None if it can spell none of them."""
    plain = "".join(
        rf"\x{{{low:x}}}" if low == high else rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in both(points, _PLAIN)
    )
    escapes = "".join(re.escape(letter) for each, letter in _ESCAPES.items() if both(points, ((ord(each),) * 2,)))
    parts = [f"[{plain}]"] if plain else []
    parts += [rf"\\[{escapes}]"] if escapes else []
    return f"(?:{'|'.join(parts)})" if parts else None


ANY = spelled(((0, LAST),)) or ""
"""Any character of a string."""


def quoted(pattern: str) -> str | None:
    """A JSON string whose value a pattern is found in.

    Returns:
        A regular expression in Rust's syntax, or None if no JSON string of ours fits.

    Raises:
        ValueError: The pattern uses something that is not regular or not the same in Python and ECMA-262.
    """
    inner = inside(pattern)
    return None if inner is None else f'"{inner}"'


def inside(pattern: str) -> str | None:
    """The same without the quotation marks."""
    parser: Any = importlib.import_module("re._parser")
    try:
        parsed = parser.parse(pattern)
        if parsed.state.flags & ~re.UNICODE.value:
            raise ValueError("sets flags")
        return _found(list(parsed), False, False)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression that Python can check ({error})") from error


def _found(parts: Sequence[Any], begun: bool, ended: bool) -> str | None:
    """Text in which a sequence is found; its anchors may stand at its ends."""
    parts = list(parts)
    while parts and _is(parts[0], "AT") and str(parts[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        begun, parts = True, parts[1:]
    while parts and _is(parts[-1], "AT") and str(parts[-1][1]) in ("AT_END", "AT_END_STRING"):
        ended, parts = True, parts[:-1]
    if len(parts) == 1 and _is(parts[0], "BRANCH"):
        return _either([_found(each, begun, ended) for each in parts[0][1][1]])
    if len(parts) == 1 and _is(parts[0], "SUBPATTERN") and not any(parts[0][1][1:3]):
        return _found(parts[0][1][3], begun, ended)
    body = _sequence(parts)
    if body is None:
        return None
    return f"{'' if begun else f'{ANY}*'}{body}{'' if ended else f'{ANY}*'}"


def _is(part: Any, name: str) -> bool:
    return str(part[0]) == name


def _either(options: Sequence[str | None]) -> str | None:
    some = [option for option in options if option is not None]
    return f"(?:{'|'.join(some)})" if some else None


def _sequence(parts: Sequence[Any]) -> str | None:
    out = []
    for part in parts:
        text = _part(part)
        if text is None:
            return None
        out.append(text)
    return "".join(out)


def _part(part: Any) -> str | None:
    name, value = str(part[0]), part[1]
    if name == "LITERAL":
        return spelled(((value, value),))
    if name == "NOT_LITERAL":
        return spelled(without(((0, LAST),), ((value, value),)))
    if name == "ANY":
        return spelled(without(((0, LAST),), ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))))
    if name == "IN":
        return spelled(_class(value))
    if name == "BRANCH":
        return _either([_sequence(each) for each in value[1]])
    if name == "SUBPATTERN":
        if value[1] or value[2]:
            raise ValueError("sets flags")
        inner = _sequence(value[3])
        return None if inner is None else f"(?:{inner})"
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeat(*value)
    what = {"AT": "an anchor or a word boundary inside", "GROUPREF": "a back-reference"}.get(name, "look-around")
    raise ValueError(f"uses {what}, which no automaton can follow")


def _repeat(least: int, most: Any, inner: Sequence[Any]) -> str | None:
    text = _sequence(inner)
    endless = str(most) == "MAXREPEAT"
    if text is None:
        return "" if least == 0 else None
    if max(least, 0 if endless else most) > _MOST_REPEATS:
        raise ValueError(f"repeats more than {_MOST_REPEATS} times")
    return f"(?:{text}){{{least},{'' if endless else most}}}"


def _class(items: Sequence[Any]) -> Intervals:
    points: list[tuple[int, int]] = []
    negated = ascii_only = False
    for item in items:
        name, value = str(item[0]), item[1]
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            points.append((value, value))
        elif name == "RANGE":
            points.append(value)
        elif name == "CATEGORY":
            shorthand = str(value).removeprefix("CATEGORY_")
            known = {"DIGIT": _DIGITS, "WORD": _WORD, "SPACE": _SPACE}[shorthand.removeprefix("NOT_")]
            # Python's shorthands know Unicode: outside ASCII, neither they nor their complements are used.
            points += without(_ASCII, known) if shorthand.startswith("NOT_") else known
            ascii_only = True
        else:
            raise ValueError(f"uses {name} in a class")
    if not negated:
        return tuple(points)
    return without(_ASCII if ascii_only else ((0, LAST),), tuple(points))
