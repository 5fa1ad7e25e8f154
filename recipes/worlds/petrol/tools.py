"""A chain of petrol stations: regions, sites, tanks and pumps; prices in cents, tankers in litres."""

import copy
import random
from typing import Any, Literal

Grade = Literal["diesel", "e5", "e10", "adblue"]
GRADES = ("diesel", "e5", "e10", "adblue")
REGIONS = ("coast", "hills", "border", "valley")
TOWNS = (
    "Ansted", "Birchley", "Corvin", "Dunmore", "Ettal", "Fairwater", "Gorsk", "Hadley", "Innerfeld", "Jasenice",
    "Kilbride", "Lomza", "Marlow", "Neudorf", "Orrin", "Pelham", "Quarley", "Rossau", "Stainz", "Tarven",
)  # fmt: skip
MANAGERS = (
    "Olga Brandl", "Piet Coster", "Rosa Dalton", "Sami Eckert", "Tilda Frost", "Ugo Ferri", "Vera Gibson", "Wim Haas",
    "Yara Ilic", "Zeno Jung", "Anton Kral", "Birte Lang", "Cora Mills", "Dirk Novak", "Elma Otto", "Fred Pohl",
    "Gina Quast", "Hasan Rieder", "Irma Stahl", "Joost Tamm",
)  # fmt: skip
ARRIVALS = {"early": "between 4 and 6", "midday": "between 11 and 13", "late": "between 20 and 22"}
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    sites: dict[str, Any] = {}
    for place, town in enumerate(rng.sample(TOWNS, len(TOWNS))):
        region = REGIONS[place % 4]
        litres = rng.sample(range(9, 240), 4)
        sites[f"{region[:3].upper()}{place // 4 + 1:02d}"] = {
            "town": town,
            "region": region,
            "manager": "",
            "tanks": {
                grade: {"litres": amount * 100, "capacity": 30000} for grade, amount in zip(GRADES, litres, strict=True)
            },
            "prices_cent": {grade: round(rng.randrange(1399, 2099, 10) / 10, 1) for grade in GRADES},
            "pumps": {
                str(number): rng.choice(("open", "open", "open", "locked")) for number in range(1, rng.randrange(5, 9))
            },
            "unattended_at_night": rng.random() < 0.5,
            "manager_phone": f"0{rng.randrange(600, 699)} {rng.randrange(10**5, 10**6)}",
        }
    rivals = {
        site: {grade: round(value + rng.randrange(-60, 60) / 10, 1) for grade, value in found["prices_cent"].items()}
        for site, found in sites.items()
    }
    for found, manager in zip(sites.values(), rng.sample(MANAGERS, len(MANAGERS)), strict=True):
        found["manager"] = manager
    STATE.clear()
    STATE.update(sites=sites, rivals=rivals, tankers=[], calls=[])
    return STATE


def _site(site: str) -> dict[str, Any]:
    if site not in STATE["sites"]:
        raise ValueError(f"no site {site}; sites_of_region gives the codes")
    return STATE["sites"][site]  # type: ignore[no-any-return]


def sites_of_region(region: Literal["coast", "hills", "border", "valley"]) -> list[dict[str, str]]:
    """Codes and towns of the sites of a region.

    Args:
        region: Region of the chain.
    """
    return [
        {"site": code, "town": found["town"]} for code, found in STATE["sites"].items() if found["region"] == region
    ]


def site_by_town(town: str) -> dict[str, Any]:
    """Code and region of the site in a town.

    Args:
        town: Name of the town.
    """
    for code, found in STATE["sites"].items():
        if found["town"].casefold() == town.casefold():
            return {"site": code, "region": found["region"], "manager_phone": found["manager_phone"]}
    return {"site": None, "error": f"we have no site in {town}"}


def site_of_manager(manager: str) -> dict[str, Any]:
    """Code and town of the site that a manager runs.

    Args:
        manager: First name and surname.
    """
    for code, found in STATE["sites"].items():
        if found["manager"].casefold() == manager.casefold():
            return {"manager": found["manager"], "site": code, "town": found["town"]}
    return {"manager": manager, "error": "nobody of that name runs a site"}


def message_manager(phone: str, text: str, form: Literal["sms", "voice", "fax"] = "sms") -> dict[str, Any]:
    """Send a message to the manager of a site.

    Args:
        phone: Number of the manager.
        text: The message.
        form: As a text (sms), read out by a call (voice), or on a printed page (fax).
    """
    STATE["calls"].append({"phone": phone, "text": text, "form": form})
    return {"delivered": True, "form": form}


def tank_gauge(site: str) -> dict[str, Any]:
    """Litres in each tank of a site and how many fit.

    Args:
        site: Code of the site: three letters and two digits.
    """
    return {"site": site, "tanks": copy.deepcopy(_site(site)["tanks"])}


def pump_board(site: str) -> dict[str, Any]:
    """Which pumps of a site are open or locked.

    Args:
        site: Code of the site.
    """
    return {"site": site, "pumps": dict(_site(site)["pumps"])}


def price_board(site: str) -> dict[str, Any]:
    """Our prices and those of the nearest rival, in cents per litre.

    Args:
        site: Code of the site.
    """
    return {"site": site, "ours": dict(_site(site)["prices_cent"]), "rival": dict(STATE["rivals"][site])}


