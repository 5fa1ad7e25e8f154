"""Irrigation of a vegetable farm: fields with valves, soil probes, a weekly programme, rain forecast, a pump."""

import random
from typing import Any, Literal

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
CROPS = ("leek", "celery", "pumpkin", "lettuce", "carrot", "fennel", "beetroot", "kale", "onion", "courgette")
PLACES = (
    "Fuchsberg", "Mill Piece", "Long Strip", "Widow's Acre", "Heron Corner", "Brickyard", "Old Orchard", "Lower Meadow",
    "Upper Meadow", "Chapel Field", "Goose Green", "Sand Pit", "Smithy Plot", "Alder Bank", "Stony Patch", "Bell Croft",
    "Hop Garden", "Ferry Land", "Rook Hill", "Parson's Half", "Kiln Field", "Otter Bend", "Lime Walk", "Toll Corner",
)  # fmt: skip
MEMBERS = (
    "Hinrich Thole", "Wiebke Ahlers", "Enno Harms", "Silke Brandes", "Jan Oltmanns", "Meta Rickels", "Focko Sievers",
    "Renske Dirks", "Uwe Poppinga", "Tomma Eilers", "Heye Folkerts", "Gesche Luers",
)  # fmt: skip
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    fields = {}
    for number in range(1, 25):
        fields[str(number)] = {
            "crop": rng.choice(CROPS),
            "hectares": round(rng.uniform(0.4, 6), 1),
            "moisture_percent": rng.randint(12, 58),
            "valve": "closed",
            "probe_battery_percent": rng.randint(4, 100),
            "locked": number in (5, 13, 20),
            "programme": {day: rng.choice((15, 20, 25, 35, 45)) for day in ("mon", "wed", "fri")},
        }
    for number, moisture in ((2, 14), (9, 17), (16, 15), (3, 44), (11, 52), (18, 47)):
        fields[str(number)]["moisture_percent"] = moisture
    rain = {
        f"2027-07-{day:02d}": {"mm": rng.choice((0, 0, 0, 2.5, 6, 11, 18)), "max_celsius": rng.randint(19, 34)}
        for day in range(12, 19)
    }
    rain["2027-07-13"]["mm"], rain["2027-07-14"]["mm"], rain["2027-07-15"]["mm"] = 11, 0, 0
    tank_m3 = rng.randrange(120, 900)
    for field, place in zip(fields.values(), rng.sample(PLACES, len(fields)), strict=True):
        field["called"] = place
    numbers = rng.sample(range(11, 99), len(MEMBERS))
    members = {f"W-{number}": {"name": name} for number, name in zip(numbers, MEMBERS, strict=True)}
    STATE.clear()
    STATE.update(fields=fields, rain=rain, tank_m3=tank_m3, members=members, runs=[], texts=[], letters=[])
    return STATE


def fields_overview(crop: str = "", drier_than: int | None = None) -> list[dict[str, Any]]:
    """Numbers of fields with crop and soil moisture.

    Args:
        crop: Only this crop.
        drier_than: Only fields with less moisture than this, in percent.
    """
    return [
        {"field": int(number), "crop": field["crop"], "moisture_percent": field["moisture_percent"]}
        for number, field in STATE["fields"].items()
        if crop in ("", field["crop"]) and (drier_than is None or field["moisture_percent"] < drier_than)
    ]


def find_field(name: str) -> dict[str, Any]:
    """The number of a field, by what people on the farm call it.

    Args:
        name: What it is called.
    """
    for number, field in STATE["fields"].items():
        if field["called"].casefold() == name.casefold().removeprefix("the ").strip():
            return {"field": int(number), "called": field["called"]}
    return {"error": f"nothing here is called {name}"}


def probe(field: int) -> dict[str, Any]:
    """What the probe in a field measures: moisture and its own battery, both in percent.

    Args:
        field: Number of the field.
    """
    found = STATE["fields"][str(field)]
    return {
        "field": field,
        "moisture_percent": found["moisture_percent"],
        "battery_percent": found["probe_battery_percent"],
    }


def water_now(field: int, minutes: int, strength: Literal["gentle", "normal", "full"] = "normal") -> dict[str, Any]:
    """Open the valve of a field at once.

    Args:
        field: Number of the field.
        minutes: After how many minutes it closes again.
        strength: How strongly the water comes out.
    """
    found = STATE["fields"][str(field)]
    if found["locked"]:
        return {"error": f"valve of field {field} is locked for maintenance; unlock it with set_lock first"}
    cubic = round(found["hectares"] * minutes * {"gentle": 0.2, "normal": 0.4, "full": 0.6}[strength], 1)
    STATE["runs"].append({"field": field, "minutes": minutes, "strength": strength})
    return {"field": field, "running_minutes": minutes, "water_m3": cubic}


def set_lock(field: int, locked: bool) -> dict[str, Any]:
    """Lock or unlock the valve of a field.

    Args:
        field: Number of the field.
        locked: True locks it, False unlocks it.
    """
    STATE["fields"][str(field)]["locked"] = locked
    return {"field": field, "locked": locked}


def programme(field: int) -> dict[str, Any]:
    """The weekly programme of a field: minutes by weekday.

    Args:
        field: Number of the field.
    """
    return {"field": field, "minutes": STATE["fields"][str(field)]["programme"]}


