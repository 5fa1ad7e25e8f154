"""A ski area: lifts with wind limits, slopes by grade, passes with age groups and days, queues, rescue, snow guns."""

import random
from datetime import date, timedelta
from typing import Any, Literal

Grade = Literal["blue", "red", "black"]
Group = Literal["child", "youth", "adult", "senior"]
LIFTS = (
    "Adlerhorst", "Bergstadl", "Cima Nord", "Dachsbau", "Eisjoch", "Finsterkar", "Gamsspitz", "Hochmoos", "Innerkogl",
    "Jagdhaus", "Kreuzeck", "Lanser", "Murmel", "Nebelhorn", "Ochsenalm", "Plattner", "Rauheck", "Sonnwend", "Talblick",
    "Umlauf",
)  # fmt: skip
CREW = (
    "Toni Egger", "Resi Hauser", "Luka Brandl", "Vroni Kofler", "Seppi Moser", "Greta Thaler", "Hias Lechner",
    "Zita Gruber", "Bastl Wieser",
)  # fmt: skip
HOLDERS = (
    "Alva Berg", "Bruno Costa", "Celia Dahl", "Dirk Essen", "Eva Fonda", "Felix Graf", "Gitte Holm", "Hugo Ivens",
    "Ilka Jung", "Jan Kroon", "Klara Lind", "Leo Marten", "Mira Novak", "Nils Olsen", "Olga Petrov", "Paul Quint",
    "Rosa Stahl", "Sven Tiller", "Tilda Ulm", "Uwe Vonk", "Vera Walsh", "Willem Zander",
)  # fmt: skip
DAY_PRICE = {"child": 24.0, "youth": 36.0, "adult": 52.0, "senior": 44.0}
TODAY = date(2028, 1, 12)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    lifts = {
        name: {
            "kind": rng.choice(("gondola", "chairlift", "drag lift")),
            "running": rng.random() < 0.7,
            "wind_kmh": rng.randrange(5, 95),
            "wind_limit_kmh": rng.choice((45, 60, 70)),
            "queue_minutes": rng.randrange(0, 35),
            "last_ride": rng.choice(("15:45", "16:00", "16:15", "16:30")),
            "top_m": rng.randrange(1400, 2950, 10),
        }
        for name in LIFTS
    }
    slopes = {
        str(number): {
            "grade": rng.choice(("blue", "red", "black")),
            "lift": rng.choice(LIFTS),
            "open": rng.random() < 0.7,
            "snow_cm": rng.randrange(20, 180, 5),
            "groomed": rng.random() < 0.6,
        }
        for number in range(1, 25)
    }
    passes = {}
    for _ in range(22):
        first = TODAY + timedelta(days=rng.randrange(-3, 6))
        days = rng.randrange(1, 8)
        passes["-".join(str(rng.randrange(1000, 9999)) for _ in range(3))] = {
            "group": rng.choice(("child", "youth", "adult", "senior")),
            "first_day": first.isoformat(),
            "days": days,
            "last_day": (first + timedelta(days=days - 1)).isoformat(),
            "blocked": rng.random() < 0.15,
            "rides_today": rng.randrange(0, 19),
        }
    posts = zip(CREW, rng.sample(range(11, 99), len(CREW)), rng.sample(LIFTS, len(CREW)), strict=True)
    crew = {name: {"radio": radio, "lift": lift} for name, radio, lift in posts}
    holders = dict(zip(rng.sample(HOLDERS, len(HOLDERS)), passes, strict=False))
    STATE.clear()
    STATE.update(lifts=lifts, slopes=slopes, passes=passes, crew=crew, holders=holders, rescues=[], boards=[], calls=[])
    return STATE


def lift_panel(lift: str) -> dict[str, Any]:
    """Kind, whether it runs, wind and wind limit in km/h, queue in minutes, last ride, height of the top station.

    Args:
        lift: Name of the lift.
    """
    if lift not in STATE["lifts"]:
        raise ValueError(f"there is no lift {lift}")
    return {"lift": lift, **STATE["lifts"][lift]}


