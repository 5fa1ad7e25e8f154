"""The desk of a car workshop: jobs, parts, appointments, text messages."""

from typing import Any, Literal

Service = Literal["inspection", "tyres", "brakes", "oil"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        jobs={
            "J-880": {"plate": "KE 418", "owner": "Petra Lund", "work": "brakes", "status": "ready", "cost": 312.0},
            "J-881": {
                "plate": "KE 902",
                "owner": "Omar Haddad",
                "work": "clutch",
                "status": "waiting for parts",
                "ready_on": "2026-12-02",
                "part": "CL-77",
                "cost": 740.0,
            },
            "J-882": {
                "plate": "ST 135",
                "owner": "Yuna Park",
                "work": "gearbox",
                "status": "in work",
                "ready_on": "2026-11-28",
                "cost": 1290.0,
            },
        },
        parts={
            "CL-77": {"name": "clutch disc", "stock": 0, "price": 186.0, "arrives": "2026-12-01"},
            "BP-10": {"name": "brake pads", "stock": 14, "price": 48.5},
            "WB-22": {"name": "wiper blades", "stock": 3, "price": 19.9},
            "BT-05": {"name": "battery 60 Ah", "stock": 1, "price": 119.0},
        },
        bookings={"A-31": {"plate": "NB 777", "service": "oil", "day": "2026-12-03", "time": "09:30"}},
        sent=[],
    )
    return STATE


def find_job(plate: str) -> dict[str, Any]:
    """The job on a car: its number, work, status, cost in euros, and when it is ready.

    Args:
        plate: Number plate.
    """
    wanted = plate.replace(" ", "").upper()
    for number, job in STATE["jobs"].items():
        if job["plate"].replace(" ", "") == wanted:
            return {"job": number, **job}
    raise ValueError(f"there is no job for {plate}")


def part_stock(part: str) -> dict[str, Any]:
    """Stock, price in euros and next delivery of a part.

    Args:
        part: Number of the part.
    """
    if part not in STATE["parts"]:
        raise ValueError(f"there is no part {part}")
    return {"part": part, **STATE["parts"][part]}


def find_part(word: str) -> list[dict[str, str]]:
    """Numbers and names of parts.

    Args:
        word: Word of the name.
    """
    return [
        {"part": number, "name": part["name"]}
        for number, part in STATE["parts"].items()
        if word.lower() in part["name"]
    ]


def free_times(service: Service, day: str) -> list[str]:
    """Free times for a service on a day.

    Args:
        service: What is to be done.
        day: Date as YYYY-MM-DD.
    """
    if day in ("2026-11-28", "2026-11-29", "2026-12-05", "2026-12-06"):
        return []
    return {"inspection": ["08:00", "13:30"], "tyres": ["10:15", "16:45"], "brakes": ["11:00"], "oil": ["09:00"]}[
        service
    ]


def book_time(plate: str, service: Service, day: str, time: str) -> dict[str, Any]:
    """Book an appointment.

    Args:
        plate: Number plate.
        service: What is to be done.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM.
    """
    if time not in free_times(service, day):
        raise ValueError(f"{time} is not free; free are {', '.join(free_times(service, day)) or 'no times'}")
    STATE["bookings"]["A-32"] = {"plate": plate, "service": service, "day": day, "time": time}
    return {"booking": "A-32", "day": day, "time": time}


def clear_slot(booking: str) -> str:
    """Cancel an appointment.

    Args:
        booking: Its number.
    """
    if booking not in STATE["bookings"]:
        raise ValueError(f"there is no booking {booking}")
    del STATE["bookings"][booking]
    return "cancelled"


def sms_car_owner(plate: str, message: str, urgent: bool = False) -> str:
    """Send the owner of a car a text message.

    Args:
        plate: Number plate.
        message: What it says.
        urgent: Whether it is sent at once, also at night.
    """
    STATE["sent"].append({"plate": plate, "message": message, "urgent": urgent})
    return "sent"


TOOLS = [find_job, part_stock, find_part, free_times, book_time, clear_slot, sms_car_owner]
