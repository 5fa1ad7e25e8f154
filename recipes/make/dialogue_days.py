"""Moves the days of a dialogue: its text and its values agree on another *today*.

SGD's dialogues are held on Friday, 1 March 2019, and speak of the two weeks that follow. A move keeps every distance in
days. Words that stay true wherever today is (*tomorrow*, *day after tomorrow*) are kept. Others (*March 9th*, *the
9th*, *Tuesday next week*) are written anew for the new day.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

TODAY = date(2019, 3, 1)
"""The day on which SGD's dialogues are held."""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
ISO = re.compile(r"\b(20\d\d)-(\d\d)-(\d\d)\b")
_DAY = "|".join(DAYS)
_WEEKDAY = re.compile(
    rf"\b(?:(?P<before>this|next|coming|this coming) )?(?P<day>{_DAY})\b(?P<after>,? (?:this|next) week)?",
    re.IGNORECASE,
)
_MONTH_DAY = re.compile(r"\bMarch (?P<day>\d{1,2})(?P<end>st|nd|rd|th)?\b(?P<year>,? 2019)?", re.IGNORECASE)
_DAY_MONTH = re.compile(
    r"\b(?P<day>\d{1,2})(?P<end>st|nd|rd|th) (?:day )?of (?P<month>March|this month|the month)\b(?P<year>,? 2019)?",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\b(?P<the>the|on|by|until|till) (?P<day>\d{1,2})(?:st|nd|rd|th)\b"
    r"(?! (?:of|street|st\b|ave|floor|one|avenue|row|century))",
    re.IGNORECASE,
)
_LEFT = re.compile(r"\b(?:March|this month|next month|this week|next week|weekend)\b|\b0?3/\d{1,2}\b", re.IGNORECASE)
MARK = "\x00"


class CannotMove(ValueError):
    """The dialogue speaks of days in words that cannot be written anew."""


@dataclass(frozen=True, slots=True)
class Move:
    """A new *today* for a dialogue."""

    today: date

    @property
    def days(self) -> int:
        """How far everything moves."""
        return (self.today - TODAY).days

    def value(self, value: Any) -> Any:
        """A JSON value with its ISO days moved."""
        if isinstance(value, str):
            return ISO.sub(lambda found: self._moved(date(*map(int, found.groups()))).isoformat(), value)
        if isinstance(value, dict):
            return {name: self.value(inner) for name, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list) else value

    def text(self, text: str) -> str:
        """A text with the days that it speaks of moved.

        Raises:
            CannotMove: It speaks of days in other words.
        """
        kept: list[str] = []

        def keep(words: str) -> str:
            kept.append(words)
            return f"{MARK}{len(kept) - 1}{MARK}"

        text = ISO.sub(lambda found: keep(self.value(found.group())), text)
        text = _MONTH_DAY.sub(lambda found: keep(self._month_day(found)), text)
        text = _DAY_MONTH.sub(lambda found: keep(self._day_month(found)), text)
        text = _BARE.sub(lambda found: keep(f"{found['the']} {ordinal(self._of_march(found['day']).day)}"), text)
        text = _WEEKDAY.sub(lambda found: keep(self._weekday(found)), text)
        if _LEFT.search(text):
            raise CannotMove(text)
        return re.sub(rf"{MARK}(\d+){MARK}", lambda found: kept[int(found[1])], text)

    def _moved(self, day: date) -> date:
        return day + timedelta(self.days)

    def _of_march(self, day: str) -> date:
        try:
            return self._moved(date(2019, 3, int(day)))
        except ValueError:
            raise CannotMove(day) from None

    def _month_day(self, found: re.Match[str]) -> str:
        day = self._of_march(found["day"])
        number = ordinal(day.day) if found["end"] else str(day.day)
        return f"{MONTHS[day.month - 1]} {number}" + _year(found["year"], day)

    def _day_month(self, found: re.Match[str]) -> str:
        day = self._of_march(found["day"])
        here = found["month"].lower() != "march" and day.month == self.today.month
        month = found["month"] if here else MONTHS[day.month - 1]
        return f"{ordinal(day.day)} of {month}" + _year(found["year"], day)

    def _weekday(self, found: re.Match[str]) -> str:
        """A weekday's words for the same distance from the new today."""
        after = (found["after"] or "").lower()
        if self.days % 7 == 0:
            return found.group()
        before, place = (found["before"] or "").lower(), DAYS.index(found["day"].capitalize())
        ahead = place + 3 if "next" in after else (place - TODAY.weekday()) % 7 or 7
        if (
            ("this week" in after and ahead > 2)
            or (before == "next" and place > 4)
            or (before == "this" and ahead == 7)
        ):
            raise CannotMove(found.group())  # a day that is over, or either of two days
        day = self.today + timedelta(ahead)
        name = DAYS[day.weekday()] if found["day"][0].isupper() else DAYS[day.weekday()].lower()
        if not after and before != "next":
            return f"{found['before']} {name}" if found["before"] else name
        weeks = (day - timedelta(day.weekday()) - (self.today - timedelta(self.today.weekday()))).days // 7
        if weeks > 1:
            raise CannotMove(found.group())
        if after:
            return f"{name} {'next' if weeks else 'this'} week"
        return f"{found['before']} {name}" if weeks else f"this {name}"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th` …"""
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def speaks_of_weekdays(text: str) -> bool:
    """Whether a text names a day of the week."""
    return _WEEKDAY.search(text) is not None


def random_move(rng: random.Random, whole_weeks: bool) -> Move:
    """A move to a day between 2023 and 2028.

    Args:
        rng: Draws the day.
        whole_weeks: Whether today has to stay a Friday.
    """
    days = rng.randrange((date(2023, 1, 1) - TODAY).days, (date(2028, 12, 1) - TODAY).days)
    return Move(TODAY + timedelta(days - days % 7 if whole_weeks else days))


def written(day: date, rng: random.Random) -> str:
    """A day in one of the forms in which instructions give it."""
    weekday, month = DAYS[day.weekday()], MONTHS[day.month - 1]
    return rng.choice(
        (
            f"{weekday}, {day.isoformat()}",
            f"{day.isoformat()} ({weekday})",
            f"{weekday}, {month} {day.day}, {day.year}",
            f"{weekday}, {day.day} {month} {day.year}",
            f"{weekday} {ordinal(day.day)} {month} {day.year}",
            day.isoformat(),
        )
    )


def _year(given: str | None, day: date) -> str:
    return given.replace("2019", str(day.year)) if given else ""
