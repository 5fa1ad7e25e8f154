"""The computer helpdesk of a school: logins, devices by tag, class groups, loans, printers, a log of faults."""

import random
from typing import Any, Literal

FIRST = ("Anouk", "Bilal", "Carla", "Denis", "Elisa", "Finn", "Gioia", "Hamid", "Irma", "Jonte", "Kaja", "Lars")
LAST = (
    "Ahrens",
    "Bosch",
    "Cetin",
    "Doll",
    "Ernst",
    "Fink",
    "Gall",
    "Haase",
    "Ivers",
    "Jost",
    "Kolb",
    "Lux",
    "Mertz",
    "Nau",
    "Oster",
    "Pabst",
    "Quandt",
    "Rapp",
    "Seidl",
    "Thoma",
    "Uhl",
    "Vogt",
    "Wirth",
    "Zobel",
    "Adler",
    "Brenner",
    "Claus",
    "Dorn",
)
CLASSES = ("5a", "5b", "7c", "8a", "9b", "10a", "Q1")
ROOMS = ("A101", "A104", "B012", "B207", "C3", "library", "staff room")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    names = [(rng.choice(FIRST), last) for last in rng.sample(LAST, 26)]
    users = {}
    for place, (first, last) in enumerate(names):
        teacher = place % 5 == 0
        users[f"{first[:2]}{last}".lower() + str(place)] = {
            "name": f"{first} {last}",
            "role": "teacher" if teacher else "pupil",
            "class": None if teacher else rng.choice(CLASSES),
            "locked": ("", "three wrong passwords", "unpaid print bill", "")[place % 4],
            "quota": {"used_mb": rng.randrange(100, 4800, 10), "limit_mb": 5000},
        }
    devices = {
        f"{kind}{number}": {
            "kind": name,
            "room": rng.choice(ROOMS),
            "state": ("in the cupboard", "in the cupboard", "lent", "broken")[place % 4],
            "battery_health": rng.randint(41, 100),
            "lent_to": None,
        }
        for place, (number, (kind, name)) in enumerate(
            zip(
                rng.sample(range(1000, 9999), 24),
                (("NB", "notebook"), ("TB", "tablet"), ("BM", "projector")) * 8,
                strict=True,
            )
        )
    }
    printers = {
        room: {
            "model": rng.choice(("Laser 40", "Laser 60c")),
            "toner_percent": rng.randint(2, 98),
            "waiting": rng.randint(0, 14),
            "state": state,
        }
        for room, state in zip(
            ("A104", "B207", "library", "staff room"),
            rng.sample(("ready", "ready", "paper jam", "offline"), 4),
            strict=True,
        )
    }
    for place, each in enumerate(devices.values()):
        if each["state"] == "lent":
            each["lent_to"] = list(users)[place]
    STATE.clear()
    STATE.update(users=users, devices=devices, printers=printers, faults=[], notes=[])
    return STATE


def account(login: str) -> dict[str, Any]:
    """An account: name, role, class, why it is locked (empty if it is not), storage used and allowed in megabytes.

    Args:
        login: Login name.
    """
    if login not in STATE["users"]:
        return {"error": {"code": 404, "message": f"no login {login}", "hint": "use find_login with the surname"}}
    return {"login": login, **STATE["users"][login]}


def find_login(surname: str) -> dict[str, Any]:
    """Logins of people with a surname.

    Args:
        surname: The surname alone.
    """
    hits = [
        {"login": n, "name": u["name"], "class": u["class"]}
        for n, u in STATE["users"].items()
        if u["name"].split()[1].casefold() == surname.casefold()
    ]
    return {"count": len(hits), "hits": hits}


def unlock(login: str) -> dict[str, Any]:
    """Unlock an account.

    Args:
        login: Login name.
    """
    user = STATE["users"][login]
    if user["locked"] == "unpaid print bill":
        return {
            "error": {
                "code": 402,
                "message": "print bill not paid",
                "hint": "the school office takes the money, room A002",
            }
        }
    user["locked"] = ""
    return {"login": login, "locked": False}


def new_password(login: str, deliver: Literal["slip", "parent mail", "class teacher"] = "slip") -> dict[str, Any]:
    """Give an account a new password, which has to be changed at the next login.

    Args:
        login: Login name.
        deliver: How the person gets it.
    """
    return {"login": login, "delivered_by": deliver, "valid_hours": 48}


def raise_quota(login: str, limit_mb: int) -> dict[str, Any]:
    """Allow an account more storage.

    Args:
        login: Login name.
        limit_mb: The new limit in megabytes (1 GB is 1000 MB).
    """
    STATE["users"][login]["quota"]["limit_mb"] = limit_mb
    return {"login": login, "limit_mb": limit_mb}


def device(tag: str) -> dict[str, Any]:
    """A device: kind, room, state, health of the battery in percent, who has it.

    Args:
        tag: Two letters and a number from the sticker.
    """
    return {"tag": tag, **STATE["devices"][tag]}


def spare_devices(kind: Literal["notebook", "tablet", "projector"]) -> list[dict[str, Any]]:
    """Devices in the cupboard that can be lent.

    Args:
        kind: Kind of device.
    """
    return [
        {"tag": tag, "room": each["room"], "battery_health": each["battery_health"]}
        for tag, each in STATE["devices"].items()
        if each["kind"] == kind and each["state"] == "in the cupboard"
    ]


