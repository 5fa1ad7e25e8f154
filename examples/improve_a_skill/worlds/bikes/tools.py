"""The desk of a bicycle rental: bikes at stations, riders, reservations, faults."""

import random
from typing import Any, Literal

Station = Literal["harbour", "market", "park"]
MODELS = ("city bike", "cargo bike", "tandem", "folding bike", "e-bike", "gravel bike")
FIRST = ("Ines", "Marek", "Dunja", "Tobias", "Leila", "Oskar", "Priya", "Jonas", "Amara", "Viktor", "Chiara", "Nils")
LAST = ("Berg", "Kovac", "Santos", "Weber", "Haas", "Lindt", "Okoro", "Moreau", "Petrov", "Sato", "Novak", "Reyes")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state: other bikes, riders and reservations for each seed."""
    codes = rng.sample(range(100, 1000), 14)
    bikes = {
        f"BK-{code}": {
            "model": rng.choice(MODELS),
            "station": rng.choice(("harbour", "market", "park")),
            "status": status,
            "price_per_day": rng.randrange(8, 40) + rng.choice((0, 0.5)),
        }
        for code, status in zip(codes[:8], ("free",) * 6 + ("in repair",) * 2, strict=True)
    }
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], 6)
    riders = {
        f"R-{code}": {"name": name, "open_bill": rng.randrange(0, 120)}
        for code, name in zip(codes[8:], names, strict=True)
    }
    reservations = {
        f"V-{code + 1000}": {"rider": rider, "bike": bike, "day": f"2027-03-{day:02d}"}
        for code, rider, bike, day in zip(codes, riders, bikes, rng.sample(range(10, 28), 6), strict=False)
    }
    STATE.clear()
    STATE.update(bikes=bikes, riders=riders, reservations=reservations, faults=[], messages=[])
    return STATE


def bike_details(bike: str) -> dict[str, Any]:
    """Model, station, status and price per day of a bike.

    Args:
        bike: Number of the bike.
    """
    if bike not in STATE["bikes"]:
        raise ValueError(f"there is no bike {bike}")
    return {"bike": bike, **STATE["bikes"][bike]}


def find_rider(name: str) -> dict[str, Any]:
    """Number and open bill of a rider.

    Args:
        name: Full name.
    """
    for number, rider in STATE["riders"].items():
        if rider["name"].casefold() == name.casefold():
            return {"rider": number, **rider}
    raise ValueError(f"there is no rider {name}")


def bikes_at(station: Station) -> list[dict[str, Any]]:
    """Free bikes at a station.

    Args:
        station: Where.
    """
    return [
        {"bike": number, "model": bike["model"]}
        for number, bike in STATE["bikes"].items()
        if bike["station"] == station and bike["status"] == "free"
    ]


def reserve_bike(rider: str, bike: str, day: str) -> dict[str, Any]:
    """Reserve a bike for a rider.

    Args:
        rider: Number of the rider.
        bike: Number of the bike.
        day: Date as YYYY-MM-DD.
    """
    if rider not in STATE["riders"]:
        raise ValueError(f"there is no rider {rider}")
    if bike_details(bike)["status"] != "free":
        raise ValueError(f"{bike} is {STATE['bikes'][bike]['status']}")
    number = f"V-{3000 + len(STATE['reservations'])}"
    STATE["reservations"][number] = {"rider": rider, "bike": bike, "day": day}
    return {"reservation": number, "day": day}


def cancel_reservation(reservation: str) -> str:
    """Cancel a reservation.

    Args:
        reservation: Its number.
    """
    if reservation not in STATE["reservations"]:
        raise ValueError(f"there is no reservation {reservation}")
    del STATE["reservations"][reservation]
    return "cancelled"


def report_fault(bike: str, fault: str) -> str:
    """Write down what is broken on a bike.

    Args:
        bike: Number of the bike.
        fault: What is broken.
    """
    bike_details(bike)
    STATE["faults"].append({"bike": bike, "fault": fault})
    return "noted"


def message_rider(rider: str, text: str) -> str:
    """Send a rider a message.

    Args:
        rider: Number of the rider.
        text: What it says.
    """
    if rider not in STATE["riders"]:
        raise ValueError(f"there is no rider {rider}")
    STATE["messages"].append({"rider": rider, "text": text})
    return "sent"


TOOLS = [bike_details, find_rider, bikes_at, reserve_bike, cancel_reservation, report_fault, message_rider]
