"""A zoo's feeding kitchen: animals in enclosures, rations by item in grams, stores, weighings, feeding rounds."""

import copy
import random
from typing import Any, Literal

from typing_extensions import TypedDict

Round = Literal["dawn", "noon", "dusk"]
SPECIES = {
    "red panda": ("bamboo", "apples"),
    "harbour seal": ("herring", "squid"),
    "meerkat": ("mealworms", "crickets"),
    "giraffe": ("lucerne hay", "carrots"),
    "snow leopard": ("beef", "rabbit"),
    "flamingo": ("shrimp pellets", "algae meal"),
    "tapir": ("lettuce", "bananas"),
    "barn owl": ("mice", "chicks"),
}
NAMES = (
    "Tofu", "Mitsi", "Bruno", "Ondine", "Pip", "Saffron", "Gustav", "Nala", "Pebble", "Ringo", "Zelda", "Quito", "Juno",
    "Moss", "Otto", "Kiwi", "Freya", "Biscuit", "Ulla", "Domino", "Sesame", "Havel", "Wilma", "Yuki",
)  # fmt: skip
KEEPERS = (
    "Marek Sowa", "Lea Fabian", "Ivo Hartl", "Noor Baksh", "Tess Quill", "Ruben Alt", "Gesa Thoms", "Yara Melo",
    "Dag Nyberg",
)  # fmt: skip
STATE: dict[str, Any] = {}


class Portion(TypedDict):
    """What an animal gets of one item: `item` and `grams`."""

    item: str
    grams: int


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    animals: dict[str, Any] = {}
    kinds = sorted(SPECIES)
    for place, name in enumerate(rng.sample(NAMES, len(NAMES))):
        species = kinds[place % len(kinds)]
        weights = [round(rng.randrange(20, 3000) / 10, 1)]
        weights.append(round(weights[0] * rng.choice((0.93, 0.98, 1.01, 1.04)), 1))
        animals[name] = {
            "species": species,
            "enclosure": f"{'NESW'[place % 4]}{place % len(kinds) + 1}",
            "round": rng.choice(("dawn", "noon", "dusk")),
            "fasting_today": rng.random() < 0.25,
            "weights_kg": weights,
            "ration": [{"item": item, "grams": rng.randrange(2, 90) * 50} for item in SPECIES[species]],
        }
    stores: dict[str, Any] = {
        item: {
            "kg": round(rng.randrange(0, 4000) / 10, 1),
            "minimum_kg": rng.choice((20, 50, 80)),
            "supplier": rng.choice(("Feldhof", "Nordfisch", "Insecta")),
        }
        for pair in SPECIES.values()
        for item in pair
    }
    for item in rng.sample(sorted(stores), 5):
        stores[item]["kg"] = round(rng.randrange(10, 190) / 10, 1)
    keepers = {
        name: {"pager": pager, "house": f"house {rng.randrange(1, 9)}"}
        for name, pager in zip(KEEPERS, rng.sample(range(101, 199), len(KEEPERS)), strict=True)
    }
    due = {}
    for item, number in zip(rng.sample(sorted(stores), 9), rng.sample(range(400, 999), 9), strict=True):
        slip = f"{stores[item]['supplier'][:2].upper()}-{number}"
        due[slip] = {"item": item, "kg": rng.randrange(40, 200, 20), "day": f"2027-05-0{rng.randint(3, 6)}"}
    STATE.clear()
    STATE.update(animals=animals, stores=stores, keepers=keepers, due=due, orders=[], refused=[], vet=[], pages=[])
    return STATE


def _animal(animal: str) -> dict[str, Any]:
    if animal not in STATE["animals"]:
        raise ValueError(f"no animal called {animal}")
    return STATE["animals"][animal]  # type: ignore[no-any-return]


def animal_card(animal: str) -> dict[str, Any]:
    """Species, enclosure, feeding round, whether it fasts today, weights in kg (newest last) and daily ration.

    Args:
        animal: Its name.
    """
    return {"animal": animal, **copy.deepcopy(_animal(animal))}


