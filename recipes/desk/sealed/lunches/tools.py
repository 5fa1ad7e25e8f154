"""The kitchen office of a meals on wheels service: people, their lunches, dishes, tours, drivers."""

from typing import Any, Literal

Tour = Literal["north", "south", "hills"]
Dish = Literal["classic", "light", "meatless"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        eaters={
            "E-41": {
                "name": "Agnes Whitlock",
                "tour": "north",
                "diet": "diabetic",
                "days": "Monday to Friday",
                "owes": 58.5,
                "halted": None,
            },
            "E-44": {
                "name": "Ferdinand Ruppert",
                "tour": "south",
                "diet": "no nuts",
                "days": "every day",
                "owes": 0.0,
                "halted": None,
            },
            "E-47": {
                "name": "Beatriz Olmedo",
                "tour": "hills",
                "diet": "none",
                "days": "Monday, Wednesday, Friday",
                "owes": 23.4,
                "halted": {"first_day": "2027-03-22", "last_day": "2027-03-26"},
            },
            "E-52": {
                "name": "Cornelis Bakker",
                "tour": "south",
                "diet": "soft food",
                "days": "Monday to Saturday",
                "owes": 0.0,
                "halted": None,
            },
            "E-58": {
                "name": "Giuseppina Ferrero",
                "tour": "hills",
                "diet": "no milk",
                "days": "Tuesday, Wednesday",
                "owes": 112.0,
                "halted": None,
            },
        },
        dishes={
            "2027-03-12": {
                "classic": "fish pie (fish, milk)",
                "light": "pea soup",
                "meatless": "leek tart (egg, milk)",
            },
            "2027-03-13": {"classic": "goulash", "light": "vegetable broth", "meatless": "potato pancakes (egg)"},
            "2027-03-15": {"classic": "beef stew", "light": "chicken broth", "meatless": "lentil curry (mustard)"},
            "2027-03-16": {
                "classic": "roast pork",
                "light": "cod with dill (fish)",
                "meatless": "nut roast (nuts, egg)",
            },
            "2027-03-17": {
                "classic": "meatballs (egg)",
                "light": "turkey salad",
                "meatless": "mushroom risotto (milk)",
            },
            "2027-03-18": {"classic": "liver and onions", "light": "steamed trout (fish)", "meatless": "bean chilli"},
            "2027-03-19": {
                "classic": "fish cakes (fish, egg)",
                "light": "carrot soup",
                "meatless": "spinach lasagne (milk)",
            },
        },
        tours={
            "north": {"driver": "Samir", "stops_left": 6, "minutes_late": 0},
            "south": {"driver": "Lotte", "stops_left": 11, "minutes_late": 25},
            "hills": {"driver": "Enzo", "stops_left": 0, "minutes_late": 0},
        },
        orders=[],
        told=[],
    )
    return STATE


def who_eats(name: str) -> list[dict[str, str]]:
    """People who get lunch, by name: number, name and tour.

    Args:
        name: Name or part of it.
    """
    word = name.strip().lower()
    return [
        {"eater": number, "name": eater["name"], "tour": eater["tour"]}
        for number, eater in STATE["eaters"].items()
        if any(part in eater["name"].lower() for part in (word, *word.split()) if len(part) > 2)
    ]


def eater_sheet(eater: str) -> dict[str, Any]:
    """Diet, days of delivery, tour, open amount in euros, and when lunch is halted.

    Args:
        eater: Number of the person.
    """
    number, found = _eater(eater)
    return {"eater": number, **found}


def dishes_on(day: str) -> dict[str, str]:
    """The three dishes of a day, with what people may be allergic to.

    Args:
        day: Date as YYYY-MM-DD.
    """
    if day not in STATE["dishes"]:
        raise ValueError(f"there are no dishes for {day} yet")
    found: dict[str, str] = STATE["dishes"][day]
    return found


def swap_dish(eater: str, day: str, dish: Dish, portions: int = 1) -> dict[str, Any]:
    """Set which dish a person gets on a day.

    Args:
        eater: Number of the person.
        day: Date as YYYY-MM-DD.
        dish: Which of the three.
        portions: How many portions.
    """
    number, _ = _eater(eater)
    order = {"eater": number, "day": day, "dish": dish, "portions": portions, "what": dishes_on(day)[dish]}
    STATE["orders"].append(order)
    return {"slip": "LS-33", **order}


def halt_lunch(eater: str, first_day: str, last_day: str) -> dict[str, Any]:
    """Bring a person no lunch for some days.

    Args:
        eater: Number of the person.
        first_day: First day without lunch, YYYY-MM-DD.
        last_day: Last day without lunch, YYYY-MM-DD.
    """
    number, found = _eater(eater)
    if last_day < first_day:
        raise ValueError("the last day is before the first")
    found["halted"] = {"first_day": first_day, "last_day": last_day}
    return {"eater": number, "halted": found["halted"]}


def tour_state(tour: Tour) -> dict[str, Any]:
    """Today's driver of a tour, the stops that are left, and the minutes it is late.

    Args:
        tour: The tour.
    """
    return {"tour": tour, **STATE["tours"][tour]}


def radio_driver(tour: Tour, text: str) -> str:
    """Send the driver of a tour a message.

    Args:
        tour: The tour.
        text: What it says.
    """
    STATE["told"].append({"tour": tour, "text": text})
    return f"sent to {STATE['tours'][tour]['driver']}"


def _eater(eater: str) -> tuple[str, dict[str, Any]]:
    number = eater.strip().upper()
    if number not in STATE["eaters"]:
        raise ValueError(f"there is no number {eater}")
    return number, STATE["eaters"][number]


TOOLS = [who_eats, eater_sheet, dishes_on, swap_dish, halt_lunch, tour_state, radio_driver]
