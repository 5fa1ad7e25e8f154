"""The office of a yacht harbour: boats, bills, berths, the crane, messages to skippers."""

from typing import Any, Literal

STATE: dict[str, Any] = {}
CRANE_TIMES = ("08:00", "10:30", "14:00")


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        boats={
            "YB-117": {"name": "Petrel", "skipper": "Maud Ketteridge", "length": 8.4, "berth": "A12", "owes": 214.5},
            "YB-123": {"name": "Blue Hen", "skipper": "Gerrit Smalhout", "length": 11.2, "berth": "C03", "owes": 0.0},
            "YB-131": {"name": "Kittiwake", "skipper": "Yusuf Demirel", "length": 6.9, "berth": None, "owes": 38.0},
            "YB-140": {"name": "Zeevonk", "skipper": "Annelies Praet", "length": 9.8, "berth": "B07", "owes": 96.0},
            "YB-152": {"name": "Aurore", "skipper": "Luc Fontanel", "length": 12.6, "berth": None, "owes": 0.0},
            "YB-166": {
                "name": "Marinella",
                "skipper": "Carla Bevilacqua",
                "length": 10.1,
                "berth": "B11",
                "owes": 452.75,
            },
        },
        berths={
            "A04": {"longest": 7.5, "night": 18.0},
            "A15": {"longest": 9.0, "night": 22.0},
            "B02": {"longest": 10.5, "night": 27.0},
            "C09": {"longest": 13.0, "night": 36.0},
            "C14": {"longest": 13.0, "night": 33.0},
        },
        stays=[
            {"boat": "a visitor", "berth": "A15", "arrival": "2027-06-17", "departure": "2027-06-22", "power": True}
        ],
        crane=[
            {"boat": "YB-117", "day": "2027-06-17", "time": "10:30", "job": "launch"},
            {"boat": "YB-140", "day": "2027-06-21", "time": "08:00", "job": "mast"},
        ],
        sent=[],
    )
    return STATE


def boat_register(text: str) -> list[dict[str, Any]]:
    """Boats by a word of the boat's or the skipper's name: number, skipper, length in metres, berth.

    Args:
        text: Word of the name of the boat or of its skipper.
    """
    word = text.strip().lower()
    return [
        {"boat": number, **{name: boat[name] for name in ("name", "skipper", "length", "berth")}}
        for number, boat in STATE["boats"].items()
        if any(part in f"{boat['name']} {boat['skipper']}".lower() for part in (word, *word.split()))
    ]


def berth_bill(boat: str) -> dict[str, Any]:
    """What a boat still has to pay, in euros.

    Args:
        boat: Number of the boat.
    """
    number, found = _boat(boat)
    return {"boat": number, "name": found["name"], "owes": found["owes"]}


def vacant_berths(arrival: str, departure: str, length: float) -> list[dict[str, Any]]:
    """Berths without a boat between two days that are long enough, with euros a night.

    Args:
        arrival: First day, YYYY-MM-DD.
        departure: Day of leaving, YYYY-MM-DD.
        length: Length of the boat in metres.
    """
    return [
        {"berth": number, **berth}
        for number, berth in STATE["berths"].items()
        if berth["longest"] >= length and _is_vacant(number, arrival, departure)
    ]


def assign_berth(boat: str, berth: str, arrival: str, departure: str, shore_power: bool = False) -> dict[str, Any]:
    """Give a boat a berth for some nights.

    Args:
        boat: Number of the boat.
        berth: Number of the berth.
        arrival: First day, YYYY-MM-DD.
        departure: Day of leaving, YYYY-MM-DD.
        shore_power: Whether it is connected to electricity.
    """
    number, found = _boat(boat)
    place = berth.strip().upper()
    if place not in STATE["berths"] or not _is_vacant(place, arrival, departure):
        raise ValueError(f"berth {berth} is not free from {arrival} to {departure}")
    if found["length"] > STATE["berths"][place]["longest"]:
        raise ValueError(f"{number} is too long for {place}")
    stay = {"boat": number, "berth": place, "arrival": arrival, "departure": departure, "power": shore_power}
    STATE["stays"].append(stay)
    return {"stay": "ST-409", **stay}


def crane_gaps(day: str) -> dict[str, Any]:
    """Times on a day at which nobody has the crane.

    Args:
        day: Date as YYYY-MM-DD.
    """
    taken = {each["time"] for each in STATE["crane"] if each["day"] == day}
    free = [] if day in ("2027-06-19", "2027-06-20", "2027-06-26", "2027-06-27") else CRANE_TIMES
    return {"day": day, "times": [time for time in free if time not in taken]}


def order_crane(boat: str, day: str, time: str, job: Literal["haul_out", "launch", "mast"]) -> dict[str, Any]:
    """Reserve the crane for a boat.

    Args:
        boat: Number of the boat.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM.
        job: Lift the boat out, put it in, or set or take down the mast.
    """
    number, _ = _boat(boat)
    if time not in crane_gaps(day)["times"]:
        raise ValueError(f"the crane is not free on {day} at {time}")
    STATE["crane"].append({"boat": number, "day": day, "time": time, "job": job})
    return {"crane_job": "K-58", "boat": number, "day": day, "time": time, "job": job}


def hail_skipper(boat: str, text: str, urgent: bool = False) -> str:
    """Send a text message to the skipper of a boat.

    Args:
        boat: Number of the boat.
        text: What it says.
        urgent: Whether the phone rings as well.
    """
    number, found = _boat(boat)
    STATE["sent"].append({"boat": number, "to": found["skipper"], "text": text, "urgent": urgent})
    return f"sent to {found['skipper']}"


def _boat(boat: str) -> tuple[str, dict[str, Any]]:
    number = boat.strip().upper()
    if number not in STATE["boats"]:
        raise ValueError(f"there is no boat with the number {boat}")
    return number, STATE["boats"][number]


def _is_vacant(berth: str, arrival: str, departure: str) -> bool:
    return not any(
        stay["berth"] == berth and stay["arrival"] < departure and arrival < stay["departure"]
        for stay in STATE["stays"]
    )


TOOLS = [boat_register, berth_bill, vacant_berths, assign_berth, crane_gaps, order_crane, hail_skipper]
