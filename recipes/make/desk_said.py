"""What people say to a desk: texts by situation, days and times in words, typing errors."""

from __future__ import annotations

import datetime
import json
import random
import re
from typing import Any

from desk_world import HERE, TABLE

from loraloop.agent.dates.resolve import resolve_dates

MONTHS, SOON, ON, WEEKDAYS, MODES = (TABLE[key] for key in ("months", "soon", "upon", "weekdays", "modes"))
WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def dumps(value: Any) -> str:
    """Compact JSON, as calls and results stand in transcripts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_said() -> dict[str, list[str]]:
    """The texts of `desks_said.txt` by situation."""
    blocks = re.split(r"^@", (HERE / "desks_said.txt").read_text(), flags=re.M)[1:]
    return {block.split("\n", 1)[0].strip(): block.strip().split("\n")[1:] for block in blocks}


SAID = read_said()
URGENCY = {line.split(":")[0]: [each.strip() for each in line.split(":")[1].split("|")] for line in SAID["urgency"]}


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd and so on."""
    ending = "th" if 3 < number < 21 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def day_said(
    day: datetime.date, today: datetime.date, rng: random.Random, lang: str = "en", alone: bool = False
) -> str:
    """A day as people say it, in words that the runtime reads as that day or not at all.

    Args: as `_day_said`.
    """
    while True:
        said = _day_said(day, today, rng, lang, alone)
        if all(day == found.start for found in resolve_dates(said, today)):
            return said


def _day_said(day: datetime.date, today: datetime.date, rng: random.Random, lang: str, alone: bool) -> str:
    """A day as people say it.

    Args:
        day: It.
        today: Relative to when.
        rng: Which of the ways.
        lang: In which language.
        alone: Whether it stands for itself in a foreign text, not after a word for "to".
    """
    month, ahead = MONTHS.get(lang, MONTHS["en"]).split()[day.month - 1], (day - today).days
    if lang in ON:
        if alone and ahead in (0, 1):
            return SOON[lang][ahead]
        if alone and 1 < ahead < 7 and rng.random() < 0.5:
            return str(WEEKDAYS[lang].split(", ")[day.weekday()])
        said = ON[lang].format(day.day, month)
        return said if alone else said.replace("am ", "den ") if lang == "de" else said.split(" ", 1)[1]
    weekday = f"{day:%A}"
    ways = [
        f"on {day.day} {month}",
        f"on {month} {day.day}",
        f"on {weekday}, {day.day} {month}",
        f"on {day.isoformat()}",
        f"on {day.day} {month} {day.year}",
        f"on the {ordinal(day.day)} of {month}",
        f"on {month} {ordinal(day.day)}",
    ]
    near = {
        0: ["today"] * 3,
        1: ["tomorrow"] * 4,
        2: ["the day after tomorrow"] * 3,
        7: ["in a week", "a week from today"],
    }
    ways += near.get(ahead, ["in two weeks"] if ahead == 14 else [])
    if 0 < ahead < 7:
        ways += [f"on {weekday}", f"on {weekday}", f"this {weekday}", f"this coming {weekday}"] * 2
    if 7 <= ahead + today.weekday() < 14:
        ways += [f"on {weekday} next week", f"on {weekday} of next week", f"next week on {weekday}"]
    if ahead > 20 and (day + datetime.timedelta(1)).day == 1:
        ways += [f"on the last day of {month}"] * 3
    if 2 < ahead < 12:
        ways.append(f"in {WORDS[ahead - 2]} days")
    if 0 < ahead < 25:
        ways += [f"on the {ordinal(day.day)}"] * 2
    return rng.choice(ways)


def span_said(start: datetime.date, today: datetime.date, rng: random.Random) -> tuple[str, str, str]:
    """A span of days that begins then: as people say it, its first and its last day."""
    days = rng.randint(1, 6)
    end = start + datetime.timedelta(days)
    first = re.sub("^on ", "", day_said(start, today, rng))
    if rng.random() < 0.4:
        said = f"for {('one', *WORDS)[days - 1]} night{'s' if days > 1 else ''} from {first}"
    else:
        said = f"from {first} {rng.choice(('to', 'till', 'until'))} {re.sub('^on ', '', day_said(end, today, rng))}"
    return said, start.isoformat(), end.isoformat()


def time_said(rng: random.Random) -> tuple[str, str]:
    """A time of day: as people say it, and as HH:MM."""
    hour, quarter = rng.randint(8, 18), rng.choice((0, 0, 30, 15, 45))
    value, twelve = f"{hour:02}:{quarter:02}", (hour - 1) % 12 + 1
    part = "in the morning" if hour < 12 else "in the afternoon"
    word = ("one", *WORDS)[twelve - 1]
    ways = [f"at {value}", f"at {twelve}{'' if not quarter else f':{quarter:02}'} {'am' if hour < 12 else 'pm'}"]
    if quarter == 30:
        ways.append(f"at half past {word} {part}")
    if quarter == 0:
        ways.append("at noon" if hour == 12 else f"at {word} {part}")
    return " " + rng.choice(ways), value


def mistyped(text: str, rng: random.Random) -> str:
    """The text with an error or two in ordinary words."""
    words = text.split(" ")
    places = [at for at, word in enumerate(words) if re.fullmatch("[a-z]{4,}", word)]
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        word = words[place]
        at = rng.randrange(1, len(word) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[place] = rng.choice((word[:at] + word[at + 1 :], swapped, word[:at] + word[at] + word[at:]))
    return " ".join(words)
