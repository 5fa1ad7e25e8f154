"""A wine merchant: a list with many filters, bottles and cases, two cellars, price groups, holds, tastings."""

import random
from typing import Any, Literal

Colour = Literal["red", "white", "rosé", "sparkling"]
MAKERS = (
    "Kerschbaum",
    "Domaine Lune",
    "Poggio Alto",
    "Quinta Vela",
    "Weingut Steg",
    "Bodega Sur",
    "Clos Ardent",
    "Tenuta Riva",
)
GRAPES = {
    "red": ("Blaufränkisch", "Syrah", "Sangiovese"),
    "white": ("Riesling", "Silvaner", "Chenin"),
    "rosé": ("Grenache",),
    "sparkling": ("Chardonnay",),
}
LANDS = ("Austria", "France", "Italy", "Portugal", "Germany", "Spain")
CLIENTS = (
    "Bistro Anker",
    "Gasthof Linde",
    "Cantina Nove",
    "Restaurant Marlow",
    "Hotel Seeblick",
    "Pension Iris",
    "Weinbar Zwo",
    "Trattoria Lia",
    "Café Mohn",
    "Schloss Auen",
    "Club Riviera",
    "Taverna Doro",
)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    wines = {}
    for _ in range(32):
        colour = rng.choice(sorted(GRAPES))
        maker, grape, year = rng.choice(MAKERS), rng.choice(GRAPES[colour]), rng.randint(2014, 2026)
        wines[f"{maker[:3].upper()}-{grape[:2].upper()}{year % 100:02d}"] = {
            "name": f"{maker} {grape} {year}",
            "colour": colour,
            "country": rng.choice(LANDS),
            "vintage": year,
            "prices": {"retail": (price := rng.randrange(650, 6000, 50) / 100), "trade": round(price * 0.8, 2)},
            "bottles": {"town": rng.randint(0, 40), "hill": rng.randint(0, 300)},
            "case_of": rng.choice((6, 6, 12)),
        }
    codes = list(wines)
    for place, code in enumerate(codes):
        wines[code]["bottles"]["town"] = (0, 3, 30, 36)[place % 4]
        wines[code]["bottles"]["hill"] = (120, 60, 0, 240)[place % 4] + place
    clients = {
        name: {
            "client": f"k{rng.randrange(100, 999)}{place}",
            "price_group": rng.choice(("retail", "trade")),
            "open_euros": rng.choice((0, 0, 84.5, 312, 1250)),
            "blocked": place % 6 == 5,
        }
        for place, name in enumerate(CLIENTS)
    }
    for place, each in enumerate(clients.values()):
        each["open_euros"] = (0, 84.5, 0, 312, 0, 1250)[place % 6]
    tastings = {
        f"T-{day:02d}": {"day": f"2027-11-{day:02d}", "theme": theme, "seats_left": seats, "price": price}
        for day, theme, seats, price in zip(
            rng.sample(range(12, 30), 5),
            ("Blind reds", "Old Rieslings", "Iberian evening", "Sparkling and oysters", "Cheese and white"),
            rng.sample((0, 0, 5, 9, 14), 5),
            (35, 60, 45, 80, 30),
            strict=True,
        )
    }
    STATE.clear()
    STATE.update(wines=wines, clients=clients, tastings=tastings, holds={}, orders=[], letters=[])
    return STATE


def wine_list(
    colour: Colour | None = None,
    country: str | None = None,
    max_price: float | None = None,
    oldest: int | None = None,
    newest: int | None = None,
    order: Literal["cheapest", "dearest", "oldest"] = "cheapest",
) -> dict[str, Any]:
    """Wines of the list with their retail price, five at most.

    Args:
        colour: Colour.
        country: Country of origin, in English.
        max_price: Highest retail price of a bottle in euros.
        oldest: Oldest vintage that may be shown.
        newest: Newest vintage that may be shown.
        order: What comes first.
    """
    hits = [
        {"code": code, "name": w["name"], "retail": w["prices"]["retail"]}
        for code, w in STATE["wines"].items()
        if colour in (None, w["colour"])
        and country in (None, w["country"])
        and (max_price is None or w["prices"]["retail"] <= max_price)
        and (oldest is None or w["vintage"] >= oldest)
        and (newest is None or w["vintage"] <= newest)
    ]
    hits.sort(key=lambda hit: (hit["retail"], hit["code"]))
    if order == "dearest":
        hits.sort(key=lambda hit: -hit["retail"])
    if order == "oldest":
        hits.sort(key=lambda hit: STATE["wines"][hit["code"]]["vintage"])
    return {"total": len(hits), "first": hits[:5]}


