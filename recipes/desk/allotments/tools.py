"""The office of an allotment garden association: plots, tenants, the tool shed, meters, notes."""

from typing import Any, Literal

Machine = Literal["shredder", "scarifier", "hedge trimmer", "cart"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        plots={
            12: _plot("Ewa Maslow", 280, 190.0, 148.5, 0.0, 2),
            15: _plot("Ravi Kulkarni", 310, 215.0, 96.0, 215.0, 6),
            31: _plot("Jean-Luc Perrin", 300, 205.0, 210.2, 0.0, 0),
            37: _plot("Dolores Ibanez", 265, 180.0, 77.8, 0.0, 4),
        },
        vacant=[
            {"plot": 23, "square_metres": 250, "fee": 170.0, "hut": True},
            {"plot": 24, "square_metres": 400, "fee": 260.0, "hut": False},
        ],
        shed={("shredder", "2027-05-22"): 31, ("scarifier", "2027-05-22"): 37, ("cart", "2027-05-22"): 12},
        notes=[],
    )
    return STATE


def _plot(
    tenant: str, square_metres: int, fee: float, meter: float, still_owed: float, duty_hours_left: int
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "square_metres": square_metres,
        "fee": fee,
        "water_meter": meter,
        "still_owed": still_owed,
        "duty_hours_left": duty_hours_left,
    }


def plot_info(plot: int) -> dict[str, Any]:
    """A plot that is let: tenant, size, yearly fee and what is still owed in euros, water meter, duty hours left.

    Args:
        plot: Number of the plot.
    """
    return {"plot": plot, **_known(plot)}


def who_gardens(name: str) -> list[dict[str, Any]]:
    """Plots of the tenants whose name holds a word.

    Args:
        name: First name, last name or both.
    """
    return [
        {"plot": number, "tenant": plot["tenant"]}
        for number, plot in STATE["plots"].items()
        if name.lower().strip() in plot["tenant"].lower()
    ]


def vacant_plots(min_square_metres: int = 0, with_hut: bool = False) -> list[dict[str, Any]]:
    """Plots that nobody has: number, size, yearly fee in euros, whether there is a hut.

    Args:
        min_square_metres: Only plots of this size or larger.
        with_hut: Only plots with a hut.
    """
    found: list[dict[str, Any]] = STATE["vacant"]
    return [each for each in found if each["square_metres"] >= min_square_metres and (each["hut"] or not with_hut)]


def shed_calendar(machine: Machine, day: str) -> dict[str, Any]:
    """Whether a machine from the shed is free on a day, or which plot has it.

    Args:
        machine: The machine.
        day: Date as YYYY-MM-DD.
    """
    plot = STATE["shed"].get((machine, day))
    return {"machine": machine, "day": day, **({"free": True} if plot is None else {"taken_by_plot": plot})}


def borrow_machine(
    machine: Machine, plot: int, day: str, half: Literal["morning", "afternoon", "whole day"] = "whole day"
) -> dict[str, Any]:
    """Lend a machine from the shed to a plot.

    Args:
        machine: The machine.
        plot: Number of the plot.
        day: Date as YYYY-MM-DD.
        half: For which part of the day.
    """
    _known(plot)
    if (machine, day) in STATE["shed"]:
        raise ValueError(f"plot {STATE['shed'][machine, day]} has the {machine} on {day}")
    STATE["shed"][machine, day] = plot
    return {"lent": machine, "plot": plot, "day": day, "half": half}


def record_meter(plot: int, cubic_metres: float) -> dict[str, Any]:
    """Enter the reading of a plot's water meter.

    Args:
        plot: Number of the plot.
        cubic_metres: What the meter shows.
    """
    used = round(cubic_metres - _known(plot)["water_meter"], 2)
    if used < 0:
        raise ValueError(f"the meter of plot {plot} already showed {_known(plot)['water_meter']}")
    _known(plot)["water_meter"] = cubic_metres
    return {"plot": plot, "water_meter": cubic_metres, "used": used}


def slip_to_tenant(plot: int, text: str) -> str:
    """Put a written note into a tenant's box.

    Args:
        plot: Number of the plot.
        text: What it says.
    """
    STATE["notes"].append({"to": _known(plot)["tenant"], "text": text})
    return "put into the box"


def _known(plot: int) -> dict[str, Any]:
    if plot not in STATE["plots"]:
        raise ValueError(f"plot {plot} is not let, or there is no such plot")
    found: dict[str, Any] = STATE["plots"][plot]
    return found


TOOLS = [plot_info, who_gardens, vacant_plots, shed_calendar, borrow_machine, record_meter, slip_to_tenant]
