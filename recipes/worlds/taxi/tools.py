"""Dispatch of a taxi company: rides as objects, cabs near a place, fares in zones, drivers' shifts, waiting times."""

import random
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Place = Literal["central station", "airport", "old harbour", "clinic", "fairground", "university", "west park", "court"]
PLACES = ("central station", "airport", "old harbour", "clinic", "fairground", "university", "west park", "court")
RIDERS = (
    "Arno Bell",
    "Bettina Kahn",
    "Chidi Eze",
    "Dora Pless",
    "Emil Strand",
    "Farah Aziz",
    "Gus Petri",
    "Hedy Lorenz",
    "Ines Pardo",
    "Joel Katz",
    "Kira Vogel",
    "Luis Neto",
    "Mona Sulek",
    "Nick Adair",
    "Oda Falk",
    "Pierre Huot",
    "Rita Mann",
    "Sami Laine",
    "Tove Lund",
    "Udo Karg",
    "Vito Sala",
    "Wilma Tau",
)
DRIVERS = ("Ahmed", "Berta", "Ciro", "Danuta", "Edgar", "Fatou")
STATE: dict[str, Any] = {}


class Ride(TypedDict):
    """A ride that is ordered."""

    pickup: Place
    dropoff: Place
    at: str
    passengers: int
    extras: NotRequired[list[Literal["child seat", "wheelchair", "dog"]]]


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    cabs = {
        str(number): {
            "driver": f"{rng.choice(DRIVERS)} {rng.choice('KMST')}.",
            "state": rng.choice(("free", "free", "busy", "break")),
            "seats": rng.choice((4, 4, 6, 8)),
            "at": rng.choice(PLACES),
            "shift_ends": rng.choice(("14:00", "18:00", "22:00")),
        }
        for number in sorted(rng.sample(range(3, 99), 22))
    }
    waits = {place: rng.sample(range(2, 25), 3) for place in PLACES}
    rides = {}
    for number, rider in zip(rng.sample(range(20000, 29999), len(RIDERS)), RIDERS, strict=True):
        start, end = rng.sample(PLACES, 2)
        rides[number] = {
            "rider": rider,
            "from": start,
            "to": end,
            "at": f"2027-12-0{rng.randint(1, 3)}T{rng.randint(6, 22):02d}:{rng.choice(('00', '15', '30', '45'))}",
            "cab": None,
            "stage": rng.choice(("ordered", "ordered", "under way", "done")),
            "fare": round(rng.uniform(8, 60), 1),
        }
    for place, ride in enumerate(rides.values()):
        ride["stage"] = ("ordered", "ordered", "under way", "done")[place % 4]
    STATE.clear()
    STATE.update(cabs=cabs, waits=waits, rides={str(n): r for n, r in rides.items()}, messages=[])
    return STATE


def near(place: Place, seats: int = 4) -> list[dict[str, Any]]:
    """Free cabs that can reach a place, with the minutes that they need. Not sorted.

    Args:
        place: Where the passenger waits.
        seats: Seats that are needed at least.
    """
    free = [n for n, cab in STATE["cabs"].items() if cab["state"] == "free" and cab["seats"] >= seats]
    return [{"cab": int(n), "minutes": m} for n, m in zip(free, STATE["waits"][place], strict=False)]


def fare(
    pickup: Place, dropoff: Place, night: bool = False, vehicle: Literal["saloon", "estate", "van"] = "saloon"
) -> dict[str, Any]:
    """Estimated fare in euros.

    Args:
        pickup: From where.
        dropoff: Where to.
        night: Whether it is between 22:00 and 6:00.
        vehicle: A saloon takes up to 4 persons, an estate bulky luggage, a van 5 to 8 persons.
    """
    zones = abs(PLACES.index(pickup) - PLACES.index(dropoff))
    extra = {"saloon": 0, "estate": 4.5, "van": 7.5}[vehicle]
    return {"euros": round((5.2 + extra + 3.9 * zones) * (1.2 if night else 1), 2), "zones": zones}


def order_ride(rider: str, ride: Ride) -> dict[str, Any]:
    """Order a ride for somebody.

    Args:
        rider: Name of the passenger.
        ride: From where, where to, at which time (YYYY-MM-DDTHH:MM), how many passengers, and extras if there are any.
    """
    number = str(30000 + len(STATE["rides"]))
    STATE["rides"][number] = {
        "rider": rider,
        "from": ride["pickup"],
        "to": ride["dropoff"],
        "at": ride["at"],
        "cab": None,
        "stage": "ordered",
        "fare": fare(ride["pickup"], ride["dropoff"])["euros"],
    }
    return {"ride": int(number), "fare": STATE["rides"][number]["fare"]}


def ride_card(ride: int) -> dict[str, Any]:
    """A ride: passenger, route, time, cab, stage (ordered, under way, done), fare.

    Args:
        ride: Its number.
    """
    if str(ride) not in STATE["rides"]:
        return {"error": f"ride {ride} does not exist"}
    return {"ride": ride, **STATE["rides"][str(ride)]}


def rides_of(rider: str) -> list[int]:
    """Numbers of a passenger's rides.

    Args:
        rider: Name of the passenger.
    """
    return [int(number) for number, each in STATE["rides"].items() if each["rider"].casefold() == rider.casefold()]


