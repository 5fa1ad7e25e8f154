"""The office of a pest control firm: cases, technicians' visits, baits, letters to customers."""

from typing import Any, Literal

Technician = Literal["Sven", "Marta", "Igor"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        cases={
            "K204": _case("Holm bakery", "Arling", "moths", "treated", 180.0, "Marta", "Mothstop strips"),
            "K205": _case("Mrs Delacroix", "Arling", "wasps", "open", 95.0, None, "Waspfoam"),
            "K206": {
                **_case("Villa Ostrow", "Fenn", "rats", "bait laid", 240.0, "Igor", "Rodex blocks"),
                "next_visit": "2027-07-22",
            },
            "K207": _case("Fenn school canteen", "Fenn", "ants", "open", 130.0, None, "Antline gel"),
            "K208": _case("Haldane farm", "Quell", "martens", "closed", 310.0, "Sven", None),
        },
        baits={
            "Rodex blocks": {"kilos": 2.5, "shelf": "locked cabinet"},
            "Antline gel": {"kilos": 0, "shelf": "B4", "next_delivery": "2027-07-20"},
            "Waspfoam": {"kilos": 6.0, "shelf": "B1"},
            "Mothstop strips": {"kilos": 1.2, "shelf": "C2"},
        },
        free={
            ("Sven", "2027-07-19"): ["08:00", "14:00"],
            ("Sven", "2027-07-20"): ["11:45"],
            ("Sven", "2027-07-21"): ["16:20"],
            ("Marta", "2027-07-19"): [],
            ("Marta", "2027-07-20"): ["10:30"],
            ("Igor", "2027-07-19"): ["09:00"],
            ("Igor", "2027-07-21"): ["13:15"],
        },
        planned=[],
        orders=[],
        letters=[],
    )
    return STATE


def _case(
    customer: str, town: str, pest: str, status: str, price: float, technician: str | None, bait: str | None
) -> dict[str, Any]:
    return {
        "customer": customer,
        "town": town,
        "pest": pest,
        "status": status,
        "price": price,
        "technician": technician,
        "bait": bait,
    }


def case_file(case: str) -> dict[str, Any]:
    """All about one case: customer, town, pest, status, price in euros, technician, bait, next visit.

    Args:
        case: Number of the case.
    """
    return {"case": case, **_known(case)}


def find_cases(
    town: str = "", pest: Literal["rats", "wasps", "ants", "moths", "martens"] | None = None
) -> list[dict[str, Any]]:
    """Cases of a town or with a pest: number, customer, pest and status.

    Args:
        town: Only cases in this town.
        pest: Only cases with this pest.
    """
    return [
        {"case": number, "customer": case["customer"], "pest": case["pest"], "status": case["status"]}
        for number, case in STATE["cases"].items()
        if town.lower() in ("", case["town"].lower()) and pest in (None, case["pest"])
    ]


def technician_gaps(technician: Technician, day: str) -> list[str]:
    """Times at which a technician can still take a visit on a day.

    Args:
        technician: First name.
        day: Date as YYYY-MM-DD.
    """
    found: list[str] = STATE["free"].get((technician, day), ["11:00"])
    return found


def plan_visit(case: str, technician: Technician, day: str, time: str) -> dict[str, Any]:
    """Send a technician to a customer.

    Args:
        case: Number of the case.
        technician: First name.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM, 24 hours.
    """
    _known(case)
    if time not in technician_gaps(technician, day):
        raise ValueError(f"{technician} is busy at {time} on {day}")
    STATE["planned"].append({"case": case, "technician": technician, "day": day, "time": time})
    return {"planned": case, "technician": technician, "day": day, "time": time}


def bait_store(bait: str) -> dict[str, Any]:
    """How many kilos of a bait or spray are left, and where they are.

    Args:
        bait: Name of the product.
    """
    name = next((each for each in STATE["baits"] if each.lower() == bait.lower().strip()), None)
    if name is None:
        raise ValueError(f"there is no bait {bait}; there are {', '.join(STATE['baits'])}")
    return {"bait": name, **STATE["baits"][name]}


def order_bait(bait: str, kilos: float, express: bool = False) -> dict[str, Any]:
    """Order a bait or spray from the wholesaler.

    Args:
        bait: Name of the product.
        kilos: How much.
        express: Delivered the next working day, at extra cost.
    """
    bait_store(bait)
    STATE["orders"].append({"bait": bait, "kilos": kilos, "express": express})
    return {"ordered": bait, "kilos": kilos, "express": express}


def write_customer(case: str, text: str) -> str:
    """Send the customer of a case a letter by e-mail.

    Args:
        case: Number of the case.
        text: What it says.
    """
    STATE["letters"].append({"to": _known(case)["customer"], "text": text})
    return "sent"


def _known(case: str) -> dict[str, Any]:
    if case.upper() not in STATE["cases"]:
        raise ValueError(f"there is no case {case}")
    found: dict[str, Any] = STATE["cases"][case.upper()]
    return found


TOOLS = [case_file, find_cases, technician_gaps, plan_visit, bait_store, order_bait, write_customer]
