"""The production office of a chain of bakeries: plans by branch, ingredients, suppliers, ovens, shifts."""

import random
from typing import Any, Literal

Branch = Literal["station", "old-town", "hospital", "mill-lane", "university"]
Product = Literal["rye-1000", "spelt-750", "baguette", "croissant", "pretzel", "bun-seeded", "nut-snail"]
Ingredient = Literal["rye flour", "spelt flour", "wheat flour", "butter", "walnuts", "sesame", "yeast", "lye"]
RECIPES = {
    "rye-1000": {"rye flour": 0.6, "yeast": 0.01},
    "spelt-750": {"spelt flour": 0.45, "yeast": 0.01},
    "baguette": {"wheat flour": 0.25, "yeast": 0.005},
    "croissant": {"wheat flour": 0.05, "butter": 0.025},
    "pretzel": {"wheat flour": 0.07, "lye": 0.002},
    "bun-seeded": {"wheat flour": 0.06, "sesame": 0.004},
    "nut-snail": {"wheat flour": 0.08, "walnuts": 0.03},
}
SUPPLIERS = ("Aumühle", "Kornhof Nord", "Delacroix & Fils", "Brightmill", "Feld & Sohn")
STAFF = (
    "Ines Moll",
    "Pavel Horak",
    "Greta Lund",
    "Yusuf Aydin",
    "Marta Pohl",
    "Oskar Beier",
    "Lucie Renard",
    "Tomas Vidal",
    "Hanna Zeller",
    "Radu Ionescu",
)
TODAY = "2027-04-14"
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    branches = ("station", "old-town", "hospital", "mill-lane", "university")
    days = [f"2027-04-{day}" for day in range(15, 25)]
    plans = [
        {"branch": branch, "day": day, "product": product, "pieces": rng.randrange(20, 400, 5)}
        for branch in branches
        for day in days
        for product in rng.sample(sorted(RECIPES), 3)
    ]
    needed = sorted({name for recipe in RECIPES.values() for name in recipe})
    rooms = {
        name: {"kg_left": rng.randrange(5, 300), "kg_a_day": rng.randrange(4, 40), "delivery_days": rng.randint(1, 4)}
        for name in needed
    }
    offers = {}
    for name in needed:
        prices = rng.sample(range(45, 990, 5), 3)
        offers[name] = [
            {"supplier": supplier, "euro_per_kg": price / 100, "minimum_kg": rng.choice((5, 10, 25))}
            for supplier, price in zip(rng.sample(SUPPLIERS, 3), prices, strict=True)
        ]
    offers[rng.choice(("sesame", "lye"))] = []
    ovens = {
        str(number): {"celsius": rng.randrange(180, 260, 5), "fault": rng.choice((None, None, "E07", "E21", "door"))}
        for number in range(1, 9)
    }
    for number, fault in (("4", None), ("7", None), ("2", "E21"), ("6", "E07")):
        ovens[number]["fault"] = fault
    staff = {
        f"K-{number}": {"name": name, "branch": branches[place % 5], "phone": f"0170 {rng.randrange(10000, 99999)}"}
        for place, (number, name) in enumerate(
            zip(rng.sample(range(100, 999), len(STAFF)), rng.sample(STAFF, len(STAFF)), strict=True)
        )
    }
    STATE.clear()
    STATE.update(plans=plans, rooms=rooms, offers=offers, ovens=ovens, orders=[], notes=[], staff=staff, roster=[])
    return STATE


def day_plan(branch: Branch, day: str) -> dict[str, Any]:
    """What a branch gets on a day, product by product.

    Args:
        branch: Which branch.
        day: Date, YYYY-MM-DD.
    """
    found = [line for line in STATE["plans"] if line["branch"] == branch and line["day"] == day]
    return {"branch": branch, "day": day, "lines": [{"product": x["product"], "pieces": x["pieces"]} for x in found]}


