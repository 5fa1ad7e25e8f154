"""An observatory: proposals with hours, targets with coordinates, nights, instruments, a queue of observing blocks."""

import random
from typing import Any, Literal

Instrument = Literal["MUSKAT", "FORA", "HELIX"]
CATALOGUE = (
    "NGC 1365", "NGC 253", "NGC 6302", "NGC 7293", "IC 2391", "IC 5148", "M 83", "M 104", "HD 74156", "HD 10180",
    "WASP-18", "WASP-121", "GJ 436", "GJ 1214", "PKS 0637", "PKS 2155", "Abell 370", "Abell 2744", "RX J1347",
    "SN 1987A", "V838 Mon", "Eta Car",
)  # fmt: skip
PEOPLE = ("Aguirre", "Bergström", "Chandra", "Duarte", "Emeka", "Faber", "Gauthier", "Hirano")
NIGHTS = tuple(f"2028-03-{day:02d}" for day in range(6, 26))
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    targets = {
        name: {
            "ra": f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}.{rng.randrange(9)}",
            "dec": f"-{rng.randrange(5, 70):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}",
            "magnitude": round(rng.randrange(40, 190) / 10, 1),
        }
        for name in CATALOGUE
    }
    proposals = {
        f"{rng.randrange(100, 121)}.{letter}-{rng.randrange(1000, 9999)}": {
            "investigator": rng.choice(PEOPLE),
            "hours_granted": rng.randrange(6, 40),
            "hours_used": rng.randrange(6) + rng.choice((0, 0.5)),
            "priority": rng.choice("ABC"),
            "instrument": rng.choice(("MUSKAT", "FORA", "HELIX")),
            "moon": rng.choice(("dark", "grey", "any")),
        }
        for letter in "ABCDEFGHIJKLMNOPQRSTU"
    }
    blocks = {
        f"OB{rng.randrange(10**6, 10**7)}": {
            "proposal": proposal,
            "target": target,
            "night": night,
            "minutes": rng.randrange(20, 180, 10),
            "state": rng.choice(("queued", "queued", "observed", "aborted")),
        }
        for proposal, target, night in zip(proposals, rng.sample(CATALOGUE, 21), rng.choices(NIGHTS, k=21), strict=True)
    }
    nights = {
        night: {
            "cloud_percent": rng.randrange(100),
            "seeing_arcsec": round(rng.randrange(5, 25) / 10, 1),
            "moon": rng.choice(("dark", "grey", "bright")),
            "closed": False,
        }
        for night in NIGHTS
    }
    for night in rng.sample(NIGHTS, 4):
        nights[night]["closed"] = True
    badges = dict(zip(PEOPLE, rng.sample(range(2000, 9000), len(PEOPLE)), strict=True))
    STATE.clear()
    STATE.update(targets=targets, proposals=proposals, blocks=blocks, nights=nights, badges=badges, log=[], pages=[])
    return STATE


def _proposal(proposal: str) -> dict[str, Any]:
    if proposal not in STATE["proposals"]:
        raise ValueError(f"no proposal {proposal}")
    return STATE["proposals"][proposal]  # type: ignore[no-any-return]


def resolve_target(name: str, band: Literal["V", "B", "K"] = "V") -> dict[str, Any]:
    """Right ascension, declination (J2000) and magnitude of an object.

    Args:
        name: Catalogue name.
        band: Light in which the magnitude is taken: V visual, B blue (440 nm), K near infrared (2.2 microns).
    """
    for known, found in STATE["targets"].items():
        if known.casefold().replace(" ", "") == name.casefold().replace(" ", ""):
            shift = {"V": 0, "B": 0.7, "K": -1.4}[band]
            return {"name": known, **found, "magnitude": round(found["magnitude"] + shift, 1), "band": band}
    return {"name": name, "error": "the name server does not know it"}


def proposal_budget(proposal: str) -> dict[str, Any]:
    """Investigator, priority, instrument, wanted moon, and hours granted, used and left.

    Args:
        proposal: Three digits, a point, a letter, a hyphen, four digits.
    """
    found = _proposal(proposal)
    return {"proposal": proposal, **found, "hours_left": found["hours_granted"] - found["hours_used"]}


def night_outlook(nights: list[str]) -> list[dict[str, Any]]:
    """Clouds in percent, seeing in arc seconds and moon for several nights in one go.

    Args:
        nights: Dates of the evenings, YYYY-MM-DD.
    """
    unknown = [night for night in nights if night not in STATE["nights"]]
    if unknown:
        raise ValueError(f"no outlook for {unknown[0]}: it reaches from {NIGHTS[0]} to {NIGHTS[-1]}")
    return [{"night": night, **STATE["nights"][night]} for night in nights]


def block_status(block: str) -> dict[str, Any]:
    """Proposal, target, night, length in minutes and state of an observing block.

    Args:
        block: OB and seven digits.
    """
    if block not in STATE["blocks"]:
        raise ValueError(f"no block {block}")
    return {"block": block, **STATE["blocks"][block]}


