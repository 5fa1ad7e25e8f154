"""An orchestra's office: rehearsals by week, instrumentation of works, musicians by section, leave and substitutes."""

import copy
import random
from datetime import date, timedelta
from typing import Any, Literal

Section = Literal["violin", "viola", "cello", "flute", "oboe", "clarinet", "horn", "trumpet", "percussion"]
SECTIONS = ("violin", "viola", "cello", "flute", "oboe", "clarinet", "horn", "trumpet", "percussion")
WORKS = {
    "The Fjord": "Hallgren", "Three Nocturnes": "Amaro", "Sinfonia breve": "Castellino",
    "Harvest Overture": "Whitcombe", "Concerto in D": "Lemaire", "Steel Dances": "Okafor",
    "Elegy for Winds": "Brandt", "City Serenade": "Kimura",
    "Winter Journey Suite": "Novy", "Fanfare of the Gates": "Ashdown",
}  # fmt: skip
FIRST = (
    "Alma",
    "Benno",
    "Clio",
    "Davor",
    "Edda",
    "Florin",
    "Gitta",
    "Henrik",
    "Ilse",
    "Jaro",
    "Kaja",
    "Leon",
    "Mira",
    "Nikos",
)
LAST = ("Ahlberg", "Boros", "Cerny", "Dietz", "Estevez", "Fabre", "Gallo", "Heller", "Imhof", "Jelinek")
HALLS = ("Great Hall", "Chamber Hall", "Probebühne")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    works = {
        title: {
            "composer": composer,
            "duration": f"PT{rng.randrange(7, 48)}M",
            "players": {
                section: rng.randrange(0 if place > 2 else 6, 5 if place > 2 else 14)
                for place, section in enumerate(SECTIONS)
            },
        }
        for title, composer in WORKS.items()
    }
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], 34)
    musicians = {
        name: {"section": SECTIONS[place % 9], "chair": place // 9 + 1, "leave": []}
        for place, name in enumerate(names[:22])
    }
    substitutes = {
        f"sub{rng.randrange(100, 999)}": {
            "name": name,
            "section": SECTIONS[place % 9],
            "fee": rng.randrange(9, 24) * 10,
            "busy_on": [],
        }
        for place, name in enumerate([*names[22:], *rng.sample([f"{f} van {n}" for f in FIRST for n in LAST], 6)])
    }
    rehearsals: dict[str, Any] = {}
    for place, day in enumerate(sorted(rng.sample(range(40), 20))):
        when = date(2027, 9, 13) + timedelta(days=day)
        year, week, _ = when.isocalendar()
        rehearsals[f"PR{rng.randrange(10, 99)}{place:02d}"] = {
            "week": f"{year}-W{week:02d}",
            "start": f"{when.isoformat()}T{rng.choice(('10:00', '14:30', '18:00'))}",
            "length": rng.choice(("PT2H", "PT2H30M", "PT3H")),
            "hall": rng.choice(HALLS),
            "works": rng.sample(sorted(WORKS), 2),
        }
    STATE.clear()
    STATE.update(works=works, musicians=musicians, substitutes=substitutes, rehearsals=rehearsals, engaged=[], memos=[])
    return STATE


def week_plan(week: str) -> dict[str, Any]:
    """The rehearsals of a calendar week.

    Args:
        week: ISO week: year, -W, two digits.
    """
    found = [
        {"rehearsal": key, "start": each["start"], "hall": each["hall"]}
        for key, each in STATE["rehearsals"].items()
        if each["week"] == week
    ]
    return {"week": week, "rehearsals": found}


def rehearsal_info(rehearsal: str) -> dict[str, Any]:
    """Start, length (ISO 8601 duration), hall and works of a rehearsal.

    Args:
        rehearsal: PR and four digits.
    """
    if rehearsal not in STATE["rehearsals"]:
        raise ValueError(f"no rehearsal {rehearsal}; week_plan lists those of a week")
    return {"rehearsal": rehearsal, **STATE["rehearsals"][rehearsal]}


def work_info(title: str) -> dict[str, Any]:
    """Composer, duration (ISO 8601) and how many players of each section a work needs.

    Args:
        title: Title of the work.
    """
    for name, work in STATE["works"].items():
        if name.casefold() == title.casefold():
            return {"title": name, **work}
    return {"title": title, "error": "not in our library"}


def musician_info(name: str) -> dict[str, Any]:
    """Section, chair and leave of a musician of the orchestra.

    Args:
        name: First name and surname.
    """
    if name not in STATE["musicians"]:
        raise ValueError(f"{name} is not a member of the orchestra")
    return {"name": name, **copy.deepcopy(STATE["musicians"][name])}


def record_leave(
    name: str, first_day: str, last_day: str, cause: Literal["illness", "holiday", "teaching", "family"]
) -> dict[str, Any]:
    """Write down that a musician is away.

    Args:
        name: First name and surname.
        first_day: YYYY-MM-DD.
        last_day: YYYY-MM-DD, included.
        cause: Why.
    """
    found = musician_info(name)
    STATE["musicians"][name]["leave"].append([first_day, last_day])
    missed = sum(first_day <= each["start"][:10] <= last_day for each in STATE["rehearsals"].values())
    return {"recorded": True, "section": found["section"], "rehearsals_missed": missed, "cause": cause}


def available_substitutes(section: Section, day: str) -> list[dict[str, Any]]:
    """Substitutes of a section who are free on a day, with their fee in euros. Engages nobody.

    Args:
        section: Instrument.
        day: YYYY-MM-DD.
    """
    return [
        {"substitute": key, "name": each["name"], "fee": each["fee"]}
        for key, each in STATE["substitutes"].items()
        if each["section"] == section and day not in each["busy_on"]
    ]


def substitute_card(name: str) -> dict[str, Any]:
    """Id, section and fee of a substitute.

    Args:
        name: First name and surname.
    """
    for key, each in STATE["substitutes"].items():
        if each["name"].casefold() == name.casefold():
            return {"substitute": key, "name": each["name"], "section": each["section"], "fee": each["fee"]}
    return {"name": name, "error": "not among the substitutes"}


def engage_substitute(
    substitute: str, rehearsal: str, role: Literal["tutti", "principal", "standby"] = "tutti"
) -> dict[str, Any]:
    """Engage a substitute for a rehearsal.

    Args:
        substitute: Id of the substitute.
        rehearsal: PR and four digits.
        role: Plays in the group (tutti), leads it (principal), or stays at home within reach (standby).
    """
    day = rehearsal_info(rehearsal)["start"][:10]
    if substitute not in STATE["substitutes"]:
        raise ValueError(f"no substitute {substitute}")
    found = STATE["substitutes"][substitute]
    found["busy_on"].append(day)
    STATE["engaged"].append({"substitute": substitute, "rehearsal": rehearsal, "role": role})
    return {"engaged": found["name"], "day": day, "fee": found["fee"], "contract": f"C{substitute[3:]}/{rehearsal[2:]}"}


def shift_rehearsal(rehearsal: str, new_start: str, hall: str | None = None) -> dict[str, Any]:
    """Give a rehearsal another start, and maybe another hall. Everybody is informed.

    Args:
        rehearsal: PR and four digits.
        new_start: YYYY-MM-DDTHH:MM.
        hall: Great Hall, Chamber Hall or Probebühne; left out if it stays where it is.
    """
    found = rehearsal_info(rehearsal)
    for other, each in STATE["rehearsals"].items():
        if other != rehearsal and each["start"] == new_start and each["hall"] == (hall or found["hall"]):
            return {"shifted": False, "error": f"{each['hall']} is taken by {other} then"}
    STATE["rehearsals"][rehearsal].update(start=new_start, hall=hall or found["hall"])
    return {"shifted": True, "start": new_start, "hall": hall or found["hall"]}


def memo_to_section(section: Section, memo: str, keep: Literal["day", "week", "season"] = "week") -> str:
    """Pin a memo to the board of a section.

    Args:
        section: Whose board.
        memo: What it says.
        keep: How long it hangs there: today (day), a week, or to the end of the season in June.
    """
    STATE["memos"].append({"section": section, "memo": memo, "keep": keep})
    return "pinned"


def gap(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal that lacks a player of a section, and the cheapest substitute for it."""
    rehearsal = rng.choice(sorted(STATE["rehearsals"]))
    day = STATE["rehearsals"][rehearsal]["start"][:10]
    section = rng.choice(SECTIONS)
    free = available_substitutes(section, day)  # type: ignore[arg-type]
    cheapest = min(free, key=lambda each: each["fee"])
    return {
        "rehearsal": rehearsal,
        "day": day,
        "section": section,
        "count": len(free),
        "who": cheapest["substitute"],
        "name": cheapest["name"],
        "fee": cheapest["fee"],
    }


def two_fees(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal that lacks a player of a section whose substitutes have different fees."""
    while True:
        found = gap(rng, slots)
        fees = [each["fee"] for each in available_substitutes(found["section"], found["day"])]
        if len(fees) > 1 and len(set(fees)) == len(fees):
            when = date.fromisoformat(found["day"])
            return {**found, "said": f"{when.day} {when:%B}"}


def _by_hall(rng: random.Random, great: bool) -> dict[str, Any]:
    found = [key for key, each in sorted(STATE["rehearsals"].items()) if (each["hall"] == "Great Hall") == great]
    key = rng.choice(found)
    return {"id": key, "hall": STATE["rehearsals"][key]["hall"], "time": STATE["rehearsals"][key]["start"][11:]}


def other_player(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A musician of another section and on another chair than the one of the slot `player`."""
    first = slots["player"]
    found = [
        {"key": name, **each}
        for name, each in sorted(STATE["musicians"].items())
        if each["section"] != first["section"] and each["chair"] != first["chair"]
    ]
    return copy.deepcopy(rng.choice(found))


def any_one(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal in any hall."""
    return _by_hall(rng, rng.random() < 0.4)


def great_one(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal in the Great Hall."""
    return _by_hall(rng, True)


def elsewhere(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal in another hall."""
    return _by_hall(rng, False)


def other_hall(rng: random.Random, slots: dict[str, Any]) -> str:
    """A hall in which the rehearsal of the slot `prob` is not."""
    return rng.choice([hall for hall in HALLS if hall != slots["prob"]["hall"]])


def clash(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two rehearsals of the same hall."""
    keys = sorted(STATE["rehearsals"])
    pairs = [
        (a, b)
        for a in keys
        for b in keys
        if a != b and STATE["rehearsals"][a]["hall"] == STATE["rehearsals"][b]["hall"]
    ]
    one, two = rng.choice(pairs)
    start = STATE["rehearsals"][two]["start"]
    when = date.fromisoformat(start[:10])
    return {"one": one, "two": two, "start": start, "said": f"{when.day} {when:%B} at {start[11:]}"}


def full_week(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A week with rehearsals."""
    week = rng.choice(sorted({each["week"] for each in STATE["rehearsals"].values()}))
    found = [each for each in STATE["rehearsals"].values() if each["week"] == week]
    return {
        "iso": week,
        "number": int(week[-2:]),
        "count": len(found),
        "first_day": found[0]["start"][:10],
        "first_time": found[0]["start"][11:],
        "work": found[0]["works"][0],
    }


def needed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A work and a section that it needs."""
    title = rng.choice(sorted(STATE["works"]))
    work = STATE["works"][title]
    section, count = rng.choice([(section, count) for section, count in work["players"].items() if count > 1])
    return {"title": title, "section": section, "count": count, "minutes": int(work["duration"][2:-1]), **work}


def unneeded(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A work and a section that it does without."""
    found = [
        {"title": title, "section": section}
        for title, work in sorted(STATE["works"].items())
        for section, count in work["players"].items()
        if not count
    ]
    return rng.choice(found)


def half_free(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day and time at which nobody rehearses."""
    taken = {each["start"] for each in STATE["rehearsals"].values()}
    while True:
        day = date(2027, 9, 20) + timedelta(days=rng.randrange(0, 30))
        start = f"{day.isoformat()}T{rng.choice(('09:30', '11:00', '16:15', '19:00'))}"
        if start not in taken:
            return {
                "iso": start,
                "date": start[:10],
                "day": f"{day.day} {day:%B}",
                "weekday": f"{day:%A}",
                "time": start[11:],
            }


TOOLS = [
    week_plan, rehearsal_info, work_info, musician_info, record_leave, available_substitutes, substitute_card,
    engage_substitute, shift_rehearsal, memo_to_section,
]  # fmt: skip
