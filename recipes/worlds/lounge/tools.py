"""The desk of an airport lounge: boarding passes, guests, showers by the minute, flights and gates."""

import random
from typing import Any, Literal

AIRLINES = ("QF", "LX", "TK", "AY", "OS", "KM")
CITIES = ("Helsinki", "Doha", "Porto", "Zurich", "Oslo", "Valletta", "Istanbul", "Vienna", "Tbilisi", "Cork")
NAMES = (
    "Adaeze Obi",
    "Bruno Kessler",
    "Camille Roux",
    "Dag Lindahl",
    "Emre Aydin",
    "Fiona Grant",
    "Goran Ilic",
    "Hana Mori",
    "Ivo Marek",
    "Jutta Brandt",
    "Kaveh Amini",
    "Lucia Prado",
    "Mats Holm",
    "Noor Haddad",
    "Olga Berezina",
    "Pia Winter",
    "Quentin Dubois",
    "Rosa Neri",
    "Sandeep Rao",
    "Teresa Vaz",
    "Ulf Krantz",
    "Vera Toth",
)
STATE: dict[str, Any] = {}


def clock(minutes: int) -> str:
    """Minutes after midnight as HH:MM."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def minutes_of(text: str) -> int:
    """HH:MM as minutes after midnight."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    numbers = rng.sample(range(100, 999), 12)
    flights = {
        f"{rng.choice(AIRLINES)}{number}": {
            "to": rng.choice(CITIES),
            "gate": f"{rng.choice('ABC')}{rng.randint(1, 39)}",
            "scheduled": clock(at),
            "delay_minutes": delay,
            "boarding": clock(at + delay - 40),
        }
        for number, at, delay in zip(
            numbers, rng.sample(range(720, 1320, 5), 12), (0, 0, 0, 0, 25, 40, 55, 75, 90, 0, 120, 0), strict=True
        )
    }
    seats = rng.sample([f"{row}{letter}" for row in range(1, 40) for letter in "ACDF"], len(NAMES))
    passes = {
        f"{flight}-{seat}": {
            "name": name,
            "flight": flight,
            "tier": tier,
            "guests_allowed": {"basic": 0, "silver": 0, "gold": 1, "platinum": 2}[tier],
        }
        for name, seat in zip(NAMES, seats, strict=True)
        for flight, tier in [
            (rng.choice(list(flights)), rng.choice(("basic", "silver", "gold", "gold", "platinum", "silver")))
        ]
    }
    showers = sorted(rng.sample(range(600, 1200, 30), 7))
    zones = {"quiet": 0, "dining": rng.randint(3, 20), "family": rng.randint(2, 9), "work": rng.randint(1, 12)}
    STATE.clear()
    STATE.update(
        flights=flights,
        passes=passes,
        zones=zones,
        inside=[],
        pages=[],
        texts=[],
        carts=[],
        showers=[{"cabin": rng.randint(1, 4), "from": clock(at), "until": clock(at + 30)} for at in showers],
    )
    return STATE


def read_pass(barcode: str) -> dict[str, Any]:
    """What a boarding pass says: passenger, flight, tier, whether the lounge is open to it, guests that may come along.

    Args:
        barcode: Text under the bar code, flight and seat with a hyphen, e.g. ZZ000-99Z.
    """
    if barcode not in STATE["passes"]:
        return {"error": "unreadable bar code: ask for the printed pass"}
    found = STATE["passes"][barcode]
    return {"barcode": barcode, **found, "entitled": found["tier"] in ("gold", "platinum")}


def pass_of(name: str) -> dict[str, Any]:
    """The bar code of the pass of a passenger.

    Args:
        name: First name and surname.
    """
    for barcode, found in STATE["passes"].items():
        if found["name"].casefold() == name.casefold():
            return {"name": found["name"], "barcode": barcode}
    return {"error": f"no passenger is called {name}"}


def let_in(barcode: str, guests: int = 0) -> dict[str, Any]:
    """Open the gate of the lounge for a passenger and his guests.

    Args:
        barcode: Text under the bar code of the pass.
        guests: Number of guests who come along.
    """
    found = STATE["passes"][barcode]
    if found["tier"] not in ("gold", "platinum"):
        return {"error": f"tier {found['tier']} has no access; a day entry at 45 euros is sold at the till"}
    if guests > found["guests_allowed"]:
        return {"error": f"too many guests: {found['guests_allowed']} allowed for {found['tier']}"}
    STATE["inside"].append(barcode)
    return {"gate": "open", "persons": 1 + guests}