def set_programme(
    field: int, days: list[Weekday], minutes: int, start: Literal["dawn", "evening", "night"] = "dawn"
) -> dict[str, Any]:
    """Replace the weekly programme of a field: the same minutes on each of these days, none on the others.

    Args:
        field: Number of the field.
        days: Weekdays.
        minutes: On each of them.
        start: When it begins on these days; night is after midnight.
    """
    STATE["fields"][str(field)]["start"] = start
    STATE["fields"][str(field)]["programme"] = dict.fromkeys(days, minutes)
    return {"field": field, "minutes_a_week": minutes * len(days)}


def rain_forecast(day: str, part: Literal["all", "morning", "afternoon", "evening"] = "all") -> dict[str, Any]:
    """Expected rain in millimetres and highest temperature of a day, at most a week ahead.

    Args:
        day: YYYY-MM-DD.
        part: Only the rain from 6 to 12 (morning), from 12 to 18 (afternoon) or from 18 to 24 o'clock (evening).
    """
    if day not in STATE["rain"]:
        return {"error": f"no forecast for {day}: only seven days are known"}
    if part != "all":
        turn = (int(day[-2:]) + ("morning", "afternoon", "evening").index(part)) % 3
        return {"day": day, "part": part, "mm": round(STATE["rain"][day]["mm"] * (0.5, 0.2, 0.3)[turn], 1)}
    return {"day": day, **STATE["rain"][day]}


def tank() -> dict[str, Any]:
    """Cubic metres in the water tank."""
    return {"cubic_metres": STATE["tank_m3"], "capacity": 1000}


def text_worker(name: str, text: str) -> dict[str, str]:
    """Send a text message to the phone of one of the field workers.

    Args:
        name: First name.
        text: What it says.
    """
    STATE["texts"].append({"name": name, "text": text})
    return {"sent_to": name}


def well_member(name: str) -> dict[str, str]:
    """Number of a member of the well association, that is, of a farm with which we share the well.

    Args:
        name: First name and surname, or the surname alone.
    """
    for number, member in STATE["members"].items():
        if name.casefold() in (member["name"].casefold(), member["name"].split()[1].casefold()):
            return {"member": number, "name": member["name"]}
    return {"error": f"no member is called {name}"}


def write_member(member: str, text: str) -> dict[str, str]:
    """Send a message to a member of the well association.

    Args:
        member: Number of the member, W, a hyphen and two digits.
        text: What it says.
    """
    if member not in STATE["members"]:
        return {"error": f"no member {member}"}
    STATE["letters"].append({"member": member, "text": text})
    return {"sent_to": STATE["members"][member]["name"]}


TOOLS = [
    fields_overview, find_field, probe, water_now, set_lock, programme, set_programme, rain_forecast, tank, text_worker,
    well_member, write_member,
]  # fmt: skip


def numbered(rng: random.Random, fits: Any) -> dict[str, Any]:
    """A field that fits, with its number."""
    return rng.choice([{"n": int(n), **each} for n, each in STATE["fields"].items() if fits(each)])


def field(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A field whose valve is not locked."""
    return numbered(rng, lambda each: not each["locked"])


def other_field(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another one."""
    return numbered(rng, lambda each: not each["locked"] and each["crop"] != slots["field"]["crop"])


def locked(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A field whose valve is locked."""
    return numbered(rng, lambda each: each["locked"])


def dry(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A field that is very dry."""
    return numbered(rng, lambda each: not each["locked"] and each["moisture_percent"] < 20)


def wet(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A field that is wet."""
    return numbered(rng, lambda each: not each["locked"] and each["moisture_percent"] > 40)


def driest(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A crop with two fields at least, of which one is the driest."""
    while True:
        crop = rng.choice(CROPS)
        found = sorted(
            (each["moisture_percent"], int(n), each["locked"])
            for n, each in STATE["fields"].items()
            if each["crop"] == crop
        )
        if len(found) > 1 and found[0][0] < found[1][0] and not found[0][2]:
            return {"crop": crop, "n": found[0][1], "moisture": found[0][0]}


def nowhere(rng: random.Random, slots: dict[str, Any]) -> str:
    """A crop that grows nowhere."""
    grown = {each["crop"] for each in STATE["fields"].values()}
    return rng.choice(sorted({"asparagus", "spinach", "sweetcorn", "radish", "chard", *CROPS} - grown))


def pair(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A crop with exactly two fields, neither of them locked, of which one is drier."""
    found = []
    for crop in CROPS:
        rows = [(int(n), each) for n, each in STATE["fields"].items() if each["crop"] == crop]
        if len(rows) == 2 and not any(each["locked"] for _, each in rows):
            (a, one), (b, two) = rows
            if one["moisture_percent"] != two["moisture_percent"]:
                a_dry = one["moisture_percent"] < two["moisture_percent"]
                found.append(
                    {
                        "crop": crop, "a": a, "b": b, "a_moisture": one["moisture_percent"],
                        "b_moisture": two["moisture_percent"], "dry": a if a_dry else b, "wet": b if a_dry else a,
                    }
                )  # fmt: skip
    return rng.choice(found)
