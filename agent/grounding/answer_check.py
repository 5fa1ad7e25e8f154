"""The check of a run's last answer against its records. Functions of plain values, without side effects.

Numbers, dates, times, identifiers and addresses of an answer have to stand in the conversation, in a result, in the
arguments of a call or in a passage, in any usual format, or be computed from numbers there: a sum, a difference or a
product of two, the same in another unit, in two units or rounded, the sum or the mean of a column, how many items a
list has, the time between two dates or times of day. Code, citations, the numbers of a list, number words, and words
with a digit or two that look like no identifier on record (*A4*, *COVID-19*) are not looked at. What a sentence claims
is for the verdict skill (`agent/guard/answer_judge.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import combinations, combinations_with_replacement
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.grounding.evidence import (
    Day,
    Evidence,
    clock_times_in,
    days_in,
    folded,
    readings,
    rounded,
    written_days,
    written_times,
)
from loraloop.agent.grounding.grounding import FACTORS, MOST_PAIRS, leaf_lines, sources_of
from loraloop.agent.grounding.value_kinds import IDENTIFIERS, NUMERALS, kind_of
from loraloop.agent.values.calls import CallRecord, Kind
from loraloop.agent.values.receipts import receipts_of
from loraloop.agent.values.step import AnswerFlaw
from loraloop.tool_schemas.jsontext import dumps

_LEFT_OUT = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\[[^\]\n]{1,40}\]|^\s*(?:[-*]\s*)?\d{1,3}[.)]\s", re.DOTALL | re.MULTILINE
)
_TOKEN = re.compile(r"\S+")
_EDGES = " \t.,;:!?()[]{}\"'“”‘’«»„*_…"
_GROUPS = re.compile(r"(?<![\w.,])\d+(?:[ \u00a0\u202f'’]\d+)+(?:[.,]\d+)?(?!\d)")  # *1 000*, *+49 30 123456*
_PARTS = re.compile(r"(?<![\w.,])(\d{1,15})\s?[^\W\d_]+[\s,]+(?:[^\W\d_]{1,3}\s)?(\d{1,15})\s?[^\W\d_]+")
"""A number in two units: *1 hour and 30 minutes*."""
_DOTTED = re.compile(r"(?<![\w.,:€$£])\d{1,2}\.\d{1,2}(?![.,:]?\d)(?!\s?[€$£%])")  # *19.3.*, *9.30*
_COUNTED = re.compile(r"(\d+)-[^\W\d]+")  # *a 5-minute walk*
_LASTING = (*IDENTIFIERS, "date")  # kinds that are checked where an answer follows no call
_UNIT = re.compile(r"[kcdm]?m[23]|ft[23]|CO2")  # of a number before it


class Known:
    """What stands on record, and what is computed of it: made once for all values of an answer.

    Args:
        texts: The conversation and the records.
        columns: The numbers of each list of a result.
    """

    def __init__(self, texts: Sequence[str], columns: Sequence[Sequence[Decimal]]) -> None:
        self.place = Evidence.of(texts)
        self.numbers = [each for each in self.place.numbers if each < 10**15]
        self.plain = [each for each in self.place.plain if each < 10**15]
        self._columns = columns
        self._rounded: dict[int, set[Decimal]] = {}

    def computed(self, places: int) -> set[Decimal]:
        """The numbers of so many places that are computed from those on record."""
        found = self._rounded.get(places)
        if found is None:
            found = {each * factor for each in self.plain for factor in FACTORS}
            found |= {rounded(each / factor, places) for each in self.plain for factor in FACTORS}
            if len(self.plain) ** 2 <= MOST_PAIRS:
                for one, two in combinations_with_replacement(self.plain, 2):
                    found |= {one + two, abs(one - two), rounded(one * two, places)}
            for column in self._columns:
                whole = sum(column, Decimal(0))
                found |= {rounded(whole, places), rounded(whole / len(column), places)}
            found |= {Decimal(abs((one - two).days)) for one, two in combinations(_few(self.place.days), 2)}
            self._rounded[places] = found
        return found

    @cached_property
    def apart(self) -> set[int]:
        """The minutes between two times of day."""
        minutes = sorted(hour * 60 + minute for hour, minute in self.place.times)[:60]
        return {two - one for one, two in combinations(minutes, 2)}

    @cached_property
    def forms(self) -> set[str]:
        """The forms of all tokens that have a digit."""
        tokens = (token.strip(_EDGES) for text in self.place.texts for token in _TOKEN.findall(text))
        return {form for token in tokens if any(map(str.isdigit, token)) for form in _forms(token)}


def value_flaws(
    text: str,
    records: Sequence[CallRecord],
    messages: Sequence[Message],
    instructions: str = "",
    since: int | None = None,
) -> tuple[AnswerFlaw, ...]:
    """The numbers, dates, times, identifiers and addresses of an answer that stand nowhere and are not computed.

    Args:
        text: The answer.
        records: The run's calls.
        messages: The conversation before the answer, with its passages. System messages are left out.
        instructions: What the system message says besides the descriptions of the tools.
        since: The year from which dates count, given where the answer follows no call: it may be about anything, so
            only its identifiers, e-mail addresses and dates count then. None counts everything.
    """
    known = sources_of(messages, instructions)
    data = [leaf_lines(dumps({"": each.result, "error": each.error, "arguments": each.arguments})) for each in records]
    texts = (*known.user, *known.results, *known.other, *known.assistant, *known.instructions, *data, str(len(records)))
    on_record = Known(texts, [column for each in records for column in columns_of(each.data)])
    place = on_record.place

    def without_known(groups: re.Match[str]) -> str:
        joined = readings(re.sub(r"[^\d.,]", "", groups[0]))
        return " " * len(groups[0]) if any(_number_stands(each, on_record) for each in joined) else groups[0]

    def without_sums(parts: re.Match[str]) -> str:
        more, less = int(parts[1]), int(parts[2])
        sums = [Decimal(more * factor + less) for factor in FACTORS if less < factor]
        stands = any(each in place.plain for each in sums) or (less < 60 and more * 60 + less in on_record.apart)
        return " " * len(parts[0]) if stands else parts[0]

    def without_moments(dotted: re.Match[str]) -> str:
        days = {(day.month, day.day) for day in days_in(dotted[0])} & {(day.month, day.day) for day in place.days}
        times = place.times.intersection(clock_times_in(dotted[0], bare=False))
        return " " * len(dotted[0]) if days or times else dotted[0]

    found = []
    for pattern, without in ((_GROUPS, without_known), (_PARTS, without_sums), (_DOTTED, without_moments)):
        text = pattern.sub(without, text)
    for kind, value, several in values_in(text):
        if since is not None and (kind not in _LASTING or (kind == "date" and several[0].year in range(since))):
            continue
        stands = any(_stands(kind, each, on_record) for each in several)
        if not stands and (kind != "identifier" or _is_identifier(value, on_record)):
            found.append(AnswerFlaw(kind, value))
    return tuple(dict.fromkeys(found))


def _is_identifier(code: str, known: Known) -> bool:
    """Whether a code is no common word: it has three digits, no letters, or the form or letters of a code on record."""
    if sum(char.isdigit() for char in code) >= 3 or not _forms(code)[0]:
        return True
    return not known.forms.isdisjoint(_forms(code))


def _forms(code: str) -> tuple[str, str]:
    """The letters of a code, and its shape: `w` and `a-9` of *W-7* and of *w-12*."""
    low = folded(code)
    return "".join(re.findall(r"[^\W\d_]", low)), re.sub(r"[^\W\d_]", "a", re.sub(r"\d+", "9", low))


def values_in(text: str) -> Iterator[tuple[Kind, str, Sequence[Any]]]:
    """The values that an answer names: the kind of each, its text, and its readings."""
    rest = _LEFT_OUT.sub(lambda found: " " * len(found[0]), text)
    finders: tuple[tuple[Kind, Callable[[str], Iterator[tuple[int, int, list[Any]]]]], ...] = (
        ("date", written_days),
        ("time", written_times),
    )
    for named, spans in finders:
        for start, end, several in list(spans(rest)):
            if rest[start:end].strip():
                yield named, text[start:end].strip(_EDGES), several
                rest = rest[:start] + " " * (end - start) + rest[end:]
    for found in _TOKEN.finditer(rest):
        token = found[0].strip(_EDGES)
        if counted := _COUNTED.fullmatch(token):
            token = counted[1]
        kind = kind_of(token) if any(char.isdigit() or char == "@" for char in token) else None
        if kind in ("identifier", "email", "url") and not _UNIT.fullmatch(token):
            yield kind, token, [token]
        elif kind == "number" or (kind is None and token[:1] in "$€£~+-<>≈"):
            for numeral in NUMERALS.findall(token):
                yield "number", token, sorted(readings(numeral))


def _stands(kind: Kind, value: Any, known: Known) -> bool:
    place = known.place
    if kind == "date":
        return _day_stands(value, place)
    if kind == "time":
        minutes = {int(each) * unit for each in place.plain if each == int(each) < 600 for unit in (1, 60)}
        hour, minute = value
        return value in place.times or any(abs((hour - one) * 60 + minute - two) in minutes for one, two in place.times)
    if kind == "number":
        return _number_stands(value, known)
    return (kind == "identifier" and place.has_digits(value)) or place.has_code(value)


def _day_stands(value: Day, place: Evidence) -> bool:
    if value.year is None:
        return any((value.month, value.day) == (each.month, each.day) for each in place.days)
    apart = {abs((value.as_date - each).days) for each in place.dates}
    steps = {int(each) * unit for each in place.plain if each == int(each) < 1000 for unit in (1, 7)}
    return place.has_day(value.as_date) or bool(apart & steps)


def _number_stands(value: Decimal, known: Known) -> bool:
    places = -min(int(value.as_tuple().exponent), 0)
    half = Decimal(1).scaleb(-places) / 2  # what rounding to so many places may change
    if value in (0, 1) or known.place.has_number(value) or any(abs(each - value) <= half for each in known.numbers):
        return True
    return value in known.computed(places) or not known.apart.isdisjoint({value, value * 60})


def _few(days: set[Day]) -> list[date]:
    return [day.as_date for day in days if day.year is not None][:60]


def columns_of(result: Any) -> Iterator[list[Decimal]]:
    """The numbers that stand in each list of a result, by themselves or under the same name."""
    waiting = [result]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
            named: dict[str, list[Decimal]] = {}
            for item in each:
                for name, value in item.items() if isinstance(item, dict) else (("", item),):
                    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**15:
                        named.setdefault(str(name), []).append(Decimal(str(value)))
            yield from named.values()


def answer_from_records(
    records: Sequence[CallRecord], passages: Sequence[Passage] = (), citations: Sequence[str] = ()
) -> str:
    """The answer that replaces a flawed one: the receipts, and the passages that it cites."""
    lines = [receipt.text for receipt in receipts_of(records)]
    lines += [f"{each.title or each.id}: {each.text}" for each in passages if each.id in citations]
    return "\n".join(lines)
