"""A construction site as a tree of places: defects by place, trades, deliveries with time windows, a diary."""

import random
from typing import Any, Literal

Trade = Literal["mason", "plumber", "electrician", "painter", "roofer", "tiler"]
FLAWS = {
    "mason": ("crack in the wall", "edge broken off"),
    "plumber": ("tap drips", "pipe leaks"),
    "electrician": ("socket dead", "cover missing"),
    "painter": ("paint blisters", "stain on the ceiling"),
    "roofer": ("tile loose", "gutter bent"),
    "tiler": ("tile hollow", "joint open"),
}
FIRMS = {
    "mason": "Baur Rohbau",
    "plumber": "Aqua Lenz",
    "electrician": "Voltwerk",
    "painter": "Farbhof",
    "roofer": "Dach Ruben",
    "tiler": "Keramik Sol",
}
GOODS = ("rebar", "windows", "plasterboard", "insulation", "roof tiles", "screed", "doors", "scaffolding", "gravel")
PEOPLE = (
    "Jana Roth",
    "Emil Kostka",
    "Nadia Serra",
    "Piet Vos",
    "Selma Iversen",
    "Teo Marin",
    "Ursula Graf",
    "Vaclav Benda",
)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    rooms = [
        f"{house}/{floor}/{flat}"
        for house in ("H1", "H2", "H3")
        for floor in ("UG", "EG", "OG1", "OG2")
        for flat in ("01", "02")
    ]
    defects = {}
    for number in range(26):
        trade = rng.choice(sorted(FLAWS))
        defects[f"#{rng.randrange(10, 99)}{number:02d}"] = {
            "place": rooms[number % len(rooms)],
            "trade": trade,
            "what": rng.choice(FLAWS[trade]),
            "due": f"2027-05-{rng.randint(3, 28):02d}",
            "state": rng.choice(("open", "open", "open", "repaired", "accepted")),
        }
    for place, each in enumerate(defects.values()):
        if place < 6:
            each["state"] = "open"
        elif place < 12:
            each["state"] = "repaired"
        elif place < 15:
            each["state"] = "accepted"
    deliveries = {
        f"D{number}": {
            "goods": goods,
            "day": f"2027-05-{rng.randint(20, 27)}",
            "window": rng.choice(("07-09", "09-11", "11-13", "13-15")),
            "gate": rng.choice(("north", "south")),
            "tonnes": rng.choice((1.5, 3, 6, 8, 12, 24)),
        }
        for number, goods in zip(rng.sample(range(100, 999), len(GOODS)), GOODS, strict=True)
    }
    for place, each in enumerate(deliveries.values()):  # some are too heavy for the north gate
        each["tonnes"] = each["tonnes"] if place < 6 and each["tonnes"] <= 10 else 3 if place < 6 else 24
        each["gate"] = each["gate"] if place < 6 else "south"
    crews = {
        trade: {
            "firm": FIRMS[trade],
            "on_site": rng.randint(0, 9),
            "foreman_phone": f"0171 {rng.randrange(10000, 99999)}",
        }
        for trade in FLAWS
    }
    channels = rng.sample(range(11, 99), len(PEOPLE))
    radios = {f"R{channel}": name for channel, name in zip(channels, PEOPLE, strict=True)}
    STATE.clear()
    STATE.update(defects=defects, deliveries=deliveries, crews=crews, diary=[], radios=radios, calls=[])
    return STATE


def tree(path: str = "") -> dict[str, Any]:
    """Children of a place and number of open defects under it. Places are paths: house/floor/flat.

    Args:
        path: A house such as H9, a floor H9/OG9 or a flat H9/OG9/99; empty for the whole site.
    """
    below = {each["place"] for each in STATE["defects"].values() if each["place"].startswith(path)}
    depth = len([part for part in path.split("/") if part])
    children = sorted({"/".join(place.split("/")[: depth + 1]) for place in below} - {path})
    count = sum(each["state"] == "open" and each["place"].startswith(path) for each in STATE["defects"].values())
    return {"path": path, "children": children, "open_defects": count}


def defects_under(
    path: str, trade: Trade | None = None, state: Literal["open", "repaired", "accepted"] = "open"
) -> list[dict[str, str]]:
    """Defects in a place and all places below it.

    Args:
        path: House, floor or flat.
        trade: Only those of a trade.
        state: open, repaired (waits to be looked at) or accepted.
    """
    return [
        {"defect": number, "place": each["place"], "what": each["what"], "trade": each["trade"]}
        for number, each in STATE["defects"].items()
        if each["place"].startswith(path) and trade in (None, each["trade"]) and each["state"] == state
    ]


