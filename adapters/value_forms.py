"""The forms of a value: a day or a time that was said otherwise, and the form that an argument's description asks for.

Both are read by their form alone: month names, clocks, `YYYY-MM-DD`, an example such as `San Francisco, CA`.
"""

from __future__ import annotations

import re
from functools import lru_cache

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
_MONTH = "|".join([*(f"{name[:3]}(?:{name[3:]})?" for name in MONTHS), "sept"])
_NAMED = re.compile(
    rf"\b(?P<month>{_MONTH})\.?\s+(?P<day>\d\d?)(?:st|nd|rd|th)?\b(?!:)"
    rf"|\b(?P<first>\d\d?)(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<then>{_MONTH})\b",
    re.IGNORECASE,
)
_YEAR_FIRST = re.compile(r"(?<!\d)\d{4}([-/.]?)(\d\d)\1(\d\d)(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d\d?)([-/.])(\d\d?)\2\d{4}(?!\d)")
_CLOCK = re.compile(
    r"(?<![\d:])(?P<hour>\d\d?):(?P<minute>\d\d)(?::\d\d)?(?!\d)(?:\s?(?P<half>[ap])\.?m\b)?"
    r"|(?<![\d:.])(?P<full>\d\d?)\s?(?P<of>[ap])\.?m\b"
    r"|\b(?P<word>noon|midnight)\b",
    re.IGNORECASE,
)
_PATTERN = re.compile(r"\b(?:YYYY|MM|DD|HH|hh|mm|ss)(?:[-/.: T]?(?:YYYY|MM|DD|HH|hh|mm|ss|SS))+\b")
_SHOWN = re.compile(
    r"\b(?:e\.g\.|i\.e\.|(?:such as|like|for example|form(?:at)?(?: of)?)\b)[,:]?\s*(?P<rest>.+)",
    re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(r"(?<!\w)['\"“‘](?P<text>[^'\"”’]{2,40})['\"”’](?!\w)")
_PLACE = re.compile(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)*, [A-Z][A-Za-z]+")


def days(text: str) -> set[tuple[int, int]]:
    """The days that a text may mean, as (month, day): `March 9`, `9th of March`, `2025-03-09`, `03/09/2025` (two)."""
    found = set()
    for match in _NAMED.finditer(text):
        name, day = match["month"] or match["then"], match["day"] or match["first"]
        found.add((next(at for at, month in enumerate(MONTHS, 1) if month.startswith(name[:3].lower())), int(day)))
    found |= {(int(match[2]), int(match[3])) for match in _YEAR_FIRST.finditer(text)}
    for match in _YEAR_LAST.finditer(text):
        found |= {(int(match[1]), int(match[3])), (int(match[3]), int(match[1]))}
    return {(month, day) for month, day in found if 1 <= month <= 12 and 1 <= day <= 31}


def times(text: str) -> set[int]:
    """The times of day that a text says, in minutes: `7:30 pm`, `19:30`, `noon`."""
    found = set()
    for match in _CLOCK.finditer(text):
        if word := match["word"]:
            found.add(12 * 60 if word.lower() == "noon" else 0)
            continue
        hour, half = int(match["hour"] or match["full"]), (match["half"] or match["of"] or "").lower()
        if half:
            hour = hour % 12 + (12 if half == "p" else 0)
        found.add(hour * 60 + int(match["minute"] or 0))
    return {time for time in found if time < 24 * 60}


def misshapen(value: str, description: str) -> bool:
    """Whether a text lacks the form that an argument's description names (`YYYY-MM-DD`) or shows (`'Rome, Italy'`)."""
    patterns, examples = _asked(description)
    if patterns:
        return not any(re.fullmatch(pattern, value) for pattern in patterns)
    return bool(examples) and _traits(value) not in examples


@lru_cache(maxsize=512)
def _asked(description: str) -> tuple[tuple[str, ...], frozenset[tuple[bool, bool]]]:
    """What a description asks for: patterns, or the traits of its examples."""
    patterns = []
    for match in _PATTERN.finditer(description):
        parts = re.findall(r"YYYY|MM|DD|HH|hh|mm|ss|SS|[-/.: T]", match[0])
        patterns.append("".join(r"\d{4}" if p == "YYYY" else re.escape(p) if len(p) == 1 else r"\d\d" for p in parts))
    if patterns:
        return tuple(patterns), frozenset()
    shown = _SHOWN.search(description)
    texts = [match["text"] for match in _QUOTED.finditer(shown["rest"])] if shown else []
    if shown and not texts:
        texts = _PLACE.findall(shown["rest"])
    return (), frozenset(map(_traits, texts))


def _traits(text: str) -> tuple[bool, bool]:
    """What texts of one form share: a comma, capitals alone."""
    letters = [char for char in text if char.isalpha()]
    return "," in text, len(letters) > 1 and all(char.isupper() for char in letters)