def wine(code: str) -> dict[str, Any]:
    """A wine: name, vintage, prices by group, bottles in each cellar, bottles in a case.

    Args:
        code: Its code.
    """
    return {"code": code, **STATE["wines"][code]}


def find_wine(name: str) -> list[dict[str, Any]]:
    """Codes of the wines with a name.

    Args:
        name: Name, or words of it: maker, grape, year.
    """
    words = name.casefold().split()
    return [
        {"code": code, "name": w["name"]}
        for code, w in STATE["wines"].items()
        if all(word in w["name"].casefold().split() for word in words)
    ]


def client_sheet(name: str) -> dict[str, Any]:
    """A client: number, price group, what is still to be paid, whether he is blocked.

    Args:
        name: Name of the house.
    """
    if name not in STATE["clients"]:
        return {"error": f"unknown client: {name}"}
    return {"name": name, **STATE["clients"][name]}


def sell_wine(
    client: str,
    code: str,
    bottles: int,
    cellar: Literal["town", "hill"] = "town",
    packing: Literal["carton", "gift box", "cool bag"] = "carton",
) -> dict[str, Any]:
    """Sell bottles to a client; they leave the cellar.

    Args:
        client: Number of the client.
        code: Code of the wine.
        bottles: Single bottles, not cases.
        cellar: From which cellar; town is the shop.
        packing: What the bottles are packed in.
    """
    each = next(c for c in STATE["clients"].values() if c["client"] == client)
    if each["blocked"]:
        return {"error": "client is blocked for unpaid bills; only the owner may lift that", "owner_phone": "ext. 7"}
    stock = STATE["wines"][code]["bottles"]
    if stock[cellar] < bottles:
        return {"error": f"not enough in {cellar}", "in_cellars": dict(stock)}
    stock[cellar] -= bottles
    total = round(bottles * STATE["wines"][code]["prices"][each["price_group"]], 2)
    STATE["orders"].append({"client": client, "code": code, "bottles": bottles, "total": total})
    return {"invoice": f"2027/{400 + len(STATE['orders'])}", "total": total, "packing": packing}


def write_client(client: str, text: str) -> dict[str, Any]:
    """Send a client a letter.

    Args:
        client: Number of the client.
        text: What it says.
    """
    if client not in [each["client"] for each in STATE["clients"].values()]:
        return {"error": f"no client {client}"}
    STATE["letters"].append({"client": client, "text": text})
    return {"sent": True, "client": client}


def hold_bottles(code: str, bottles: int, for_whom: str, until: str) -> dict[str, Any]:
    """Put bottles aside without selling them.

    Args:
        code: Code of the wine.
        bottles: Single bottles.
        for_whom: A name.
        until: Last day, YYYY-MM-DD.
    """
    number = len(STATE["holds"]) + 1
    STATE["holds"][number] = {"code": code, "bottles": bottles, "for_whom": for_whom, "until": until}
    return {"hold": number, "until": until}


def transfer(code: str, cases: int, to: Literal["town", "hill"]) -> dict[str, Any]:
    """Bring whole cases to the other cellar.

    Args:
        code: Code of the wine.
        cases: How many cases.
        to: Where they are brought; they are taken from the other one.
    """
    each = STATE["wines"][code]
    other = "hill" if to == "town" else "town"
    pieces = cases * each["case_of"]
    if each["bottles"][other] < pieces:
        return {"error": f"only {each['bottles'][other] // each['case_of']} whole cases in {other}"}
    each["bottles"][other] -= pieces
    each["bottles"][to] += pieces
    return {"bottles_moved": pieces, "now": dict(each["bottles"])}


def tastings(day_from: str | None = None, day_to: str | None = None) -> list[dict[str, Any]]:
    """Tastings in November with theme, seats left and price.

    Args:
        day_from: First day, YYYY-MM-DD.
        day_to: Last day.
    """
    return [
        {"tasting": n, **t} for n, t in STATE["tastings"].items() if (day_from or "") <= t["day"] <= (day_to or "9999")
    ]