def defect(number: str) -> dict[str, Any]:
    """One defect: place, trade, what is wrong, when it is due, state.

    Args:
        number: With the hash sign.
    """
    return {"defect": number, **STATE["defects"][number]}


def record_defect(
    place: str, trade: Trade, what: str, due: str, weight: Literal["normal", "danger", "cosmetic"] = "normal"
) -> dict[str, Any]:
    """Record a new defect.

    Args:
        place: Full path of the flat.
        trade: Who has to mend it.
        what: What is wrong.
        due: Until when, YYYY-MM-DD.
        weight: danger if people can be hurt, cosmetic if it is only a matter of looks.
    """
    number = f"#{3000 + len(STATE['defects'])}"
    STATE["defects"][number] = {"place": place, "trade": trade, "what": what, "due": due, "state": "open"}
    return {"defect": number, "firm": FIRMS[trade]}


def accept_repair(number: str) -> dict[str, Any]:
    """Accept a repair after it was looked at; the firm may then send its bill.

    Args:
        number: Of the defect, with the hash sign.
    """
    found = STATE["defects"][number]
    if found["state"] != "repaired":
        return {"error": f"{number} is {found['state']}: only what is repaired can be accepted"}
    found["state"] = "accepted"
    return {"defect": number, "state": "accepted"}


def crew(trade: Trade) -> dict[str, Any]:
    """Firm of a trade, people on site today and phone of the foreman.

    Args:
        trade: Which trade.
    """
    return {"trade": trade, **STATE["crews"][trade]}


def deliveries(day: str, gate: Literal["north", "south"] | None = None) -> list[dict[str, Any]]:
    """Announced deliveries of a day with their time window.

    Args:
        day: YYYY-MM-DD.
        gate: Only at this gate.
    """
    return [
        {"delivery": n, **each}
        for n, each in STATE["deliveries"].items()
        if each["day"] == day and gate in (None, each["gate"])
    ]


def move_delivery(
    delivery: str,
    day: str,
    window: Literal["07-09", "09-11", "11-13", "13-15"],
    gate: Literal["north", "south"] | None = None,
) -> dict[str, Any]:
    """Move a delivery to another day or window.

    Args:
        delivery: Its number.
        day: YYYY-MM-DD.
        window: Hours from-to.
        gate: Another gate; the same by default.
    """
    found = STATE["deliveries"][delivery]
    if found["tonnes"] > 10 and (gate or found["gate"]) == "north":
        return {"error": "over 10 tonnes: the north gate cannot take it, use the south gate"}
    found.update(day=day, window=window, gate=gate or found["gate"])
    return {"delivery": delivery, "day": day, "window": window, "gate": found["gate"]}


def diary(entry: str, weather: Literal["dry", "rain", "frost", "wind"] | None = None) -> str:
    """Write an entry into today's site diary.

    Args:
        entry: What happened.
        weather: The weather, if it matters.
    """
    STATE["diary"].append({"entry": entry, "weather": weather})
    return "written"


def delivery_of(goods: str) -> list[dict[str, Any]]:
    """Announced deliveries of some goods, with their numbers.

    Args:
        goods: A word for the goods.
    """
    return [{"delivery": n, **each} for n, each in STATE["deliveries"].items() if goods.casefold() in each["goods"]]


def radio_of(name: str) -> list[dict[str, str]]:
    """Radios of the people on site.

    Args:
        name: Any part of the name.
    """
    return [
        {"radio": radio, "name": each} for radio, each in STATE["radios"].items() if name.casefold() in each.casefold()
    ]


def radio_text(radio: str, text: str) -> dict[str, str]:
    """Send a short text to a radio.

    Args:
        radio: R and two digits.
        text: What it shows.
    """
    STATE["calls"].append({"radio": radio, "text": text})
    return {"shown_to": STATE["radios"][radio]}


TOOLS = [
    tree, defects_under, defect, record_defect, accept_repair, crew, deliveries, move_delivery, diary, delivery_of,
    radio_of, radio_text,
]  # fmt: skip


