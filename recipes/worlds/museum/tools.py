"""The ticket office of a museum: exhibitions with timed entries, orders of several lines, vouchers, group tours."""

import random
from typing import Any, Literal

from typing_extensions import TypedDict

Category = Literal["adult", "concession", "child", "family"]
SHOWS = {
    "amber-road": ("The Amber Road", 14.0), "paper-cities": ("Paper Cities", 9.5), "deep-sea": ("Under Pressure", 16.0),
    "glass": ("A Thousand Years of Glass", 11.0), "nomads": ("Nomads of the Steppe", 12.5),
}  # fmt: skip
SHARE = {"adult": 1.0, "concession": 0.7, "child": 0.4, "family": 2.2}
BUYERS = (
    "Anselm Roth", "Birgit Thoma", "Cyril Laurent", "Doris Egli", "Elif Kaya", "Florin Popa", "Gemma Ward", "Hugo Falk",
    "Irene Costa", "Jasper Smit", "Karin Uhl", "Leon Vidal", "Mira Stojan", "Niels Bohm", "Oona Virta", "Paolo Serra",
    "Renata Cruz", "Silvan Moser", "Tilda Frost", "Uma Nair", "Wanda Lis", "Yara Said",
)  # fmt: skip
STATE: dict[str, Any] = {}


class Line(TypedDict):
    """Tickets of one category."""

    category: Category
    count: int


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    entries = {}
    for show in SHOWS:
        for day in range(3, 17):
            free = [rng.choice((0, 3, 8, 12, 25, 40)) for _ in range(5)]
            free[rng.randrange(5)] = 0
            entries[f"{show}|2027-09-{day:02d}"] = dict(
                zip(("10:00", "11:30", "13:00", "14:30", "16:00"), free, strict=True)
            )
    orders = {}
    for number, buyer in zip(rng.sample(range(10000, 99999), len(BUYERS)), BUYERS, strict=True):
        show = rng.choice(sorted(SHOWS))
        lines = [{"category": "adult", "count": rng.randint(1, 4)}]
        lines += [{"category": "child", "count": rng.randint(1, 3)}] if rng.random() < 0.5 else []
        total = round(sum(SHOWS[show][1] * SHARE[str(x["category"])] * int(str(x["count"])) for x in lines), 2)
        orders[f"MZ{number}"] = {
            "buyer": buyer, "exhibition": show, "day": f"2027-09-{rng.randint(3, 16):02d}", "entry": "11:30",
            "lines": lines, "total": total, "state": rng.choice(("paid", "paid", "paid", "used")),
        }  # fmt: skip
    vouchers = {
        f"{rng.choice('KLMN')}{rng.choice('PQRS')}-{n}": {
            "euros": rng.choice((10, 20, 25, 50)),
            "valid": rng.random() < 0.7,
        }
        for n in rng.sample(range(100, 999), 8)
    }
    STATE.clear()
    STATE.update(entries=entries, orders=orders, vouchers=vouchers, tours=[], mails=[])
    return STATE


def exhibitions(text: str = "") -> list[dict[str, Any]]:
    """Current exhibitions with their key, title and full price.

    Args:
        text: Only those whose title has this text.
    """
    return [
        {"key": key, "title": title, "full_price": price}
        for key, (title, price) in SHOWS.items()
        if text.casefold() in title.casefold()
    ]


def timed_entries(exhibition: str, day: str) -> dict[str, Any]:
    """Free places of each timed entry of an exhibition on a day.

    Args:
        exhibition: Key of the exhibition.
        day: YYYY-MM-DD.
    """
    found = STATE["entries"].get(f"{exhibition}|{day}")
    if found is None:
        return {"error": f"{exhibition} is closed on {day}"}
    return {"exhibition": exhibition, "day": day, "free": dict(found)}


def sell(
    exhibition: str,
    day: str,
    entry: str,
    lines: list[Line],
    buyer: str | None = None,
    handed: Literal["counter", "e-ticket", "post"] = "counter",
) -> dict[str, Any]:
    """Sell tickets for a timed entry.

    Args:
        exhibition: Key of the exhibition.
        day: YYYY-MM-DD.
        entry: Time of the entry as HH:MM.
        lines: Categories and how many tickets of each.
        buyer: Name for the invoice.
        handed: How the tickets get to the buyer: printed at the counter, as an e-ticket, or by post.
    """
    wanted = sum(line["count"] for line in lines)
    free = STATE["entries"][f"{exhibition}|{day}"]
    if free.get(entry, 0) < wanted:
        return {"error": f"only {free.get(entry, 0)} places left at {entry}"}
    free[entry] -= wanted
    number = f"MZ{70000 + len(STATE['orders'])}"
    total = round(sum(SHOWS[exhibition][1] * SHARE[line["category"]] * line["count"] for line in lines), 2)
    STATE["orders"][number] = {
        "buyer": buyer, "exhibition": exhibition, "day": day, "entry": entry, "lines": lines, "total": total,
        "state": "paid",
    }  # fmt: skip
    return {"order": number, "total": total, "handed": handed}


def order_sheet(order: str) -> dict[str, Any]:
    """An order with its lines, total in euros and state (paid, used, refunded).

    Args:
        order: Its number.
    """
    if order not in STATE["orders"]:
        return {"error": f"order {order} unknown"}
    return {"order": order, **STATE["orders"][order]}


def orders_of(buyer: str) -> list[dict[str, str]]:
    """Orders of a buyer, only number, exhibition and day.

    Args:
        buyer: Full name.
    """
    return [
        {"order": number, "exhibition": each["exhibition"], "day": each["day"]}
        for number, each in STATE["orders"].items()
        if (each["buyer"] or "").casefold() == buyer.casefold()
    ]


