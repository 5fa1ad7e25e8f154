"""A charity's supporter care: people found by parts of their names, gifts, standing mandates, receipts, appeals."""

import copy
import random
from typing import Any, Literal

Rhythm = Literal["once", "monthly", "quarterly", "yearly"]
APPEALS = ("Clean wells", "School meals", "Night shelter", "Sea rescue", "Seeds for all", "Winter coats")
GIVEN = ("Agnes", "Boris", "Celia", "Dmitri", "Esther", "Felix", "Gudrun", "Hamid", "Iris", "Jorge", "Keiko", "Lars")
FAMILY = ("Abbott", "Brenner", "Castro", "Dahl", "Engel", "Fischer", "Grau", "Holt", "Ibsen", "Jung")
COLLEAGUES = (
    "Henrike Bosch",
    "Milan Petrov",
    "Odile Garnier",
    "Sven Aaker",
    "Tamara Quist",
    "Ugo Salvi",
    "Wanda Prohaska",
    "Yvo Claes",
)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    people: dict[str, Any] = {}
    gifts: dict[str, Any] = {}
    families = [*FAMILY, *FAMILY, "Kovar", "Linde", "Moss", "Nagel"]
    names = [
        f"{first} {family}"
        for first, family in zip(rng.sample([*GIVEN, *(f"{n}-Marie" for n in GIVEN)], 24), families, strict=True)
    ]
    for place, name in enumerate(names):
        person = f"S{rng.randrange(10, 99)}-{place + 100}"
        given = []
        for month in sorted(rng.sample(range(1, 13), 3)):
            gift = f"{rng.randrange(10**5, 10**6)}/{month:02d}"
            gifts[gift] = {
                "supporter": person,
                "amount": f"{rng.randrange(10, 900)}.{rng.choice(('00', '50'))}",
                "currency": rng.choice(("EUR", "EUR", "CHF")),
                "received": f"2026-{month:02d}-{rng.randrange(1, 28):02d}",
                "appeal": rng.choice(APPEALS),
                "receipt_sent": rng.random() < 0.4,
            }
            given.append(gift)
        people[person] = {
            "name": name,
            "city": rng.choice(("Graz", "Lyon", "Leeds", "Turin", "Ghent")),
            "mandate": rng.choice(
                (None, {"amount": f"{rng.randrange(5, 80)}.00", "rhythm": rng.choice(("monthly", "quarterly"))})
            ),
            "contact_by": rng.choice(("post", "email", "none")),
            "gifts": given,
        }
    appeals = {
        name: {
            "goal": rng.randrange(20, 400) * 1000,
            "collected": rng.randrange(1000, 399000),
            "ends": f"2027-0{rng.randrange(1, 5)}-{rng.randrange(10, 28)}",
        }
        for name in APPEALS
    }
    extensions = rng.sample(range(200, 900), len(COLLEAGUES))
    desks = {str(extension): {"name": name} for extension, name in zip(extensions, COLLEAGUES, strict=True)}
    STATE.clear()
    STATE.update(people=people, gifts=gifts, appeals=appeals, pledges=[], mailings=[], desks=desks, messages=[])
    return STATE


def _person(supporter: str) -> dict[str, Any]:
    if supporter not in STATE["people"]:
        raise ValueError(f"no supporter {supporter}; look_up_supporter finds the id by name")
    return STATE["people"][supporter]  # type: ignore[no-any-return]


def look_up_supporter(name: str) -> dict[str, Any]:
    """Supporters whose name holds the text, with id, name and city. There may be several.

    Args:
        name: Any part of the name.
    """
    found = [
        {"supporter": person, "name": each["name"], "city": each["city"]}
        for person, each in STATE["people"].items()
        if name.casefold() in each["name"].casefold()
    ]
    return {"count": len(found), "supporters": found}


def supporter_record(supporter: str) -> dict[str, Any]:
    """Name, city, standing mandate (null if there is none), wished contact and gifts, oldest first.

    Args:
        supporter: Id of the supporter: S, two digits, a hyphen, three digits.
    """
    return {"supporter": supporter, **copy.deepcopy(_person(supporter))}


def gift_detail(gift: str) -> dict[str, Any]:
    """Amount, currency, day, appeal and receipt of a gift.

    Args:
        gift: Number of the gift: six digits, a slash, the month.
    """
    if gift not in STATE["gifts"]:
        raise ValueError(f"no gift {gift}")
    return {"gift": gift, **STATE["gifts"][gift]}


def appeal_progress(appeal: str) -> dict[str, Any]:
    """Goal, sum so far (both in euros) and last day of an appeal.

    Args:
        appeal: Its title.
    """
    for title, found in STATE["appeals"].items():
        if title.casefold() == appeal.casefold():
            return {"appeal": title, **found}
    return {"error": f"no appeal {appeal}", "appeals": list(STATE["appeals"])}


def note_pledge(supporter: str, amount: str, rhythm: Rhythm = "once", appeal: str | None = None) -> dict[str, Any]:
    """Write down that somebody promises to give.

    Args:
        supporter: Id of the supporter.
        amount: In euros, with two digits after the point.
        rhythm: How often.
        appeal: Title of the appeal it is for; left out for general purposes.
    """
    _person(supporter)
    STATE["pledges"].append({"supporter": supporter, "amount": amount, "rhythm": rhythm, "appeal": appeal})
    return {"pledge": f"PL{supporter[-3:]}{len(STATE['pledges'])}", "amount": amount, "rhythm": rhythm}


