"""A freight forwarder's customs desk: consignments with lines of goods, tariff codes, duties, holds and dock slots."""

import copy
import random
from typing import Any, Literal

from typing_extensions import TypedDict

Terminal = Literal["north quay", "airfreight hall", "rail yard"]
GOODS = {
    "8513.10": ("portable lamps", 5.7),
    "6911.10": ("porcelain tableware", 12.0),
    "9503.00": ("wooden toys", 4.7),
    "0901.21": ("roasted coffee", 7.5),
    "6404.11": ("sports shoes", 16.9),
    "8712.00": ("bicycles", 14.0),
    "4202.92": ("travel bags", 9.7),
    "9401.61": ("upholstered chairs", 0.0),
    "8516.60": ("electric ovens", 2.7),
    "3304.99": ("skin creams", 0.0),
    "5702.42": ("woven carpets", 8.0),
    "7013.37": ("drinking glasses", 11.0),
}
SHIPPERS = ("Halvorsen Trading", "Mirador Import", "Tolnay & Sons", "Quint Supplies", "Baltica Goods", "Oduya Brothers")
DRIVERS = (
    "Piotr Zalewski", "Henk Dekker", "Marisol Vega", "Dragan Ilic", "Cathal Doyle", "Femke de Boer",
    "Andrei Popa", "Gunnar Lie", "Salma Haddou", "Bert Janssens", "Ivo Marinov", "Teresa Couto",
)  # fmt: skip
STATE: dict[str, Any] = {}


class Line(TypedDict):
    """One line of a declaration: `code` is a tariff code, `value_eur` the value in euros."""

    code: str
    value_eur: float


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    consignments: dict[str, Any] = {}
    for number in rng.sample(range(100000, 999999), 24):
        codes = rng.sample(sorted(GOODS), 2)
        lines = [
            {
                "code": code,
                "goods": GOODS[code][0],
                "cartons": rng.randrange(3, 90),
                "value_eur": rng.randrange(4, 190) * 50,
            }
            for code in codes
        ]
        hold = rng.choice(("", "", "missing invoice", "weight differs", "fumigation certificate missing"))
        consignments[f"CGN{number}"] = {
            "consignee": rng.choice(SHIPPERS),
            "terminal": rng.choice(("north quay", "airfreight hall", "rail yard")),
            "gross_kg": rng.randrange(80, 9000),
            "status": "held" if hold else rng.choice(("cleared", "awaiting declaration")),
            "hold": hold,
            "free_storage_until": f"2027-02-{rng.randrange(3, 27):02d}",
            "lines": lines,
        }
    seals = rng.sample(range(10000, 99999), 20)
    containers = {
        f"TKLU-{seal * 7}": {"consignment": number, "seal": f"S{seal}", "temperature_c": rng.randrange(-20, 15)}
        for seal, number in zip(seals, consignments, strict=False)
    }
    docks = {
        f"2027-02-{day:02d}": {
            place: sorted(rng.sample(["06:30", "08:00", "09:30", "11:00", "13:30", "15:00", "16:30"], 3))
            for place in ("north quay", "airfreight hall", "rail yard")
        }
        for day in range(2, 27)
    }
    numbers = rng.sample(range(100, 999), len(DRIVERS))
    drivers = {
        name: {"driver": f"D{number}", "truck": f"FF-{number * 7 % 900 + 100}"}
        for name, number in zip(DRIVERS, numbers, strict=True)
    }
    trucks = {
        each["truck"]: {
            "payload_kg": rng.randrange(6_000, 25_000, 500),
            "tail_lift": rng.random() < 0.5,
            "inspection_due": f"2027-{rng.randrange(3, 13):02d}-{rng.randrange(1, 29):02d}",
        }
        for each in drivers.values()
    }
    STATE.clear()
    STATE.update(
        drivers=drivers,
        trucks=trucks,
        messages=[],
        tours={},
        consignments=consignments,
        containers=containers,
        docks=docks,
        declarations={},
        notices=[],
        tariff=[{"code": code, "goods": goods, "duty_percent": duty} for code, (goods, duty) in GOODS.items()],
    )
    return STATE


