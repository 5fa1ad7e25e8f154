"""The desk of a blood donation service: donors, stocks, sessions, appointments, text messages."""

from typing import Any, Literal

Group = Literal["0+", "0-", "A+", "A-", "B+", "B-", "AB+", "AB-"]
Place = Literal["Town Hall", "St Anne School", "Blood Bus"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        donors={
            "BD-504": {
                "name": "Leopold Hartwig",
                "group": "0-",
                "last_gift": "2027-06-02",
                "may_give_from": "2027-07-28",
                "gifts": 23,
            },
            "BD-511": {
                "name": "Sunniva Moen",
                "group": "A+",
                "last_gift": "2027-08-20",
                "may_give_from": "2027-10-15",
                "gifts": 7,
            },
            "BD-517": {
                "name": "Rafael Quintana",
                "group": "B-",
                "last_gift": "2027-05-11",
                "may_give_from": "2027-07-06",
                "gifts": 12,
            },
            "BD-523": {
                "name": "Mireille Castan",
                "group": "0+",
                "last_gift": "2027-03-30",
                "may_give_from": "2027-05-25",
                "gifts": 31,
            },
            "BD-530": {
                "name": "Jelle Dijkgraaf",
                "group": "AB+",
                "last_gift": None,
                "may_give_from": "2027-09-01",
                "gifts": 0,
            },
        },
        appointments={
            "DA-61": {"donor": "BD-517", "place": "Town Hall", "day": "2027-09-14", "time": "16:20", "gives": "blood"},
            "DA-64": {"donor": "BD-523", "place": "Blood Bus", "day": "2027-09-15", "time": "11:00", "gives": "blood"},
        },
        stocks={"0+": 61, "0-": 4, "A+": 88, "A-": 17, "B+": 25, "B-": 6, "AB+": 14, "AB-": 9},
        sent=[],
    )
    return STATE


def search_donors(name: str) -> list[dict[str, str]]:
    """Donors by name, with their numbers.

    Args:
        name: Name or part of it.
    """
    word = name.strip().lower()
    return [
        {"donor": number, "name": donor["name"]}
        for number, donor in STATE["donors"].items()
        if any(part in donor["name"].lower() for part in (word, *word.split()) if len(part) > 2)
    ]


def donor_pass(donor: str) -> dict[str, Any]:
    """A donor's blood group, last gift, the day from which another is allowed, number of gifts, appointments.

    Args:
        donor: Number of the donor.
    """
    number, found = _donor(donor)
    own = [{"appointment": key, **each} for key, each in STATE["appointments"].items() if each["donor"] == number]
    return {"donor": number, **found, "appointments": own}


def bags_in_stock(group: Group) -> dict[str, Any]:
    """How many bags of a blood group there are, and whether that is enough.

    Args:
        group: The blood group.
    """
    bags = STATE["stocks"][group]
    return {"group": group, "bags": bags, "state": "low" if bags < 10 else "enough"}


def session_gaps(place: Place, day: str) -> list[str]:
    """Times that nobody has taken yet at a place on a day; empty if there is no session.

    Args:
        place: Where blood is given.
        day: Date as YYYY-MM-DD.
    """
    sessions = {
        ("Town Hall", "2027-09-14"): ["15:00", "17:40"],
        ("Town Hall", "2027-09-21"): ["15:20", "16:00", "18:20"],
        ("St Anne School", "2027-09-13"): ["14:10", "18:30"],
        ("St Anne School", "2027-09-20"): ["14:30"],
        ("Blood Bus", "2027-09-11"): ["09:40", "12:00"],
        ("Blood Bus", "2027-09-15"): ["10:20", "13:00"],
        ("Blood Bus", "2027-09-17"): ["09:00", "11:20"],
        ("Blood Bus", "2027-09-18"): ["10:00"],
    }
    return sessions.get((place, day), [])


def put_down(
    donor: str, place: Place, day: str, time: str, gives: Literal["blood", "plasma"] = "blood"
) -> dict[str, Any]:
    """Enter an appointment of a donor.

    Args:
        donor: Number of the donor.
        place: Where blood is given.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM.
        gives: What the donor gives.
    """
    number, found = _donor(donor)
    if time not in session_gaps(place, day):
        raise ValueError(f"{place} has no gap on {day} at {time}")
    if day < found["may_give_from"]:
        raise ValueError(f"{number} may give from {found['may_give_from']} on")
    entry = {"donor": number, "place": place, "day": day, "time": time, "gives": gives}
    STATE["appointments"]["DA-70"] = entry
    return {"appointment": "DA-70", **entry}


def strike_out(appointment: str) -> str:
    """Take back an appointment.

    Args:
        appointment: Number of the appointment.
    """
    number = appointment.strip().upper()
    if number not in STATE["appointments"]:
        raise ValueError(f"there is no appointment {appointment}")
    del STATE["appointments"][number]
    return f"{number} was taken back"


def text_donor(donor: str, text: str) -> str:
    """Send a donor a text message.

    Args:
        donor: Number of the donor.
        text: What it says.
    """
    number, found = _donor(donor)
    STATE["sent"].append({"donor": number, "text": text})
    return f"sent to {found['name']}"


def _donor(donor: str) -> tuple[str, dict[str, Any]]:
    number = donor.strip().upper()
    if number not in STATE["donors"]:
        raise ValueError(f"there is no donor {donor}")
    return number, STATE["donors"][number]


TOOLS = [search_donors, donor_pass, bags_in_stock, session_gaps, put_down, strike_out, text_donor]
