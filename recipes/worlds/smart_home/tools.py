"""A smart home: devices with abilities in rooms, scenes, rules made of a trigger and an action, doors, consumption."""

import random
from typing import Any, Literal

from typing_extensions import TypedDict

Room = Literal["kitchen", "living room", "bedroom", "bathroom", "study", "hallway", "garage", "kids' room"]
ROOMS = ("kitchen", "living room", "bedroom", "bathroom", "study", "hallway", "garage", "kids' room")
KINDS = {
    "lamp": ("ceiling", "reading", "strip"),
    "radiator": ("valve",),
    "blind": ("south", "west"),
    "plug": ("tv", "kettle", "heater"),
    "sensor": ("air",),
}
PEOPLE = (
    "Hilde Wendt", "Marta Kolbe", "Piet Osten", "Samira Haddad", "Rolf Dietz", "Inga Bruns", "Tom Arendt", "Lotte Maas",
    "Viktor Ruge",
)  # fmt: skip
STATE: dict[str, Any] = {}


class Trigger(TypedDict):
    """When a rule acts: `device` and the `event` there."""

    device: str
    event: Literal["turned on", "turned off", "opened", "closed", "motion"]


class Action(TypedDict):
    """What a rule does: `device`, and whether it is switched on."""

    device: str
    on: bool


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    devices: dict[str, Any] = {}
    for room in ROOMS:
        short = room.replace("'", "").replace(" ", "_")
        for kind in rng.sample(sorted(KINDS), 4):
            name = rng.choice(KINDS[kind])
            device: dict[str, Any] = {
                "room": room,
                "kind": kind,
                "battery_percent": rng.choice((None, rng.randrange(3, 100))),
                "reachable": rng.random() < 0.9,
            }
            if kind == "lamp":
                device |= {"on": rng.random() < 0.5, "brightness": rng.randrange(10, 101, 5)}
            elif kind == "radiator":
                device |= {"target_c": rng.randrange(16, 24), "measured_c": round(rng.randrange(150, 245) / 10, 1)}
            elif kind == "blind":
                device |= {"closed_percent": rng.choice((0, 25, 50, 100))}
            elif kind == "plug":
                device |= {"on": rng.random() < 0.5, "watt_hours_today": rng.randrange(0, 2400)}
            else:
                device |= {"co2_ppm": rng.randrange(420, 1900), "humidity_percent": rng.randrange(30, 75)}
            devices[f"{short}.{kind}.{name}"] = device
    doors = {
        name: {"locked": rng.random() < 0.5, "open": False}
        for name in ("front door", "back door", "garage door", "cellar door", "garden gate", "balcony door")
    }
    for name in ("back door", "balcony door"):
        doors[name]["open"] = rng.random() < 0.6
        if doors[name]["open"]:
            doors[name]["locked"] = False
    contacts, codes = rng.sample(range(300, 800), len(PEOPLE)), rng.sample(range(10, 99), len(PEOPLE))
    people = {
        name: {"contact": contact, "key_code": f"K-{code}"}
        for name, contact, code in zip(PEOPLE, contacts, codes, strict=True)
    }
    STATE.clear()
    STATE.update(
        devices=devices,
        doors=doors,
        rules=[],
        people=people,
        notes=[],
        disabled=[],
        scenes=["movie night", "good morning", "all off", "holiday", "dinner", "storm"],
    )
    return STATE


def _device(device: str, kind: str = "") -> dict[str, Any]:
    found = STATE["devices"].get(device)
    if found is None:
        raise ValueError(f"unknown device {device}: find_devices lists the devices of a room")
    if kind and found["kind"] != kind:
        raise ValueError(f"{device} is a {found['kind']}, not a {kind}")
    return found  # type: ignore[no-any-return]


def find_devices(
    room: Room, kind: Literal["lamp", "radiator", "blind", "plug", "sensor"] | None = None
) -> list[dict[str, Any]]:
    """Ids of the devices in a room.

    Args:
        room: The room.
        kind: Only devices of this kind; left out for all.
    """
    return [
        {"device": name, "kind": found["kind"]}
        for name, found in STATE["devices"].items()
        if found["room"] == room and kind in (None, found["kind"])
    ]


