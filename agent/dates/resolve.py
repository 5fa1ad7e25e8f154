"""What the calendar words of a text mean: `tomorrow`, `next Friday`, `the first Monday of June`, `a week later`.

The grammar is small and keeps silent where a phrase has two readings, because a wrong date does more harm than none.
Arithmetic is dateutil's; the words are data (`words`). No library fits: of the phrases in the tests, for which this was
made, dateparser 1.5 has the right days in 115 of 277, and it finds days in 182 of 226 texts that mean none.

Conventions: a week is Monday to Sunday. A bare weekday is the next one after today, on its own day a week ahead; `this`
Friday counts today and is ahead too; `next Friday` is the one in next week, in French, Spanish and Italian the coming
one, in German only where both agree. `last Friday` is the latest before today. A day and month without a year is the
next one, unless it passed in the last five months, when it may be either and gets no meaning. `next weekend` is next
week's. Slashes and dashes are read where one reading is possible, German points as day and month.
"""

from __future__ import annotations

import datetime
import functools
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dateutil.relativedelta import relativedelta
from dateutil.relativedelta import weekday as weekday_rule

from loraloop.agent.messages import DATES

from .words import ALSO, CURRENT, DUTCH, EITHER_SIDE, ENGLISH, FROM, GERMAN, LANGUAGES, TO, Language

Date = datetime.date
_LONGEST = 200_000  # characters of a text that are looked at
_SENTENCE = 300  # characters beside a date that may belong to its sentence
_GAP = 40  # characters in which the words beside a date are looked for
_DAY = datetime.timedelta(days=1)
_COUNTED = ("day", "fortnight")  # units that are no period of the calendar
_PERIODS = ("this", "next", "next either", "coming", "last", "after next", "following")
_OPEN = ("ahead", "ago", "following")  # a week that is not known from today alone
_LEAD = re.compile(rf"\b(?:{FROM})$", re.IGNORECASE)
_NO_NUMBER = r"(?<!\bto\s)(?<!\bor\s)(?<!\bhalf\s)(?<!\bthan\s)(?<!\d-)"  # `2 or 3 days ago`, `half a year ago`
# `Friday 27` may be a day of the month or not, `Friday 9 am` is none.
_NUMERAL = r"\s+\d{1,2}\b(?!\s*(?:am|pm|:|h\b|heures|uhr|o['’]clock|uur))"


@dataclass(frozen=True, slots=True)
class ResolvedDate:
    """The meaning of the calendar words of a text.

    Attributes:
        words: The words as written.
        start: The first day.
        end: The last day; equal to `start` for a single day.
    """

    words: str
    start: Date
    end: Date


@dataclass(frozen=True, slots=True)
class _Match:
    """Date words at a place of the text; `start` and `end` are None until they have a meaning."""

    kind: str
    first: int
    after: int
    language: Language
    words: re.Match[str]
    start: Date | None = None
    end: Date | None = None

    def group(self, *names: str) -> str | None:
        """The text of the first of these groups that took part."""
        found = self.words.groupdict()
        return next((found[name] for name in names if found.get(name)), None)


def date_note(resolved: Sequence[ResolvedDate]) -> str:
    """One line that says what the words mean; an empty string where there are none."""
    parts = dict.fromkeys(
        f"{date.words} = {date.start} ({date.start:%A})"
        if date.start == date.end
        else f"{date.words} = {date.start} to {date.end}"
        for date in resolved
    )
    return f"{DATES}{'; '.join(parts)}" if parts else ""


def stated_today(text: str) -> Date | None:
    """The day that a text states as the current one, such as `Today is Wednesday, 18 March 2026`.

    None where it states none, or two different ones.
    """
    found = set()
    for match in _matches(text):
        dated = match.kind == "iso" or (match.kind == "date" and re.search(r"\d{4}", match.words[0]))
        if dated and re.search(CURRENT, text[max(match.first - 60, 0) : match.first], re.IGNORECASE):
            found.add(_resolve(match, Date(2000, 1, 1), text).start)
    return found.pop() if len(found) == 1 else None