def post_price(
    site: str, grade: Grade, cents: float, start: Literal["now", "midnight", "monday"] = "now"
) -> dict[str, Any]:
    """Change a price on the sign. A step of more than 8 cents is refused.

    Args:
        site: Code of the site.
        grade: Fuel.
        cents: New price in cents per litre, with a tenth.
        start: When the sign changes: now, at midnight, or on Monday morning.
    """
    prices = _site(site)["prices_cent"]
    if abs(cents - prices[grade]) > 8:
        return {"posted": False, "error": f"more than 8 cents away from {prices[grade]}; post a smaller step"}
    if start != "now":
        return {"posted": False, "scheduled": start, "old": prices[grade], "new": cents}
    old, prices[grade] = prices[grade], cents
    return {"posted": True, "old": old, "new": cents, "sign_changes_in_seconds": 90}


def toggle_pump(site: str, pump: str, locked: bool) -> dict[str, Any]:
    """Lock a pump or open it again.

    Args:
        site: Code of the site.
        pump: Number of the pump.
        locked: True locks it.
    """
    pumps = _site(site)["pumps"]
    if pump not in pumps:
        return {"error": f"{site} has no pump {pump}", "pumps": list(pumps)}
    wanted = "locked" if locked else "open"
    before, pumps[pump] = pumps[pump], wanted
    return {"site": site, "pump": pump, "before": before, "now": wanted}


def send_tanker(
    site: str, grade: Grade, litres: int, day: str, window: Literal["early", "midday", "late"] = "early"
) -> dict[str, Any]:
    """Order a tanker to a site.

    Args:
        site: Code of the site.
        grade: Fuel.
        litres: Whole litres.
        day: YYYY-MM-DD.
        window: When the driver comes: early from 4 to 6, midday from 11 to 13, late from 20 to 22.
    """
    tank = _site(site)["tanks"][grade]
    room = tank["capacity"] - tank["litres"]
    if litres > room:
        return {"ordered": False, "error": f"only {room} litres fit into the tank"}
    STATE["tankers"].append({"site": site, "grade": grade, "litres": litres, "day": day})
    return {"ordered": True, "tour": f"T{site}-{day[8:]}{grade[:2].upper()}", "driver_arrives": ARRIVALS[window]}


def _pick(rng: random.Random) -> tuple[str, dict[str, Any]]:
    site = rng.choice(sorted(STATE["sites"]))
    return site, STATE["sites"][site]


def tank(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A tank, with an amount that fits and one that does not."""
    site, found = _pick(rng)
    grade = rng.choice(GRADES)
    level = found["tanks"][grade]["litres"]
    room = 30000 - level
    return {
        "site": site,
        "town": found["town"],
        "manager": found["manager"],
        "grade": grade,
        "litres": level,
        "fits": rng.randrange(1, room // 500 + 1) * 500,
        "room": room,
        "too_much": room + rng.randrange(1, 20) * 500,
    }


def price(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A price, a small step and a big one."""
    site, found = _pick(rng)
    grade = rng.choice(GRADES)
    cents = found["prices_cent"][grade]
    return {
        "site": site,
        "town": found["town"],
        "grade": grade,
        "cents": cents,
        "near": round(cents + rng.choice((-5, -3, -2, 1.5, 4, 6)), 1),
        "far": round(cents + rng.choice((-25, -12, 11, 30)), 1),
        "less": round(cents - 2, 1),
        "near_too": round(cents + rng.choice((-1, 0.5, 1, 2)), 1),
        "rival": STATE["rivals"][site][grade],
    }


def _rivalled(rng: random.Random, dearer: bool) -> dict[str, Any]:
    found = [
        {"site": site, "grade": grade, "ours": ours, "rival": STATE["rivals"][site][grade]}
        for site, each in sorted(STATE["sites"].items())
        for grade, ours in each["prices_cent"].items()
        if (STATE["rivals"][site][grade] < ours) == dearer
    ]
    return rng.choice(found)


def dearer(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A price that is above the rival's by no more than a step."""
    return _rivalled(rng, True)


def cheaper(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A price that is not above the rival's."""
    return _rivalled(rng, False)


def _level(rng: random.Random, low: int, high: int) -> dict[str, Any]:
    found = [
        {"site": site, "town": each["town"], "grade": grade, "litres": tank["litres"]}
        for site, each in sorted(STATE["sites"].items())
        for grade, tank in each["tanks"].items()
        if low <= tank["litres"] <= high
    ]
    return rng.choice(found)


def low_tank(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A tank with less than 9000 litres."""
    return _level(rng, 0, 8900)


def full_tank(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A tank with more than 9000 litres."""
    return _level(rng, 9100, 30000)


def lone_lock(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A site with one locked pump."""
    found = []
    for site, each in sorted(STATE["sites"].items()):
        locked = [key for key, state in each["pumps"].items() if state == "locked"]
        if len(locked) == 1:
            found.append({"site": site, "town": each["town"], "number": locked[0]})
    return rng.choice(found)


def two_pumps(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A site with two open pumps."""
    found = []
    for site, each in sorted(STATE["sites"].items()):
        free = [key for key, state in each["pumps"].items() if state == "open"]
        if len(free) > 1:
            one, two = rng.sample(free, 2)
            found.append({"site": site, "town": each["town"], "one": one, "two": two})
    return rng.choice(found)


def pump(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An open pump, and a number that the site does not have."""
    site, found = _pick(rng)
    number = rng.choice([key for key, state in found["pumps"].items() if state == "open"] or ["1"])
    return {
        "site": site,
        "town": found["town"],
        "manager": found["manager"],
        "number": number,
        "open": sum(state == "open" for state in found["pumps"].values()),
        "absent": str(len(found["pumps"]) + rng.randrange(1, 5)),
    }


TOOLS = [
    sites_of_region, site_by_town, site_of_manager, tank_gauge, pump_board, price_board, post_price, toggle_pump,
    send_tanker, message_manager,
]  # fmt: skip