def read_device(device: str) -> dict[str, Any]:
    """All that a device reports: battery (null if it has none), whether it can be reached, and its values.

    Args:
        device: Id, with the room, the kind and a name, joined by points.
    """
    return {"device": device, **_device(device)}


def dim_lamp(device: str, brightness: int, tone: Literal["unchanged", "warm", "cold"] = "unchanged") -> dict[str, Any]:
    """Set the brightness of a lamp; 0 turns it off.

    Args:
        device: Id of a lamp.
        brightness: 0 to 100.
        tone: Colour of the light.
    """
    found = _device(device, "lamp")
    if not found["reachable"]:
        return {"done": False, "error": f"{device} cannot be reached; switch it on at the wall first"}
    found.update(on=brightness > 0, brightness=brightness)
    return {"done": True, "device": device, "brightness": brightness, "tone": tone}


def warm_room(
    room: Room, celsius: float, hours: float | None = None, power: Literal["normal", "boost", "quiet"] = "normal"
) -> dict[str, Any]:
    """Set the temperature of a room, for some hours or until it is changed again.

    Args:
        room: The room.
        celsius: Wanted temperature, 5 to 26.
        hours: For how long; left out for no end.
        power: How it is heated: boost is fast and can be heard, quiet is slow.
    """
    if not 5 <= celsius <= 26:
        return {"done": False, "error": "only 5 to 26 degrees are possible"}
    radiators = [found for found in STATE["devices"].values() if found["room"] == room and found["kind"] == "radiator"]
    if not radiators:
        return {"done": False, "error": f"there is no radiator in the {room}"}
    for found in radiators:
        found["target_c"] = celsius
    return {"done": True, "room": room, "celsius": celsius, "power": power, "now": radiators[0]["measured_c"]}


def switch_plug(device: str, on: bool) -> dict[str, Any]:
    """Switch a plug.

    Args:
        device: Id of a plug.
        on: True for on.
    """
    _device(device, "plug")["on"] = on
    return {"done": True, "device": device, "on": on}


def door_state(door: str | None = None) -> dict[str, Any]:
    """Whether doors are locked and whether they stand open.

    Args:
        door: One door; left out for all of them.
    """
    if door is not None and door not in STATE["doors"]:
        return {"error": f"no door called {door}; there are {', '.join(STATE['doors'])}"}
    return {name: dict(found) for name, found in STATE["doors"].items() if door in (None, name)}


def lock_door(door: str) -> dict[str, Any]:
    """Lock a door. A door that stands open cannot be locked.

    Args:
        door: Which door.
    """
    found = STATE["doors"].get(door)
    if found is None:
        return {"locked": False, "error": f"no door called {door}"}
    if found["open"]:
        return {"locked": False, "error": f"the {door} stands open"}
    found["locked"] = True
    return {"locked": True, "door": door}


def start_scene(
    scene: Literal["movie night", "good morning", "all off", "holiday", "dinner", "storm"],
    part: Literal["house", "upstairs", "downstairs"] = "house",
) -> dict[str, Any]:
    """Start a scene, which sets many devices at once.

    Args:
        scene: Name of the scene.
        part: Where. Bedroom, bathroom, study and kids' room are upstairs, all else is downstairs.
    """
    return {
        "started": scene,
        "part": part,
        "devices_changed": 5 + len(scene) if part == "house" else 2 + len(scene) // 2,
    }


def look_up_person(name: str) -> dict[str, Any]:
    """Contact number and code of the house key of somebody whom the family knows.

    Args:
        name: First name and surname.
    """
    if name not in STATE["people"]:
        return {"error": f"nobody called {name} is known"}
    return {"name": name, **STATE["people"][name]}


def send_note(contact: int, text: str) -> dict[str, Any]:
    """Send a short note to somebody.

    Args:
        contact: Contact number.
        text: What the note says.
    """
    if contact not in [each["contact"] for each in STATE["people"].values()]:
        return {"sent": False, "error": f"there is no contact {contact}"}
    STATE["notes"].append({"contact": contact, "text": text})
    return {"sent": True, "contact": contact}


