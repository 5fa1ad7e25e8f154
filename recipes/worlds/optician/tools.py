"""An opticians' shop: prescriptions per eye, frames with filters, prices of lenses, glasses in the workshop."""

import random
from typing import Any, Literal

Material = Literal["acetate", "titanium", "steel", "wood"]
Coating = Literal["plain", "anti-reflective", "blue filter", "photochromic"]
SURNAMES = (
    "Adeyemi", "Baptiste", "Carvalho", "Dvorak", "Eriksen", "Fournier", "Goldman", "Hussein", "Ishida", "Jovanovic",
    "Keller", "Lombardi", "Murphy", "Neumann", "Okonkwo", "Petit", "Rahman", "Sorensen", "Toth", "Usman", "Vega",
    "Weiss",
)  # fmt: skip
FRAMES = ("Arden", "Bolt", "Cove", "Delta", "Ember", "Fable", "Grove", "Heron", "Isle", "Juno", "Kite", "Lark")
LENS = {1.5: 49, 1.6: 89, 1.67: 139, 1.74: 219}
EXTRA = {"plain": 0, "anti-reflective": 25, "blue filter": 40, "photochromic": 75}
STATE: dict[str, Any] = {}


def _eye(rng: random.Random) -> dict[str, Any]:
    return {
        "sphere": rng.randrange(-28, 16) / 4,
        "cylinder": rng.choice((0.0, -0.25, -0.5, -0.75, -1.25)),
        "axis": rng.randrange(0, 180, 5),
        "addition": rng.choice((None, None, 1.0, 1.75, 2.25)),
    }


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    customers: dict[str, Any] = {}
    for surname in rng.sample(SURNAMES, 22):
        customers[f"{surname[:3].upper()}{rng.randrange(1940, 2012)}"] = {
            "surname": surname,
            "mobile": f"07{rng.randrange(10**7, 10**8)}",
            "pupil_distance_mm": rng.randrange(55, 72) + rng.choice((0, 0.5)),
            "prescription": {
                "right": _eye(rng),
                "left": _eye(rng),
                "tested": f"20{rng.randrange(22, 27)}-0{rng.randrange(1, 9)}-1{rng.randrange(9)}",
            },
        }
    frames = {
        f"{name}-{rng.randrange(100, 999)}": {
            "material": rng.choice(("acetate", "titanium", "steel", "wood")),
            "width_mm": rng.randrange(122, 150, 2),
            "price": rng.randrange(59, 389, 10),
            "colours": rng.sample(("black", "honey", "olive", "navy", "clear", "wine"), 2),
            "on_shelf": rng.randrange(0, 4),
        }
        for name in FRAMES
        for _ in range(2)
    }
    jobs = {
        f"{rng.randrange(10, 99)}-{letter}{rng.randrange(100, 999)}": {
            "customer": customer,
            "step": rng.choice(("lenses ordered", "grinding", "ready to collect", "quality check")),
            "due": f"2027-08-{rng.randrange(18, 31)}",
            "to_pay": rng.randrange(80, 690),
            "paid": rng.random() < 0.4,
        }
        for letter, customer in zip("ABCDEFGHIJKLMNOPQRSTUV", customers, strict=True)
    }
    STATE.clear()
    STATE.update(customers=customers, frames=frames, jobs=jobs, tests={}, sms=[])
    return STATE


def _customer(customer: str) -> dict[str, Any]:
    if customer not in STATE["customers"]:
        raise ValueError(f"no customer {customer}; customer_code gives the code for a surname")
    return STATE["customers"][customer]  # type: ignore[no-any-return]


def customer_code(surname: str) -> dict[str, Any]:
    """Code and mobile number of a customer.

    Args:
        surname: Surname.
    """
    for code, found in STATE["customers"].items():
        if found["surname"].casefold() == surname.casefold():
            return {"customer": code, "mobile": found["mobile"]}
    return {"customer": None, "error": f"nobody called {surname} is a customer"}


def prescription_of(customer: str) -> dict[str, Any]:
    """Values of both eyes in dioptres, axis in degrees, addition (null for single vision) and the day of the test.

    Args:
        customer: Three letters and the year of birth.
    """
    found = _customer(customer)
    return {"customer": customer, "pupil_distance_mm": found["pupil_distance_mm"], **found["prescription"]}


def frames_matching(
    material: Material | None = None, max_price: int | None = None, max_width_mm: int | None = None
) -> list[dict[str, Any]]:
    """Frames on the shelf that fit all given conditions, cheapest first.

    Args:
        material: What they are made of; left out for any.
        max_price: Highest price in euros, included; left out for any.
        max_width_mm: Greatest width in millimetres, included; left out for any.
    """
    found = [
        {"frame": code, "material": each["material"], "price": each["price"], "width_mm": each["width_mm"]}
        for code, each in STATE["frames"].items()
        if each["on_shelf"]
        and material in (None, each["material"])
        and (max_price is None or each["price"] <= max_price)
        and (max_width_mm is None or each["width_mm"] <= max_width_mm)
    ]
    return sorted(found, key=lambda each: each["price"])[:5]


def lens_price(index: float, coating: Coating = "plain") -> dict[str, Any]:
    """Price of a pair of lenses in euros.

    Args:
        index: Refractive index; a higher one makes thinner lenses.
        coating: Coating of both lenses.
    """
    if index not in LENS:
        return {"error": f"there are no lenses of index {index}, only {', '.join(map(str, LENS))}"}
    return {"index": index, "coating": coating, "pair": LENS[index] + EXTRA[coating]}


