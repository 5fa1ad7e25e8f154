"""The office of a funeral home: cases, ceremonies, coffins and urns, messages to families."""

from typing import Any, Literal

Place = Literal["Old Chapel", "Birch Hall"]
STATE: dict[str, Any] = {}
HOURS = {"Old Chapel": ("09:30", "11:00", "15:00"), "Birch Hall": ("10:00", "14:00")}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        cases={
            "F-702": {
                "deceased": "Oskar Brandvold",
                "relative": "Sigrid Brandvold",
                "kind": "burial",
                "ceremony": None,
                "papers_missing": ["birth certificate"],
                "total": 3180.0,
            },
            "F-705": {
                "deceased": "Edith Corrigan",
                "relative": "Neil Corrigan",
                "kind": "cremation",
                "ceremony": {"place": "Old Chapel", "day": "2027-01-21", "time": "11:00"},
                "papers_missing": [],
                "total": 2465.5,
            },
            "F-709": {
                "deceased": "Pierre Maillard",
                "relative": "Odile Maillard",
                "kind": "cremation",
                "ceremony": None,
                "papers_missing": ["doctor's certificate"],
                "total": 1890.0,
            },
            "F-713": {
                "deceased": "Rosa Tedeschi",
                "relative": "Bruno Tedeschi",
                "kind": "burial",
                "ceremony": {"place": "Birch Hall", "day": "2027-01-26", "time": "14:00"},
                "papers_missing": [],
                "total": 4120.0,
            },
            "F-716": {
                "deceased": "Henk Oosterling",
                "relative": "Marijke Oosterling",
                "kind": "burial",
                "ceremony": None,
                "papers_missing": ["passport"],
                "total": 2755.0,
            },
        },
        goods={
            "CF-1": {"kind": "coffin", "name": "Pine, plain", "price": 640.0},
            "CF-2": {"kind": "coffin", "name": "Oak, waxed", "price": 1480.0},
            "CF-3": {"kind": "coffin", "name": "Willow, woven", "price": 990.0},
            "UR-1": {"kind": "urn", "name": "Grey clay", "price": 85.0},
            "UR-2": {"kind": "urn", "name": "Copper", "price": 240.0},
            "UR-3": {"kind": "urn", "name": "Beech wood", "price": 130.0},
            "WR-1": {"kind": "wreath", "name": "White roses", "price": 110.0},
            "WR-2": {"kind": "wreath", "name": "Fir and cones", "price": 65.0},
            "WR-3": {"kind": "wreath", "name": "Sunflowers", "price": 90.0},
        },
        added=[],
        sent=[],
    )
    return STATE


def cases_of(name: str) -> list[dict[str, str]]:
    """Cases by a name: number, the deceased, the relative we talk to.

    Args:
        name: Part of the name of the deceased or of the relative.
    """
    word = name.strip().lower()
    return [
        {"case": number, "deceased": case["deceased"], "relative": case["relative"]}
        for number, case in STATE["cases"].items()
        if any(part in f"{case['deceased']} {case['relative']}".lower() for part in (word, *word.split()))
    ]


def case_sheet(case: str) -> dict[str, Any]:
    """All that is known of a case: burial or cremation, ceremony, papers that are missing, total in euros.

    Args:
        case: Number of the case.
    """
    number, found = _case(case)
    return {"case": number, **found}


def chapel_hours(place: Place, day: str) -> list[str]:
    """Times at which a ceremony can still be held.

    Args:
        place: The chapel or hall.
        day: Date as YYYY-MM-DD.
    """
    if day in ("2027-01-24", "2027-01-31", "2027-02-07"):
        return []
    held = [case["ceremony"] for case in STATE["cases"].values() if case["ceremony"]]
    taken = {each["time"] for each in held if (each["place"], each["day"]) == (place, day)}
    return [time for time in HOURS[place] if time not in taken]


def fix_ceremony(case: str, place: Place, day: str, time: str, organist: bool = False) -> dict[str, Any]:
    """Set place, day and time of the ceremony of a case.

    Args:
        case: Number of the case.
        place: The chapel or hall.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM.
        organist: Whether somebody plays the organ.
    """
    number, found = _case(case)
    if time not in chapel_hours(place, day):
        raise ValueError(f"{place} is not free on {day} at {time}")
    found["ceremony"] = {"place": place, "day": day, "time": time, "organist": organist}
    return {"case": number, "reference": "CE-27", **found["ceremony"]}


def goods_list(kind: Literal["coffin", "urn", "wreath"], up_to: float | None = None) -> list[dict[str, Any]]:
    """Coffins, urns or wreaths, with prices in euros.

    Args:
        kind: What it is about.
        up_to: Only what costs no more than this.
    """
    return [
        {"article": number, "name": each["name"], "price": each["price"]}
        for number, each in STATE["goods"].items()
        if each["kind"] == kind and (up_to is None or each["price"] <= up_to)
    ]


def add_to_case(case: str, article: str, count: int = 1) -> dict[str, Any]:
    """Put a coffin, an urn or wreaths on the bill of a case.

    Args:
        case: Number of the case.
        article: Number of the article.
        count: How many of it.
    """
    number, found = _case(case)
    key = article.strip().upper()
    if key not in STATE["goods"]:
        raise ValueError(f"there is no article {article}")
    found["total"] += count * STATE["goods"][key]["price"]
    STATE["added"].append({"case": number, "article": key, "count": count})
    return {"case": number, "article": key, "count": count, "new_total": found["total"]}


def write_family(case: str, text: str, by: Literal["phone", "letter"] = "phone") -> str:
    """Send the relative of a case a message.

    Args:
        case: Number of the case.
        text: What it says.
        by: As a text to the phone, or as a letter.
    """
    number, found = _case(case)
    STATE["sent"].append({"case": number, "text": text, "by": by})
    return f"sent to {found['relative']}"


def _case(case: str) -> tuple[str, dict[str, Any]]:
    number = case.strip().upper()
    if number not in STATE["cases"]:
        raise ValueError(f"there is no case {case}")
    return number, STATE["cases"][number]


TOOLS = [cases_of, case_sheet, chapel_hours, fix_ceremony, goods_list, add_to_case, write_family]
