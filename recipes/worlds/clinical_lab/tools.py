"""A clinical laboratory: specimens, analytes with reference ranges, add-on tests, release, critical calls."""

import random
from typing import Any, Literal

Analyte = Literal["Na", "K", "CREA", "CRP", "HGB", "GLU", "TSH", "TROP"]
RANGES = {
    "Na": (135, 145, "mmol/l", 1),
    "K": (3.5, 5.1, "mmol/l", 0.1),
    "CREA": (45, 104, "µmol/l", 1),
    "CRP": (0, 5, "mg/l", 1),
    "HGB": (120, 170, "g/l", 1),
    "GLU": (3.9, 5.6, "mmol/l", 0.1),
    "TSH": (0.4, 4.0, "mU/l", 0.1),
    "TROP": (0, 14, "ng/l", 1),
}
WARDS = {"3B": "4471", "ICU": "4400", "dialysis": "4518", "outpatients": "4602", "maternity": "4333"}
NAMES = (
    "Abel Notter",
    "Beate Kurz",
    "Carl Amann",
    "Daria Popov",
    "Erwin Huth",
    "Frida Dahl",
    "Georg Lenz",
    "Helga Orth",
    "Isidor Blau",
    "Johanna Rist",
    "Kurt Wieland",
    "Lena Frei",
    "Moritz Hahn",
    "Nora Sell",
    "Otto Kling",
    "Paula Veit",
    "Ralf Gerber",
    "Senta Maier",
    "Timo Jaeger",
    "Ute Brandl",
    "Valerie Koch",
    "Walter Imhof",
)
GROUPS = {"adult": 1.0, "child": 0.95, "newborn": 1.06, "pregnant": 0.97}
DOCTORS = (
    "Aylin Demir",
    "Bruno Castelli",
    "Clara Vogt",
    "Dennis Ahrens",
    "Edda Norling",
    "Franka Weiss",
    "Gideon Roth",
)
STATE: dict[str, Any] = {}


def measured(rng: random.Random, analyte: str, flag: str) -> dict[str, Any]:
    """A value that is low, normal or high."""
    low, high, unit, step = RANGES[analyte]
    width = high - low
    if flag == "H":
        value = high + width * rng.uniform(0.1, 0.8)
    elif flag == "L" and low > 0:
        value = low - low * rng.uniform(0.05, 0.2)
    else:
        flag, value = "", low + width * rng.uniform(0.2, 0.8)
    return {"value": round(value, 1) if step < 1 else round(value), "unit": unit, "flag": flag}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    specimens = {}
    for place, name in enumerate(NAMES):
        analytes = rng.sample(sorted(RANGES), rng.randint(2, 4))
        if place < 12 and "K" not in analytes:
            analytes[0] = "K"
        flags = [
            "H" if place < 5 and a == "K" else "" if a == "K" and place < 12 else rng.choice(("", "", "H", "L"))
            for a in analytes
        ]
        specimens[f"L{rng.randrange(10, 99)}{place:02d}.{rng.randrange(100, 999)}"] = {
            "patient": name,
            "ward": rng.choice(sorted(WARDS)),
            "drawn_at": f"2027-02-0{rng.randint(7, 9)}T{rng.randint(6, 14):02d}:{rng.randrange(0, 60, 5):02d}",
            "tube": rng.choice(("serum", "EDTA", "fluoride")),
            "microlitres_left": rng.randrange(40, 900, 10) if place % 4 else 20,
            "quality": "haemolysed" if place % 7 == 6 else "fine",
            "released": False,
            "results": {a: measured(rng, a, f) for a, f in zip(analytes, flags, strict=True)},
        }
    reagents = {a: rng.randint(5, 400) for a in RANGES}
    pagers = rng.sample(range(600, 999), len(DOCTORS))
    doctors = {f"P-{pager}": name for pager, name in zip(pagers, rng.sample(DOCTORS, len(DOCTORS)), strict=True)}
    STATE.clear()
    STATE.update(specimens=specimens, calls=[], reagents=reagents, doctors=doctors, pages=[])
    return STATE