def seat_at_tasting(
    tasting: str, seats: int, name: str, menu: Literal["usual", "vegetarian", "alcohol-free"] = "usual"
) -> dict[str, Any]:
    """Reserve seats at a tasting.

    Args:
        tasting: Its code.
        seats: How many.
        name: For whom.
        menu: What is served to them.
    """
    each = STATE["tastings"][tasting]
    if each["seats_left"] < seats:
        return {"error": "full" if not each["seats_left"] else f"only {each['seats_left']} seats left"}
    each["seats_left"] -= seats
    return {"tasting": tasting, "seats": seats, "to_pay": seats * each["price"], "menu": menu}


TOOLS = [
    wine_list, wine, find_wine, client_sheet, sell_wine, write_client, hold_bottles, transfer, tastings,
    seat_at_tasting,
]  # fmt: skip


def bottle(rng: random.Random, fits: Any) -> dict[str, Any]:
    """A wine that fits."""
    return rng.choice([{"code": code, **w} for code, w in STATE["wines"].items() if fits(w)])


def any_wine(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any wine."""
    return bottle(rng, lambda w: True)


def in_town(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A wine of which the shop has enough."""
    return bottle(rng, lambda w: w["bottles"]["town"] >= 24)


def on_hill(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A wine of which only the cellar on the hill has enough."""
    return bottle(rng, lambda w: w["bottles"]["town"] < 4 and w["bottles"]["hill"] >= 24)


def house(rng: random.Random, slots: dict[str, Any], blocked: bool = False) -> dict[str, Any]:
    """A client who is not blocked."""
    return rng.choice([{"name": n, **c} for n, c in STATE["clients"].items() if c["blocked"] == blocked])


def blocked_house(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A client who is."""
    return house(rng, slots, True)


def cheapest(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A colour and a country, and their cheapest wine, of which the shop has some."""
    while True:
        found = bottle(rng, lambda w: True)
        hits = wine_list(found["colour"], found["country"])["first"]
        best = STATE["wines"][hits[0]["code"]]
        if best["bottles"]["town"] >= 6 or best["bottles"]["hill"] >= 6:
            return {
                "colour": found["colour"],
                "country": found["country"],
                "code": hits[0]["code"],
                "retail": hits[0]["retail"],
                "name": hits[0]["name"],
            }


def nothing(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A colour, a country and a price below which there is nothing."""
    colour, country = rng.choice(sorted(GRAPES)), rng.choice(LANDS)
    return {"colour": colour, "country": country, "price": rng.choice((5, 5.5, 6))}


def evening(rng: random.Random, slots: dict[str, Any], full: bool = False) -> dict[str, Any]:
    """A tasting with seats."""
    found = [{"n": n, **t} for n, t in STATE["tastings"].items() if (t["seats_left"] < 2) == full]
    each = rng.choice(found)
    return {**each, "said": f"{int(each['day'][-2:])} November"}


def full_evening(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A tasting without seats."""
    return evening(rng, slots, True)


def clean_house(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A client who owes nothing and may buy."""
    found = [{"name": n, **c} for n, c in STATE["clients"].items() if not c["open_euros"] and not c["blocked"]]
    return rng.choice(found)


def owing_house(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A client who owes something."""
    return rng.choice([{"name": n, **c} for n, c in STATE["clients"].items() if c["open_euros"]])


def in_both(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A wine of which both cellars have enough."""
    return bottle(rng, lambda w: w["bottles"]["town"] >= 24 and w["bottles"]["hill"] >= 24)


def shortlist(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A colour with three wines or more, and one of the cheapest three by its place."""
    lists = {colour: wine_list(colour)["first"] for colour in sorted(GRAPES)}
    colour = rng.choice([colour for colour, hits in lists.items() if len(hits) > 2])
    hits = lists[colour]
    say, place = rng.choice([("the second one", 1), ("the third", 2), ("the first of these", 0)])
    code = hits[place]["code"]
    return {"colour": colour, "say": say, "code": code, **STATE["wines"][code]}


def other_wine(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another wine than that of the slot `any`."""
    return bottle(rng, lambda w: w["name"] != slots["any"]["name"])