def consignment_overview(consignment: str) -> dict[str, Any]:
    """Everything about a consignment: consignee, terminal, weight, status, hold and its lines of goods.

    Args:
        consignment: CGN and six digits.
    """
    if consignment not in STATE["consignments"]:
        raise ValueError(f"unknown consignment {consignment}; trace_container gives the consignment of a container")
    return {"consignment": consignment, **copy.deepcopy(STATE["consignments"][consignment])}


def trace_container(container: str) -> dict[str, Any]:
    """Which consignment a container belongs to, its seal and its temperature in degrees Celsius.

    Args:
        container: As painted on the door, four letters, a hyphen and digits.
    """
    if container not in STATE["containers"]:
        raise ValueError(f"container {container} is not in the yard")
    return {"container": container, **STATE["containers"][container]}


def tariff_lookup(goods: str) -> dict[str, Any]:
    """Tariff codes whose description has a word of the goods, with the duty in percent.

    Args:
        goods: What the goods are, in English.
    """
    words = {word.rstrip("s") for word in goods.casefold().split()}
    hits = [entry for entry in STATE["tariff"] if words & {word.rstrip("s") for word in entry["goods"].split()}]
    return {"matches": len(hits), "entries": hits}


def duty_quote(code: str, value_eur: float, preferential: bool = False) -> dict[str, Any]:
    """Duty in euros for goods of a tariff code. Changes nothing.

    Args:
        code: Tariff code, four digits, a point, two digits.
        value_eur: Customs value in euros.
        preferential: Whether there is a certificate of origin, which makes the goods free of duty.
    """
    duty = next((entry["duty_percent"] for entry in STATE["tariff"] if entry["code"] == code), None)
    if duty is None:
        return {"error": f"no tariff code {code}"}
    percent = 0.0 if preferential else duty
    return {"code": code, "percent": percent, "duty_eur": round(value_eur * percent / 100, 2)}


def lodge_declaration(
    consignment: str, lines: list[Line], procedure: Literal["import", "transit", "warehouse"] = "import"
) -> dict[str, Any]:
    """Lodge a customs declaration. Binding: it cannot be taken back.

    Args:
        consignment: CGN and six digits.
        lines: A code and a value for each line of goods.
        procedure: Customs procedure: import for goods that are sold here, transit for goods that go on to another
            country, warehouse for goods that are stored without duty at first.
    """
    found = consignment_overview(consignment)
    if found["status"] == "held":
        return {"lodged": False, "error": f"{consignment} is held: {found['hold']}. Clear the hold first."}
    reference = f"MRN27{7000 + len(STATE['declarations'])}{consignment[-3:]}"
    STATE["declarations"][reference] = {"consignment": consignment, "lines": len(lines), "procedure": procedure}
    return {"lodged": True, "mrn": reference}


def clear_hold(consignment: str, evidence: str) -> dict[str, Any]:
    """Lift the hold on a consignment.

    Args:
        consignment: CGN and six digits.
        evidence: Document that settles it, as it is called.
    """
    found = STATE["consignments"].get(consignment)
    if found is None:
        raise ValueError(f"unknown consignment {consignment}")
    if not found["hold"]:
        return {"consignment": consignment, "changed": False, "error": "there is no hold on it"}
    found.update(hold="", status="awaiting declaration")
    return {"consignment": consignment, "changed": True, "status": found["status"], "evidence": evidence}


def dock_windows(terminal: Terminal, date: str) -> dict[str, Any]:
    """Free half-hour windows for a truck at a terminal. Reserves nothing.

    Args:
        terminal: Where the truck loads.
        date: Day as YYYY-MM-DD.
    """
    return {"terminal": terminal, "date": date, "windows": list(STATE["docks"].get(date, {}).get(terminal, []))}


