"""Energy meters of apartment houses: house, flat, meter; readings over time, estimates, leaks, tenants who move."""

import random
from typing import Any, Literal

UNITS = {"electricity": "kWh", "gas": "m3", "cold water": "m3", "hot water": "m3", "heating": "kWh"}
RATES = {"electricity": 0.31, "gas": 0.94, "cold water": 2.2, "hot water": 7.5, "heating": 0.14}
STREETS = ("Amselweg 4", "Amselweg 6", "Birkenhof 12", "Quay Street 31")
TENANTS = (
    "Adler", "Bianchi", "Cho", "Dumont", "Eklund", "Farouk", "Gomes", "Hoang", "Ivanova", "Jansen", "Kaya", "Larsen",
    "Meyer", "Nakamura", "Owens", "Pavlova", "Quist", "Rossi", "Schmid", "Torres", "Urban", "Vidal", "Wolff", "Yang",
)  # fmt: skip
MONTHS = ("2026-12", "2027-01", "2027-02", "2027-03")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    flats: dict[str, Any] = {}
    meters: dict[str, Any] = {}
    for place, tenant in enumerate(TENANTS):
        flat = f"{'ABCD'[place // 6]}-{place % 6 // 2 + 1}{'LR'[place % 2]}"
        kinds = rng.sample(sorted(UNITS), 2)
        flats[flat] = {
            "house": STREETS[place // 6],
            "tenant": tenant,
            "square_metres": rng.randrange(38, 120),
            "meters": {},
        }
        for kind in kinds:
            number = f"1{rng.choice('EHW')}{rng.choice(('ISK', 'ZRI', 'ITR'))}{rng.randrange(10**7, 10**8)}"
            value, readings = rng.randrange(800, 9000), []
            for month in MONTHS:
                value += rng.randrange(3, 190)
                readings.append({"date": f"{month}-01", "value": value})
            meters[number] = {
                "flat": flat,
                "kind": kind,
                "unit": UNITS[kind],
                "verified_until": rng.randrange(2026, 2033),
                "readings": readings,
            }
            flats[flat]["meters"][kind] = number
    STATE.clear()
    STATE.update(flats=flats, meters=meters, leaks=[], limits={}, letters=[])
    return STATE


def _meter(meter: str) -> dict[str, Any]:
    if meter not in STATE["meters"]:
        raise ValueError(f"no meter {meter}; flat_profile lists the meters of a flat")
    return STATE["meters"][meter]  # type: ignore[no-any-return]


def flat_profile(flat: str) -> dict[str, Any]:
    """House, tenant, size in square metres and the meters of a flat by what they measure.

    Args:
        flat: Letter of the house, floor, and L or R for the side.
    """
    if flat not in STATE["flats"]:
        raise ValueError(f"no flat {flat}")
    return {"flat": flat, **STATE["flats"][flat]}


def flat_of_tenant(surname: str) -> dict[str, Any]:
    """In which flat a tenant lives.

    Args:
        surname: Surname of the tenant.
    """
    for flat, found in STATE["flats"].items():
        if found["tenant"].casefold() == surname.casefold():
            return {"surname": found["tenant"], "flat": flat, "house": found["house"]}
    return {"surname": surname, "flat": None, "hint": "no tenant of that name; there may be a sublet"}


def reading_series(meter: str) -> dict[str, Any]:
    """Monthly readings of a meter, oldest first, with its unit.

    Args:
        meter: Number on the meter.
    """
    found = _meter(meter)
    return {
        "meter": meter,
        "unit": found["unit"],
        "readings": list(found["readings"]),
    }


def use_between(meter: str, start: str, end: str) -> dict[str, Any]:
    """How much a meter counted between two readings, and what that costs in euros.

    Args:
        meter: Number on the meter.
        start: Day of the earlier reading, YYYY-MM-DD.
        end: Day of the later reading, YYYY-MM-DD.
    """
    found = _meter(meter)
    values = {each["date"]: each["value"] for each in found["readings"]}
    missing = [day for day in (start, end) if day not in values]
    if missing:
        return {"error": f"no reading on {missing[0]}; there are readings on {', '.join(values)}"}
    used = values[end] - values[start]
    return {"meter": meter, "used": used, "unit": found["unit"], "cost_eur": round(used * RATES[found["kind"]], 2)}


def enter_reading(
    meter: str, value: int, date: str, origin: Literal["caretaker", "tenant", "estimate"] = "caretaker"
) -> dict[str, Any]:
    """Store what was read off a meter.

    Args:
        meter: Number on the meter.
        value: What it shows, without the digits after the point.
        date: Day it was read, YYYY-MM-DD.
        origin: Who read it, or that nobody did.
    """
    found = _meter(meter)
    last = found["readings"][-1]
    if value < last["value"]:
        return {"stored": False, "error": f"lower than the last reading, {last['value']} on {last['date']}"}
    found["readings"].append({"date": date, "value": value})
    return {"stored": True, "since_last": value - last["value"], "unit": found["unit"], "origin": origin}


def set_alarm_limit(
    meter: str, per_day: float, goes_to: Literal["caretaker", "tenant", "head office"] = "caretaker"
) -> dict[str, Any]:
    """Raise an alarm when a meter counts more than this in a day.

    Args:
        meter: Number on the meter.
        per_day: In the unit of the meter.
        goes_to: Whose telephone rings.
    """
    STATE["limits"][meter] = per_day
    return {"meter": meter, "alarm_above": per_day, "unit": _meter(meter)["unit"], "goes_to": goes_to}


def report_leak(flat: str, what: str, urgent: bool) -> dict[str, Any]:
    """Send a plumber to a flat.

    Args:
        flat: Letter of the house, floor, and side.
        what: What leaks, in a few words.
        urgent: Whether water is running right now.
    """
    house = flat_profile(flat)["house"]
    STATE["leaks"].append({"flat": flat, "what": what})
    return {
        "ticket": f"PL{len(STATE['leaks']):02d}{flat[0]}{len(what)}",
        "house": house,
        "arrives_within_hours": 2 if urgent else 48,
    }


def letter_to_flat(
    flat: str, text: str, way: Literal["letter box", "registered", "flat door"] = "letter box"
) -> dict[str, Any]:
    """Print a letter and bring it to a flat.

    Args:
        flat: Letter of the house, floor, and side.
        text: Words of the letter.
        way: Into the letter box, as a registered letter that is signed for, or up to the door of the flat.
    """
    tenant = flat_profile(flat)["tenant"]
    STATE["letters"].append({"flat": flat, "text": text, "way": way})
    return {"printed": True, "addressee": tenant}


def last_value(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Values above and below the last reading of the drawn meter."""
    last = slots["meter"]["readings"][-1]
    return {
        "last": last["value"],
        "higher": last["value"] + rng.randrange(2, 80),
        "lower": last["value"] - rng.randrange(5, 400),
    }


def of_flat(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """One of the meters of the drawn flat."""
    kind = rng.choice(sorted(slots["flat"]["meters"]))
    number = slots["flat"]["meters"][kind]
    return {
        "kind": kind,
        "number": number,
        "unit": UNITS[kind],
        "latest": STATE["meters"][number]["readings"][-1]["value"],
        "latest_date": STATE["meters"][number]["readings"][-1]["date"],
        "all": " and ".join(f"{each} for {what}" for what, each in slots["flat"]["meters"].items()),
        "numbers": list(slots["flat"]["meters"].values()),
    }


def over_mark(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A mark that the drawn meter exceeded in February."""
    used = slots["meter"]["readings"][-1]["value"] - slots["meter"]["readings"][-2]["value"]
    return {"used": used, "mark": rng.randrange(max(1, used // 3), used)}


def under_mark(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A mark that the drawn meter did not reach in February."""
    used = slots["meter"]["readings"][-1]["value"] - slots["meter"]["readings"][-2]["value"]
    return {"used": used, "mark": used + rng.randrange(10, 120)}


def read_off(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """One of the meters of the drawn flat, with a value above its last reading."""
    found = of_flat(rng, slots)
    return {**found, "shown": found["latest"] + rng.randrange(3, 90)}


TOOLS = [
    flat_profile, flat_of_tenant, reading_series, use_between, enter_reading, set_alarm_limit, report_leak,
    letter_to_flat,
]  # fmt: skip
