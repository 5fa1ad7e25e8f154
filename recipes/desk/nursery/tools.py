"""The office of a kindergarten: children, groups, lunches, absences, who may fetch whom."""

from typing import Any, Literal

Group = Literal["Otters", "Hedgehogs", "Owls"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        children={
            "Mila Sandberg": _child("Otters", [], "0170 553301", ["Henrik Sandberg", "Ulla Sandberg"]),
            "Tessa Grieg": _child("Otters", ["hazelnuts"], "0170 553302", ["Marit Grieg"]),
            "Theo Okafor": _child("Hedgehogs", ["milk"], "0170 553303", ["Ada Okafor"]),
            "Leo Marchetti": _child("Owls", [], "0170 553304", ["Paolo Marchetti"]),
            "Aylin Demirel": _child("Owls", ["fish"], "0170 553305", ["Sevda Demirel"]),
        },
        lunches={
            "2027-04-14": {"standard": "tomato soup with rice", "vegetarian": "tomato soup with rice"},
            "2027-04-15": {"standard": "fish pie with peas", "vegetarian": "potato pie with peas"},
            "2027-04-16": {"standard": "chicken noodles", "vegetarian": "noodles with courgettes"},
            "2027-04-19": {"standard": "lentil stew", "vegetarian": "lentil stew"},
            "2027-04-20": {"standard": "pancakes with apple sauce", "vegetarian": "pancakes with apple sauce"},
        },
        rosters={
            ("Otters", "2027-04-23"): {"present": 2, "places_left": 10, "away": ["Tessa Grieg"], "carer": "Jana"},
            ("Hedgehogs", "2027-04-14"): {"present": 11, "places_left": 1, "away": [], "carer": "Ruth"},
            ("Hedgehogs", "2027-04-19"): {"present": 7, "places_left": 5, "away": [], "carer": "Ruth"},
            ("Owls", "2027-04-14"): {"present": 9, "places_left": 3, "away": ["Aylin Demirel"], "carer": "Bogdan"},
            ("Owls", "2027-04-16"): {"present": 10, "places_left": 2, "away": [], "carer": "Bogdan"},
        },
        absences=[],
        pickups=[],
        meals=[],
        notes=[],
    )
    return STATE


def _child(group: str, allergies: list[str], phone: str, fetched_by: list[str]) -> dict[str, Any]:
    return {"group": group, "allergies": allergies, "parents_phone": phone, "usually_fetched_by": fetched_by}


def child_sheet(child: str) -> dict[str, Any]:
    """What is on file about a child: group, allergies, the parents' phone number, who usually fetches it.

    Args:
        child: First and last name.
    """
    return {"child": child, **_file(child)}


def group_roster(group: Group, day: str) -> dict[str, Any]:
    """How many children of a group come on a day, who is away, how many places are left, and the carer on duty.

    Args:
        group: Name of the group.
        day: Date as YYYY-MM-DD.
    """
    usual = {"present": 12, "places_left": 0, "away": [], "carer": "Jana"}
    return {"group": group, "day": day, **STATE["rosters"].get((group, day), usual)}


def lunch_plan(day: str) -> dict[str, Any]:
    """What the kitchen cooks on a day, with the vegetarian dish.

    Args:
        day: Date as YYYY-MM-DD.
    """
    if day not in STATE["lunches"]:
        raise ValueError(f"there is no plan for {day} yet")
    return {"day": day, **STATE["lunches"][day]}


def report_absence(child: str, day: str, reason: Literal["ill", "holiday", "other"] = "other") -> dict[str, Any]:
    """Note that a child does not come on a day.

    Args:
        child: First and last name.
        day: Date as YYYY-MM-DD.
        reason: Why it stays away.
    """
    _file(child)
    STATE["absences"].append({"child": child, "day": day, "reason": reason})
    return {"absent": child, "day": day, "reason": reason}


def allow_pickup(child: str, person: str, day: str) -> dict[str, Any]:
    """Let somebody who is not on file fetch a child on one day.

    Args:
        child: First and last name of the child.
        person: First and last name of who fetches it.
        day: Date as YYYY-MM-DD.
    """
    _file(child)
    STATE["pickups"].append({"child": child, "person": person, "day": day})
    return {"child": child, "may_be_fetched_by": person, "day": day}


def set_meal(child: str, day: str, meal: Literal["standard", "vegetarian", "own food"]) -> dict[str, Any]:
    """Change what a child eats on a day.

    Args:
        child: First and last name.
        day: Date as YYYY-MM-DD.
        meal: What it eats.
    """
    _file(child)
    STATE["meals"].append({"child": child, "day": day, "meal": meal})
    return {"child": child, "day": day, "meal": meal}


def note_to_parents(child: str, text: str) -> str:
    """Send a child's parents a short note.

    Args:
        child: First and last name of the child.
        text: What it says.
    """
    _file(child)
    STATE["notes"].append({"child": child, "text": text})
    return "delivered"


def _file(child: str) -> dict[str, Any]:
    if child not in STATE["children"]:
        raise ValueError(f"there is no child {child}")
    found: dict[str, Any] = STATE["children"][child]
    return found


TOOLS = [child_sheet, group_roster, lunch_plan, report_absence, allow_pickup, set_meal, note_to_parents]