def end_mandate(supporter: str, last_debit: str) -> dict[str, Any]:
    """Stop the standing mandate of a supporter.

    Args:
        supporter: Id of the supporter.
        last_debit: Day of the last debit, YYYY-MM-DD.
    """
    person = _person(supporter)
    if person["mandate"] is None:
        return {"ended": False, "error": "this supporter has no mandate"}
    person["mandate"] = None
    return {"ended": True, "last_debit": last_debit}


def send_receipt(gift: str, issue: Literal["first", "duplicate", "corrected"] = "first") -> dict[str, Any]:
    """Send the tax receipt of a gift, by the supporter's wished contact.

    Args:
        gift: Number of the gift.
        issue: duplicate where one was sent and is lost, corrected where there is a mistake in the one that was sent.
    """
    found = gift_detail(gift)
    way = _person(found["supporter"])["contact_by"]
    if way == "none":
        return {
            "sent": False,
            "error": "the supporter does not want to be contacted; the receipt can be fetched at the office",
        }
    STATE["gifts"][gift]["receipt_sent"] = True
    return {"sent": True, "by": way, "receipt": f"R{gift[:6]}"}


def write_thanks(
    supporter: str, words: str, picture: Literal["none", "flowers", "sea", "winter"] = "none"
) -> dict[str, Any]:
    """Send a supporter a card of thanks.

    Args:
        supporter: Id of the supporter.
        words: What the card says.
        picture: What is on its front.
    """
    name = _person(supporter)["name"]
    STATE["mailings"].append({"supporter": supporter, "words": words})
    return {"posted": True, "to": name}


def set_contact(supporter: str, by: Literal["post", "email", "none"]) -> dict[str, str]:
    """Change how a supporter wants to be written to.

    Args:
        supporter: Id of the supporter.
        by: The wished way; none if nothing may be sent.
    """
    before, _person(supporter)["contact_by"] = _person(supporter)["contact_by"], by
    return {"supporter": supporter, "before": before, "now": by}


def colleagues(name: str) -> list[dict[str, str]]:
    """People who work at Open Hands, with their extension.

    Args:
        name: Any part of the name.
    """
    return [
        {"extension": extension, "name": each["name"]}
        for extension, each in STATE["desks"].items()
        if name.casefold() in each["name"].casefold()
    ]


def desk_message(extension: str, text: str) -> str:
    """Leave a message on the screen of a colleague.

    Args:
        extension: Three digits.
        text: The message.
    """
    if extension not in STATE["desks"]:
        raise ValueError(f"no extension {extension}; colleagues finds it by name")
    STATE["messages"].append({"extension": extension, "text": text})
    return "left"


def full(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A supporter with a gift of theirs."""
    person = rng.choice(sorted(STATE["people"]))
    found = STATE["people"][person]
    gift = found["gifts"][-1]
    return {"id": person, "name": found["name"], "city": found["city"], "last_gift": gift, **STATE["gifts"][gift]}


def with_mandate(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A supporter with a standing mandate."""
    person = rng.choice([key for key, each in sorted(STATE["people"].items()) if each["mandate"]])
    return {"id": person, "name": STATE["people"][person]["name"], **STATE["people"][person]["mandate"]}


def without_mandate(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A supporter without a mandate."""
    person = rng.choice([key for key, each in sorted(STATE["people"].items()) if not each["mandate"]])
    return {"id": person, "name": STATE["people"][person]["name"]}


def _gift(rng: random.Random, reachable: bool, sent: bool = False) -> dict[str, Any]:
    people = {key for key, each in STATE["people"].items() if (each["contact_by"] != "none") == reachable}
    rows = [{"id": key, **each} for key, each in sorted(STATE["gifts"].items()) if each["receipt_sent"] == sent]
    return rng.choice([each for each in rows if each["supporter"] in people])


def reachable_gift(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A gift of somebody who may be written to."""
    return _gift(rng, True)


def silent_gift(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A gift of somebody who must not be written to."""
    return _gift(rng, False)


def namesakes(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A family name that two supporters have, and the one of them who is meant."""
    family = rng.choice(FAMILY)
    both = [(key, each["name"]) for key, each in STATE["people"].items() if each["name"].endswith(family)]
    chosen, name = rng.choice(both)
    return {"family": family, "names": [each for _, each in both], "chosen": chosen, "chosen_name": name}


def due_receipt(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A supporter who may be written to, and whose newest gift has no receipt yet."""
    found = [
        (key, each)
        for key, each in sorted(STATE["people"].items())
        if each["contact_by"] != "none" and not STATE["gifts"][each["gifts"][-1]]["receipt_sent"]
    ]
    person, each = rng.choice(found)
    gift = each["gifts"][-1]
    return {"id": person, "name": each["name"], "by": each["contact_by"], "gift": gift, **STATE["gifts"][gift]}


def listed_pair(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A family name that two supporters have, and both in the order in which they are found."""
    family = rng.choice(FAMILY)
    one, two = look_up_supporter(family)["supporters"]
    return {"family": family, "one": one, "two": two}


def sent_gift(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A gift whose receipt was sent, of somebody who may be written to."""
    return _gift(rng, True, sent=True)


def other_way(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A supporter who is written to in another way than the slot `wish` says."""
    person = rng.choice([k for k, each in sorted(STATE["people"].items()) if each["contact_by"] != slots["wish"]["by"]])
    return {"id": person, "name": STATE["people"][person]["name"]}


def colleague(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody who works here."""
    extension = rng.choice(sorted(STATE["desks"]))
    name = STATE["desks"][extension]["name"]
    return {"extension": extension, "name": name, "first": name.split()[0], "last": name.split()[1]}


TOOLS = [
    look_up_supporter, supporter_record, gift_detail, appeal_progress, note_pledge, end_mandate, send_receipt,
    write_thanks, set_contact, colleagues, desk_message,
]  # fmt: skip