def round_list(round: Round) -> dict[str, Any]:
    """Who is fed in a round, by enclosure.

    Args:
        round: Which round of the day.
    """
    found: dict[str, list[str]] = {}
    for name, animal in STATE["animals"].items():
        if animal["round"] == round:
            found.setdefault(animal["enclosure"], []).append(name)
    return {"round": round, "enclosures": found}


def store_level(item: str) -> dict[str, Any]:
    """Kilograms of a feed in the store, the minimum, and its supplier.

    Args:
        item: Feed, in the plural as on the ration.
    """
    if item not in STATE["stores"]:
        return {"error": f"we do not stock {item}", "known": sorted(STATE["stores"])}
    return {"item": item, **STATE["stores"][item]}


def set_ration(animal: str, portions: list[Portion]) -> dict[str, Any]:
    """Replace the daily ration of an animal by a new one, from tomorrow on.

    Args:
        animal: Its name.
        portions: All portions of a day; what is not named is no longer fed.
    """
    found = _animal(animal)
    unknown = [portion["item"] for portion in portions if portion["item"] not in STATE["stores"]]
    if unknown:
        return {"saved": False, "error": f"we do not stock {unknown[0]}"}
    found["ration"] = [dict(portion) for portion in portions]
    return {"saved": True, "total_grams": sum(portion["grams"] for portion in portions)}


def order_feed(
    item: str, kg: float, deliver_on: str, pack: Literal["sacks", "crates", "loose"] = "sacks"
) -> dict[str, Any]:
    """Order feed from its supplier.

    Args:
        item: Feed, in the plural.
        kg: Kilograms.
        deliver_on: YYYY-MM-DD. Suppliers do not deliver on Sundays.
        pack: How it comes.
    """
    level = store_level(item)
    if "error" in level:
        return level
    STATE["orders"].append({"item": item, "kg": kg})
    slip = f"{level['supplier'][:2].upper()}-{len(item)}{deliver_on[5:7]}{deliver_on[8:]}"
    STATE["due"][slip] = {"item": item, "kg": kg, "day": deliver_on}
    return {"ordered": True, "supplier": level["supplier"], "slip": slip}


def due_deliveries(item: str) -> list[dict[str, Any]]:
    """Deliveries of a feed that have been ordered and have not come yet.

    Args:
        item: Feed, in the plural.
    """
    return [
        {"slip": slip, "kg": each["kg"], "day": each["day"]}
        for slip, each in STATE["due"].items()
        if each["item"] == item
    ]


def shift_delivery(slip: str, deliver_on: str) -> dict[str, Any]:
    """Have a delivery come on another day.

    Args:
        slip: Slip of the order.
        deliver_on: The new day, YYYY-MM-DD.
    """
    if slip not in STATE["due"]:
        return {"moved": False, "error": f"no delivery {slip} is due"}
    STATE["due"][slip]["day"] = deliver_on
    return {"moved": True, "slip": slip, "kg": STATE["due"][slip]["kg"]}


def find_keeper(name: str) -> dict[str, Any]:
    """Number of a keeper's pager, and the house where the keeper works.

    Args:
        name: First name and surname.
    """
    if name not in STATE["keepers"]:
        return {"error": f"no keeper is called {name}"}
    return {"name": name, **STATE["keepers"][name]}


def page_keeper(pager: int, text: str) -> dict[str, Any]:
    """Send a text to a pager.

    Args:
        pager: Number of the pager.
        text: What it shows.
    """
    if pager not in [each["pager"] for each in STATE["keepers"].values()]:
        return {"sent": False, "error": f"there is no pager {pager}"}
    STATE["pages"].append({"pager": pager, "text": text})
    return {"sent": True, "pager": pager}