def find_specimens(
    patient: str | None = None, ward: str | None = None, unreleased_only: bool = False
) -> list[dict[str, str]]:
    """Specimens by patient or ward.

    Args:
        patient: Full name of the patient.
        ward: Short name of the ward.
        unreleased_only: Leave out what was released already.
    """
    return [
        {"specimen": number, "patient": each["patient"], "ward": each["ward"]}
        for number, each in STATE["specimens"].items()
        if patient in (None, each["patient"])
        and ward in (None, each["ward"])
        and not (unreleased_only and each["released"])
    ]


def specimen_info(specimen: str) -> dict[str, Any]:
    """Tube, time of drawing, volume left in microlitres, quality, ward.

    Args:
        specimen: Number on the label, with a dot.
    """
    found = STATE["specimens"][specimen]
    return {"specimen": specimen, **{k: v for k, v in found.items() if k not in ("results", "patient")}}


def results_of(specimen: str) -> dict[str, Any]:
    """Measured values by analyte with unit and flag: H too high, L too low, empty inside the range.

    Args:
        specimen: Number on the label.
    """
    return {"specimen": specimen, "results": STATE["specimens"][specimen]["results"]}


def reference_range(
    analyte: Analyte, group: Literal["adult", "child", "newborn", "pregnant"] = "adult"
) -> dict[str, Any]:
    """The reference range of an analyte.

    Args:
        analyte: Its short name.
        group: Whom it is for: newborn in the first four weeks of life, child up to the age of 14.
    """
    low, high, unit, step = RANGES[analyte]
    shifted = [round(limit * GROUPS[group], 1 if step < 1 else None) for limit in (low, high)]
    return {"analyte": analyte, "from": shifted[0], "to": shifted[1], "unit": unit}


def add_test(specimen: str, analytes: list[Analyte], urgent: bool = False) -> dict[str, Any]:
    """Order further tests on a specimen that is in the house. Each takes 30 microlitres.

    Args:
        specimen: Number on the label.
        analytes: Short names.
        urgent: Whether it goes before the routine.
    """
    found = STATE["specimens"][specimen]
    need = 30 * len(analytes)
    if found["microlitres_left"] < need:
        return {
            "error": "volume",
            "needed_microlitres": need,
            "left_microlitres": found["microlitres_left"],
            "advice": "draw a new tube",
        }
    found["microlitres_left"] -= need
    return {"specimen": specimen, "added": analytes, "ready_in_minutes": 25 if urgent else 90}


def release_report(specimen: str, to: Literal["ward", "family doctor", "both"] = "ward") -> dict[str, Any]:
    """Release the report of a specimen. It cannot be taken back.

    Args:
        specimen: Number on the label.
        to: Who gets it.
    """
    found = STATE["specimens"][specimen]
    if found["quality"] == "haemolysed":
        return {"error": "specimen is haemolysed: a physician has to sign first"}
    found["released"] = True
    ways = {"ward": found["ward"], "family doctor": "family doctor", "both": f"{found['ward']} and family doctor"}
    return {"specimen": specimen, "sent_to": ways[to]}


def ward_phone(ward: str) -> dict[str, str]:
    """Extension of a ward.

    Args:
        ward: Short name of the ward.
    """
    return {"ward": ward, "extension": WARDS[ward]}


def log_critical_call(specimen: str, analyte: Analyte, extension: str, minute: str | None = None) -> dict[str, Any]:
    """Record that a critical value was phoned through.

    Args:
        specimen: Number on the label.
        analyte: Which value.
        extension: Extension that was called.
        minute: Time of the call, HH:MM; now by default.
    """
    STATE["calls"].append({"specimen": specimen, "analyte": analyte, "extension": extension, "minute": minute})
    return {"record": f"CC{800 + len(STATE['calls'])}"}


def change_ward(specimen: str, ward: Literal["3B", "ICU", "dialysis", "outpatients", "maternity"]) -> dict[str, Any]:
    """Put a specimen down for another ward, which then gets its report.

    Args:
        specimen: Number on the label.
        ward: Short name of the new ward.
    """
    before, STATE["specimens"][specimen]["ward"] = STATE["specimens"][specimen]["ward"], ward
    return {"specimen": specimen, "before": before, "now": ward}


