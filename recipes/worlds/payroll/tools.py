"""Payroll: people, months as YYYY-MM, payslips with nested lines, hours in quarters, a change of account."""

import random
from typing import Any, Literal

FIRST = (
    "Aylin",
    "Bastian",
    "Celine",
    "Dragan",
    "Emilia",
    "Faruk",
    "Gesine",
    "Hakan",
    "Inga",
    "Jannik",
    "Klara",
    "Lutz",
)
LAST = (
    "Albers",
    "Brinkmann",
    "Cordes",
    "Dietz",
    "Engel",
    "Fuhrmann",
    "Gruber",
    "Hartwig",
    "Jansen",
    "Krause",
    "Lorenzen",
)
UNITS = ("assembly", "paint shop", "logistics", "office", "quality")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], 24)
    people = {}
    slips = {}
    for place, name in enumerate(names):
        number = 1_000_000 + rng.randrange(100, 9999) * 100 + place
        gross = rng.randrange(2600, 6400, 20)
        people[str(number)] = {
            "name": name,
            "unit": UNITS[place % 5],
            "contract_hours": rng.choice((20, 30, 38.5)),
            "gross": gross,
            "leave_days_left": rng.randint(0, 24),
            "iban_end": f"{rng.randrange(1000, 9999)}",
            "married": rng.random() < 0.5,
        }
        for month in ("2027-08", "2027-09", "2027-10"):
            extra = rng.choice((0, 0, 120, 260))
            tax, social = round(gross * 0.19), round(gross * 0.2)
            slips[f"{number}/{month}"] = {
                "earnings": [
                    {"label": "salary", "euros": gross},
                    *([{"label": "overtime", "euros": extra}] if extra else []),
                ],
                "deductions": [{"label": "income tax", "euros": tax}, {"label": "social insurance", "euros": social}],
                "net": gross + extra - tax - social,
            }
    for place, each in enumerate(people.values()):
        each["leave_days_left"] = (0, 1, 12, 18)[place % 4] + (place % 3 if place % 4 > 1 else 0)
    STATE.clear()
    STATE.update(people=people, slips=slips, hours=[], extras=[], leave=[], changes={}, closed="2027-10", letters=[])
    STATE["messages"] = []
    return STATE


def people_search(name: str = "", unit: str = "") -> list[dict[str, Any]]:
    """Personnel numbers by name or unit.

    Args:
        name: Part of the name.
        unit: Unit, whole word.
    """
    return [
        {"personnel_no": int(number), "name": each["name"], "unit": each["unit"]}
        for number, each in STATE["people"].items()
        if name.casefold() in each["name"].casefold() and unit in ("", each["unit"])
    ]


def master_data(personnel_no: int) -> dict[str, Any]:
    """Contract: hours a week, gross salary in euros, days of leave that are left, last four digits of the account.

    Args:
        personnel_no: Seven digits.
    """
    return {"personnel_no": personnel_no, **STATE["people"][str(personnel_no)]}


def payslip(personnel_no: int, month: str) -> dict[str, Any]:
    """A payslip with its earnings, deductions and the net amount.

    Args:
        personnel_no: Seven digits.
        month: YYYY-MM.
    """
    found = STATE["slips"].get(f"{personnel_no}/{month}")
    if found is None:
        return {"error": f"no payslip for {month}"}
    return {"month": month, **found}


def post_hours(
    personnel_no: int, kind: Literal["overtime", "night", "sunday"], month: str, hours: float
) -> dict[str, Any]:
    """Post extra hours of a month.

    Args:
        personnel_no: Seven digits.
        kind: Which kind of hours.
        month: YYYY-MM. Months that are closed are refused.
        hours: In quarters, such as 0.25.
    """
    if month <= STATE["closed"]:
        return {
            "error": f"{month} is closed; post it in the month after {STATE['closed']}, or ask accounts to reopen it"
        }
    STATE["hours"].append({"personnel_no": personnel_no, "kind": kind, "month": month, "hours": hours})
    return {"posting": f"P-{len(STATE['hours']):05d}", "hours": hours}


