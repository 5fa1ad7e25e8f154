"""The assistant director's office of a film: shooting days, scenes, cast with numbers, call times, transport."""

import copy
import random
from typing import Any, Literal

Department = Literal["camera", "grip", "wardrobe", "makeup", "sound", "art", "catering"]
ROLES = (
    "the ferryman", "Aunt Tilde", "young Karl", "the baker", "Inspector Roe", "the twins' mother", "Postman Vig",
    "the piano teacher", "Old Karl", "the surgeon", "Miss Abel", "the referee", "the dock worker", "Father Innes",
    "the widow", "the locksmith", "the stowaway", "the judge", "Lena", "the radio voice",
)  # fmt: skip
ACTORS = (
    "Mona Ferris", "Julian Acker", "Sefa Toprak", "Bruno Zell", "Imani Cole", "Petra Vos", "Caspar Hay", "Yuki Arai",
    "Noor Haddad", "Willem Dray", "Greta Solberg", "Omar Benali", "Ruth Kessler", "Tomas Ruiz", "Elif Kara",
    "Hugo Lind", "Anya Markov", "Peter Quill", "Dalia Shem", "Finn Rourke",
)  # fmt: skip
PLACES = ("Ferry landing", "Bakery interior", "Court house steps", "Studio 2", "Lighthouse", "Tram depot")
STATE: dict[str, Any] = {}


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    cast = {
        str(number): {
            "actor": actor,
            "role": role,
            "pickup": rng.choice(("hotel", "own car", "train station")),
            "makeup_minutes": rng.randrange(15, 95, 5),
        }
        for number, (actor, role) in enumerate(zip(rng.sample(ACTORS, 20), rng.sample(ROLES, 20), strict=True), start=1)
    }
    numbers = rng.sample(range(10, 140), 24)
    scenes = {
        f"{number}{rng.choice(('', '', 'A', 'B'))}": {
            "place": rng.choice(PLACES),
            "light": rng.choice(("DAY", "NIGHT", "DAWN")),
            "pages": f"{rng.randrange(0, 5)} {rng.randrange(1, 8)}/8",
            "cast": sorted(rng.sample(sorted(cast), rng.randrange(2, 5)), key=int),
            "stunts": rng.random() < 0.3,
        }
        for number in numbers
    }
    days: dict[str, Any] = {}
    names = list(scenes)
    for place in range(8):
        day = f"2027-06-{(14, 15, 16, 17, 18, 21, 22, 23)[place]:02d}"
        todays = names[place * 3 : place * 3 + 3]
        calls = {
            number: _clock(rng.randrange(330, 840, 15))
            for number in sorted({n for s in todays for n in scenes[s]["cast"]}, key=int)
        }
        days[day] = {
            "shooting_day": place + 11,
            "crew_call": _clock(rng.randrange(300, 480, 15)),
            "wrap": _clock(rng.randrange(1080, 1290, 15)),
            "scenes": todays,
            "calls": calls,
            "rain_cover": rng.choice(("Studio 2", "Bakery interior")),
        }
    STATE.clear()
    STATE.update(cast=cast, scenes=scenes, days=days, radio=[], vans=[], texts=[])
    return STATE


def _day(date: str) -> dict[str, Any]:
    if date not in STATE["days"]:
        raise ValueError(f"{date} is no shooting day; shooting days are {', '.join(STATE['days'])}")
    return STATE["days"][date]  # type: ignore[no-any-return]


def call_sheet(date: str) -> dict[str, Any]:
    """The sheet of a shooting day: crew call, wrap, scenes in order, call time by cast number, and the rain cover.

    Args:
        date: Shooting day, YYYY-MM-DD.
    """
    return {"date": date, **copy.deepcopy(_day(date))}


def scene_card(scene: str) -> dict[str, Any]:
    """A scene: place, light, length in pages and eighths, cast numbers, and whether there are stunts.

    Args:
        scene: Scene number, maybe with a letter.
    """
    if scene not in STATE["scenes"]:
        raise ValueError(f"there is no scene {scene} in the script")
    date = next((date for date, day in STATE["days"].items() if scene in day["scenes"]), None)
    return {"scene": scene, "shot_on": date, **STATE["scenes"][scene]}


def cast_card(name: str) -> dict[str, Any]:
    """Cast number, role, pickup and minutes of makeup of an actor.

    Args:
        name: Name of the actor, or of the role.
    """
    wanted = name.casefold()
    for number, card in STATE["cast"].items():
        if wanted in (card["actor"].casefold(), card["role"].casefold()):
            return {"number": number, **card}
    raise ValueError(f"nobody called {name} is in the cast list")


