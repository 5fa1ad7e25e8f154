"""Whether a text states a fact: a number, a date, a time or words, in any usual way of writing and not negated.

Months, small numbers and negations are known in English, German, French, Spanish, Italian and Dutch.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Any

MONTHS = (
    "jan|gen|ene", "feb|fev", "mar|maerz|mrt|maart", "apr|avr|abr", "may|mai|mei|mag", "jun|juin|giu",
    "jul|juil|lug", "aug|aou|ago", "sep|set", "oct|okt|ott", "nov", "dec|dez|dic",
)  # fmt: skip
"""How the names of the months begin, without accents."""
WORDS = {
    0: "zero", 1: "one", 2: "two|zwei|deux|dos|due|twee", 3: "three|drei|trois|tres|tre|drie",
    4: "four|vier|quatre|cuatro|quattro", 5: "five|funf|cinq|cinco|cinque|vijf", 6: "six|sechs|seis|sei|zes",
    7: "seven|sieben|sept|siete|sette|zeven", 8: "eight|acht|huit|ocho|otto", 9: "nine|neun|neuf|nueve|nove|negen",
    10: "ten|zehn|dix|diez|dieci|tien", 11: "eleven|elf|onze|once|undici", 12: "twelve|zwolf|douze|doce|dodici|twaalf",
}  # fmt: skip
NEGATION = re.compile(
    r"\b(?:not|no|never|without|cannot|\w+n't|nicht|kein\w*|pas|non|niet|geen|sin|senza)[ -]+(?:[\w'-]+ ){0,2}$"
)
UNIT = r"(?:eur|euros?|[hcx]|min|pcs|k?g|k?m|cm|pages?)\b"
NUMBER = re.compile(
    rf"(?<!\w)(?<![\w.,:/]-)(?<!\d[.,:/'])-?\d+(?:[.,' ]\d{{3}}(?!\d))*(?:[.,]\d+)?"
    rf"(?!\d)(?![.,:/'-]\d)(?!(?!{UNIT})[a-z])"
)


def normal(text: str) -> str:
    """A text without case, accents and marks of emphasis, with plain quotes and dashes, and single spaces."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = text.translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"', ord("*"): "", ord("`"): ""})
    return " ".join(re.sub("[\u2010-\u2015\u2212]", "-", text).split())


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
    """Where a number stands by itself: with a point or a comma, with thousands apart, or as a word."""
    found = []
    for match in NUMBER.finditer(text):
        digits = re.sub("[' ]", "", match[0])
        readings = {digits.replace(",", ""), digits.replace(".", "").replace(",", ".")}
        if re.fullmatch(r"-?\d+(?:\.\d{1,2}|,\d{1,2})?", digits):  # one separator with one or two digits: a decimal
            readings = {digits.replace(",", ".")}
        elif re.fullmatch(r"-?[1-9]\d{0,2}(?:[.,]\d{3})+", digits):  # only thousands
            readings = {re.sub("[.,]", "", digits)}
        for reading in readings:
            try:
                if float(reading) == value:
                    found.append(match.start())
                    break
            except ValueError:
                continue
    if value in WORDS:
        found += _found(text, [rf"\b(?:{WORDS[int(value)]})\b"])
    return found


def _dates(day: date) -> list[str]:
    name = rf"(?:{MONTHS[day.month - 1]})[a-z]*\.?"
    number = rf"0?{day.day}"
    return [
        day.isoformat(),
        rf"(?<![\d.:,]){number}(?:st|nd|rd|th|er|\.)? ?(?:of |de |di |d')?{name}(?![a-z])",
        rf"(?<![a-z]){name} (?:the )?{number}(?:st|nd|rd|th)?(?![\d:])",
        rf"(?<![\d./]){number}[./] ?0?{day.month}(?![\d])",
        rf"(?<![\d./])0?{day.month}/{number}(?!\d)",
        rf"(?<![\d./-]){number}-0?{day.month}(?:-{day.year})?(?!\d)",
    ]


def _times(hour: int, minute: int) -> list[str]:
    half = "p" if hour >= 12 else "a"
    clock = hour % 12 or 12
    found = [
        rf"(?<![\d:.])0?{hour} ?[:.h] ?{minute:02d}(?!\d)",
        rf"(?<![\d:.]){clock}[:.]{minute:02d} ?{half}\.? ?m\b",
    ]
    if minute == 0:
        found += [
            rf"(?<![\d:.]){clock} ?{half}\.? ?m\b",
            rf"(?<![\d:.])0?{hour} ?(?:h|uhr|heures?|uur)\b",
            rf"(?<![\d:.])(?:{hour}|{clock}) o'?clock",
            rf"\b(?:at|a las|alle|um|om) (?:{hour}|{clock})(?![\d:.,]*\d)",
        ]
    return found