def physicians(name: str) -> list[dict[str, str]]:
    """Physicians of the house with their pagers.

    Args:
        name: Any part of the name.
    """
    return [
        {"pager": pager, "name": each} for pager, each in STATE["doctors"].items() if name.casefold() in each.casefold()
    ]


def page(pager: str, text: str) -> dict[str, str]:
    """Send a text to a pager.

    Args:
        pager: P, a hyphen and three digits.
        text: What it shows.
    """
    STATE["pages"].append({"pager": pager, "text": text})
    return {"paged": STATE["doctors"][pager]}


TOOLS = [
    find_specimens,
    specimen_info,
    results_of,
    reference_range,
    add_test,
    release_report,
    ward_phone,
    log_critical_call,
    change_ward,
    physicians,
    page,
]


def tube(rng: random.Random, fits: Any) -> dict[str, Any]:
    """A specimen that fits, and one of its values."""
    found = [{"number": n, **each} for n, each in STATE["specimens"].items() if fits(each)]
    each = rng.choice(found)
    analyte = rng.choice(list(each["results"]))
    return {**each, "analyte": analyte, **{f"its_{k}": v for k, v in each["results"][analyte].items()}}


def specimen(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any specimen with enough left."""
    return tube(rng, lambda each: each["microlitres_left"] >= 60 and each["quality"] == "fine")


def little(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A specimen of which too little is left."""
    return tube(rng, lambda each: each["microlitres_left"] < 30)


def red(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A haemolysed specimen."""
    return tube(rng, lambda each: each["quality"] == "haemolysed")


def potassium(rng: random.Random, high: bool) -> dict[str, Any]:
    """A fine specimen with its potassium."""
    found = tube(
        rng, lambda e: "K" in e["results"] and e["quality"] == "fine" and (e["results"]["K"]["flag"] == "H") == high
    )
    return {**found, "k": found["results"]["K"]["value"], "phone": WARDS[found["ward"]]}


def high_potassium(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A specimen with too much of it."""
    return potassium(rng, True)


def normal_potassium(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A specimen whose potassium is normal."""
    return potassium(rng, False)


def full_ward(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A ward with two to five specimens, the second of which is fine, and its list in words."""
    wards = {ward: find_specimens(ward=ward) for ward in WARDS}
    fitting = [
        ward
        for ward, found in wards.items()
        if 2 <= len(found) <= 5 and STATE["specimens"][found[1]["specimen"]]["quality"] == "fine"
    ]
    ward = rng.choice(fitting)
    number = wards[ward][1]["specimen"]
    return {
        "ward": ward,
        "count": len(wards[ward]),
        "listed": ", ".join(f"{each['specimen']} ({each['patient']})" for each in wards[ward]),
        "first": wards[ward][0]["specimen"],
        "second": number,
        "patient": wards[ward][1]["patient"],
        "values": in_words(number),
    }


def in_words(number: str) -> str:
    """All values of a specimen with unit and flag."""
    flags = {"H": " (high)", "L": " (low)", "": ""}
    found = STATE["specimens"][number]["results"]
    return ", ".join(f"{a} {each['value']} {each['unit']}{flags[each['flag']]}" for a, each in found.items())


def roomy(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A fine specimen with enough left for several tests, its values in words."""
    found = tube(rng, lambda each: each["microlitres_left"] >= 100 and each["quality"] == "fine")
    german = in_words(found["number"]).replace("(high)", "(zu hoch)").replace("(low)", "(zu niedrig)")
    return {**found, "values": in_words(found["number"]), "list_de": german.replace(".", ",")}


def roomy_too(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another one than the slot `one`."""
    while (found := roomy(rng, slots))["number"] == slots["one"]["number"]:
        pass
    return found


def physician(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A physician of the house."""
    pager = rng.choice(sorted(STATE["doctors"]))
    first, last = STATE["doctors"][pager].split()
    return {"pager": pager, "name": f"{first} {last}", "first": first, "last": last}


def moved(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A specimen, and another ward than its own."""
    found = specimen(rng, slots)
    return {**found, "new": rng.choice(sorted(set(WARDS) - {found["ward"], "maternity"}))}


def caller(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A specimen and the extension of its ward."""
    found = specimen(rng, slots)
    return {**found, "phone": WARDS[found["ward"]]}