def change_call(date: str, number: str, time: str) -> dict[str, Any]:
    """Change the call time of one cast member on one day. The actor is told at once.

    Args:
        date: Shooting day, YYYY-MM-DD.
        number: Cast number.
        time: New call time, HH:MM on a 24-hour clock.
    """
    calls = _day(date)["calls"]
    if number not in calls:
        return {"changed": False, "error": f"number {number} is not called on {date}", "called": list(calls)}
    old, calls[number] = calls[number], time
    return {"changed": True, "was": old, "now": time}


def release_call(date: str, number: str) -> dict[str, Any]:
    """Take a cast member off the calls of a day.

    Args:
        date: Shooting day, YYYY-MM-DD.
        number: Cast number.
    """
    calls = _day(date)["calls"]
    if number not in calls:
        return {"released": False, "error": f"number {number} is not called on {date}"}
    return {"released": True, "call_was": calls.pop(number), "still_called": len(calls)}


def move_scene(scene: str, to_date: str, position: Literal["last", "first", "after lunch"] = "last") -> dict[str, Any]:
    """Take a scene off its day and add it to another one.

    Args:
        scene: Scene number.
        to_date: Shooting day it goes to, YYYY-MM-DD.
        position: Its place on that day.
    """
    card, target = scene_card(scene), _day(to_date)
    if card["shot_on"] == to_date:
        return {"moved": False, "error": f"scene {scene} is already on {to_date}"}
    if card["shot_on"]:
        _day(card["shot_on"])["scenes"].remove(scene)
    place = {"last": len(target["scenes"]), "first": 0, "after lunch": (len(target["scenes"]) + 1) // 2}[position]
    target["scenes"].insert(place, scene)
    return {"moved": True, "from": card["shot_on"], "to": to_date, "scenes_that_day": len(target["scenes"])}


def radio_department(
    department: Department, words: str, through: Literal["radio", "earpiece", "loudspeaker"] = "radio"
) -> str:
    """Say something on the radio channel of a department.

    Args:
        department: Which channel.
        words: What is said.
        through: Earpiece, so that no bystander hears it; loudspeaker, so that those without a radio hear it too.
    """
    STATE["radio"].append({"department": department, "words": words})
    return "on air"


def text_cast(number: str, text: str) -> str:
    """Send a cast member a message to the phone.

    Args:
        number: Cast number.
        text: What it says.
    """
    if number not in STATE["cast"]:
        raise ValueError(f"there is no cast number {number}")
    STATE["texts"].append({"number": number, "text": text})
    return "sent"


def order_van(number: str, date: str, pickup_time: str, seats: int = 1) -> dict[str, Any]:
    """Have a cast member driven to the set.

    Args:
        number: Cast number.
        date: Shooting day, YYYY-MM-DD.
        pickup_time: When the van leaves, HH:MM.
        seats: Seats for passengers, the one of the cast member included.
    """
    if number not in STATE["cast"]:
        raise ValueError(f"there is no cast number {number}")
    _day(date)
    STATE["vans"].append({"number": number, "date": date})
    return {
        "van": f"V{number}{pickup_time[:2]}",
        "driver": ("Sal", "Ottilie", "Marek")[int(number) % 3],
        "from": STATE["cast"][number]["pickup"],
    }


def called(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day with somebody who is called on it, and somebody who is not."""
    date = rng.choice(sorted(STATE["days"]))
    calls = STATE["days"][date]["calls"]
    number = rng.choice(sorted(calls))
    absent = rng.choice([other for other in STATE["cast"] if other not in calls])
    day = int(date[-2:])
    return {
        "iso": date, "long": f"{day} June 2027", "short": f"{day} June", "number": number, "time": calls[number],
        "new_time": _clock(rng.randrange(300, 900, 15)), **{k: STATE["cast"][number][k] for k in ("actor", "role")},
        "absent": absent,
    }  # fmt: skip


def due_scene(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A scene that is on a sheet."""
    return {"scene": rng.choice([scene for day in STATE["days"].values() for scene in day["scenes"]])}


def move(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A scene and another day."""
    date = rng.choice(sorted(STATE["days"]))
    scene = rng.choice(STATE["days"][date]["scenes"])
    other = rng.choice([each for each in sorted(STATE["days"]) if each != date])
    return {
        "scene": scene,
        "from": date,
        "to": other,
        "to_said": f"{int(other[-2:])} June",
        "to_day": int(other[-2:]),
        "same_said": f"{int(date[-2:])} June",
    }


TOOLS = [
    call_sheet, scene_card, cast_card, change_call, release_call, move_scene, radio_department, text_cast, order_van,
]  # fmt: skip