def open_slopes(
    grade: Grade, min_snow_cm: int = 0, surface: Literal["any", "groomed", "natural"] = "any"
) -> dict[str, Any]:
    """Numbers of the open slopes of a grade.

    Args:
        grade: Blue is easy, black is hard.
        min_snow_cm: Only slopes with at least so much snow.
        surface: Groomed ones have been rolled by a machine, natural ones have not.
    """
    found = [
        number
        for number, each in STATE["slopes"].items()
        if each["open"]
        and each["grade"] == grade
        and each["snow_cm"] >= min_snow_cm
        and surface in ("any", "groomed" if each["groomed"] else "natural")
    ]
    return {"grade": grade, "slopes": found, "count": len(found)}


def slope_card(number: str) -> dict[str, Any]:
    """Grade, lift, snow in centimetres, and whether a slope is open and groomed.

    Args:
        number: Number on the slope's sign.
    """
    if number not in STATE["slopes"]:
        raise ValueError(f"there is no slope {number}")
    return {"number": number, **STATE["slopes"][number]}


def halt_lift(
    lift: str,
    reason: Literal["wind", "ice", "technical", "avalanche"],
    until: str | None = None,
    tell: Literal["board", "loudspeaker", "phone"] = "board",
) -> dict[str, Any]:
    """Stop a lift for the public. Riders are brought out first.

    Args:
        lift: Name of the lift.
        reason: Why.
        until: HH:MM if it is known when it starts again.
        tell: How the guests learn of it.
    """
    panel = lift_panel(lift)
    if not panel["running"]:
        return {"halted": False, "error": f"{lift} is not running anyway"}
    STATE["lifts"][lift]["running"] = False
    return {"halted": True, "emptied_in_minutes": 4 + len(lift), "until": until, "told_by": tell}


def pass_status(pass_number: str) -> dict[str, Any]:
    """Age group, first and last day, rides today, and whether a pass is blocked.

    Args:
        pass_number: Three groups of four digits with hyphens.
    """
    if pass_number not in STATE["passes"]:
        raise ValueError(f"there is no pass {pass_number}")
    return {"pass_number": pass_number, **STATE["passes"][pass_number]}


def pass_price(group: Group, days: int, family: bool = False) -> dict[str, Any]:
    """Price of a pass in euros. From the fourth day on a day costs 10 percent less. Sells nothing.

    Args:
        group: Age group.
        days: Days in a row.
        family: Whether the family reduction of 15 percent applies.
    """
    whole = DAY_PRICE[group] * (min(days, 3) + 0.9 * max(days - 3, 0))
    return {"group": group, "days": days, "price": round(whole * (0.85 if family else 1), 2)}


def issue_pass(
    group: Group, days: int, first_day: str, carrier: Literal["card", "phone", "wristband"] = "card"
) -> dict[str, Any]:
    """Sell a pass.

    Args:
        group: Age group.
        days: Days in a row.
        first_day: YYYY-MM-DD.
        carrier: What the pass is on.
    """
    number = f"{1000 + len(STATE['passes']) * 7}-{first_day[5:7]}{first_day[8:]}-{days:04d}"
    last = date.fromisoformat(first_day) + timedelta(days=days - 1)
    STATE["passes"][number] = {
        "group": group,
        "first_day": first_day,
        "days": days,
        "last_day": last.isoformat(),
        "blocked": False,
        "rides_today": 0,
    }
    return {"pass_number": number, "price": pass_price(group, days)["price"], "last_day": last.isoformat()}


def block_pass(pass_number: str, cause: Literal["lost", "misuse", "injury"]) -> dict[str, Any]:
    """Block a pass at all gates.

    Args:
        pass_number: Three groups of four digits with hyphens.
        cause: Why.
    """
    found = pass_status(pass_number)
    if found["blocked"]:
        return {"blocked": False, "error": "it was blocked before"}
    STATE["passes"][pass_number]["blocked"] = True
    return {"blocked": True, "days_refunded": found["days"] - 1 if cause == "injury" else 0}


