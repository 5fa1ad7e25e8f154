"""What kind of value an argument is: an identifier, a number, a date, a name, or free text."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from loraloop.agent.dates.resolve import resolve_dates
from loraloop.agent.grounding.evidence import Day, clock_times_in, days_in
from loraloop.agent.values.calls import Kind

IDENTIFIERS: tuple[Kind, ...] = ("identifier", "email")
"""What nobody can make up: kinds that are checked in the calls of every tool."""
_FORMATS: dict[str, Kind] = {
    "date": "date", "time": "time", "time-local": "time", "date-time": "date", "date-time-local": "date",
    "email": "email", "idn-email": "email", "uri": "url", "uuid": "identifier",
}  # fmt: skip
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\W\d_]+")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
PLACEHOLDER = re.compile(r"[\[<{]+[^\W\d_][\w '/-]*[\]>}]+|your_\w+", re.IGNORECASE)
_NUMERAL = re.compile(r"[+-]?\d+(?:[.,]\d+)*")
_MEASURE = re.compile(r"[+-]?\d+(?:[.,]\d+)*\s?(?:%|€|\$|£|°?[a-zµ]{1,7}|[kM]?[A-Z])")
_DURATION = re.compile(r"P(?=[\dT])(?:\d+[YMWD])*(?:T(?:\d+(?:[.,]\d+)?[HMS])+)?")
_PHONE = re.compile(r"\+?[\d\s()/.-]{6,}")
_CODE = re.compile(r"(?=.*\d)(?=.*[^\W\d_])#?[\w.:/+-]+")
_GROUPS = re.compile(r"(?=.*\d)(?=.*[A-Z])[A-Z\d]+(?:[ -][A-Z\d]+)+|(?=(?:\D*\d){8})\w*\d\w*(?:[ -]\w*\d\w*)+")
_NUMBER_WORDS = re.compile(r"\d+(?: [a-z]{1,7})?")
_FREE = re.compile(r"#[0-9a-fA-F]{3,8}|.*\.[a-z][a-z\d]{0,4}|[./~].*|.*/.*/.*")
"""Colours, file names and paths."""
_DAY_PREFIX = r"(?:[^\W\d_]{2,10},?\s)?"
_CALENDAR = re.compile(
    _DAY_PREFIX + r"(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}"
    r"|(?:the )?\d{1,2}(?:st|nd|rd|th|\.)?(?: of| de)?[ -][^\W\d_]{3,10}\.?,?(?:[ -]\d{4})?"
    r"|[^\W\d_]{3,10}\.? \d{1,2}(?:st|nd|rd|th)?(?:,? \d{4})?)",
    re.IGNORECASE,
)
_OF_DAY = re.compile(
    r"\d{1,2}(?::[0-5]\d(?::[0-5]\d)?)?\s?(?:[ap]\.?m\.?)|\d{1,2}:[0-5]\d(?::[0-5]\d)?|noon|midday|midnight",
    re.IGNORECASE,
)
_YEAR_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")
_SPAN = re.compile(r"\s?(?:--|–|—|/|\s-\s|\sto\s)\s?")
NUMERALS = re.compile(r"\d+(?:[.,]\d+)*")
_TOKEN = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_LONGEST = 200  # characters of a value that is more than free text
_ANY_DAY = date(2001, 1, 3)  # from which words of the calendar are counted that are compared with each other
_BOUNDS = {(0, 0), (23, 59)}  # how a date without a time is filled up


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, a time of day, or both, with each reading that its format allows; or a day in words, *next Friday*."""

    days: tuple[Day, ...] = ()
    times: tuple[tuple[int, int], ...] = ()
    words: str = ""