def lend(
    tag: str, login: str, back_on: str, along: Literal["nothing", "charger", "mouse", "bag"] = "nothing"
) -> dict[str, Any]:
    """Lend a device to somebody.

    Args:
        tag: Sticker of the device.
        login: Who gets it.
        back_on: Day on which it comes back, YYYY-MM-DD.
        along: What goes along with the device.
    """
    each = STATE["devices"][tag]
    if each["state"] != "in the cupboard":
        return {"error": {"code": 409, "message": f"{tag} is {each['state']}", "hint": "choose one from spare_devices"}}
    each.update(state="lent", lent_to=login)
    return {"loan": f"{tag}-{login}", "back_on": back_on, "along": along}


def loans_of(login: str) -> dict[str, Any]:
    """Devices that somebody has borrowed.

    Args:
        login: Login name.
    """
    loans = [{"tag": n, "kind": each["kind"]} for n, each in STATE["devices"].items() if each["lent_to"] == login]
    return {"login": login, "loans": loans}


def take_back(tag: str) -> dict[str, Any]:
    """Enter that a lent device has come back.

    Args:
        tag: Sticker of the device.
    """
    each = STATE["devices"][tag]
    if each["state"] != "lent":
        return {"error": {"code": 409, "message": f"{tag} is {each['state']}", "hint": "see loans_of"}}
    each.update(state="in the cupboard", lent_to=None)
    return {"tag": tag, "state": "in the cupboard"}


def leave_message(login: str, text: str) -> dict[str, Any]:
    """Put a message on somebody's start page.

    Args:
        login: Login name.
        text: What the person reads.
    """
    if login not in STATE["users"]:
        return {"error": {"code": 404, "message": f"no login {login}", "hint": "use find_login with the surname"}}
    STATE["notes"].append({"login": login, "text": text})
    return {"login": login, "shown": "at the next login"}


def printer(room: str) -> dict[str, Any]:
    """The printer of a room: state, toner in percent, waiting jobs.

    Args:
        room: A104, B207, library or staff room.
    """
    return {"room": room, **STATE["printers"][room]}


def log_fault(where: str, what: str, priority: Literal[1, 2, 3] = 3) -> dict[str, Any]:
    """Log a fault for the technician.

    Args:
        where: Room or sticker.
        what: What is wrong.
        priority: 1 stops a lesson, 2 disturbs one, 3 can wait.
    """
    STATE["faults"].append({"where": where, "what": what, "priority": priority})
    return {"fault": f"F{2027}.{len(STATE['faults']):03d}", "priority": priority}


TOOLS = [
    account, find_login, unlock, new_password, raise_quota, device, spare_devices, lend, loans_of, take_back,
    leave_message, log_fault, printer,
]  # fmt: skip


def user(rng: random.Random, fits: Any) -> dict[str, Any]:
    """An account that fits."""
    found = [{"login": n, **u, "surname": u["name"].split()[1]} for n, u in STATE["users"].items() if fits(u)]
    return rng.choice(found)


def anyone(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any account."""
    return user(rng, lambda each: True)


def mistyped(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An account that wrong passwords have locked."""
    return user(rng, lambda each: "password" in each["locked"])


def unpaid(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An account that a bill has locked."""
    return user(rng, lambda each: "bill" in each["locked"])


def unlocked(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An account that is not locked."""
    return user(rng, lambda each: not each["locked"])


def gadget(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A device."""
    return rng.choice([{"tag": tag, **each} for tag, each in STATE["devices"].items()])


def spare(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A kind of device, and the spare one with the best battery."""
    kind = rng.choice(("notebook", "tablet", "projector"))
    best = max(spare_devices(kind), key=lambda each: each["battery_health"])
    return {"kind": kind, **best}


def lent(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A device that cannot be lent."""
    return rng.choice(
        [{"tag": tag, **each} for tag, each in STATE["devices"].items() if each["state"] != "in the cupboard"]
    )


def another(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any account but that of the slot `who`."""
    return user(rng, lambda each: each["name"] != slots["who"]["name"])


def listed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A kind of device, and one of its spare ones by its place in the list or by its battery."""
    kind = rng.choice(("notebook", "tablet", "projector"))
    found = spare_devices(kind)
    by_health = sorted(found, key=lambda each: each["battery_health"])
    ways = [
        ("the second one", found[1]),
        ("the third", found[2]),
        ("the last one you named", found[-1]),
        ("the first one", found[0]),
    ]
    if by_health[0]["battery_health"] < by_health[1]["battery_health"]:
        ways.append(("the one with the weakest battery", by_health[0]))
    if by_health[-1]["battery_health"] > by_health[-2]["battery_health"]:
        ways.append(("the one with the strongest battery", by_health[-1]))
    say, each = rng.choice(ways)
    return {"kind": kind, "say": say, **each}


def pupil(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """The account of a pupil."""
    return user(rng, lambda each: each["role"] == "pupil")


def notebook(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A spare notebook."""
    return rng.choice(spare_devices("notebook"))


def borrower(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A pupil who has borrowed a device."""
    found = [(tag, each) for tag, each in STATE["devices"].items() if each["lent_to"]]
    found = [(tag, each) for tag, each in found if STATE["users"][each["lent_to"]]["role"] == "pupil"]
    found = [(tag, each) for tag, each in found if len(loans_of(each["lent_to"])["loans"]) == 1]
    tag, each = rng.choice(found)
    name = STATE["users"][each["lent_to"]]["name"]
    return {"tag": tag, "kind": each["kind"], "name": name, "surname": name.split()[1], "login": each["lent_to"]}


def two_devices(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two devices."""
    first, second = rng.sample(sorted(STATE["devices"]), 2)
    return {"a": first, "b": second}