def find_pass(holder: str) -> dict[str, Any]:
    """Number of the pass that a guest holds.

    Args:
        holder: First name and surname.
    """
    if holder not in STATE["holders"]:
        return {"error": f"no pass is held by {holder}"}
    return {"holder": holder, "pass_number": STATE["holders"][holder]}


def find_crew(name: str) -> dict[str, Any]:
    """Radio number of somebody who works here, and the lift of the day.

    Args:
        name: First name and surname.
    """
    if name not in STATE["crew"]:
        return {"error": f"{name} is not on the duty list"}
    return {"name": name, **STATE["crew"][name]}


def send_radio(radio: int, text: str) -> dict[str, Any]:
    """Send a text to a radio set.

    Args:
        radio: Number of the set.
        text: What is to be read there.
    """
    if radio not in [each["radio"] for each in STATE["crew"].values()]:
        return {"sent": False, "error": f"there is no radio set {radio}"}
    STATE["calls"].append({"radio": radio, "text": text})
    return {"sent": True, "radio": radio}


def call_patrol(slope: str, what: str) -> dict[str, Any]:
    """Send the ski patrol to a slope.

    Args:
        slope: Number of the slope.
        what: What happened.
    """
    card = slope_card(slope)
    STATE["rescues"].append({"slope": slope, "what": what})
    return {"patrol": f"P{len(slope) + 2}", "from_lift": card["lift"], "minutes": 3 + int(slope) % 6}


def _running(rng: random.Random, fits: Any) -> dict[str, Any]:
    running = [{"name": name, **each} for name, each in STATE["lifts"].items() if each["running"]]
    return rng.choice([each for each in running if fits(each)])


def windy_lift(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A running lift above its wind limit."""
    return _running(rng, lambda each: each["wind_kmh"] > each["wind_limit_kmh"])


def calm_lift(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A running lift below its wind limit."""
    return _running(rng, lambda each: each["wind_kmh"] < each["wind_limit_kmh"])


def _way(rng: random.Random, running: bool) -> dict[str, Any]:
    slopes = [(key, STATE["lifts"][each["lift"]]) for key, each in STATE["slopes"].items()]
    return {"slope": rng.choice([key for key, lift in slopes if lift["running"] == running])}


def running_way(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A slope whose lift is running."""
    return _way(rng, True)


def standing_way(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A slope whose lift stands still."""
    return _way(rng, False)


def snow(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A grade and a depth that some open slopes have."""
    slope = rng.choice([each for each in STATE["slopes"].values() if each["open"]])
    depth = slope["snow_cm"] // 10 * 10
    count = sum(
        each["open"] and each["grade"] == slope["grade"] and each["snow_cm"] >= depth
        for each in STATE["slopes"].values()
    )
    return {"grade": slope["grade"], "cm": depth, "count": count}


def other_running(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A running lift that is not the one of the slot `gust`."""
    return _running(rng, lambda each: each["name"] != slots["gust"]["name"])


def listed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A grade with three open slopes or more, and one of them by its place in the list."""
    lists = {grade: open_slopes(grade)["slopes"] for grade in ("blue", "red", "black")}
    grade = rng.choice([grade for grade, numbers in lists.items() if len(numbers) > 2])
    numbers = lists[grade]
    say, place = rng.choice([("first", 0), ("second", 1), ("last", -1), ("third", 2), ("last but one", -2)])
    card = slope_card(numbers[place])
    return {"say": say, "first": numbers[0], "last": numbers[-1], "lift": card["lift"], **card}


def unblocked_holder(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A guest whose pass is not blocked."""
    held = [{"name": name, "number": number} for name, number in STATE["holders"].items()]
    return rng.choice([each for each in held if not STATE["passes"][each["number"]]["blocked"]])


TOOLS = [
    lift_panel, open_slopes, slope_card, halt_lift, pass_status, pass_price, issue_pass, block_pass, find_pass,
    find_crew, send_radio, call_patrol,
]  # fmt: skip