def resolve_dates(text: str, today: Date, earlier: Sequence[Date] = ()) -> tuple[ResolvedDate, ...]:
    """The calendar words of a text and the days that they mean.

    Args:
        text: What was written. Of a longer text, the first 200 000 characters are looked at.
        today: The day on which it was written.
        earlier: Dates that were spoken of before, the latest last: `the day after that` counts from it.
    """
    matches = [_resolve(match, today, text) for match in _matches(text)]
    found = _combined(matches, text, today, earlier[-1] if earlier else None)
    return tuple(
        ResolvedDate(_words(match, text), match.start, match.end)
        for match in found
        if match.start is not None and match.end is not None and match.kind != "iso"
    )


def _words(match: _Match, text: str) -> str:
    """The words of a match; the full stop behind `Mar.` may end the sentence, the one of `25.3.` may not."""
    words = text[match.first : match.after]
    return words if match.language is GERMAN else words.removesuffix(".")


# What is written


def _split(entry: str) -> tuple[str, str]:
    """The words of an entry that count alone, and all of them."""
    alone, _, more = entry.partition(";")
    return alone, f"{alone}|{more}" if more else alone


def _any_case(pattern: str) -> str:
    return re.sub(r"\(\?-i:(\w+)\)", r"\1", pattern)


@functools.cache
def _patterns() -> tuple[tuple[Language, str, re.Pattern[str]], ...]:
    iso = r"(?P<iso>\d{4}-\d\d-\d\d)(?:T[\d:.]+Z?)?(?![\w-])"
    patterns: list[tuple[Language, str, re.Pattern[str]]] = []
    for language in LANGUAGES:
        weekdays = "|".join(_split(entry)[1] for entry in language.weekdays)
        months = "|".join(_split(entry)[1] for entry in language.months)
        months_alone = "|".join(_split(entry)[0] for entry in language.months)
        units = "|".join(_split(entry)[1] for entry in language.units.values())
        periods = "|".join(_split(entry)[0] for unit, entry in language.units.items() if unit not in _COUNTED)
        parts = {
            "th": "(?:st|nd|rd|th)",
            "n": rf"{_NO_NUMBER}(?P<n>\d{{1,3}}|{'|'.join(language.numbers)})",
            "nth": f"(?P<nth>{'|'.join(language.ordinals)})",
            "unit": f"(?P<unit>{units})",
            "weekday": f"(?P<weekday>{weekdays})",
            "month": f"(?P<month>{months})",
            "month_alone": f"(?P<month>{months_alone})",
            "month_any": f"(?P<month>{_any_case(months)})",
            "period": f"(?P<unit>{periods})",
            "x": f"(?:(?P<unit>{periods})|(?P<weekday>{weekdays})|(?P<month>{months_alone}))",
            "d": r"(?<![\d.,:/])(?P<d>0?[1-9]|[12]\d|3[01])",
            "d2": r"(?P<d2>0?[1-9]|[12]\d|3[01])",
            "year": r"(?P<year>(?:19|20)\d\d)",
            "numeral_end": r"(?![\d%€$]|[:.,]\d|\s?(?:am|pm)\b)",
        }
        alone = "|".join(_split(entry)[0] for entry in language.weekdays)
        phrases = [
            *language.phrases,
            ("weekday", f"(?P<weekday>{alone})"),
            ("none", r"\({weekday}\)"),  # behind a date
            ("iso", rf"(?:(?:{weekdays}),? \(?)?{iso}"),
        ]
        for kind, template in phrases:
            if kind == "date":
                template = rf"(?:(?P<weekday>{weekdays})\.?,? (?:the |der |den )?)?(?:{template})"
            pattern = re.sub(r"\{([a-z]\w*)\}", functools.partial(_part, parts), template)
            patterns.append((language, kind, _compiled(pattern)))
        for words, distance in language.days.items():
            patterns.append((language, f"day {distance}", _compiled(words)))
    return tuple(patterns)


def _part(parts: Mapping[str, str], name: re.Match[str]) -> str:
    return parts[name[1]]


def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.replace(" ?", r"[^\S\n]*").replace(" ", r"[^\S\n]+")
    return re.compile(rf"(?<![\w@#/_.$€£])(?:{pattern})(?![\w@/_]|\.\w|-\d)", re.IGNORECASE)