def enqueue_block(proposal: str, ra: str, dec: str, minutes: int, night: str) -> dict[str, Any]:
    """Put an observing block into the queue of a night.

    Args:
        proposal: Proposal that pays the time.
        ra: Right ascension, HH:MM:SS.S.
        dec: Declination with its sign, DD:MM:SS.
        minutes: Length.
        night: Date of the evening, YYYY-MM-DD.
    """
    budget = proposal_budget(proposal)
    if minutes > budget["hours_left"] * 60:
        return {"queued": False, "error": f"only {budget['hours_left']} hours are left"}
    if STATE["nights"][night]["closed"]:
        return {"queued": False, "error": "the dome is closed for maintenance that night"}
    block = f"OB{int(ra[:2]) + 31}{minutes:03d}{night[8:]}"
    STATE["blocks"][block] = {
        "proposal": proposal,
        "target": f"{ra} {dec}",
        "night": night,
        "minutes": minutes,
        "state": "queued",
    }
    return {"queued": True, "block": block, "position": len(STATE["blocks"]) % 7 + 1}


def withdraw_block(block: str) -> dict[str, Any]:
    """Take a block out of the queue.

    Args:
        block: OB and seven digits.
    """
    found = block_status(block)
    if found["state"] != "queued":
        return {"withdrawn": False, "error": f"it is already {found['state']}"}
    STATE["blocks"][block]["state"] = "withdrawn"
    return {"withdrawn": True, "minutes_freed": found["minutes"]}


def postpone_block(block: str, night: str, slot: Literal["any", "dusk", "dawn"] = "any") -> dict[str, Any]:
    """Move a queued block to another night.

    Args:
        block: OB and seven digits.
        night: Date of the evening, YYYY-MM-DD.
        slot: When in that night: the first hours (dusk), the last ones (dawn), or any.
    """
    found = block_status(block)
    if STATE["nights"].get(night, {"closed": True})["closed"]:
        return {"moved": False, "error": "the dome is closed that night"}
    STATE["blocks"][block]["night"] = night
    return {"moved": True, "from": found["night"], "to": night}


def log_entry(
    text: str, instrument: Instrument | None = None, audience: Literal["everyone", "staff", "engineers"] = "everyone"
) -> dict[str, Any]:
    """Write a line into tonight's log.

    Args:
        text: What happened.
        instrument: Which instrument it concerns; left out if none.
        audience: Who may read the line: everyone, visitors too; staff; or engineers alone.
    """
    STATE["log"].append({"text": text, "instrument": instrument, "audience": audience})
    return {"line": len(STATE["log"]) + 40}


def observer_card(surname: str) -> dict[str, Any]:
    """Badge number of an astronomer, and the astronomer's blocks that are queued.

    Args:
        surname: Surname.
    """
    for known, badge in STATE["badges"].items():
        if known.casefold() == surname.casefold():
            mine = [
                {"block": key, "target": each["target"], "night": each["night"]}
                for key, each in STATE["blocks"].items()
                if each["state"] == "queued" and STATE["proposals"][each["proposal"]]["investigator"] == known
            ]
            return {"surname": known, "badge": badge, "queued_blocks": mine}
    return {"surname": surname, "error": "no astronomer of that name"}


def page_badge(badge: int, message: str) -> dict[str, Any]:
    """Send a message to the pager of an astronomer.

    Args:
        badge: Number of the badge, four digits.
        message: What the pager shows.
    """
    STATE["pages"].append({"badge": badge, "message": message})
    return {"delivered": True, "pager": badge}


def block(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A queued block with its proposal."""
    name, found = rng.choice([row for row in sorted(STATE["blocks"].items()) if row[1]["state"] == "queued"])
    budget = proposal_budget(found["proposal"])
    return {"id": name, **found, "investigator": budget["investigator"]}


def done_block(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A block that is not in the queue any more."""
    name, found = rng.choice([row for row in sorted(STATE["blocks"].items()) if row[1]["state"] != "queued"])
    return {"id": name, **found}


def _night(rng: random.Random, fits: Any) -> dict[str, Any]:
    night = rng.choice([key for key, found in sorted(STATE["nights"].items()) if fits(found)])
    return {"iso": night, "said": f"{int(night[8:])} March", "de": f"{int(night[8:])}. März", **STATE["nights"][night]}


def open_night(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A night on which the dome is open."""
    return _night(rng, lambda found: not found["closed"])


def closed_night(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A night on which the dome is closed."""
    return _night(rng, lambda found: found["closed"])


def clear_night(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A night with few clouds and an open dome."""
    return _night(rng, lambda found: found["cloud_percent"] < 40 and not found["closed"])


def cloudy_night(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A night with many clouds."""
    return _night(rng, lambda found: found["cloud_percent"] >= 50)


def other_night(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another open night than the slot `night`."""
    while True:
        found = open_night(rng, slots)
        if found["iso"] != slots["night"]["iso"]:
            return found


def two_nights(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two open nights, in order, one of which has fewer clouds."""
    names = [key for key, found in sorted(STATE["nights"].items()) if not found["closed"]]
    while True:
        pair = sorted(rng.sample(names, 2))
        clouds = [STATE["nights"][name]["cloud_percent"] for name in pair]
        if clouds[0] != clouds[1]:
            clear = pair[clouds.index(min(clouds))]
            one, two, said = (f"{int(night[8:])} March" for night in (*pair, clear))
            return {"list": pair, "one": one, "two": two, "clear": clear, "said": said}


TOOLS = [
    resolve_target, proposal_budget, night_outlook, block_status, enqueue_block, withdraw_block, postpone_block,
    log_entry, observer_card, page_badge,
]  # fmt: skip