def change_pieces(
    branch: Branch, product: Product, day: str, pieces: int, scope: Literal["day", "weekday", "onwards"] = "day"
) -> dict[str, Any]:
    """Set how many pieces of a product a branch gets. Replaces the number in the plan.

    Args:
        branch: Which branch.
        product: Code of the product.
        day: Date, YYYY-MM-DD.
        pieces: The new number, not the difference.
        scope: day for this date alone, weekday for the same day of each week from then on, onwards for all days
            from then on.
    """
    if day <= TODAY:
        return {"error": "the plan of this day is closed; only the night shift can change it, phone extension 12"}
    line = next((x for x in STATE["plans"] if (x["branch"], x["product"], x["day"]) == (branch, product, day)), None)
    before = line["pieces"] if line else 0
    if line:
        line["pieces"] = pieces
    else:
        STATE["plans"].append({"branch": branch, "day": day, "product": product, "pieces": pieces})
    return {"saved": True, "before": before, "now": pieces}


def dough_needs(product: Product, pieces: int) -> dict[str, Any]:
    """Kilograms of each ingredient for a number of pieces.

    Args:
        product: Code of the product.
        pieces: How many.
    """
    return {
        "product": product,
        "needs": [{"ingredient": name, "kg": round(kg * pieces, 2)} for name, kg in RECIPES[product].items()],
    }


def store_room(ingredient: Ingredient) -> dict[str, Any]:
    """Stock of an ingredient in kilograms, and the usual use a day.

    Args:
        ingredient: Which one.
    """
    return {"ingredient": ingredient, **STATE["rooms"][ingredient]}


def supplier_offers(ingredient: Ingredient) -> list[dict[str, Any]]:
    """Current offers of suppliers for an ingredient, in no order.

    Args:
        ingredient: Which one.
    """
    return list(STATE["offers"][ingredient])


def order_ingredient(
    ingredient: Ingredient,
    kg: float,
    supplier: str,
    express: bool = False,
    packing: Literal["bags", "silo", "tubs"] = "bags",
) -> dict[str, Any]:
    """Order an ingredient at a supplier. This is binding.

    Args:
        ingredient: Which one.
        kg: Kilograms.
        supplier: Name of the supplier, e.g. Musterbäcker GmbH.
        express: Deliver within a day, for a surcharge.
        packing: How it comes: in paper bags, loose by tank lorry into our silo, or in plastic tubs with a lid.
    """
    number = f"{2700 + len(STATE['orders'])}/B"
    STATE["orders"].append({"order": number, "ingredient": ingredient, "kg": kg, "supplier": supplier})
    return {"order": number, "supplier": supplier, "kg": kg}


def oven_panel(oven: int) -> dict[str, Any]:
    """What the panel of an oven shows: temperature and fault code (null when there is none).

    Args:
        oven: Number of the oven, 1 to 8.
    """
    return {"oven": oven, **STATE["ovens"][str(oven)]}


def take_oven_off(oven: int) -> dict[str, Any]:
    """Take an oven out of production at once; what is in it is lost.

    Args:
        oven: Number of the oven.
    """
    STATE["ovens"][str(oven)]["off"] = True
    return {"oven": oven, "in_production": False}


def shift_note(shift: Literal["night", "early", "late"], text: str) -> str:
    """Leave a note on the board of a shift.

    Args:
        shift: Which shift.
        text: The note.
    """
    STATE["notes"].append({"shift": shift, "text": text})
    return "pinned"


def find_staff(name: str) -> list[dict[str, str]]:
    """People who work for us, with their staff number, by a part of the name.

    Args:
        name: Any part of the name.
    """
    return [
        {"staff": number, "name": each["name"]}
        for number, each in STATE["staff"].items()
        if name.casefold() in each["name"].casefold()
    ]


def staff_card(staff: str) -> dict[str, str]:
    """Name, branch and phone of somebody who works for us.

    Args:
        staff: Staff number, K and three digits.
    """
    return {"staff": staff, **STATE["staff"][staff]}


def branch_info(branch: Branch) -> dict[str, str]:
    """Opening time of a branch and the staff number of its manager.

    Args:
        branch: Which branch.
    """
    opens = {"station": "05:15", "old-town": "06:30", "hospital": "06:15", "mill-lane": "06:45", "university": "07:10"}
    manager = next(number for number, each in STATE["staff"].items() if each["branch"] == branch)
    return {"branch": branch, "opens": opens[branch], "manager": manager}