def start_job(customer: str, frame: str, index: float, coating: Coating = "plain") -> dict[str, Any]:
    """Have glasses made from a frame and lenses, after the customer's prescription.

    Args:
        customer: Three letters and the year of birth.
        frame: Code of the frame.
        index: Refractive index of the lenses.
        coating: Coating of both lenses.
    """
    _customer(customer)
    if frame not in STATE["frames"]:
        raise ValueError(f"no frame {frame}")
    found = STATE["frames"][frame]
    if not found["on_shelf"]:
        return {"started": False, "error": f"{frame} is sold out"}
    found["on_shelf"] -= 1
    job = f"{found['width_mm'] % 100:02d}-Z{100 + len(STATE['jobs'])}"
    STATE["jobs"][job] = {
        "customer": customer,
        "step": "lenses ordered",
        "due": "2027-08-27",
        "to_pay": found["price"] + LENS[index] + EXTRA[coating],
        "paid": False,
    }
    return {"started": True, "job": job, "total": STATE["jobs"][job]["to_pay"], "due": "2027-08-27"}


def job_progress(job: str) -> dict[str, Any]:
    """Step, due day, amount and payment of glasses in the workshop.

    Args:
        job: Number on the tray: two digits, a hyphen, a letter, three digits.
    """
    if job not in STATE["jobs"]:
        raise ValueError(f"no job {job}")
    return {"job": job, **STATE["jobs"][job]}


def reserve_eye_test(
    customer: str,
    date: str,
    hour: str,
    contact_lenses: bool = False,
    place: Literal["shop", "home", "work"] = "shop",
) -> dict[str, Any]:
    """Reserve an eye test. The shop is closed on Sundays.

    Args:
        customer: Three letters and the year of birth.
        date: YYYY-MM-DD.
        hour: HH:MM, at the full or half hour.
        contact_lenses: Whether contact lenses are fitted, which takes longer.
        place: Where the eyes are tested: with us, at the customer's home, or where the customer works.
    """
    _customer(customer)
    key = f"{date} {hour}"
    if key in STATE["tests"]:
        return {"reserved": False, "error": "somebody else has that hour"}
    STATE["tests"][key] = customer
    return {
        "reserved": True,
        "optometrist": ("Ms. Brandt", "Mr. Osei")[len(customer + hour) % 2 if hour < "12:00" else 1],
        "minutes": 50 if contact_lenses else 25,
    }


def send_sms(mobile: str, words: str, when: Literal["now", "tonight", "tomorrow"] = "now") -> dict[str, Any]:
    """Send a text to a mobile phone.

    Args:
        mobile: The number, digits only.
        words: The text.
        when: At once, this evening (tonight), or early the next day (tomorrow).
    """
    STATE["sms"].append({"mobile": mobile, "words": words, "when": when})
    return {**({"delivered": True} if when == "now" else {"scheduled": when}), "parts": len(words) // 150 + 1}


def person(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A customer with the values of one eye."""
    code = rng.choice(sorted(STATE["customers"]))
    found = STATE["customers"][code]
    side = rng.choice(("right", "left"))
    return {
        "code": code,
        "surname": found["surname"],
        "mobile": found["mobile"],
        "side": side,
        "pd": found["pupil_distance_mm"],
        "tested": found["prescription"]["tested"],
        **found["prescription"][side],
    }


def other_person(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another customer than the slot `who`."""
    while True:
        found = person(rng, slots)
        if found["code"] != slots["who"]["code"]:
            return found


def filters(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Conditions that some frame fits."""
    frame = rng.choice([each for _, each in sorted(STATE["frames"].items()) if each["on_shelf"]])
    return {
        "material": frame["material"],
        "max_price": frame["price"] + rng.randrange(0, 30, 5),
        "max_width": frame["width_mm"] + rng.randrange(0, 6),
    }


def stuff(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A material of which there are frames on the shelf, of which one is the cheapest."""
    while True:
        material = rng.choice(("acetate", "titanium", "steel", "wood"))
        found = frames_matching(material)  # type: ignore[arg-type]
        if found and all(each["price"] > found[0]["price"] for each in found[1:]):
            return {"material": material, "frame": found[0]["frame"], "price": found[0]["price"]}


def frame(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A frame on the shelf."""
    return {"code": rng.choice([code for code, each in sorted(STATE["frames"].items()) if each["on_shelf"]])}


def gone_frame(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A frame that is sold out."""
    return {"code": rng.choice([code for code, each in sorted(STATE["frames"].items()) if not each["on_shelf"]])}


def _job(rng: random.Random, ready: bool) -> dict[str, Any]:
    code = rng.choice(
        [key for key, each in sorted(STATE["jobs"].items()) if (each["step"] == "ready to collect") == ready]
    )
    found = STATE["jobs"][code]
    customer = STATE["customers"][found["customer"]]
    return {"code": code, **found, "surname": customer["surname"], "mobile": customer["mobile"]}


def ready_job(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Glasses that can be collected."""
    return _job(rng, True)


def unready_job(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Glasses that are not ready."""
    return _job(rng, False)


TOOLS = [
    customer_code, prescription_of, frames_matching, lens_price, start_job, job_progress, reserve_eye_test, send_sms,
]  # fmt: skip