def disable_key(key_code: str) -> dict[str, Any]:
    """Make a house key open no door any more.

    Args:
        key_code: Code of the key.
    """
    if key_code not in [each["key_code"] for each in STATE["people"].values()]:
        return {"disabled": False, "error": f"there is no key {key_code}"}
    STATE["disabled"].append(key_code)
    return {"disabled": True, "key_code": key_code}


def add_rule(name: str, when: Trigger, do: list[Action]) -> dict[str, Any]:
    """Add a rule that acts by itself from now on.

    Args:
        name: Any short name.
        when: What sets it off.
        do: What it does.
    """
    for action in do:
        _device(action["device"])
    STATE["rules"].append({"name": name, "when": when, "do": do})
    return {"rule": len(STATE["rules"]) + 11, "actions": len(do)}


def _of(rng: random.Random, kind: str, **wanted: Any) -> dict[str, Any]:
    found = [{"id": key, **each} for key, each in STATE["devices"].items() if each["kind"] == kind]
    return rng.choice([each for each in found if wanted.items() <= each.items()])


def lamp(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A lamp that can be reached."""
    return {**_of(rng, "lamp", reachable=True), "level": rng.randrange(5, 100, 5)}


def dead_lamp(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A lamp that cannot be reached."""
    return {**_of(rng, "lamp", reachable=False), "level": rng.randrange(5, 100, 5)}


def plug(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A plug."""
    return _of(rng, "plug")


def running_plug(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A plug that is on."""
    return _of(rng, "plug", on=True)


def idle_plug(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A plug that is off."""
    return _of(rng, "plug", on=False)


def air(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An air sensor."""
    return _of(rng, "sensor")


def heated(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A room with a radiator."""
    return {**_of(rng, "radiator"), "warm": rng.randrange(34, 51) / 2, "hot": rng.randrange(27, 40)}


def unheated(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A room without a radiator."""
    warm = {each["room"] for each in STATE["devices"].values() if each["kind"] == "radiator"}
    return {"room": rng.choice([room for room in ROOMS if room not in warm]), "warm": rng.randrange(17, 24)}


def battery(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A device with a battery."""
    devices = [{"id": key, **each} for key, each in STATE["devices"].items()]
    return rng.choice([each for each in devices if each["battery_percent"] is not None])


def two_cells(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two devices with a battery."""
    first, second = rng.sample([n for n, each in STATE["devices"].items() if each["battery_percent"] is not None], 2)
    return {"a": first, "b": second}


def _door(rng: random.Random, open: bool) -> dict[str, Any]:
    return rng.choice([{"name": key, **each} for key, each in STATE["doors"].items() if each["open"] == open])


def shut_door(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A door that is shut."""
    return _door(rng, False)


def open_door(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A door that stands open."""
    return _door(rng, True)


def locked_door(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A locked door."""
    return {"name": rng.choice([name for name, each in STATE["doors"].items() if each["locked"]])}


def unlocked_door(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A door that is shut and not locked."""
    return {
        "name": rng.choice([name for name, each in STATE["doors"].items() if not each["locked"] and not each["open"]])
    }


def listed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A room with a radiator, and a device with a battery by its place in the room's list."""
    heated_rooms = {each["room"] for each in STATE["devices"].values() if each["kind"] == "radiator"}
    ways = []
    for room in sorted(heated_rooms):
        names = [each["device"] for each in find_devices(room)]
        for say, place in (("second", 1), ("third", 2), ("last", 3), ("first", 0)):
            if STATE["devices"][names[place]]["battery_percent"] is not None:
                ways.append({"say": say, "id": names[place], **STATE["devices"][names[place]]})
    return rng.choice(ways)


TOOLS = [
    find_devices, read_device, dim_lamp, warm_room, switch_plug, door_state, lock_door, start_scene, add_rule,
    look_up_person, send_note, disable_key,
]  # fmt: skip