def enter_weight(animal: str, kg: float, how: Literal["scales", "guess", "tape"] = "scales") -> dict[str, Any]:
    """Store today's weight of an animal.

    Args:
        animal: Its name.
        kg: Kilograms.
        how: How it was found; a tape goes round the chest.
    """
    weights = _animal(animal)["weights_kg"]
    change = round((kg / weights[-1] - 1) * 100, 1)
    weights.append(kg)
    return {"stored": True, "change_percent": change, "alert": abs(change) > 10, "how": how}


def report_refusal(
    animal: str, item: str, eaten_percent: int, feed_was: Literal["good", "spoilt", "frozen"] = "good"
) -> dict[str, Any]:
    """Note that an animal left food.

    Args:
        animal: Its name.
        item: Feed that was left.
        eaten_percent: How much of it was eaten, 0 to 100.
        feed_was: In which state the feed was.
    """
    found = _animal(animal)
    if item not in [portion["item"] for portion in found["ration"]]:
        return {
            "noted": False,
            "error": f"{animal} gets no {item}, only {' and '.join(each['item'] for each in found['ration'])}",
        }
    STATE["refused"].append({"animal": animal, "item": item, "feed_was": feed_was})
    return {"noted": True, "refusals_this_week": len(STATE["refused"]) + len(animal) % 3}


def ask_vet(animal: str, question: str, today: bool = False) -> dict[str, Any]:
    """Send the vet a question about an animal.

    Args:
        animal: Its name.
        question: What she should look at.
        today: Whether it cannot wait until her next round.
    """
    found = _animal(animal)
    STATE["vet"].append({"animal": animal, "question": question})
    return {"sent": True, "visit": "today" if today else "2027-05-05", "enclosure": found["enclosure"]}


def ration(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An animal with one item of its ration, and one that it does not get."""
    name = rng.choice(sorted(STATE["animals"]))
    found = STATE["animals"][name]
    portion = rng.choice(found["ration"])
    other = rng.choice(
        [item for item in sorted(STATE["stores"]) if item not in [each["item"] for each in found["ration"]]]
    )
    return {
        "name": name,
        **portion,
        "kg": portion["grams"] / 1000,
        "first": found["ration"][0]["item"],
        "second": found["ration"][1]["item"],
        "never": other,
    }


def low_store(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A feed below its minimum."""
    low = [item for item, found in sorted(STATE["stores"].items()) if found["kg"] < found["minimum_kg"]]
    item = rng.choice(low)
    return {"item": item, **STATE["stores"][item]}


def full_store(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A feed above its minimum."""
    item = rng.choice([item for item, found in sorted(STATE["stores"].items()) if found["kg"] > found["minimum_kg"]])
    return {"item": item, **STATE["stores"][item]}


def weight(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A new weight of an animal, said in kilograms."""
    name = rng.choice(sorted(STATE["animals"]))
    kg = round(STATE["animals"][name]["weights_kg"][-1] * rng.choice((0.84, 0.97, 1.02, 1.13)), 1)
    return {"name": name, "kg": kg}


def kin(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another animal of the same species as that of the slot `bit`."""
    mine = STATE["animals"][slots["bit"]["name"]]["species"]
    names = [
        name
        for name, each in sorted(STATE["animals"].items())
        if each["species"] == mine and name != slots["bit"]["name"]
    ]
    return {"name": rng.choice(names)}


def fed_apart(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An animal that is fed in another round than that of the slot `beast`."""
    names = [name for name, each in sorted(STATE["animals"].items()) if each["round"] != slots["beast"]["round"]]
    return {"key": rng.choice(names)}


def due_feed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A feed of which one delivery is due."""
    items = [each["item"] for each in STATE["due"].values()]
    return rng.choice([{"slip": slip, **each} for slip, each in STATE["due"].items() if items.count(each["item"]) == 1])


TOOLS = [
    animal_card, round_list, store_level, set_ration, order_feed, due_deliveries, shift_delivery, enter_weight,
    report_refusal, ask_vet, find_keeper, page_keeper,
]  # fmt: skip