def free_seats(near: Literal["anything", "window", "socket", "bar"] = "anything") -> dict[str, int]:
    """Seats that are free now, by zone.

    Args:
        near: Only seats beside one of these: a window to the runway, a socket for electricity, or the bar.
    """
    share = {"anything": 1.0, "window": 0.4, "socket": 0.7, "bar": 0.3}[near]
    return {zone: int(free * share) for zone, free in STATE["zones"].items()}


def shower_gaps(after: str = "10:00", before: str = "20:00") -> list[dict[str, Any]]:
    """Free times of the shower cabins.

    Args:
        after: Earliest start as HH:MM.
        before: Latest start as HH:MM.
    """
    return [gap for gap in STATE["showers"] if after <= gap["from"] <= before]


def hold_shower(
    barcode: str, cabin: int, start: str, minutes: int = 30, extra: Literal["none", "razor", "hair dryer"] = "none"
) -> dict[str, Any]:
    """Hold a shower cabin for a passenger.

    Args:
        barcode: Text under the bar code of the pass.
        cabin: Number of the cabin.
        start: HH:MM.
        minutes: How long.
        extra: What is laid out in the cabin besides towels.
    """
    STATE["showers"] = [gap for gap in STATE["showers"] if (gap["cabin"], gap["from"]) != (cabin, start)]
    until = clock(minutes_of(start) + minutes)
    return {"held": True, "cabin": cabin, "from": start, "until": until, "extra": extra}


def departure(flight: str) -> dict[str, Any]:
    """Gate, scheduled time, delay in minutes and start of boarding of a flight.

    Args:
        flight: Flight number without a space.
    """
    if flight not in STATE["flights"]:
        return {"error": f"no flight {flight} departs from here today"}
    return {"flight": flight, **STATE["flights"][flight]}


def call_by_loudspeaker(name: str, message: str) -> str:
    """Call somebody by loudspeaker, in all zones but the quiet one.

    Args:
        name: Full name.
        message: What is announced.
    """
    STATE["pages"].append({"name": name, "message": message})
    return "announced"


def text_passenger(barcode: str, text: str) -> dict[str, Any]:
    """Send a text message to the phone of a passenger.

    Args:
        barcode: Text under the bar code of the pass.
        text: What it says.
    """
    if barcode not in STATE["passes"]:
        return {"error": "unreadable bar code"}
    STATE["texts"].append({"barcode": barcode, "text": text})
    return {"sent": True, "to": STATE["passes"][barcode]["name"]}


def send_cart(gate: str, at: str, wheelchair: bool = False) -> dict[str, Any]:
    """Order the electric cart from the lounge to a gate.

    Args:
        gate: Such as letter and number.
        at: Pick-up time, HH:MM.
        wheelchair: Whether a wheelchair is needed.
    """
    STATE["carts"].append({"gate": gate, "at": at, "wheelchair": wheelchair})
    return {"cart": len(STATE["carts"]) + 3, "gate": gate, "pick_up": at}


TOOLS = [
    read_pass, pass_of, let_in, free_seats, shower_gaps, hold_shower, departure, call_by_loudspeaker, text_passenger,
    send_cart,
]  # fmt: skip


def holder(rng: random.Random, tiers: tuple[str, ...]) -> dict[str, Any]:
    """A pass of one of some tiers."""
    return rng.choice([{"code": code, **each} for code, each in STATE["passes"].items() if each["tier"] in tiers])


def entitled(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A pass that opens the lounge."""
    return holder(rng, ("gold", "platinum"))


def one_guest(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A pass with which one guest is allowed, no more."""
    return holder(rng, ("gold",))


def two_guests(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A pass with which two guests are allowed."""
    return holder(rng, ("platinum",))


def not_entitled(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A pass that does not open it."""
    return holder(rng, ("basic", "silver"))


def late(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A flight with a delay."""
    return rng.choice([{"number": n, **f} for n, f in STATE["flights"].items() if f["delay_minutes"]])


def first_gap(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A time of day, and the first free shower from then on."""
    gap = rng.choice(STATE["showers"][1:])
    at = STATE["showers"].index(gap)
    earliest = minutes_of(STATE["showers"][at - 1]["from"]) + 5
    return {"after": clock(earliest), **gap}


def three(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Three different flights."""
    return dict(zip("abc", rng.sample(sorted(STATE["flights"]), 3), strict=True))


def two_gaps(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A span of time in which exactly two showers begin."""
    place = rng.randrange(len(STATE["showers"]) - 1)
    one, two = STATE["showers"][place : place + 2]
    return {
        "after": clock(minutes_of(one["from"]) - 15),
        "before": clock(minutes_of(two["from"]) + 10),
        "one": one,
        "two": two,
    }