def claim_dock_window(consignment: str, date: str, start: str) -> dict[str, Any]:
    """Reserve a window at the terminal where the consignment lies.

    Args:
        consignment: CGN and six digits.
        date: Day as YYYY-MM-DD.
        start: Start of a free window, HH:MM.
    """
    terminal = consignment_overview(consignment)["terminal"]
    free = STATE["docks"].get(date, {}).get(terminal, [])
    if start not in free:
        return {"reserved": False, "error": f"{start} is taken at the {terminal}; free are {', '.join(free)}"}
    free.remove(start)
    return {"reserved": True, "terminal": terminal, "gate_code": f"G{consignment[-4:]}"}


def notify_consignee(consignment: str, text: str, by: Literal["mail", "text message", "letter"] = "mail") -> str:
    """Send the consignee of a consignment a notice.

    Args:
        consignment: CGN and six digits.
        text: Words of the notice.
        by: Mail goes to the office, a text message to the phone, a letter is printed, stamped and posted.
    """
    consignment_overview(consignment)
    STATE["notices"].append({"consignment": consignment, "text": text, "by": by})
    return "notice sent"


def driver_entry(name: str) -> dict[str, Any]:
    """Number of a driver, and the truck he or she drives.

    Args:
        name: First and last name.
    """
    for each, found in STATE["drivers"].items():
        if each.casefold() == name.casefold().strip():
            return {"name": each, **found}
    raise ValueError(f"no driver called {name}")


def truck_card(truck: str) -> dict[str, Any]:
    """A truck: payload, whether it has a tail lift, and when its inspection is due.

    Args:
        truck: Its number, FF and three digits.
    """
    if truck not in STATE["trucks"]:
        raise ValueError(f"no truck {truck}")
    return {"truck": truck, **STATE["trucks"][truck]}


def text_driver(driver: str, text: str) -> str:
    """Send a driver a message to the cab.

    Args:
        driver: Number of the driver, D and three digits.
        text: What it says.
    """
    if driver not in {found["driver"] for found in STATE["drivers"].values()}:
        raise ValueError(f"no driver {driver}")
    STATE["messages"].append({"driver": driver, "text": text})
    return "sent"


def assign_driver(consignment: str, driver: str) -> dict[str, Any]:
    """Have a driver fetch a consignment.

    Args:
        consignment: CGN and six digits.
        driver: Number of the driver, D and three digits.
    """
    terminal = consignment_overview(consignment)["terminal"]
    if driver not in {found["driver"] for found in STATE["drivers"].values()}:
        raise ValueError(f"no driver {driver}")
    STATE["tours"][consignment] = driver
    return {
        "assigned": True,
        "consignment": consignment,
        "fetch_at": terminal,
        "tour": f"T{driver[1:]}{consignment[-2:]}",
    }


def taken_window(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A start that is not free for the drawn consignment and day, and the free ones."""
    free = STATE["docks"][slots["day"]["iso"]][slots["cgn"]["terminal"]]
    start = rng.choice([hour for hour in ("07:15", "10:15", "12:00", "14:15", "17:45") if hour not in free])
    return {"start": start, "free": list(free)}


def open_window(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A free start for the drawn consignment and day."""
    return {"start": rng.choice(STATE["docks"][slots["day"]["iso"]][slots["cgn"]["terminal"]])}


def held_box(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A container whose consignment is held."""
    boxes = [(box, each["consignment"]) for box, each in STATE["containers"].items()]
    box, number = rng.choice([pair for pair in boxes if STATE["consignments"][pair[1]]["hold"]])
    return {"box": box, "consignment": number, "hold": STATE["consignments"][number]["hold"]}


def box_window(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A container and a start that is free at its terminal on the drawn day."""
    box = rng.choice(sorted(STATE["containers"]))
    terminal = STATE["consignments"][STATE["containers"][box]["consignment"]]["terminal"]
    return {"box": box, "terminal": terminal, "start": rng.choice(STATE["docks"][slots["day"]["iso"]][terminal])}


TOOLS = [
    consignment_overview, trace_container, tariff_lookup, duty_quote, lodge_declaration, clear_hold, dock_windows,
    claim_dock_window, notify_consignee, driver_entry, truck_card, text_driver, assign_driver,
]  # fmt: skip