def text_staff(staff: str, text: str) -> dict[str, str]:
    """Send somebody who works for us a text message.

    Args:
        staff: Staff number, K and three digits.
        text: The message.
    """
    STATE["notes"].append({"staff": staff, "text": text})
    return {"sent_to": STATE["staff"][staff]["name"]}


def put_on_roster(staff: str, day: str, shift: Literal["night", "early", "late"]) -> dict[str, str]:
    """Put somebody on the roster of a shift.

    Args:
        staff: Staff number, K and three digits.
        day: Date, YYYY-MM-DD.
        shift: Which shift.
    """
    STATE["roster"].append({"staff": staff, "day": day, "shift": shift})
    return {"entry": f"R{410 + len(STATE['roster'])}", "name": STATE["staff"][staff]["name"]}


TOOLS = [
    day_plan, change_pieces, dough_needs, store_room, supplier_offers, order_ingredient, oven_panel, take_oven_off,
    shift_note, find_staff, staff_card, branch_info, text_staff, put_on_roster,
]  # fmt: skip


def line(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A line of a plan, and what becomes of it with some pieces more."""
    found = rng.choice(STATE["plans"])
    more = rng.choice((10, 15, 20, 30, 40))
    day = int(found["day"][-2:])
    return {**found, "more": more, "sum": found["pieces"] + more, "said": f"{day} April"}


def cheapest(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An ingredient with offers, and the cheapest of them."""
    name = rng.choice([name for name, offers in STATE["offers"].items() if offers])
    return {"ingredient": name, **min(STATE["offers"][name], key=lambda offer: offer["euro_per_kg"])}


def unoffered(rng: random.Random, slots: dict[str, Any]) -> str:
    """An ingredient that nobody offers."""
    return next(name for name, offers in STATE["offers"].items() if not offers)


def batch(rng: random.Random, slots: dict[str, Any], enough: bool = False) -> dict[str, Any]:
    """A product and a number of pieces for which its main ingredient does not suffice, and the cheapest offer."""
    while True:
        product = rng.choice(sorted(RECIPES))
        main, share = next(iter(RECIPES[product].items()))
        left = STATE["rooms"][main]["kg_left"]
        pieces = max(10, int(left / share * (rng.uniform(0.3, 0.8) if enough else rng.uniform(1.2, 2))) // 10 * 10)
        if STATE["offers"][main] and (pieces * share <= left) == enough:
            offer = min(STATE["offers"][main], key=lambda each: each["euro_per_kg"])
            found = {"product": product, "main": main, "pieces": pieces, "left": left}
            return {**found, "supplier": offer["supplier"], "euro": offer["euro_per_kg"]}


def small_batch(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A product and a number of pieces for which the stock of its main ingredient suffices, and the cheapest offer."""
    return batch(rng, slots, enough=True)


def faulty(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An oven whose panel shows a fault."""
    return rng.choice([{"number": int(key), **each} for key, each in STATE["ovens"].items() if each["fault"]])


def sound(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An oven whose panel shows none."""
    return rng.choice([{"number": int(key), **each} for key, each in STATE["ovens"].items() if not each["fault"]])


def offered(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An ingredient with offers, and apart from it the cheapest of them."""
    found = cheapest(rng, slots)
    return {"ingredient": found["ingredient"], "low": found}


def worker(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody who works here."""
    number = rng.choice(sorted(STATE["staff"]))
    first, last = STATE["staff"][number]["name"].split()
    return {"number": number, "first": first, "last": last, **STATE["staff"][number]}


def manager(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """The manager of the branch in the slot `branch`."""
    return staff_card(branch_info(slots["branch"])["manager"])


def two_ovens(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two ovens of unlike heat, and what their panels show in words."""
    while True:
        one, two = sorted(rng.sample(sorted(STATE["ovens"]), 2))
        a, b = STATE["ovens"][one], STATE["ovens"][two]
        if a["celsius"] != b["celsius"]:
            shown = [f"with fault {each['fault']}" if each["fault"] else "with no fault" for each in (a, b)]
            return {"a": int(one), "b": int(two), "x": a["celsius"], "y": b["celsius"], "p": shown[0], "q": shown[1]}
