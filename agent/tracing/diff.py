"""Where two traces part: in what ran, step by step, and in how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.tracing.trace import Trace

ABSENT = "(absent)"
"""Stands for a step, a call or a setting that one of the two traces does not have."""

_SETTINGS = ("limits", "policy", "sampling", "guard", "output", "python")
_NOT_OF_STEPS = ("index", "calls", "tokens", "ms")
_NOT_OF_CALLS = ("ms", "id", "source", "approval", "at_least_once")
_NOT_OF_END = ("messages", "value", "receipts", "compactions", "ms", "gates", "planned")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two traces differ.

    Attributes:
        place: `setup`, `step 2`, `step 2, call 1` (both counted from 1), or `end`.
        field: What differs there.
        before: JSON data of the first trace.
        after: JSON data of the second.
    """

    place: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of a second trace; true if there are any.

    Attributes:
        setup: What ran, and under which settings.
        behaviour: Steps, calls and the end, in order. What comes first is often the cause of what follows.
        notes: What could not be compared, or not be done again.
    """

    setup: tuple[Difference, ...]
    behaviour: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.setup or self.behaviour)

    @property
    def first(self) -> Difference | None:
        """Where the runs part; None if they do not."""
        return self.behaviour[0] if self.behaviour else None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def diff(before: Trace, after: Trace, *, tolerance: float = 1e-3) -> Differences:
    """Compares two traces. Run ids, dates, times, versions and machines are no differences.

    Args:
        before: A trace.
        after: Another.
        tolerance: Probabilities that differ by no more count as the same, because other processors round differently.

    Raises:
        InputError: One of the two was made without contents, and the other with them.
    """
    if before.content != after.content and "none" in (before.content, after.content):
        raise InputError("one of the traces has no contents: leave those of the other out (without_contents) as well")
    notes = ("the traces have no contents: texts, arguments and results were not compared",)
    old, new = before.to_dict(), after.to_dict()
    return Differences(
        setup=tuple(_changes("setup", _setup(old), _setup(new))),
        behaviour=tuple(_behaviour(old, new, tolerance)),
        notes=notes if before.content == "none" else (),
    )


def _setup(trace: dict[str, Any]) -> dict[str, Any]:
    runtime = trace["runtime"]
    return {
        "base": {**runtime["base"], "device": ""},
        "router": runtime["router"],
        "skills": {each["name"]: each for each in runtime["skills"]},
        "tools": {each["name"]: each for each in trace["tools"]},
        **{name: trace["settings"][name] for name in _SETTINGS},
        **{name: trace[name] for name in ("prompt", "passages", "messages")},
    }


def _changes(
    place: str, old: Any, new: Any, ignored: Sequence[str] = (), tolerance: float = 0.0, depth: int = 9, field: str = ""
) -> Iterator[Difference]:
    """The fields in which two JSON values differ, to a depth of nested objects."""
    if isinstance(old, dict) and isinstance(new, dict) and depth:
        for name in dict.fromkeys([*old, *new]):
            if name not in ignored:
                inner = f"{field}.{name}" if field else name
                values = old.get(name, ABSENT), new.get(name, ABSENT)
                yield from _changes(place, *values, tolerance=tolerance, depth=depth - 1, field=inner)
    elif isinstance(old, float) and isinstance(new, float):
        if abs(old - new) > tolerance:
            yield Difference(place, field, old, new)
    elif old != new:
        yield Difference(place, field, old, new)


def _behaviour(before: dict[str, Any], after: dict[str, Any], tolerance: float) -> Iterator[Difference]:
    for place, old, new in _pairs("step", before["steps"], after["steps"]):
        if old is None or new is None:
            yield Difference(
                place, "step", *(f"{each['skill']}: {each['outcome']}" if each else ABSENT for each in (old, new))
            )
            continue
        yield from _changes(place, _compared(old), _compared(new), _NOT_OF_STEPS, tolerance)
        for at, was, now in _pairs(f"{place}, call", old["calls"], new["calls"]):
            if was is None or now is None:
                yield Difference(at, "call", *(each["name"] if each else ABSENT for each in (was, now)))
            else:
                yield from _changes(at, was, now, _NOT_OF_CALLS, depth=1)
    if before["error"] != after["error"]:
        yield Difference("end", "error", before["error"], after["error"])
    if before["end"] is not None and after["end"] is not None:
        yield from _changes("end", before["end"], after["end"], _NOT_OF_END, depth=1)


def _compared(step: dict[str, Any]) -> dict[str, Any]:
    """A step without the skills that were not chosen, and without the threshold, which older traces do not have."""
    return {**step, "route": {**step["route"], "runners_up": [], "threshold": None}}


def _pairs(kind: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Steps or calls of two traces by their number; None for one that only the other trace has."""
    for number, (old, new) in enumerate(zip_longest(before, after), 1):
        yield f"{kind} {number}", old, new