def flaw(rng: random.Random, states: tuple[str, ...]) -> dict[str, Any]:
    """A defect in one of some states."""
    found = rng.choice([{"number": n, **each} for n, each in STATE["defects"].items() if each["state"] in states])
    house, floor, _ = found["place"].split("/")
    return {
        **found,
        "house": house,
        "floor": f"{house}/{floor}",
        **{f"crew_{k}": v for k, v in STATE["crews"][found["trade"]].items()},
    }


def any_flaw(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any defect."""
    return flaw(rng, ("open", "repaired", "accepted"))


def open_flaw(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """One that is open."""
    return flaw(rng, ("open",))


def repaired(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """One that is repaired."""
    return flaw(rng, ("repaired",))


def truck(rng: random.Random, heavy: bool) -> dict[str, Any]:
    """A delivery that is heavy or not."""
    return rng.choice(
        [{"number": n, **each} for n, each in STATE["deliveries"].items() if (each["tonnes"] > 10) == heavy]
    )


def light_truck(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A delivery of ten tonnes at most."""
    return truck(rng, False)


def heavy_truck(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A delivery of more than ten tonnes."""
    return truck(rng, True)


def path_of_flat(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A flat in words and as a path, and a defect with its trade."""
    house, floor, flat = rng.randint(1, 3), rng.choice(("UG", "EG", "OG1", "OG2")), rng.randint(1, 2)
    words = {
        "UG": "in the basement",
        "EG": "on the ground floor",
        "OG1": "on the first floor",
        "OG2": "on the second floor",
    }
    trade = rng.choice(sorted(FLAWS))
    return {
        "path": f"H{house}/{floor}/0{flat}",
        "said": f"house {house}, {words[floor]}, flat {flat}",
        "trade": trade,
        "what": rng.choice(FLAWS[trade]),
    }


def other_truck(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another delivery of ten tonnes at most than the slot `truck`."""
    while (found := truck(rng, False))["number"] == slots["truck"]["number"]:
        pass
    return found


def busy_day(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day with several deliveries, these in words, and the second of them."""
    days = [each["day"] for each in STATE["deliveries"].values()]
    day = rng.choice(sorted({each for each in days if days.count(each) > 1}))
    found = deliveries(day)
    rows = [(f"{each['delivery']}, {each['goods']}, {each['window']}", each) for each in found]
    return {
        "day": day,
        "number": int(day[-2:]),
        "said": f"{int(day[-2:])} May",
        "listed": "; ".join(f"{row}, {each['gate']} gate" for row, each in rows),
        "spanish": "; ".join(f"{row}, puerta {'norte' if each['gate'] == 'north' else 'sur'}" for row, each in rows),
        "first": found[0],
        "second": found[1],
    }


def holder(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody who has a radio."""
    radio = rng.choice(sorted(STATE["radios"]))
    first, last = STATE["radios"][radio].split()
    return {"radio": radio, "name": f"{first} {last}", "first": first, "last": last}


def in_state(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A house with some defects in the state of the slot `stage`, these in words."""
    found = {house: defects_under(house, state=slots["stage"]["state"]) for house in ("H1", "H2", "H3")}
    house = rng.choice([name for name, each in found.items() if each])
    rows = found[house]
    listed = "; ".join(f"{each['defect']} in {each['place']}, {each['what']}" for each in rows)
    return {"house": house, "listed": listed, "first": rows[0]["defect"], "last": rows[-1]["defect"]}


def other_day(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A delivery of ten tonnes at most, and a later day and a window for it."""
    found = truck(rng, False)
    number = rng.choice((28, 31))
    window = rng.choice(("07-09", "09-11", "11-13", "13-15"))
    said = {"07-09": "7 and 9", "09-11": "9 and 11", "11-13": "11 and 1 pm", "13-15": "1 and 3 pm"}[window]
    return {**found, "new": f"2027-05-{number}", "said": f"{number} May", "slot": window, "hours": said}


def announced(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A delivery, its day in words."""
    found = truck(rng, rng.random() < 0.3)
    begin, end = found["window"].split("-")
    return {
        **found,
        "said": f"{int(found['day'][-2:])} May",
        "begin": int(begin),
        "end": int(end),
        "clock": f"{begin}:00",
    }


def two_trades(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two trades with unlike numbers of people on site."""
    one, two = rng.sample(sorted(FLAWS), 2)
    while STATE["crews"][one]["on_site"] == STATE["crews"][two]["on_site"]:
        one, two = rng.sample(sorted(FLAWS), 2)
    return {"a": one, "b": two, "one": STATE["crews"][one], "two": STATE["crews"][two]}
