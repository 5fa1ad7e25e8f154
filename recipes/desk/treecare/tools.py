"""The office of a tree care firm: jobs, climbers' free days, material, permits, letters to customers."""

from typing import Any, Literal

Climber = Literal["Sven", "Marta", "Igor"]
Work = Literal["pruning", "felling", "stump", "storm damage", "ivy"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        jobs={
            "T204": _job("Holm bakery", "Arling", "pruning", "done", 180.0, "Marta", "wound paste"),
            "T205": _job("Mrs Delacroix", "Arling", "ivy", "open", 95.0, None, "stump killer"),
            "T206": {
                **_job("Villa Ostrow", "Fenn", "felling", "permit came", 2400.0, "Igor", "chain oil"),
                "planned_for": "2027-07-22",
            },
            "T207": _job("Fenn school", "Fenn", "stump", "open", 130.0, None, "stump killer"),
            "T208": _job("Haldane farm", "Quell", "storm damage", "done", 310.0, "Sven", "chain oil"),
        },
        materials={
            "chain oil": {"litres": 2.5, "place": "van 1"},
            "stump killer": {"litres": 0, "place": "locked cabinet", "next_delivery": "2027-07-20"},
            "wound paste": {"litres": 6.0, "place": "van 2"},
            "marking paint": {"litres": 1.2, "place": "office"},
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
        climbs=[],
        orders=[],
        letters=[],
    )
    return STATE


def _job(
    customer: str, town: str, work: str, status: str, price: float, climber: str | None, material: str
) -> dict[str, Any]:
    return {
        "customer": customer,
        "town": town,
        "work": work,
        "status": status,
        "price": price,
        "climber": climber,
        "material": material,
    }


def job_sheet(job: str) -> dict[str, Any]:
    """All about one job: customer, town, work, status, price in euros, climber, material, and when it is planned for.

    Args:
        job: Number of the job.
    """
    return {"job": job, **_known(job)}


def jobs_around(town: str = "", work: Work | None = None) -> list[dict[str, Any]]:
    """Jobs in a town or of a sort: number, customer, work and status.

    Args:
        town: Only jobs in this town.
        work: Only jobs of this sort.
    """
    return [
        {"job": number, "customer": job["customer"], "work": job["work"], "status": job["status"]}
        for number, job in STATE["jobs"].items()
        if town.lower() in ("", job["town"].lower()) and work in (None, job["work"])
    ]


def climber_times(climber: Climber, day: str) -> list[str]:
    """Times at which a climber could still begin a job on a day.

    Args:
        climber: First name.
        day: Date as YYYY-MM-DD.
    """
    found: list[str] = STATE["free"].get((climber, day), ["11:00"])
    return found


def plan_climb(job: str, climber: Climber, day: str, time: str) -> dict[str, Any]:
    """Send a climber to a job.

    Args:
        job: Number of the job.
        climber: First name.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM, 24 hours.
    """
    _known(job)
    if time not in climber_times(climber, day):
        raise ValueError(f"{climber} is busy at {time} on {day}")
    STATE["climbs"].append({"job": job, "climber": climber, "day": day, "time": time})
    return {"planned": job, "climber": climber, "day": day, "time": time}


def material_store(material: str) -> dict[str, Any]:
    """How many litres of a material are left, and where it stands.

    Args:
        material: Name of the material.
    """
    name = material.lower().strip()
    if name not in STATE["materials"]:
        raise ValueError(f"there is no material {material}; there are {', '.join(STATE['materials'])}")
    return {"material": name, **STATE["materials"][name]}


def restock(material: str, litres: float, express: bool = False) -> dict[str, Any]:
    """Order material from the wholesaler.

    Args:
        material: Name of the material.
        litres: How much.
        express: Delivered the next working day, at extra cost.
    """
    material_store(material)
    STATE["orders"].append({"material": material, "litres": litres, "express": express})
    return {"ordered": material, "litres": litres, "express": express}


def letter_to_customer(job: str, text: str) -> str:
    """Send the customer of a job a letter by e-mail.

    Args:
        job: Number of the job.
        text: What it says.
    """
    STATE["letters"].append({"to": _known(job)["customer"], "text": text})
    return "sent"


def _known(job: str) -> dict[str, Any]:
    if job.upper() not in STATE["jobs"]:
        raise ValueError(f"there is no job {job}")
    found: dict[str, Any] = STATE["jobs"][job.upper()]
    return found


TOOLS = [job_sheet, jobs_around, climber_times, plan_climb, material_store, restock, letter_to_customer]
