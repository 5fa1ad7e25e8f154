"""The reception of a campsite: pitches with meters, campers, stays, a tractor, charges, notices."""

import random
from datetime import date, timedelta
from typing import Any, Literal

Ground = Literal["grass", "hardstanding", "under_trees"]
Item = Literal["laundry", "firewood", "dog_night", "day_visitor", "late_checkout"]
PRICES = {"laundry": 4.5, "firewood": 7.9, "dog_night": 3.2, "day_visitor": 6.0, "late_checkout": 15.0}
KWH = 0.45
SURNAMES = (
    "Aldous", "Bremner", "Cattaneo", "Drummond", "Egger", "Faraday", "Galloway", "Hoekstra", "Ivarsson", "Jessop",
    "Kowalczyk", "Lindqvist", "Maddox", "Nakamura", "Ortega", "Pemberton", "Quayle", "Rasmussen", "Stavros", "Tiller",
    "Underwood", "Vasquez", "Whitlock", "Yilmaz", "Zeller", "Ashdown", "Beaumont", "Castell", "Dunmore", "Ferreira",
    "Grimaldi", "Hartwell", "Ingram", "Kelleher", "Lockhart", "Mortensen",
)  # fmt: skip
FIRST = ("Agnes", "Bruno", "Carys", "Dmitri", "Elin", "Fergus", "Greta", "Hamid", "Ilse", "Joao", "Katya", "Lorcan")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state: other pitches, campers and stays for each seed."""
    codes = sorted((row, number) for row in "ABCDEF" for number in rng.sample(range(1, 25), 5))
    fees = rng.sample(range(1800, 4400, 50), len(codes))
    pitches = {
        f"{row}{number:02d}": {
            "row": row,
            "number": number,
            "length_cm": rng.randrange(550, 1100, 10),
            "fee_per_night": fee / 100,
            "meter_kwh": rng.randrange(10000, 90000) / 10,
            "camper": None,
        }
        for (row, number), fee in zip(codes, fees, strict=True)
    }
    keys = list(pitches)
    taken, free = [], []
    for places in (range(2, len(keys), 3), [place for place in range(len(keys)) if place % 3 != 2]):
        mixed = rng.sample([keys[place] for place in places], len(places))
        taken += mixed[::2]
        free += mixed[1::2]
    for group in (taken, free):
        for place, pitch in enumerate(group):
            pitches[pitch]["taken"] = group is taken
            pitches[pitch]["ground"] = ("grass", "hardstanding", "under_trees")[place % 3]
            pitches[pitch]["amps"] = (16, 6, 16, 10)[place % 4]
    cards = rng.sample(range(1000, 10000), 30)
    owing = rng.sample(range(900, 42000, 10), 30)
    campers: dict[str, Any] = {}
    stays: dict[str, Any] = {}
    standing = iter(taken)
    numbers = iter(rng.sample(range(3000, 5000), 30))
    for place, (card, surname) in enumerate(zip(cards, rng.sample(SURNAMES, 30), strict=True)):
        here, followed = place % 2 == 0, place % 4 == 0
        campers[f"K{card}"] = {
            "digits": str(card),
            "name": f"{rng.choice(FIRST)} {surname}",
            "surname": surname,
            "here": here,
            "followed": here and followed,
            "owes": owing[place] / 100,
        }
        if here:
            pitch = next(standing)
            leaves = f"2027-05-{rng.randrange(13, 21)}"
            pitches[pitch]["camper"] = f"K{card}"
            stays[f"S{next(numbers)}"] = _stay(f"K{card}", pitch, f"2027-05-0{rng.randrange(2, 10)}", leaves)
            if followed:  # somebody else comes on the day that this one leaves
                last = (date.fromisoformat(leaves) + timedelta(days=rng.randrange(2, 9))).isoformat()
                stays[f"S{next(numbers)}"] = _stay(f"K{rng.choice(cards[1::2])}", pitch, leaves, last)
    STATE.clear()
    STATE.update(pitches=pitches, campers=campers, stays=stays, tractor={}, notices=[])
    return STATE


def _stay(camper: str, pitch: str, arrival: str, departure: str) -> dict[str, Any]:
    return {"camper": camper, "pitch": pitch, "arrival": arrival, "departure": departure}


def _pitch(pitch: str) -> dict[str, Any]:
    if pitch not in STATE["pitches"]:
        raise ValueError(f"there is no pitch {pitch}; a pitch is a row letter and two digits, such as A05")
    return STATE["pitches"][pitch]  # type: ignore[no-any-return]


def _camper(camper: str) -> dict[str, Any]:
    if camper not in STATE["campers"]:
        raise ValueError(f"there is no card {camper}; find_camper gives the card of a surname")
    return STATE["campers"][camper]  # type: ignore[no-any-return]


def _end(arrival: str, nights: int) -> str:
    if nights < 1:
        raise ValueError("a stay has at least one night")
    return (date.fromisoformat(arrival) + timedelta(days=nights)).isoformat()


def _open(pitch: str, arrival: str, departure: str, but: str = "") -> bool:
    return not any(
        stay["pitch"] == pitch and number != but and stay["arrival"] < departure and arrival < stay["departure"]
        for number, stay in STATE["stays"].items()
    )


def find_camper(surname: str) -> dict[str, Any]:
    """Card of a camper, and the pitch, the stay and its departure if the camper is on site (null if not).

    Args:
        surname: Surname alone.
    """
    for card, found in STATE["campers"].items():
        if found["surname"].casefold() == surname.casefold():
            mine = [
                (number, stay)
                for number, stay in STATE["stays"].items()
                if stay["camper"] == card and stay["arrival"] <= "2027-05-12"
            ]
            number, stay = mine[0] if mine else (None, {})
            place = {"pitch": stay.get("pitch"), "stay": number, "departure": stay.get("departure")}
            return {"camper": card, "name": found["name"], **place}
    raise ValueError(f"no camper has the surname {surname}")


def pitch_card(pitch: str) -> dict[str, Any]:
    """What a pitch is like: ground, length, amps, fee in euros, last meter reading, and who is on it now (or null).

    Args:
        pitch: Row letter and two digits, such as A05.
    """
    found = _pitch(pitch)
    shown = ("ground", "length_cm", "amps", "fee_per_night", "meter_kwh", "camper")
    return {"pitch": pitch, **{name: found[name] for name in shown}}


def free_pitches(
    arrival: str, nights: int, ground: Ground | None = None, min_length_cm: int = 0
) -> list[dict[str, Any]]:
    """Up to five pitches that are free for all the nights, cheapest first.

    Args:
        arrival: First day as YYYY-MM-DD.
        nights: Number of nights.
        ground: hardstanding is gravel or paved, under_trees is shady; left out for any.
        min_length_cm: Length that is needed, in centimetres.
    """
    found = [
        {
            "pitch": pitch,
            "ground": each["ground"],
            "length_cm": each["length_cm"],
            "fee_per_night": each["fee_per_night"],
        }
        for pitch, each in STATE["pitches"].items()
        if ground in (None, each["ground"])
        and each["length_cm"] >= min_length_cm
        and _open(pitch, arrival, _end(arrival, nights))
    ]
    return sorted(found, key=lambda each: each["fee_per_night"])[:5]


def account_of(camper: str) -> dict[str, Any]:
    """What a camper still has to pay, in euros.

    Args:
        camper: Number of the card, K and four digits.
    """
    return {"camper": camper, "owes": _camper(camper)["owes"]}


def book_stay(camper: str, pitch: str, arrival: str, nights: int) -> dict[str, Any]:
    """Book a pitch for a camper.

    Args:
        camper: Number of the card, K and four digits.
        pitch: Row letter and two digits, such as A05.
        arrival: First day as YYYY-MM-DD.
        nights: Number of nights.
    """
    _camper(camper)
    fee = _pitch(pitch)["fee_per_night"]
    departure = _end(arrival, nights)
    if not _open(pitch, arrival, departure):
        raise ValueError(f"{pitch} is not free for all these nights")
    stay = f"S{6000 + len(STATE['stays']) * 7}"
    STATE["stays"][stay] = _stay(camper, pitch, arrival, departure)
    return {"stay": stay, "departure": departure, "fee": round(fee * nights, 2)}


def change_departure(stay: str, departure: str) -> dict[str, Any]:
    """Make a stay longer or shorter.

    Args:
        stay: Number of the stay, S and four digits.
        departure: New day of departure as YYYY-MM-DD.
    """
    if stay not in STATE["stays"]:
        raise ValueError(f"there is no stay {stay}; find_camper gives the stay of a surname")
    found = STATE["stays"][stay]
    nights = (date.fromisoformat(departure) - date.fromisoformat(found["arrival"])).days
    if nights < 1:
        raise ValueError(f"the stay begins on {found['arrival']}")
    if not _open(found["pitch"], found["arrival"], departure, but=stay):
        raise ValueError(f"{found['pitch']} is booked by somebody else before {departure}")
    found["departure"] = departure
    return {"stay": stay, "nights": nights, "total_fee": round(nights * _pitch(found["pitch"])["fee_per_night"], 2)}


def record_reading(pitch: str, kwh: float) -> dict[str, Any]:
    """Enter what an electricity meter shows; what was used since the last reading is charged to who is on the pitch.

    Args:
        pitch: Row letter and two digits, such as A05.
        kwh: What the meter shows, in kilowatt hours with the decimal.
    """
    found = _pitch(pitch)
    used = round(kwh - found["meter_kwh"], 1)
    if used < 0:
        raise ValueError(f"the last reading was {found['meter_kwh']}, which is more")
    cost = round(used * KWH, 2)
    found["meter_kwh"] = kwh
    if found["camper"]:
        account = _camper(found["camper"])
        account["owes"] = round(account["owes"] + cost, 2)
    return {"used_kwh": used, "cost": cost, "charged_to": found["camper"]}


def add_charge(camper: str, item: Item, quantity: int = 1) -> dict[str, Any]:
    """Put something on a camper's account.

    Args:
        camper: Number of the card, K and four digits.
        item: laundry is one load in the washer or the dryer; firewood is a net of logs; dog_night is one dog for one
            night; day_visitor is a guest who does not stay overnight; late_checkout is leaving after 11:00.
        quantity: How many of it.
    """
    account = _camper(camper)
    price = round(PRICES[item] * quantity, 2)
    account["owes"] = round(account["owes"] + price, 2)
    return {"charged": price, "owes": account["owes"]}


def book_tractor(
    pitch: str, day: str, time: str, job: Literal["pull_in", "pull_out", "turn_round"] = "pull_in"
) -> dict[str, Any]:
    """Have the tractor move a caravan or motorhome. It runs from 08:00 to 18:00.

    Args:
        pitch: Row letter and two digits, such as A05.
        day: Date as YYYY-MM-DD.
        time: HH:MM, 24 hours.
        job: Onto the pitch, off the pitch, or turned on the spot.
    """
    _pitch(pitch)
    if not "08:00" <= time <= "18:00":
        raise ValueError("the tractor runs from 08:00 to 18:00")
    if f"{day} {time}" in STATE["tractor"]:
        raise ValueError("the tractor is busy then")
    STATE["tractor"][f"{day} {time}"] = {"pitch": pitch, "job": job}
    return {"booked": True, "driver": ("Ruud", "Maeve", "Tomas")[sum(map(ord, pitch + day)) % 3]}


def send_notice(camper: str, text: str, way: Literal["sms", "email", "slip"] = "sms") -> str:
    """Tell a camper something.

    Args:
        camper: Number of the card, K and four digits.
        text: What it says.
        way: As a text message, by e-mail, or as a slip of paper that is left at the pitch.
    """
    _camper(camper)
    STATE["notices"].append({"camper": camper, "text": text, "way": way})
    return "left at the pitch" if way == "slip" else "sent"


def wish(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Ground and length that some free pitch has."""
    found = rng.choice([each for _, each in sorted(STATE["pitches"].items()) if not each["taken"]])
    length = found["length_cm"] - rng.randrange(0, 90, 10)
    said = {"grass": "grass", "hardstanding": rng.choice(("gravel", "paved ground")), "under_trees": "a shady spot"}
    return {"ground": found["ground"], "say": said[found["ground"]], "cm": length, "m": f"{length / 100:.2f}"}


def reading(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """What the meter of the slot `taken` shows now."""
    return {"kwh": round(slots["taken"]["meter_kwh"] + rng.randrange(31, 980) / 10, 1)}


TOOLS = [
    find_camper, pitch_card, free_pitches, account_of, book_stay, change_departure, record_reading, add_charge,
    book_tractor, send_notice,
]  # fmt: skip