def one_off_payment(
    personnel_no: int, euros: float, reason: Literal["bonus", "travel", "jubilee"], month: str = "2027-11"
) -> dict[str, Any]:
    """Pay an amount once with the salary of a month.

    Args:
        personnel_no: Seven digits.
        euros: Gross.
        reason: What for.
        month: YYYY-MM, the coming payroll by default.
    """
    STATE["extras"].append({"personnel_no": personnel_no, "euros": euros, "reason": reason, "month": month})
    return {"posting": f"E-{len(STATE['extras']):05d}", "paid_with": month}


def book_leave(
    personnel_no: int,
    first_day: str,
    last_day: str,
    working_days: int,
    kind: Literal["paid", "unpaid", "special"] = "paid",
) -> dict[str, Any]:
    """Book leave. Days of paid leave are taken off.

    Args:
        personnel_no: Seven digits.
        first_day: YYYY-MM-DD.
        last_day: YYYY-MM-DD, the same for a single day.
        working_days: How many working days it takes.
        kind: Ordinary leave (paid), without salary (unpaid), or a gift of the firm for a wedding, a funeral or a move
            of house (special).
    """
    each = STATE["people"][str(personnel_no)]
    if kind != "paid":
        return {"booked": working_days, "kind": kind, "left": each["leave_days_left"]}
    if working_days > each["leave_days_left"]:
        return {"error": f"only {each['leave_days_left']} days left"}
    each["leave_days_left"] -= working_days
    return {"booked": working_days, "left": each["leave_days_left"]}


def change_account(personnel_no: int, iban: str, confirmation: str | None = None) -> dict[str, Any]:
    """Pay the salary to another account. The first call sends a code to the person; the second one needs it.

    Args:
        personnel_no: Seven digits.
        iban: The new account.
        confirmation: Code that the person got.
    """
    if confirmation is None:
        return {"status": "code sent", "next": "call again with the confirmation code that the person reads out"}
    return {"status": "changed", "iban_end": iban.replace(" ", "")[-4:]}


def mail_payslip(
    personnel_no: int, month: str, carrier: Literal["standard", "registered", "courier"] = "standard"
) -> str:
    """Mail a payslip to the person's home.

    Args:
        personnel_no: Seven digits.
        month: YYYY-MM.
        carrier: An ordinary letter (standard), one that is signed for (registered), or a rider the same day (courier).
    """
    STATE["letters"].append({"personnel_no": personnel_no, "month": month, "carrier": carrier})
    if carrier == "courier":
        return "with the rider this afternoon"
    return "in the post tomorrow" + (", registered" if carrier == "registered" else "")


def portal_message(personnel_no: int, text: str) -> dict[str, Any]:
    """Put a message into the portal of an employee.

    Args:
        personnel_no: Seven digits.
        text: The message.
    """
    STATE["messages"].append({"personnel_no": personnel_no, "text": text})
    return {"delivered": True}


TOOLS = [
    people_search, master_data, payslip, post_hours, one_off_payment, book_leave, change_account, mail_payslip,
    portal_message,
]  # fmt: skip


def person(rng: random.Random, fits: Any) -> dict[str, Any]:
    """A person who fits, with the payslips' net amounts."""
    each = rng.choice([{"no": int(n), **p} for n, p in STATE["people"].items() if fits(p)])
    nets = {f"net_{month}": STATE["slips"][f"{each['no']}/2027-{month}"]["net"] for month in ("08", "09", "10")}
    tax = STATE["slips"][f"{each['no']}/2027-10"]["deductions"][0]["euros"]
    return {**each, **nets, "tax": tax}


def anyone(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Anybody."""
    return person(rng, lambda p: True)


def rested(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody with many days of leave."""
    return person(rng, lambda p: p["leave_days_left"] >= 10)


def spent(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody with one day of leave at most."""
    return person(rng, lambda p: p["leave_days_left"] <= 1)


def other(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Somebody else than the slot `who`."""
    return person(rng, lambda p: p["name"] != slots["who"]["name"])