def _matches(text: str) -> list[_Match]:
    """The date words of a text from left to right; where matches overlap, the longest counts."""
    text = text[:_LONGEST]
    everything = [
        _Match(kind, words.start(), words.end(), language, words)
        for language, kind, pattern in _patterns()
        for words in pattern.finditer(text)
    ]
    chosen: list[_Match] = []  # from left to right
    for match in sorted(everything, key=lambda each: each.first - each.after):
        place = bisect_left(chosen, match.first, key=lambda each: each.first)
        after_left = place == 0 or chosen[place - 1].after <= match.first
        if after_left and (place == len(chosen) or match.after <= chosen[place].first):
            chosen.insert(place, match)
    return chosen


# What each match means by itself


def _place(entries: Sequence[str], word: str) -> int:
    return next(
        place for place, entry in enumerate(entries) if re.fullmatch(_any_case(_split(entry)[1]), word, re.IGNORECASE)
    )


def _day(year: int, month: int, day: int) -> Date | None:
    try:
        return Date(year, month, day)
    except ValueError:
        return None


def _on(day: Date, weekday: int) -> Date:
    """The first such weekday from this day on."""
    found: Date = day + relativedelta(weekday=weekday_rule(weekday))
    return found


def _period(today: Date, unit: str, count: int = 0) -> tuple[Date, Date]:
    """The first and last day of the week, month, quarter, year or weekend that is `count` after the one of today."""
    monday = today - _DAY * today.weekday()
    if unit in ("week", "weekend"):
        start = monday + relativedelta(weeks=count, days=5 if unit == "weekend" else 0)
        return start, monday + relativedelta(weeks=count, days=6)
    months = {"month": 1, "quarter": 3, "year": 12}[unit]
    first = today.replace(month=(today.month - 1) // months * months + 1, day=1)
    start = first + relativedelta(months=months * count)
    return start, start + relativedelta(months=months) - _DAY


def _month(year: int, month: int) -> tuple[Date, Date]:
    return _period(Date(year, month, 1), "month")


def _soon(day: Date, today: Date) -> Date | None:
    """A day of this year, or next year's; None where it passed so lately that either may be meant."""
    if day >= today:
        return day
    return day + relativedelta(years=1) if day + relativedelta(months=5) < today else None


def _number(match: _Match) -> int:
    word = match.group("n")
    if word is None:
        return 1
    return int(word) if word.isdigit() else _place(match.language.numbers, word) + 1


def _unit(match: _Match) -> str | None:
    word = match.group("unit")
    return word and list(match.language.units)[_place(list(match.language.units.values()), word)]


def _later(day: Date, match: _Match, sign: int = 1) -> Date | None:
    unit, count = _unit(match) or "day", sign * _number(match)
    if unit in ("weekend", "quarter"):  # in a quarter of an hour
        return None
    try:
        unit, count = ("week", 2 * count) if unit == "fortnight" else (unit, count)
        found: Date = day + relativedelta(**{f"{unit}s": count})
        return found
    except (OverflowError, ValueError):  # a year past 9999
        return None


def _has(words: str, match: _Match, text: str) -> bool:
    """Whether the sentence of a match has one of these words."""
    before = re.split(r"[.!?\n]\s", text[max(match.first - _SENTENCE, 0) : match.first])[-1]
    sentence = before + re.split(r"[.!?\n](?:\s|$)", text[match.first : match.after + _SENTENCE])[0]
    return re.search(rf"\b(?:{words})\b", sentence, re.IGNORECASE) is not None


def _months_named(language: Language) -> str:
    """Words beside which a day without a month may be one of another month."""
    months = "|".join(_split(entry)[1] for entry in language.months)
    return rf"(?!may\s(?:i|we)\b)(?:{months}|{language.units['month'].replace(';', '|')})"


def _is_name(match: _Match, text: str) -> bool:
    """Whether capitals say that a day is part of a name: `the Sunday Times`, `play Yesterday`."""
    if match.language is GERMAN:
        return False
    if match.kind == "weekday" and re.match(r"\s[A-Z][a-z]", text[match.after : match.after + 3]):
        return True
    capital = text[match.first : match.after].istitle() and (match.kind != "weekday" or match.language is not ENGLISH)
    return capital and re.search(r"[\w,] *$", text[max(match.first - 9, 0) : match.first]) is not None


def _resolve(match: _Match, today: Date, text: str) -> _Match:
    try:
        span = _meaning(match, today, text)
    except (OverflowError, ValueError):  # a year past 9999
        span = None
    return match if span is None else replace(match, start=span[0], end=span[1])


def _meaning(match: _Match, today: Date, text: str) -> tuple[Date, Date] | None:
    kind = match.kind
    weekday, month, unit = match.group("weekday"), match.group("month"), _unit(match)
    number = _place(match.language.weekdays, weekday) if weekday else None
    day: Date | None = None
    past = kind in ("weekday", "date", "nth", "in month", "this weekend") and _has(match.language.past, match, text)
    if kind.startswith("day "):
        day = None if _is_name(match, text) else today + int(kind[4:]) * _DAY
    elif kind == "iso":
        day = Date.fromisoformat(match.words["iso"])
    elif kind == "ahead" and _has(match.language.rates, match, text):
        day = None
    elif kind in ("ahead", "ago"):
        day = _later(today, match, 1 if kind == "ahead" else -1)
    elif kind == "weekday":
        numeral = re.match(_NUMERAL, text[match.after : match.after + _GAP], re.IGNORECASE)
        unclear = past or numeral or _is_name(match, text)
        day = None if unclear or number is None else _on(today + _DAY, number)
    elif kind == "nth" and _has(_months_named(match.language), match, text):
        day = None  # `next month on the 25th`
    elif kind in ("date", "nth"):
        return _written(match, today, past)
    elif kind == "month" and match.group("year") and month:
        return _month(int(match.words["year"]), _place(match.language.months, month) + 1)
    elif kind == "in month" and month:
        return None if past else _named_period(match, today)
    elif kind == "this weekend" and not past:
        return _period(today, "weekend")
    elif kind == "after next" and unit:
        return None if unit == "day" else _period(today, unit, 2)
    elif kind in ("this", "next", "next either", "coming", "last"):
        return _beside(match, today, text, number)
    elif kind == "last of month":
        day = _period(today, "month")[1]
    return None if day is None else (day, day)


def _beside(match: _Match, today: Date, text: str, number: int | None) -> tuple[Date, Date] | None:
    """A weekday, month or period beside `this`, `next` or `last`."""
    kind = match.kind
    if number is not None:
        coming, in_next_week = _on(today + _DAY, number), _on(_period(today, "week", 1)[0], number)
        if kind == "next either" and coming != in_next_week:
            return None
        day = {
            "this": _on(today, number),
            "last": today + relativedelta(days=-1, weekday=weekday_rule(number)(-1)),
            "next": in_next_week,
        }.get(kind, coming)
        return day, day
    count = {"this": 0, "last": -1}.get(kind, 1)
    if month := match.group("month"):
        first = Date(today.year, _place(match.language.months, month) + 1, 1)
        if kind == "this":
            return _month(first.year, first.month)
        if kind == "last" and first.month != today.month:
            return _month(today.year - (first.month > today.month), first.month)
        return _month(today.year + 1, first.month) if kind != "last" and first.month <= today.month else None
    unit = _unit(match)
    if unit == "weekend" and kind == "coming":  # this week's, but *le week-end prochain* may be either
        count = int(today.weekday() > 4)
        unit = unit if match.language in (ENGLISH, GERMAN, DUTCH) else None
    months = "|".join(_any_case(_split(entry)[1]) for entry in match.language.months)
    inside = re.match(
        rf"\s(?:(?:of|before|im|des|di|de|van|in the)\b|in (?:{months})\b)",
        text[match.after : match.after + _GAP],
        re.I,
    )
    return None if unit is None or inside else _period(today, unit, count)


def _written(match: _Match, today: Date, past: bool) -> tuple[Date, Date] | None:
    """A date by its day, and its month and year if they are there."""
    year: int | None = int(match.words["year"]) if match.group("year") else None
    if figures := match.group("german", "slash", "slashed"):
        parts = [int(part) for part in re.findall(r"\d+", figures)]
        first, second, year = parts[0], parts[1], parts[2] if len(parts) > 2 else None
        if match.group("german") is None and first <= 12 and second <= 12 and first != second:
            return None
        day, month = (second, first) if second > 12 and match.group("german") is None else (first, second)
    else:
        day = int(match.words["d"])
        written = match.group("month")
        month = _place(match.language.months, written) + 1 if written else 0
    if month:
        start = _day(year or today.year, month, day) if month <= 12 else None
        if start and year is None:
            start = None if past else _soon(start, today)
    else:
        this = _day(today.year, today.month, day)
        month_after = _period(today, "month", 1)[0]
        start = None if past else this if this and this >= today else _day(month_after.year, month_after.month, day)
    weekday = match.group("weekday")
    if start is None or (weekday and start.weekday() != _place(match.language.weekdays, weekday)):
        return None
    if last := match.group("d2"):
        end = _day(start.year, start.month, int(last))
        return (start, end) if end and end > start else None
    return start, start


# What matches mean together


def _combined(matches: list[_Match], text: str, today: Date, anchor: Date | None) -> list[_Match]:
    """Joins neighbours (`end of` and `next month`, `from Monday` and `to Thursday`), and counts on from `anchor`."""
    joined: list[_Match] = []
    for match in _within_weeks(matches, text):
        if match.kind in ("later", "before") and (since := joined[-1].end if joined else anchor):
            day = _later(since, match, 1 if match.kind == "later" else -1)
            match = replace(match, start=day, end=day)
        try:
            if match.kind in ("that", "following") and (since := joined[-1].end if joined else anchor):
                match = _since(since, match)
            pair = _pair(joined[-1], match, text, today) if joined else None
        except (OverflowError, ValueError):  # a year past 9999
            pair = None
        if pair is not None:
            joined[-1:] = pair
        else:
            joined.append(match)
    return joined


def _since(day: Date, match: _Match) -> _Match:
    """`That Friday`, where this day is one, and the weekday or period that follows the day."""
    weekday, unit = match.group("weekday"), _unit(match)
    if weekday:
        coming = _on(day + _DAY * (match.kind == "following"), _place(match.language.weekdays, weekday))
        sure = match.kind == "following" or coming == day
        return replace(match, start=coming, end=coming) if sure else match
    start, end = _period(day, unit, 1) if unit else (None, None)
    return replace(match, start=start, end=end)


def _within_weeks(matches: list[_Match], text: str) -> list[_Match]:
    """Joins weekdays and their week: `next week on Tuesday`, `Friday and Saturday next week`."""
    found: list[_Match] = []
    for match in matches:
        left = found[-1] if found else None
        if left is None or not re.fullmatch(EITHER_SIDE, text[left.after : match.first], re.IGNORECASE):
            found.append(match)
        elif match.kind in _PERIODS and _unit(match) and left.kind == "same":
            found[-1] = replace(left, after=match.after)
        elif left.kind == "weekday" and _unit(match) == "week" and (match.start or match.kind in _OPEN):
            week = None if match.kind in _OPEN else match.start  # `Monday in two weeks` has two readings
            beside = len(found) - 1
            while beside and found[beside - 1].kind == "weekday":
                also = re.fullmatch(ALSO, text[found[beside - 1].after : found[beside].first], re.IGNORECASE)
                if not also or _has(left.language.moves, left, text):
                    break
                beside -= 1
            found[beside:] = [_in_week(each, week) for each in found[beside:]]
            found[-1] = replace(found[-1], after=match.after)
        elif left.kind in _PERIODS and _unit(left) and match.kind == "same":
            found[-1] = replace(match, first=left.first)
        elif match.kind == "weekday" and left.kind in _OPEN and _unit(left) not in (None, "day"):
            found[-1] = replace(_in_week(match, None), first=left.first)
        elif match.kind == "weekday" and _unit(left) == "week" and left.start:
            found[-1] = replace(_in_week(match, left.start), first=left.first)
        else:
            found.append(match)
    return found


def _in_week(match: _Match, week: Date | None) -> _Match:
    day = week and _on(week, _place(match.language.weekdays, match.words["weekday"]))
    return replace(match, kind="day", start=day, end=day)


def _pair(left: _Match, right: _Match, text: str, today: Date) -> list[_Match] | None:
    """What two neighbours mean together; None if they are apart, an empty list if together they mean nothing sure."""
    gap = text[left.after : right.first]
    unit, weekday = _unit(right), left.group("weekday")

    def both(start: Date, end: Date | None = None, kind: str = "day", first: int = left.first) -> list[_Match]:
        return [replace(left, kind=kind, first=first, after=right.after, start=start, end=end or start)]

    period = _named_period(right, today)
    if left.kind == "nth of" and not gap.strip() and period and unit in ("month", None):
        day = _day(period[0].year, period[0].month, int(left.words["d"]))
        return both(day) if day else []
    if left.kind in ("first of", "last of") and not gap.strip() and period:
        # Of a week it may be a day or a few, with the weekend or without.
        return [] if unit in ("week", "weekend", "day") else both(period[left.kind == "last of"])
    counted = right.kind in ("ahead", "ago") and right.start
    if left.kind.startswith(("day ", "weekday")) and left.start and counted and not gap.strip():
        # `morgen in einer Woche` counts from tomorrow, `Friday in a month` has two readings
        return both(right.start) if left.kind == "day 0" and right.start else []
    if left.kind in ("nth weekday", "last") and weekday and period and re.fullmatch(r"\s+(?:of|in|im|des)\s+|\s+", gap):
        if unit in ("week", "weekend", "day"):
            return []
        number, nth = _place(left.language.weekdays, weekday), left.group("nth")
        if nth is None:
            return both(period[1] + relativedelta(weekday=weekday_rule(number)(-1)))
        return both(period[0] + relativedelta(weekday=weekday_rule(number)(_place(left.language.ordinals, nth) + 1)))
    if left.kind in ("shift", "shift back") and not gap.strip() and right.start and right.start == right.end:
        day = _later(right.start, left, 1 if left.kind == "shift" else -1)
        return both(day) if day else []
    if right.kind == "weekday" and left.kind not in ("weekday", "span") and weekday and left.start:
        also = re.fullmatch(ALSO, gap, re.IGNORECASE)  # `next Friday or Saturday`
        day = also and _on(left.start + _DAY, _place(right.language.weekdays, right.words["weekday"]))
        right = replace(right, start=day, end=day) if day else right
        return _span(left, right, text) or [left, right]
    return _span(left, right, text)


def _named_period(match: _Match, today: Date) -> tuple[Date, Date] | None:
    """The month, week or year that stands behind `end of` or `first Monday of`."""
    unit, month = _unit(match), match.group("month")
    if match.kind == "period" and unit and unit != "day":
        return _period(today, unit)
    if match.kind in ("month", "in month") and month and match.start is None:
        last = _soon(_month(today.year, _place(match.language.months, month) + 1)[1], today)
        return _month(last.year, last.month) if last else None
    named = match.kind in ("this", "next", "next either", "coming", "last", "after next", "month", "in month")
    return (match.start, match.end) if named and match.start and match.end and (unit or month) else None


def _span(left: _Match, right: _Match, text: str) -> list[_Match] | None:
    """`from Monday to Thursday`: from one day to another, the second weekday counted from the first day."""
    gap = text[left.after : right.first]
    lead = _LEAD.search(text, max(left.first - _GAP, 0), left.first)
    joined = re.fullmatch(rf"\s*[-–]\s*|\s+(?:{TO})\s+(?:the\s+|le\s+|el\s+)?", gap, re.IGNORECASE)
    between = lead is not None and lead[0].lower().startswith("between")
    if not joined or ("and" in gap.lower().split()) != between:
        return None
    if left.start is None or left.start != left.end or right.start is None or right.start != right.end:
        return None
    end, moved = right.start, _has(left.language.moves, left, text)
    if right.kind == "weekday":
        counted = _on(left.start + _DAY, _place(right.language.weekdays, right.words["weekday"]))
        if moved:
            return [left, right] if counted == end else [left]
        end = counted
    if end <= left.start:
        return None
    if moved:
        return [left, right]
    first = lead.start() if lead else left.first
    kind = "iso" if left.kind == right.kind == "iso" else "span"
    return [replace(left, kind=kind, first=first, after=right.after, end=end)]
