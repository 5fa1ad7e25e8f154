"""String formats and regular expressions, said so that the grammar and the validator mean the same text."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTH = "(?:0[48]|[2468][048]|[13579][26])"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29)"
)
_LOCAL = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?"
_TIME = f"{_LOCAL}(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

_POINTER = "(?:/(?:[^/~]|~[01])*)*"

PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "time-local": f"^{_LOCAL}$",
    "date-time-local": f"^{_DATE}T{_LOCAL}$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": f"^(?:0|[1-9]+0?)(?:#|{_POINTER})$",
}
"""Formats that are decoded by a pattern of ours: real calendar days, no leap seconds (RFC 3339); RFC 6901.

Those that end in `-local` have no offset; they are of OpenAPI's registry.

jsonschema takes no number of a relative pointer in which a digit follows a 0.
"""

SHORT = frozenset(pattern for form, pattern in PATTERNS.items() if "pointer" not in form)
"""Those patterns whose texts cannot run on."""

_URI = "[A-Za-z0-9._~:/?#@!$&'()*+,;=%\\[\\]-]"

WIDER = {
    "uri-reference": f"^{_URI}*$",
    "uri-template": f"^(?:{_URI}|[{{}}])*$",
    "iri": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`]*$",
    "iri-reference": r"^[^\x00-\x20<>\"{}|\\^`]*$",
    "idn-email": r"^[^@\x00-\x20\"]+@[^@\x00-\x20\"]+$",
    "idn-hostname": r"^[^\x00-\x2c/:-@\[-`{-\x7f]+$",
}
"""Patterns that stand in the grammar for formats which are then checked."""

ENGINE = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
"""Formats that the engine decodes by itself."""

FREE = frozenset({"password", "binary", "path", "file-path", "directory-path"})
"""Formats that say how a text is used and leave every text valid."""

NUMERIC = frozenset({"int32", "int64", "float", "double"})
"""OpenAPI's widths of numbers."""

RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (1 - 2**53, 2**53 - 1)}
"""Those that bound a number: the second to what is exact as a double, which is what JSON's readers compute in."""

_CLASSES = {"W": r"\x00-/:-@\[-\^`{-\x7f", "D": r"\x00-/:-\x7f"}


def portable(pattern: str) -> str:
    r"""Rewrites a pattern so that what the engine decodes also matches in Python.

    The engine reads ``\w`` and ``\d`` as ASCII, as ECMA-262 does; Python's `re`, which validates, knows Unicode
    letters and digits as well. Their complements therefore differ: here they become ASCII without the class,
    which is inside both. In classes the engine knows ``&&``, ``--`` and ``~~``, which elsewhere stand for themselves.

    Args:
        pattern: A regular expression in the common part of ECMA-262 and Python.

    Returns:
        The pattern for the engine.
    """
    out: list[str] = []
    place, inside, negated, shorthand = 0, False, False, False
    before = ""  # in a class, what of a range stands before: nothing, a character, or that and a hyphen
    while place < len(pattern):
        character = pattern[place]
        if character == "\\" and place + 1 < len(pattern):
            letter = pattern[place + 1]
            place += 2
            before = "" if before == "a-" else "a"
            if letter in _CLASSES and not (inside and negated):
                out.append(_CLASSES[letter] if inside else f"[{_CLASSES[letter]}]")
                continue
            shorthand = shorthand or letter in "wd"
            out.append("\\" + letter)
            continue
        if character == "[" and not inside:
            inside, shorthand, before = True, False, ""
            negated = pattern.startswith("^", place + 1)
            out.append("[^" if negated else "[")
            place += 2 if negated else 1
            if pattern.startswith("]", place):  # a bracket in first place stands for itself
                out.append("\\]")
                place += 1
                before = "a"
            continue
        if character == "]" and inside:
            if negated and shorthand:
                out.append(r"\x{80}-\x{10ffff}")
            inside = False
        elif inside and character == "-" and before == "a" and not pattern.startswith("]", place + 1):
            before = "a-"
        elif inside:
            character = "\\" + character if character in "[&~-" else character
            before = "" if before == "a-" else "a"
        out.append(character)
        place += 1
    return "".join(out)


class PatternProblem(NamedTuple):
    """Why a pattern cannot be enforced.

    Attributes:
        reason: Why, and what to do.
        checkable: Whether it can be checked.
        wider: A pattern that matches all that it matches, and more; None if there is none.
    """

    reason: str
    checkable: bool
    wider: str | None = None


REPEATS = 1_000_000
"""Most repeats that a pattern may ask for, those inside one another multiplied."""


def too_many_repeats(pattern: str, most: int = REPEATS) -> bool:
    """Whether compiling a pattern would take the memory of the machine: repeats are written out, a{2000000000} too."""
    counts = (int(digits.lstrip("0")[:8] or "1") for digits in re.findall(r"\{(\d+)", pattern))
    return math.prod(counts) > most


def pattern_problem(pattern: str) -> PatternProblem | None:
    """Why a pattern cannot be enforced exactly whatever the engine; None if nothing stands against it."""
    import regex

    if too_many_repeats(pattern):
        return PatternProblem(f"asks for more than {REPEATS} repeats, too many to check; ask for fewer", False)
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        return PatternProblem(f"is no regular expression that can be checked ({error}); correct it", False)
    if re.search(r"(?<!\\)(?:\\\\)*\\[bB]", pattern):
        reason = "uses a word boundary, which decoding cannot enforce; spell out the characters"
        return PatternProblem(reason, True, without_assertions(pattern))
    if "(?=" in pattern or "(?!" in pattern or "(?<" in pattern:
        wider = without_assertions(pattern)
        if wider != pattern:
            return PatternProblem("looks around, which decoding cannot enforce; spell it out", True, wider)
    return None


def without_assertions(pattern: str) -> str:
    r"""A pattern without its look-arounds and word boundaries, which only ever leave texts out.

    Args:
        pattern: A regular expression; ``(?=…)``, ``(?!…)``, ``(?<=…)``, ``(?<!…)``, ``\b`` and ``\B`` are dropped.
    """
    out: list[str] = []
    kept: list[bool] = []  # for each open group, whether it is written
    place, inside = 0, False
    while place < len(pattern):
        character = pattern[place]
        taken = 1
        writes = all(kept)
        if character == "\\":
            taken = 2
            writes = writes and (inside or pattern[place + 1 : place + 2] not in ("b", "B"))
        elif inside:
            inside = character != "]"
        elif character == "[":
            inside = True
            taken += len(re.match(r"\^?\]?", pattern[place + 1 :])[0])  # type: ignore[index]
        elif character == "(":
            kept.append(not re.match(r"\(\?<?[=!]", pattern[place:]))
            writes = all(kept)
        elif character == ")" and kept:
            kept.pop()
        if writes:
            out.append(pattern[place : place + taken])
        place += taken
    return "".join(out)