def give_cab(ride: int, cab: int) -> dict[str, Any]:
    """Send a cab to a ride.

    Args:
        ride: Number of the ride.
        cab: Number of the cab.
    """
    STATE["rides"][str(ride)].update(cab=cab)
    STATE["cabs"][str(cab)]["state"] = "busy"
    return {"ride": ride, "cab": cab, "driver": STATE["cabs"][str(cab)]["driver"]}


def call_off(
    ride: int, because: Literal["passenger's wish", "not there", "no cab"] = "passenger's wish"
) -> dict[str, Any]:
    """Call a ride off that is not under way yet.

    Args:
        ride: Its number.
        because: Why, for the statistics.
    """
    each = STATE["rides"][str(ride)]
    if each["stage"] != "ordered":
        return {"error": f"the ride is {each['stage']}, it cannot be called off"}
    each["stage"] = "called off"
    return {"ride": ride, "stage": "called off", "because": because}


def cab_info(cab: int) -> dict[str, Any]:
    """Driver, state, seats, place and end of the shift of a cab.

    Args:
        cab: Its number.
    """
    return {"cab": cab, **STATE["cabs"][str(cab)]}


def find_driver(name: str) -> dict[str, Any]:
    """Numbers of the cabs of a driver.

    Args:
        name: First name and initial.
    """
    wanted = name.casefold().rstrip(".")
    cabs = [int(n) for n, each in STATE["cabs"].items() if each["driver"].casefold().rstrip(".") == wanted]
    return {"name": name, "cabs": cabs}


def radio(cab: int, text: str) -> str:
    """Send a text to the screen of a cab.

    Args:
        cab: Its number.
        text: What the driver reads.
    """
    STATE["messages"].append({"cab": cab, "text": text})
    return "on screen"


TOOLS = [near, fare, order_ride, ride_card, rides_of, give_cab, call_off, cab_info, find_driver, radio]


def trip(rng: random.Random, stages: tuple[str, ...]) -> dict[str, Any]:
    """A ride in one of some stages, and the quickest free cab to it."""
    found = [{"number": int(n), **each} for n, each in STATE["rides"].items() if each["stage"] in stages]
    each = rng.choice(found)
    cabs = near(each["from"])
    best = min(cabs, key=lambda cab: cab["minutes"])
    return {**each, "clock": each["at"][-5:], "best": best["cab"], "minutes": best["minutes"]}


def any_trip(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any ride."""
    return trip(rng, ("ordered", "under way", "done"))


def ordered(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A ride that has not begun."""
    return trip(rng, ("ordered",))


def begun(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A ride that has."""
    return trip(rng, ("under way", "done"))


def route(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two places, a passenger, and the quickest cab to the first one."""
    start, end = rng.sample(PLACES, 2)
    best = min(near(start), key=lambda cab: cab["minutes"])
    return {"from": start, "to": end, "rider": rng.choice(RIDERS), "best": best["cab"], "minutes": best["minutes"]}


def cab(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A cab."""
    number = rng.choice(sorted(STATE["cabs"]))
    return {"number": int(number), **STATE["cabs"][number]}


def free_cab(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A cab that is free."""
    return rng.choice([{"number": int(n), **each} for n, each in STATE["cabs"].items() if each["state"] == "free"])


def resting(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A cab that is not."""
    return rng.choice([{"number": int(n), **each} for n, each in STATE["cabs"].items() if each["state"] != "free"])


def offer(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A ride that has not begun, and one of the three cabs that could take it, by its place or its minutes."""
    each = trip(rng, ("ordered",))
    cabs = near(each["from"])
    by_minutes = sorted(cabs, key=lambda cab: cab["minutes"])
    ways = [("the second one", cabs[1]), ("the last one you named", cabs[2]), ("the first of them", cabs[0])]
    ways += [("the one that takes longest", by_minutes[2]), ("the quickest one", by_minutes[0])]
    say, chosen = rng.choice(ways)
    return {**each, "say": say, **chosen}


def two_free(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two cabs that are free."""
    first, second = rng.sample([n for n, each in STATE["cabs"].items() if each["state"] == "free"], 2)
    return {"first": int(first), "second": int(second), "driver": STATE["cabs"][second]["driver"]}


def _driver(rng: random.Random, states: tuple[str, ...]) -> dict[str, Any]:
    names = [each["driver"] for each in STATE["cabs"].values()]
    found = [
        {"name": each["driver"], "cab": int(n)}
        for n, each in STATE["cabs"].items()
        if names.count(each["driver"]) == 1 and each["state"] in states
    ]
    return rng.choice(found)


def solo_driver(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A driver whose name nobody else has."""
    return _driver(rng, ("free", "busy", "break"))


def free_driver(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A driver whose name nobody else has, and whose cab is free."""
    return _driver(rng, ("free",))


def two_cabs(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two cabs at different places."""
    first = rng.choice(sorted(STATE["cabs"]))
    second = rng.choice([n for n, each in sorted(STATE["cabs"].items()) if each["at"] != STATE["cabs"][first]["at"]])
    return {"a": int(first), "b": int(second)}
