"""Whether a text states a fact: a number, a date, a time or words, in any usual way of writing and not negated."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NEGATION = re.compile(r"\b(?:not|no|never|without|isn't|wasn't|aren't|hasn't|doesn't|didn't|cannot)\W+(?:\w+\W+){0,2}$")


def normal(text: str) -> str:
    """A text without case, with plain quotes and single spaces."""
    return " ".join(text.casefold().translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'}).split())


def holds(text: str, piece: Any) -> bool:
    """Whether a text holds a fact, negated or not."""
    return bool(_places(normal(text), piece))


def states(text: str, fact: Any) -> bool:
    """Whether a text states a fact: it stands there once without a negation before it.

    Args:
        text: An answer.
        fact: A number; a date such as `2026-12-04`; a time such as `15:30`; or words.
    """
    plain = normal(text)
    return any(not NEGATION.search(plain[:at]) for at in _places(plain, fact))


def _places(text: str, fact: Any) -> list[int]:
    """Where a fact stands in a text."""
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        return _numbers(text, float(fact))
    fact = str(fact)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", fact):
        return _found(text, _dates(date.fromisoformat(fact)))
    if re.fullmatch(r"\d{1,2}:\d{2}", fact):
        return _found(text, _times(*map(int, fact.split(":"))))
    return _found(text, [rf"(?<!\w){re.escape(normal(fact))}(?!\w)"])


def _found(text: str, patterns: list[str]) -> list[int]:
    return [match.start() for pattern in patterns for match in re.finditer(pattern, text)]


def _numbers(text: str, value: float) -> list[int]:
    """Where a number stands: with a point or a comma, with thousands apart, or as a word."""
    found = []
    for match in re.finditer(r"(?<![\w.])-?\d[\d.,]*", text):
        digits = match[0].rstrip(".,")
        readings = {digits.replace(",", ""), digits.replace(".", "").replace(",", "."), digits.replace(",", ".")}
        for reading in readings:
            try:
                if float(reading) == value:
                    found.append(match.start())
                    break
            except ValueError:
                continue
    if value.is_integer() and 0 <= value < len(WORDS):
        found += _found(text, [rf"\b{WORDS[int(value)]}\b"])
    return found


def _dates(day: date) -> list[str]:
    month, short = MONTHS[day.month - 1], MONTHS[day.month - 1][:3]
    name = rf"(?:{month}|{short})\.?"
    number = rf"0?{day.day}"
    return [
        day.isoformat(),
        rf"(?<!\d){number}(?:st|nd|rd|th)?(?: of)? {name}",
        rf"{name} {number}(?:st|nd|rd|th)?(?!\d)",
        rf"(?<!\d){number}\. ?{name}",
        rf"(?<!\d){number}[./]0?{day.month}(?:[./]|\b)",
        rf"(?<!\d)0?{day.month}/{number}\b",
    ]


def _times(hour: int, minute: int) -> list[str]:
    half = "pm" if hour >= 12 else "am"
    clock = hour % 12 or 12
    short = rf"{clock} ?{half[0]}\.?m\b" if minute == 0 else ""
    exact = [rf"(?<!\d)0?{hour}[:.h]{minute:02d}(?!\d)", rf"(?<!\d){clock}[:.]{minute:02d} ?{half[0]}\.?m\b"]
    return [*exact, rf"(?<!\d){short}"] if short else exact
