"""A dental supplier: an assortment in pages, articles with variants, a basket for each practice, credits."""

import random
from typing import Any, Literal

Group = Literal["impression", "hygiene", "filling", "instruments"]
PAGE = 4
ARTICLES = {
    "impression": (
        "alginate powder",
        "silicone putty",
        "impression trays",
        "bite wafers",
        "mixing tips",
        "tray adhesive",
    ),
    "hygiene": ("nitrile gloves", "saliva ejectors", "surface wipes", "face masks", "patient bibs", "hand rub"),
    "filling": (
        "composite syringes",
        "etching gel",
        "bonding agent",
        "glass ionomer capsules",
        "matrix bands",
        "wedges",
    ),
    "instruments": ("mouth mirrors", "scalers", "curettes", "tweezers", "root elevators", "diamond burs"),
}
VARIANTS = {
    "impression": ("small", "large"),
    "hygiene": ("S", "M", "L"),
    "filling": ("A1", "A2", "A3"),
    "instruments": ("straight", "curved"),
}
PRACTICES = (
    "Albrecht", "Nomura", "Castellanos", "Lindqvist", "Mbeki", "Fontaine", "Sobczak", "Harrington", "Ozturk", "Vance",
    "Delacroix", "Yilmaz", "Brandl", "Koskinen", "Pereira", "Tanaka", "Ostrowski", "Galli", "Whitfield", "Nyberg",
)  # fmt: skip
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    articles: dict[str, Any] = {}
    for group, names in ARTICLES.items():
        for place, name in enumerate(names):
            code = f"{group[:2].upper()}.{rng.randrange(10, 99)}{place}0"
            articles[code] = {
                "name": name,
                "group": group,
                "pack_size": rng.choice((1, 10, 12, 50, 100)),
                "price": round(rng.randrange(290, 14900) / 100, 2),
                "variants": {variant: rng.choice((0, 3, 18, 44, 120)) for variant in VARIANTS[group]},
                "back_on": f"2026-10-{rng.randrange(8, 30):02d}",
            }
    practices = {
        f"{code}/D": {
            "dentist": f"Dr. {name}",
            "surname": name,
            "town": rng.choice(("Elmau", "Port Sable", "Greyfield", "Novaro")),
            "owed": round(rng.randrange(0, 90000) / 100, 2),
            "credit_blocked": place % 4 == 3,
        }
        for place, (code, name) in enumerate(zip(rng.sample(range(300, 999), len(PRACTICES)), PRACTICES, strict=True))
    }
    parcels = {
        f"{rng.randrange(10**8, 10**9)}": {
            "practice": practice,
            "stage": rng.choice(("packed", "on the van", "handed over", "returned to depot")),
            "boxes": rng.randrange(1, 9),
            "expected": f"2026-10-{rng.randrange(6, 20):02d}",
        }
        for practice in practices
    }
    STATE.clear()
    STATE.update(articles=articles, practices=practices, parcels=parcels, baskets={}, placed=[], credits=[], letters=[])
    return STATE


def assortment_page(
    group: Group, page: int = 1, order: Literal["listed", "cheapest first", "dearest first", "by name"] = "listed"
) -> dict[str, Any]:
    """One page of the assortment, four articles each. `more` says whether another page follows.

    Args:
        group: Group of goods.
        page: From 1.
        order: How the articles are ordered; listed is as in the catalogue.
    """
    found = [
        {"code": code, "name": article["name"], "price": article["price"]}
        for code, article in STATE["articles"].items()
        if article["group"] == group
    ]
    if order == "by name":
        found.sort(key=lambda each: each["name"])
    elif order != "listed":
        found.sort(key=lambda each: each["price"], reverse=order == "dearest first")
    return {"page": page, "items": found[(page - 1) * PAGE : page * PAGE], "more": page * PAGE < len(found)}


def article_sheet(code: str) -> dict[str, Any]:
    """An article: name, pack size, price of a pack in euros, packs in stock by variant, and when it is restocked.

    Args:
        code: Article code: two letters, a point, four digits.
    """
    if code not in STATE["articles"]:
        raise ValueError(f"no article {code}; assortment_page lists the codes of a group")
    return {"code": code, **STATE["articles"][code]}


def practice_by_dentist(dentist: str) -> dict[str, Any]:
    """Customer number and account of a practice.

    Args:
        dentist: Surname of the dentist.
    """
    name = dentist.casefold().removeprefix("dr.").strip()
    for number, practice in STATE["practices"].items():
        if practice["dentist"].casefold().endswith(" " + name):
            return {"customer": number, **practice}
    return {"error": f"no practice of a dentist called {dentist}"}


def put_in_basket(customer: str, code: str, variant: str, packs: int) -> dict[str, Any]:
    """Put packs of an article into the basket of a practice. Nothing is sent before the basket is placed.

    Args:
        customer: Customer number: digits, a slash, D.
        code: Article code.
        variant: One of the variants on the article's sheet.
        packs: How many packs, not pieces.
    """
    article = article_sheet(code)
    if variant not in article["variants"]:
        return {"added": False, "error": f"{code} has no variant {variant}", "variants": sorted(article["variants"])}
    if article["variants"][variant] < packs:
        return {
            "added": False,
            "error": f"{article['variants'][variant]} packs of {variant} are left, more come on {article['back_on']}",
        }
    basket = STATE["baskets"].setdefault(customer, [])
    basket.append({"code": code, "variant": variant, "packs": packs, "sum": round(packs * article["price"], 2)})
    return {"added": True, "basket_total": round(sum(line["sum"] for line in basket), 2)}


