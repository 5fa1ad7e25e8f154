"""Evidence: the numbers, dates, times, codes and names that stand in texts, in whatever usual format they are written.

Every reading that a text allows counts: *1,000* is a thousand and one, *3/4* the third of April and the fourth of
March. So a value that is found need not be right, and a value that is not found stands nowhere.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from difflib import SequenceMatcher

LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt", "da")
"""The languages whose number words are read."""
_MONTHS = (
    "jan jän ene gen", "feb fev fév", "mar mär mrz maa", "apr avr abr", "may mai maj mei mag", "jun juin giu",
    "jul juil lug", "aug aou aoû ago", "sep set", "oct okt out ott", "nov", "dec déc dez dic",
)  # fmt: skip
"""How the names of the months begin in the languages of Europe."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+(?:[.,]\d+)?(?!\d)")
_AND_HALF = re.compile(
    r"(?<![\d.,])(\d{1,15})\s(?:and|et|y|e|en|og)\s(?:an?\s|een\s|en\s)?(?:half|hal[vf]|demie?|medi[oa]|mezz[oa])\b"
)
_ISO = re.compile(r"(?<!\d)(\d{4})([-/.]?)(\d{2})\2(\d{2})(?!\d)")
_LOOSE_ISO = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"(?<!\d)(\d{1,2})\s?[./-]\s?(\d{1,2})(?:\s?[./-]\s?(\d{4}|\d{2}))?(?!\d)")
_FULL_DAY = r"(?<!\d)\d{1,2}[./-]\d{1,2}[./-]\d{4}(?!\d)"
_DAY = r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|er|\.|º|°|ª)?(?!\d)"
_OF_YEAR = r"(?:[\s,.]{0,3}(?:de[l]? )?(\d{4})(?!\d))?"
_DAY_MONTH = re.compile(
    _DAY + r"[\s-]{0,2}(?:(?:of|de|di|the) )?([^\W\d_]{3,10})\.?(?=\W|$)-?" + _OF_YEAR, re.IGNORECASE
)
_MONTH_DAY = re.compile(r"(?<![^\W\d_])([^\W\d_]{3,10})\.?[\s-]{1,2}(?:the )?" + _DAY + _OF_YEAR, re.IGNORECASE)
_MONTH = re.compile(r"(?<!\w)([^\W\d_]{3,10})\.?(?:[\s,]{1,2}(?:de[l]? )?(\d{4}))?(?!\w)", re.IGNORECASE)
_YEAR_MONTH = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})(?![-/.]?\d)")
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
_ORDINAL = re.compile(r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|\.|º|ª|er|e)(?!\w)")
_RANGE = re.compile(r"(\d{4}-\d{2}-\d{2}) to (\d{4}-\d{2}-\d{2})")
_CLOCK = re.compile(
    r"(?<![\d.,:])(\d{1,2})(?:\s?[:.h]\s?([0-5]\d))?(?:[:.][0-5]\d(?:[.,]\d+)?)?\s?(a\.?m\b|p\.?m\b)?(?!\d)",
    re.IGNORECASE,
)
_OCLOCK = re.compile(r"\s?(?:uhr|o['’]clock)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_JOINS = ("-", "/", ":", "_", "#")
_JOINED_BEFORE = re.compile(r"(?:[^\W\d_]|[-/:_]|\w#)\Z")  # *#7* stands by itself
_JOINED_AFTER = re.compile(r"[-/:_#]\w")
_NOON = {"noon": (12, 0), "midday": (12, 0), "midnight": (0, 0)}
DATES = "Dates:"
"""How a note of the runtime begins that says what the user's calendar words mean."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day as a text has it: *19 March* has no year.

    Attributes:
        month: Month, from 1.
        day: Day of the month, from 1.
        year: None where the text has none.
    """

    month: int
    day: int
    year: int | None = None

    @property
    def as_date(self) -> date:
        """The date.

        Raises:
            ValueError: It has no year.
        """
        if self.year is None:
            raise ValueError(f"{self} has no year")
        return date(self.year, self.month, self.day)

    def fits(self, when: date) -> bool:
        """Whether this date has its parts."""
        return (self.month, self.day) == (when.month, when.day) and self.year in (None, when.year)


def folded(text: str) -> str:
    """The text in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))


def readings(token: str) -> set[Decimal]:
    """The numbers that a numeral may stand for: `1.000` is 1 and 1000, `12,50` is 12.5."""
    parts = re.split(r"([.,])", token)
    digits, marks = parts[::2], parts[1::2]
    if not marks:
        return {Decimal(token)}
    found = {Decimal("".join(digits))} if all(len(each) == 3 for each in digits[1:]) else set()
    if len(marks) == 1 or (len(set(marks[:-1])) == 1 and marks[-1] != marks[0]):  # the last mark is a decimal one
        found.add(Decimal("".join(digits[:-1]) + "." + digits[-1]))
    if marks == [","] or (len(marks) > 1 and len(set(marks)) == 1):  # *5,7* and *1.2.3* may be several numbers
        found.update(map(Decimal, digits))
    if not found:  # *52.52,13.40*
        found.update(value for part in token.split(",") for value in readings(part))
    return found


def rounded(number: Decimal, places: int) -> Decimal:
    """A number rounded to so many places; as it is, where that takes more digits than are computed with."""
    try:
        return round(number, places)
    except InvalidOperation:
        return number


def month_of(word: str) -> int | None:
    """The number of the month that a word names; None for none."""
    low = word.casefold()
    return next((at for at, names in enumerate(_MONTHS, 1) if low.startswith(tuple(names.split()))), None)


def spelled_out(text: str) -> set[str]:
    """The text with its number words as digits, once for each language in which it has any."""
    from text_to_num import alpha2digit

    apart = _HYPHEN.sub(" ", text)  # *seven-sided*
    return {alpha2digit(apart, language, 0) for language in LANGUAGES} - {text}


def _full_year(text: str | None) -> int | None:
    return None if not text else int(text) + (2000 if len(text) == 2 else 0)


def valid_day(year: int | None, month: int, day: int) -> Day | None:
    """A day, if the calendar has it."""
    try:
        date(2000 if year is None else year, month, day)  # a leap year
    except ValueError:
        return None
    return Day(month, day, year)


def days_in(text: str) -> Iterator[Day]:
    """The days that a text names by their numbers, or by number and name of the month."""
    made: list[Day | None] = []
    for pattern in (_ISO, _LOOSE_ISO):
        for found in pattern.finditer(text):
            made.append(valid_day(int(found[1]), int(found[pattern.groups - 1]), int(found[pattern.groups])))
    rest = _LOOSE_ISO.sub(" ", text)  # the end of 2001-11-03 is no day of each year
    for found in _NUMERIC.finditer(rest):
        one, two, year = int(found[1]), int(found[2]), _full_year(found[3])
        made += [valid_day(year, two, one), valid_day(year, one, two)]
    for pattern, month_at in ((_DAY_MONTH, 2), (_MONTH_DAY, 1)):
        for found in pattern.finditer(text):
            if month := month_of(found[month_at]):
                made.append(valid_day(_full_year(found[3]), month, int(found[3 - month_at])))
    yield from (each for each in made if each is not None)


def written_days(text: str) -> Iterator[tuple[int, int, list[Day]]]:
    """Where a text names a day in full or by the name of its month, with each reading of it."""
    for found in re.finditer(rf"{_LOOSE_ISO.pattern}|{_FULL_DAY}", text):
        if days := list(days_in(found[0])):
            yield *found.span(), days
    for pattern, month_at in ((_DAY_MONTH, 2), (_MONTH_DAY, 1)):
        for found in pattern.finditer(text):
            month = month_of(found[month_at])
            day = valid_day(_full_year(found[3]), month, int(found[3 - month_at])) if month else None
            if day is not None:
                yield *found.span(), [day]


def written_times(text: str) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Where a text names a time of day with its minutes, before or after noon, or by the clock (*18 Uhr*)."""
    for found in _CLOCK.finditer(text):
        named = _OCLOCK.match(text, found.end())
        sure = named or found[3] or re.search("[:h]", found[0], re.IGNORECASE)
        times = list(clock_times_in(found[0], bare=named is not None)) if sure else []
        if times:
            yield *found.span(), times


def clock_times_in(text: str, bare: bool) -> Iterator[tuple[int, int]]:
    """The times of day that a text names, as hours and minutes; *half past five* is none of them.

    Args:
        text: Any.
        bare: Whether a number alone may be an hour, as in *at 5*.
    """
    for found in _CLOCK.finditer(text):
        if bare and not found[2] and text[max(found.start() - 1, 0) : found.start()] in _JOINS:  # of a code or a date
            continue
        hour, minute, half = int(found[1]), int(found[2] or 0), (found[3] or "").casefold()
        if hour > 24 or not (found[2] or half or bare):
            continue
        if half:
            yield hour % 12 + (12 if half.startswith("p") else 0), minute
            continue
        yield hour % 24, minute
        if hour < 12 and not found[1].startswith("0"):
            yield hour + 12, minute
    for found in re.finditer(r"\b(?:noon|midday|midnight)\b", text, re.IGNORECASE):
        yield _NOON[found[0].casefold()]


@dataclass(slots=True)
class Evidence:
    """The values and words that occur in some texts.

    Attributes:
        texts: The texts.
        numbers: The numbers, those within dates and codes too.
        plain: The numbers that stand by themselves, and may be counted with.
        amounts: Numbers that are no part of a day.
        days: The days.
        times: Hours and minutes.
        spoken: Numbers that are written as words. Many such words have other meanings too: *one*, *ein*.
        words: Words of letters, and runs of digits, folded.
    """

    texts: tuple[str, ...]
    numbers: set[Decimal] = field(default_factory=set)
    plain: set[Decimal] = field(default_factory=set)
    amounts: set[Decimal] = field(default_factory=set)
    days: set[Day] = field(default_factory=set)
    times: set[tuple[int, int]] = field(default_factory=set)
    spoken: set[tuple[int, int]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    _months: set[tuple[int, int | None]] = field(default_factory=set)
    _years: set[int] = field(default_factory=set)
    _ordinals: set[int] = field(default_factory=set)
    _ranges: list[tuple[date, date]] = field(default_factory=list)
    _squeezed: str = ""
    _starts: set[int] = field(default_factory=set)
    _ends: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, texts: Iterable[str], bare: bool = False) -> Evidence:
        """Reads texts.

        Args:
            texts: Any.
            bare: Whether a number alone may be an hour, as in *at 5*, in a text that has no other time of day.
        """
        made = cls(tuple(texts))
        for text in made.texts:
            for version in {text, *spelled_out(text)}:
                made._read(version, bare, spelled=version != text)
            made._squeeze(text)
        return made

    def __or__(self, other: Evidence) -> Evidence:
        """The values and words that occur in the texts of either."""
        made = Evidence((*self.texts, *other.texts))
        for name in (
            "numbers", "plain", "amounts", "days", "times", "spoken", "words", "_months", "_years", "_ordinals",
        ):  # fmt: skip
            setattr(made, name, getattr(self, name) | getattr(other, name))
        made._ranges = self._ranges + other._ranges
        moved = len(self._squeezed)
        made._squeezed = self._squeezed + other._squeezed
        made._starts = self._starts | {at + moved for at in other._starts}
        made._ends = self._ends | {at + moved for at in other._ends}
        return made

    def _read(self, text: str, bare: bool, spelled: bool) -> None:
        letters = list(text)
        for start, end, _ in written_days(text):
            letters[start:end] = " " * (end - start)
        undated = "".join(letters)
        for found in _NUMBER.finditer(text):
            values = readings(found[0])
            self.numbers |= values
            before, after = text[max(found.start() - 2, 0) : found.start()], text[found.end() : found.end() + 2]
            if not _JOINED_BEFORE.search(before) and not _JOINED_AFTER.match(after):
                self.plain |= values
                self.amounts |= values if undated[found.start()].isdigit() else set()
        whole = [readings(re.sub(r"[ \u00a0\u202f'’]", "", found[0])) for found in _GROUPED.finditer(text)]
        for values in (*whole, *({int(found[1]) + Decimal("0.5")} for found in _AND_HALF.finditer(text))):
            self.numbers |= values
            self.plain |= values
            self.amounts |= values
        self.days.update(days_in(text))
        times = set(clock_times_in(text, bare=False))
        hours = clock_times_in(undated, bare=True) if bare and not times else ()
        (self.spoken if spelled else self.times).update(times or hours)
        apart = text  # without its days, so that a day's month and year do not stand for their first and last days
        for pattern in (_ISO, _LOOSE_ISO, _NUMERIC, _DAY_MONTH, _MONTH_DAY):
            apart = pattern.sub(" ", apart)
        self._years.update(int(found[0]) for found in _YEAR.finditer(apart))
        for found in _MONTH.finditer(apart):
            if month := month_of(found[1]):
                self._months.add((month, _full_year(found[2])))
        for found in _YEAR_MONTH.finditer(text):
            if 1 <= int(found[2]) <= 12:
                self._months.add((int(found[2]), int(found[1])))
        self._ordinals.update(int(found[1]) for found in _ORDINAL.finditer(text))
        if text.startswith(DATES):
            for found in _RANGE.finditer(text):
                self._ranges.append((date.fromisoformat(found[1]), date.fromisoformat(found[2])))
        self.words.update(_WORD.findall(folded(text)))

    def _squeeze(self, text: str) -> None:
        """Adds a text to the letters and digits of all texts, with the places where a token begins or ends."""
        pieces, at = [self._squeezed], len(self._squeezed)
        for line in folded(text).splitlines():
            pieces.append("\n")  # no code goes on over the end of a line
            at += 1
            for word in _WORD.findall(line):
                self._starts.add(at)
                at += len(word)
                self._ends.add(at)
                pieces.append(word)
        self._squeezed = "".join(pieces)

    def has_code(self, code: str) -> bool:
        """Whether letters and digits of a code, a name or an address stand somewhere, whatever is between them.

        `A-12` stands in *order a 12*, and not in *a 123*.
        """
        wanted = "".join(_WORD.findall(folded(code)))
        at = self._squeezed.find(wanted) if wanted else -1
        while at >= 0:
            if at in self._starts and at + len(wanted) in self._ends:
                return True
            at = self._squeezed.find(wanted, at + 1)
        return False

    def has_digits(self, code: str) -> bool:
        """Whether the digits of a code stand somewhere, where they say enough.

        One run of them has three or more, or there are three runs, which stand together: *1.2.3* for `v1.2.3`.
        """
        runs = re.findall(r"\d+", code)
        if any(len(run) >= 3 for run in runs) and self.words.issuperset(runs):
            return True
        whole = re.search(r"\d[\d.]*\.[\d.]*\d", code)
        return len(runs) >= 3 and whole is not None and self.has_code(whole[0])

    def has_number(self, value: Decimal) -> bool:
        """Whether a number stands somewhere, with either sign."""
        return value.copy_abs() in self.numbers

    def has_day(self, when: date) -> bool:
        """Whether a date stands somewhere, as such or as a part of what is named.

        A named month or year stands for its first and last day, an ordinal number (*the 19th*) for that day of the two
        months after a date that stands somewhere, a range of a note about dates for each of its days.
        """
        if any(day.fits(when) for day in self.days) or any(first <= when <= last for first, last in self._ranges):
            return True
        if when.day in (1, monthrange(when.year, when.month)[1]):
            if any(month == when.month and year in (None, when.year) for month, year in self._months):
                return True
            if (when.month, when.day) in ((1, 1), (12, 31)) and when.year in self._years:
                return True
        return when.day in self._ordinals and any(0 <= (when - day).days <= 62 for day in self.dates)

    @property
    def dates(self) -> set[date]:
        """The days that have a year."""
        return {day.as_date for day in self.days if day.year is not None}

    def has_beginning(self, letters: str) -> bool:
        """Whether folded letters are a word that stands somewhere, or the beginning of one of four letters or more."""
        return any(word == letters or (len(word) > 3 and word.startswith(letters)) for word in self.words)

    def has_word(self, word: str) -> bool:
        """Whether a word stands somewhere, with another ending or nearly so (*Annas*, *Jonh*)."""
        wanted = folded(word)
        if wanted in self.words:
            return True
        if len(wanted) < 3 or wanted.isdigit():
            return False
        for each in self.words:
            if abs(len(each) - len(wanted)) > 3 or len(each) < 3:
                continue
            if each.startswith(wanted) or (len(each) > 3 and wanted.startswith(each)):
                return True
            if each[0] == wanted[0] and SequenceMatcher(None, each, wanted).ratio() >= 0.75:
                return True
        return False
