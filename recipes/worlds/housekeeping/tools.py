"""Housekeeping of a hotel: rooms as whole numbers in lists, attendants, linen counted by kind, things left behind."""

import random
from typing import Any, Literal

Condition = Literal["dirty", "clean", "inspected", "out of order"]
ATTENDANTS = ("Mirela", "Joao", "Agnes", "Tuan", "Blessing", "Petra", "Ramon", "Sofija")
THINGS = (
    "black umbrella",
    "phone charger",
    "blue scarf",
    "reading glasses",
    "silver earring",
    "paperback novel",
    "child's shoe",
    "toothbrush case",
    "leather belt",
    "toy rabbit",
    "grey cardigan",
    "wrist watch",
)
GUESTS = (
    "Adaeze Okonkwo", "Luigi Castellani", "Hedda Bergstrom", "Yusuf Arslan", "Marguerite Petit", "Dimitri Volkov",
    "Chiyo Watanabe", "Sean Gallagher", "Ramona Iliescu", "Walter Obermaier", "Priya Nair", "Anneke Smit",
)  # fmt: skip
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    numbers = [floor * 100 + door for floor in range(1, 6) for door in range(1, 11)]
    rooms = {}
    for place, number in enumerate(sorted(numbers)):
        rooms[str(number)] = {
            "condition": ("dirty", "clean", "inspected", "dirty", "clean")[(place * 3 + place // 7) % 5],
            "beds": rng.choice((1, 2, 2, 3)),
            "leaves": rng.choice((None, None, f"2027-08-{rng.randint(20, 24)}")),
            "arrives_at": rng.choice((None, "14:00", "15:30", "16:00", "18:00")),
            "sign": rng.choice((None, None, None, "do not disturb")) if number < 400 else None,
            "attendant": rng.choice((None, *ATTENDANTS)),
        }
    for number, sign in (("104", "do not disturb"), ("207", "do not disturb"), ("309", "do not disturb")):
        rooms[number].update(sign=sign, condition="dirty")
    for number in ("102", "206", "303", "401", "508"):
        rooms[number].update(sign=None, condition="dirty")
    found = {
        f"LF-{rng.randrange(10, 99)}{chr(65 + place)}": {
            "thing": thing,
            "room": rng.choice(numbers),
            "found_on": f"2027-08-{rng.randint(8, 19):02d}",
            "shelf": f"{rng.choice('ABC')}{rng.randint(1, 9)}",
            "sent": False,
        }
        for place, thing in enumerate(THINGS)
    }
    store = {
        floor: {kind: rng.randint(2, 60) for kind in ("bath towels", "sheets", "pillow cases", "robes")}
        for floor in ("1", "2", "3", "4", "5")
    }
    free = [int(number) for number, each in rooms.items() if not each["sign"]]
    guests = {
        name: {"last": name.split()[1], "room": number, "nights": rng.randint(1, 9)}
        for name, number in zip(GUESTS, rng.sample(free, len(GUESTS)), strict=True)
    }
    staff = {
        name: {"pager": f"P{number}", "shift_ends": rng.choice(("14:00", "15:30", "17:00", "21:00"))}
        for name, number in zip(ATTENDANTS, rng.sample(range(20, 99), len(ATTENDANTS)), strict=True)
    }
    STATE.clear()
    STATE.update(rooms=rooms, found=found, store=store, guests=guests, staff=staff, faults=[], moved=[], pages=[])
    return STATE


def room_state(rooms: list[int]) -> dict[str, Any]:
    """Condition, sign on the door, attendant, arrival of the next guest, for one or more rooms at once.

    Args:
        rooms: Room numbers.
    """
    return {str(room): STATE["rooms"].get(str(room), "no such room") for room in rooms}


def rooms_with(floor: int, condition: Condition) -> list[int]:
    """Rooms of a floor in a condition.

    Args:
        floor: 1 to 5.
        condition: Which condition.
    """
    return [int(n) for n, each in STATE["rooms"].items() if n[0] == str(floor) and each["condition"] == condition]


def mark(rooms: list[int], condition: Condition) -> dict[str, Any]:
    """Set the condition of rooms.

    Args:
        rooms: Room numbers.
        condition: The new condition.
    """
    for room in rooms:
        STATE["rooms"][str(room)]["condition"] = condition
    return {"marked": len(rooms), "condition": condition}


def send_attendant(
    attendant: str,
    rooms: list[int],
    until: str | None = None,
    scope: Literal["full", "beds", "bathroom"] = "full",
) -> dict[str, Any]:
    """Send an attendant to clean rooms.

    Args:
        attendant: First name.
        rooms: Room numbers, in the order in which they are done.
        until: Time by which all have to be ready, HH:MM.
        scope: What is done there: all of it, or only a part.
    """
    shut = [room for room in rooms if STATE["rooms"][str(room)]["sign"]]
    if shut:
        return {
            "error": f"do not disturb: {', '.join(map(str, shut))}; phone the guest before anybody is sent",
            "sent": False,
        }
    for room in rooms:
        STATE["rooms"][str(room)]["attendant"] = attendant
    return {
        "sent": True,
        "attendant": attendant,
        "rooms": rooms,
        "minutes": {"full": 25, "beds": 10, "bathroom": 12}[scope] * len(rooms),
    }


def linen(floor: int) -> dict[str, int]:
    """Pieces of linen in the store of a floor, by kind.

    Args:
        floor: 1 to 5.
    """
    return dict(STATE["store"][str(floor)])


def move_linen(
    kind: Literal["bath towels", "sheets", "pillow cases", "robes"], pieces: int, from_floor: int, to_floor: int
) -> dict[str, Any]:
    """Have linen carried from one floor's store to another one's.

    Args:
        kind: Kind of linen.
        pieces: How many.
        from_floor: Where it is taken.
        to_floor: Where it is needed.
    """
    store = STATE["store"]
    if store[str(from_floor)][kind] < pieces:
        return {"error": f"floor {from_floor} has only {store[str(from_floor)][kind]} {kind}"}
    store[str(from_floor)][kind] -= pieces
    store[str(to_floor)][kind] += pieces
    return {"moved": pieces, "left": store[str(from_floor)][kind], "now": store[str(to_floor)][kind]}


def found_things(words: str = "", room: int | None = None) -> list[dict[str, Any]]:
    """Things that guests left behind.

    Args:
        words: Words of the description.
        room: Only of this room.
    """
    return [
        {"item": number, **{name: each[name] for name in ("thing", "room", "found_on", "shelf")}}
        for number, each in STATE["found"].items()
        if words.casefold() in each["thing"] and room in (None, each["room"])
    ]


def post_found_thing(
    item: str, address: str, pays: Literal["guest", "hotel", "travel agency"] = "guest"
) -> dict[str, Any]:
    """Post a thing to the guest who left it.

    Args:
        item: Its tag.
        address: Postal address.
        pays: Who pays the fee.
    """
    STATE["found"][item]["sent"] = True
    return {"item": item, "parcel": f"RX{len(item) * 111}{sum(map(ord, item))}", "fee": 9.5}


def find_guest(name: str) -> dict[str, Any]:
    """A guest of the house: room, and nights of the stay.

    Args:
        name: First and last name, or the last name.
    """
    wanted = name.casefold().strip()
    for each, found in STATE["guests"].items():
        if wanted in (each.casefold(), found["last"].casefold()):
            return {"name": each, "room": found["room"], "nights": found["nights"]}
    return {"error": f"no guest called {name}"}


def staff_entry(name: str) -> dict[str, Any]:
    """Pager number and end of the shift of an attendant.

    Args:
        name: First name.
    """
    for each, found in STATE["staff"].items():
        if each.casefold() == name.casefold().strip():
            return {"name": each, **found}
    return {"error": f"nobody called {name} is on duty"}


def page_staff(pager: str, text: str) -> str:
    """Send a text to a pager.

    Args:
        pager: Number of the pager, P and two digits.
        text: What it shows.
    """
    if pager not in {found["pager"] for found in STATE["staff"].values()}:
        raise ValueError(f"no pager {pager}")
    STATE["pages"].append({"pager": pager, "text": text})
    return "sent"


def technician(
    room: int,
    fault: str,
    urgent: bool = False,
    access: Literal["any time", "guest out", "with guest"] = "any time",
) -> dict[str, Any]:
    """Call the technician to a room.

    Args:
        room: Room number.
        fault: What does not work.
        urgent: Whether somebody has to come within the hour.
        access: When he may enter: at any time, while the guest is out, or only while the guest is in.
    """
    STATE["faults"].append({"room": room, "fault": fault, "urgent": urgent})
    return {"job": f"{room}/{len(STATE['faults'])}", "urgent": urgent}


TOOLS = [
    room_state,
    rooms_with,
    mark,
    send_attendant,
    linen,
    move_linen,
    found_things,
    post_found_thing,
    technician,
    find_guest,
    staff_entry,
    page_staff,
]


def lost(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A thing that was left behind."""
    number = rng.choice(sorted(STATE["found"]))
    return {"tag": number, **STATE["found"][number]}


def room(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A room without a sign."""
    return rng.choice([{"n": int(n), **each} for n, each in STATE["rooms"].items() if not each["sign"]])


def other_room(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another room without a sign."""
    return rng.choice(
        [{"n": int(n), **r} for n, r in STATE["rooms"].items() if not r["sign"] and int(n) != slots["room"]["n"]]
    )


def floor(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A floor, its number in words, its dirty rooms without a sign and its linen."""
    number = rng.randint(1, 5)
    words = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
    dirty = [int(n) for n, each in STATE["rooms"].items() if n[0] == str(number) and each["condition"] == "dirty"]
    other = number % 5 + 1
    store = STATE["store"][str(number)]
    return {
        "n": number,
        "words": words[number],
        "dirty": dirty,
        "count": len(dirty),
        "other": other,
        "towels": store["bath towels"],
        "others": STATE["store"][str(other)]["bath towels"],
        "some": max(1, store["bath towels"] // 2),
        "many": store["bath towels"] + rng.randint(3, 40),
    }


def tidy_floor(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A floor whose dirty rooms may all be entered, with two of them at least."""
    for _ in range(200):
        found = floor(rng, slots)
        if len(found["dirty"]) > 1 and not any(STATE["rooms"][str(n)]["sign"] for n in found["dirty"]):
            return found
    raise LookupError("no such floor")


def done_room(rng: random.Random, slots: dict[str, Any]) -> int:
    """A room that is not dirty."""
    return int(rng.choice([n for n, each in STATE["rooms"].items() if each["condition"] in ("clean", "inspected")]))


def robes(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two other floors: one that lacks robes by a limit, and one that does not, and a floor that can spare some."""
    few, spare = sorted(rng.sample(sorted(STATE["store"]), 2), key=lambda each: STATE["store"][each]["robes"])
    have, there = STATE["store"][few]["robes"], STATE["store"][spare]["robes"]
    return {
        "n": int(few),
        "from": int(spare),
        "have": have,
        "above": have + rng.randint(1, 12),
        "below": rng.randint(1, have),
        "pieces": rng.randint(1, there),
    }


def lodger(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A guest with the room and its condition."""
    name = rng.choice(sorted(STATE["guests"]))
    found = STATE["guests"][name]
    return {"name": name, **found, "condition": STATE["rooms"][str(found["room"])]["condition"]}