def place_basket(customer: str, express: bool = False) -> dict[str, Any]:
    """Turn the basket of a practice into a delivery.

    Args:
        customer: Customer number: digits, a slash, D.
        express: Delivery before 10 the next morning, at a surcharge of 14 euros.
    """
    practice = STATE["practices"].get(customer)
    if practice is None:
        raise ValueError(f"no customer {customer}")
    if practice["credit_blocked"]:
        return {"placed": False, "error": f"blocked: {practice['owed']} euros are overdue"}
    number = 400 + len(STATE["placed"]) + int(customer[:3])
    STATE["placed"].append({"customer": customer, "express": express, "lines": STATE["baskets"].pop(customer, [])})
    return {"placed": True, "delivery": f"L-26-{number}", "arrives": "2026-10-06" if express else "2026-10-08"}


def parcel_stage(tracking: str) -> dict[str, Any]:
    """Where a parcel is, how many boxes it has, and when it is expected.

    Args:
        tracking: Tracking number, nine digits.
    """
    if tracking not in STATE["parcels"]:
        raise ValueError(f"no parcel {tracking}")
    return {"tracking": tracking, **STATE["parcels"][tracking]}


def parcels_of(customer: str) -> list[dict[str, Any]]:
    """Parcels of a practice: tracking number, stage, and when they are expected.

    Args:
        customer: Customer number: digits, a slash, D.
    """
    return [
        {"tracking": number, "stage": parcel["stage"], "expected": parcel["expected"]}
        for number, parcel in STATE["parcels"].items()
        if parcel["practice"] == customer
    ]


def hold_parcel(tracking: str, until: str) -> dict[str, Any]:
    """Keep a parcel back, so that it is delivered on a later day.

    Args:
        tracking: Tracking number, nine digits.
        until: Day on which it is delivered, YYYY-MM-DD.
    """
    parcel = STATE["parcels"].get(tracking)
    if parcel is None:
        raise ValueError(f"no parcel {tracking}")
    if parcel["stage"] == "handed over":
        return {"held": False, "error": "it has been handed over already"}
    parcel["expected"] = until
    return {"held": True, "tracking": tracking, "delivery": until}


def write_to_practice(customer: str, text: str) -> str:
    """Send a practice a message.

    Args:
        customer: Customer number: digits, a slash, D.
        text: What it says.
    """
    if customer not in STATE["practices"]:
        raise ValueError(f"no customer {customer}")
    STATE["letters"].append({"customer": customer, "text": text})
    return "message sent"


def request_credit(
    customer: str,
    code: str,
    packs: int,
    cause: Literal["damaged", "expired", "wrong item"],
    settle: Literal["credit note", "new packs", "record only"] = "credit note",
) -> dict[str, Any]:
    """Ask the accounts department for a credit note, or for what else a practice wants for faulty packs.

    Args:
        customer: Customer number: digits, a slash, D.
        code: Article code.
        packs: How many packs.
        cause: Why.
        settle: What the practice gets for the packs; with record only, nothing.
    """
    amount = round(article_sheet(code)["price"] * packs, 2)
    STATE["credits"].append({"customer": customer, "amount": amount, "cause": cause})
    asked = {} if settle == "credit note" else {"settle": settle}
    return {"requested": True, "amount": amount, "answer_within_days": 3, **asked}


def _variant(rng: random.Random, fits: Any) -> dict[str, Any]:
    found = [
        {"code": code, "name": item["name"], "variant": variant, "left": left, "back_on": item["back_on"]}
        for code, item in STATE["articles"].items()
        for variant, left in item["variants"].items()
        if fits(left)
    ]
    return rng.choice(found)


def sold_out(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An article and a variant of it that is not there."""
    return _variant(rng, lambda left: not left)


def in_stock(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An article and a variant of it of which enough is there."""
    return _variant(rng, lambda left: left > 10)


def late_article(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An article of a second page."""
    group = rng.choice(sorted(ARTICLES))
    code, item = rng.choice([(code, item) for code, item in STATE["articles"].items() if item["group"] == group][PAGE:])
    return {"code": code, "name": item["name"], "group": group, "price": item["price"]}


def listed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An article on the first page of a group, how the list singles it out, and a variant of which enough is there."""
    group = rng.choice(sorted(ARTICLES))
    page = [(code, item) for code, item in STATE["articles"].items() if item["group"] == group][:PAGE]
    ways = dict(zip(("first", "second", "third", "last"), page, strict=True))
    ways |= {"cheapest": min(page, key=lambda each: each[1]["price"])}
    ways |= {"most expensive": max(page, key=lambda each: each[1]["price"])}
    found = [
        {"group": group, "say": say, "code": code, "name": item["name"], "variant": variant}
        for say, (code, item) in ways.items()
        for variant, left in item["variants"].items()
        if left > 10
    ]
    return rng.choice(found)


def late_in_stock(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An article of a second page and a variant of it of which enough is there."""
    found = [
        {"code": code, "name": item["name"], "group": group, "variant": variant}
        for group in sorted(ARTICLES)
        for code, item in [each for each in STATE["articles"].items() if each[1]["group"] == group][PAGE:]
        for variant, left in item["variants"].items()
        if left > 10
    ]
    return rng.choice(found)


def under_way(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A practice whose parcel has not been handed over."""
    parcels = [(number, each) for number, each in STATE["parcels"].items() if each["stage"] != "handed over"]
    tracking, parcel = rng.choice(parcels)
    return {"tracking": tracking, **STATE["practices"][parcel["practice"]]}


TOOLS = [
    assortment_page, article_sheet, practice_by_dentist, put_in_basket, place_basket, parcel_stage, request_credit,
    parcels_of, hold_parcel, write_to_practice,
]  # fmt: skip
