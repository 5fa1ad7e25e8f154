"""The office of a self-storage house: tenants, units, leases, gate PINs, messages."""

from typing import Any, Literal

Site = Literal["Dock Road", "Mill Yard"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        tenants={
            "TN-26": "Orla Fennimore",
            "TN-29": "Kaspar Wendt",
            "TN-33": "Noor van Dalen",
            "TN-37": "Emilio Sartori",
            "TN-40": "Claire Jourdan",
        },
        units={
            "D-14": {"tenant": "TN-26", "size": 6.0, "rent": 74.0, "paid_until": "2027-10-31", "door": "locked"},
            "D-21": {"tenant": "TN-33", "size": 9.0, "rent": 105.0, "paid_until": "2027-11-30", "door": "open"},
            "M-03": {"tenant": "TN-29", "size": 4.0, "rent": 52.0, "paid_until": "2027-12-31", "door": "locked"},
            "M-08": {"tenant": "TN-29", "size": 12.0, "rent": 139.0, "paid_until": "2027-09-30", "door": "locked"},
            "M-11": {"tenant": "TN-37", "size": 15.0, "rent": 168.0, "paid_until": "2028-01-31", "door": "alarm"},
        },
        empty={
            "D-17": {"site": "Dock Road", "size": 5.0, "rent": 63.0, "ground_floor": True},
            "D-30": {"site": "Dock Road", "size": 8.0, "rent": 96.0, "ground_floor": False},
            "D-32": {"site": "Dock Road", "size": 10.0, "rent": 118.0, "ground_floor": True},
            "M-05": {"site": "Mill Yard", "size": 7.0, "rent": 81.0, "ground_floor": False},
            "M-09": {"site": "Mill Yard", "size": 12.0, "rent": 128.0, "ground_floor": True},
            "M-20": {"site": "Mill Yard", "size": 16.0, "rent": 171.0, "ground_floor": False},
        },
        leases=[],
        ended={},
        pins=[],
        sent=[],
    )
    return STATE


def units_of(name: str) -> list[dict[str, Any]]:
    """Tenants by name, with their numbers and their units.

    Args:
        name: Name or part of it.
    """
    word = name.strip().lower()
    return [
        {
            "tenant": number,
            "name": known,
            "units": [u for u, unit in STATE["units"].items() if unit["tenant"] == number],
        }
        for number, known in STATE["tenants"].items()
        if any(part in known.lower() for part in (word, *word.split()) if len(part) > 2)
    ]


def unit_sheet(unit: str) -> dict[str, Any]:
    """A unit that is let: tenant, square metres, rent a month in euros, until when it is paid, state of the door.

    Args:
        unit: Number of the unit.
    """
    number, found = _unit(unit)
    return {"unit": number, "name": STATE["tenants"][found["tenant"]], **found}


def empty_units(site: Site, square_metres: float, ground_floor: bool = False) -> list[dict[str, Any]]:
    """Units that nobody has, of at least some size, with the rent a month in euros.

    Args:
        site: Which of the two houses.
        square_metres: Least size.
        ground_floor: Only units without stairs.
    """
    return [
        {"unit": number, **unit}
        for number, unit in STATE["empty"].items()
        if unit["site"] == site and unit["size"] >= square_metres and (unit["ground_floor"] or not ground_floor)
    ]


def let_unit(tenant: str, unit: str, first_day: str, months: int = 1) -> dict[str, Any]:
    """Let an empty unit to a tenant.

    Args:
        tenant: Number of the tenant.
        unit: Number of the unit.
        first_day: First day, YYYY-MM-DD.
        months: For how many months at least.
    """
    number, key = _tenant(tenant), unit.strip().upper()
    if key not in STATE["empty"]:
        raise ValueError(f"{unit} is not empty")
    lease = {"tenant": number, "unit": key, "first_day": first_day, "months": months}
    STATE["leases"].append(lease)
    del STATE["empty"][key]
    return {"lease": "LX-206", **lease}


def end_lease(unit: str, last_day: str) -> dict[str, Any]:
    """End the lease of a unit.

    Args:
        unit: Number of the unit.
        last_day: Last day, YYYY-MM-DD.
    """
    number, _ = _unit(unit)
    if number in STATE["ended"]:
        raise ValueError(f"the lease of {number} was ended before")
    STATE["ended"][number] = last_day
    return {"unit": number, "ends": last_day}


def new_gate_pin(tenant: str) -> str:
    """Give a tenant a new PIN for the gate; it goes to the tenant's phone.

    Args:
        tenant: Number of the tenant.
    """
    number = _tenant(tenant)
    STATE["pins"].append(number)
    return f"a new PIN is on its way to {STATE['tenants'][number]}"


def write_tenant(tenant: str, text: str) -> str:
    """Send a tenant an e-mail.

    Args:
        tenant: Number of the tenant.
        text: What it says.
    """
    number = _tenant(tenant)
    STATE["sent"].append({"tenant": number, "text": text})
    return f"sent to {STATE['tenants'][number]}"


def _tenant(tenant: str) -> str:
    number = tenant.strip().upper()
    if number not in STATE["tenants"]:
        raise ValueError(f"there is no tenant {tenant}")
    return number


def _unit(unit: str) -> tuple[str, dict[str, Any]]:
    number = unit.strip().upper()
    if number not in STATE["units"]:
        raise ValueError(f"nobody has a unit {unit}")
    return number, STATE["units"][number]


TOOLS = [units_of, unit_sheet, empty_units, let_unit, end_lease, new_gate_pin, write_tenant]