def refund(order: str, way: Literal["card", "cash", "credit"] = "card") -> dict[str, Any]:
    """Pay an order back in full. Orders that were used cannot be refunded.

    Args:
        order: Its number.
        way: To the card it was paid with, in cash at the till, or as a credit for another visit.
    """
    found = STATE["orders"][order]
    if found["state"] == "used":
        return {"error": "tickets were scanned at the door; a refund needs the signature of the duty manager"}
    found["state"] = "refunded"
    return {"order": order, "paid_back": found["total"], "way": way}


def move_order(order: str, day: str) -> dict[str, Any]:
    """Move a paid order to another day, at the same time of entry.

    Args:
        order: Its number.
        day: New day, YYYY-MM-DD.
    """
    found = STATE["orders"][order]
    if found["state"] != "paid":
        return {"error": f"the state of this order is {found['state']}"}
    wanted = sum(line["count"] for line in found["lines"])
    free = STATE["entries"].get(f"{found['exhibition']}|{day}", {})
    if free.get(found["entry"], 0) < wanted:
        return {"error": f"only {free.get(found['entry'], 0)} places left at {found['entry']} on {day}"}
    free[found["entry"]] -= wanted
    found["day"] = day
    return {"order": order, "day": day, "entry": found["entry"]}


def voucher_value(voucher: str) -> dict[str, Any]:
    """What a gift voucher is worth, and whether it is still valid.

    Args:
        voucher: Code printed on it.
    """
    return {"voucher": voucher, **STATE["vouchers"][voucher]}


def book_guide(
    exhibition: str,
    day: str,
    start: str,
    people: int,
    language: Literal["de", "en", "fr", "it"] = "de",
    made_for: Literal["everybody", "children", "experts"] = "everybody",
) -> dict[str, Any]:
    """Book a guide for a group.

    Args:
        exhibition: Key of the exhibition.
        day: YYYY-MM-DD.
        start: HH:MM.
        people: Size of the group, 25 at most.
        language: Language of the tour.
        made_for: Whom the tour is made for.
    """
    if people > 25:
        return {"error": "a guide takes 25 people at most: split the group"}
    STATE["tours"].append(
        {
            "exhibition": exhibition, "day": day, "start": start, "people": people, "language": language,
            "made_for": made_for,
        }
    )  # fmt: skip
    return {"tour": f"T{100 + len(STATE['tours'])}", "fee": 90}


def mail_buyer(order: str, text: str) -> dict[str, Any]:
    """Send an e-mail to the buyer of an order.

    Args:
        order: Its number.
        text: What the mail says.
    """
    if order not in STATE["orders"]:
        return {"error": f"order {order} unknown"}
    STATE["mails"].append({"order": order, "text": text})
    return {"mailed": STATE["orders"][order]["buyer"]}


TOOLS = [
    exhibitions, timed_entries, sell, order_sheet, orders_of, refund, move_order, voucher_value, book_guide, mail_buyer,
]  # fmt: skip


def opening(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An exhibition and a day, with its first entry that has twelve places, and one that is full."""
    while True:
        key = rng.choice(sorted(STATE["entries"]))
        show, day = key.split("|")
        free = STATE["entries"][key]
        times = [time for time, left in free.items() if left >= 12]
        full = [time for time, left in free.items() if left == 0]
        after = [time for time in times if time > "12:00"]
        if times and full and after:
            said = f"{int(day[-2:])} September"
            return {
                "show": show, "title": SHOWS[show][0], "day": day, "said": said, "first": times[0], "full": full[0],
                "left": free[times[0]], "afternoon": after[0],
            }  # fmt: skip


def solo(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A paid order."""
    return rng.choice([{"number": n, **o} for n, o in STATE["orders"].items() if o["state"] == "paid"])


def used(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An order that was used."""
    found = [{"number": n, **o} for n, o in STATE["orders"].items() if o["state"] == "used"]
    return rng.choice(found)


def movable(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A paid order, and another day with enough places at the time of its entry."""
    while True:
        order, number = solo(rng, slots), rng.randint(3, 16)
        day = f"2027-09-{number:02d}"
        free = STATE["entries"][f"{order['exhibition']}|{day}"].get(order["entry"], 0)
        if day != order["day"] and free >= sum(line["count"] for line in order["lines"]):
            return {**order, "to": day, "said": f"{number} September"}


def visit(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two exhibitions, two days that follow each other, and the free places at a time of day."""
    while True:
        show, other = rng.sample(sorted(SHOWS), 2)
        number, at = rng.randint(3, 15), rng.choice(("10:00", "11:30", "13:00", "14:30", "16:00"))
        one = STATE["entries"][f"{show}|2027-09-{number:02d}"][at]
        two = STATE["entries"][f"{other}|2027-09-{number:02d}"][at]
        three = STATE["entries"][f"{other}|2027-09-{number + 1:02d}"][at]
        if one != number:
            return {
                "show": show, "other": other, "at": at, "one": one, "two": two, "three": three,
                "day": f"2027-09-{number:02d}", "said": f"{number} September",
                "next": f"2027-09-{number + 1:02d}", "next_said": f"{number + 1} September",
            }  # fmt: skip


def last_free(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An exhibition and a day whose last entry with places has twelve at least, and all its entries in words."""
    while True:
        key = rng.choice(sorted(STATE["entries"]))
        free = STATE["entries"][key]
        times = [time for time, left in free.items() if left]
        if len(times) > 2 and free[times[-1]] >= 12:
            show, day = key.split("|")
            return {
                "show": show, "day": day, "said": f"{int(day[-2:])} September", "last": times[-1],
                "times": times, "all": ", ".join(f"{free[time]} at {time}" for time in times),
            }  # fmt: skip