def kind_of(value: Any, formats: frozenset[str] = frozenset()) -> Kind | None:
    """The kind of a value by its format or shape; None for free text and for values that need no source."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return None if value in (0, 1) else "number"
    text = value.strip()
    if not text or len(text) > _LONGEST:
        return None
    by_format = next((_FORMATS[name] for name in sorted(formats) if name in _FORMATS), None)
    return by_format or _kind_of_text(text)


def _kind_of_text(text: str) -> Kind | None:
    if _EMAIL.fullmatch(text):
        return "email"
    if _URL.fullmatch(text):
        return "url"
    if PLACEHOLDER.fullmatch(text):
        return "name"
    if moments := moments_of(text):
        return "date" if any(moment.days or moment.words for moment in moments) else "time"
    if _NUMERAL.fullmatch(text):
        return _kind_of_digits(text)
    if _MEASURE.fullmatch(text) or _DURATION.fullmatch(text) or _NUMBER_WORDS.fullmatch(in_digits(text)):
        return "number"
    if _PHONE.fullmatch(text) and sum(char.isdigit() for char in text) >= 6:
        return "identifier"
    if _FREE.fullmatch(text):
        return None
    if _CODE.fullmatch(text) or _GROUPS.fullmatch(text):
        return "identifier"
    return "name" if _is_name(text) else None


def _kind_of_digits(text: str) -> Kind:
    labelled = text.isdigit() and len(text) > 1 and (len(text) >= 5 or text.startswith("0"))
    return "identifier" if labelled else "number"


def in_digits(text: str) -> str:
    """The text with its English number words as digits: *two hours* as `2 hours`."""
    from text_to_num import alpha2digit

    made: str = alpha2digit(text, "en", 0)
    return made


def _is_name(text: str) -> bool:
    """Whether a text has the shape of a proper name: *Anna de Vries*, *Ibuprofen 400 mg*; not *A table at noon*.

    The parts of an address, between its commas, have it each by itself. A code of up to three letters, such as a unit
    or a currency, abbreviates what people say in another way, and is none.
    """
    if (text.isupper() and len(text) <= 3) or text.islower() or re.search(r"[!?:;]|\.\s", text[3:]):
        return False
    parts = [_TOKEN.findall(part) for part in text.split(", ")]
    if not all(1 <= len(words) <= 5 for words in parts) or not (text[0].isupper() or text[0].isdigit()):
        return False
    return all(word[0].isupper() or word[0].isdigit() or len(word) <= 3 for words in parts for word in words)


def moments_of(text: str) -> list[Moment]:
    """The date, the time or the two ends of a span that a text consists of; empty where it is something else."""
    one = _moment_of(text)
    if one is not None:
        return [one]
    ends = [_moment_of(part) for part in _SPAN.split(text)]
    return [each for each in ends if each is not None] if len(ends) == 2 and None not in ends else []


def _moment_of(text: str) -> Moment | None:
    if len(text) > 40:
        return None
    if _YEAR_MONTH.fullmatch(text):
        return Moment((Day(int(text[5:]), 1, int(text[:4])),))
    if _OF_DAY.fullmatch(text):
        return Moment(times=tuple(clock_times_in(text, bare=False)))
    if not text.isdigit() or len(text) == 8:
        with suppress(ValueError):
            when = datetime.fromisoformat(text)
            bare = len(text) <= 10 or (when.hour, when.minute) in _BOUNDS
            return Moment((Day(when.month, when.day, when.year),), () if bare else ((when.hour, when.minute),))
        with suppress(ValueError):
            clock = time.fromisoformat(text)
            return Moment(times=((clock.hour, clock.minute),)) if ":" in text else None
    days = tuple(days_in(text)) if _CALENDAR.fullmatch(text) else ()
    return Moment(days) if days else _moment_in_words(text)


def days_meant(text: str) -> dict[str, tuple[date, date]]:
    """The words of the calendar in a text, and the first and last day that they mean, counted from some day."""
    return {each.words: (each.start, each.end) for each in resolve_dates(text, _ANY_DAY)}


def _moment_in_words(text: str) -> Moment | None:
    """A day in words of the calendar, perhaps with a time: *tomorrow*, *next Friday at noon*."""
    found, rest = days_meant(text), text
    for words in found:
        rest = rest.replace(words, " ")
    if not found or re.search(r"[^\W\d_]{3}|\d", _OF_DAY.sub(" ", rest)):
        return None
    return Moment((), tuple(clock_times_in(rest, bare=False)), " ".join(found))
