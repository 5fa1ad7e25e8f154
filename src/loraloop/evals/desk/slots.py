"""Slots: places in a request that are filled with drawn values, so that one request stands for many.

A slot says where its values come from (a list, the world's state, days, numbers, a pattern, a function of `tools.py`).
`{name}` in a text stands for a slot's value, `{name.field}` for a field of a value that is a record. A third of the
values is for held-out requests alone, the others are for the requests that are learnt from.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from loraloop.evals.desk.toolbox import Toolbox

T = TypeVar("T")
Facts = list[JsonValue]
SOURCES = ("values", "state", "days", "number", "pattern", "function")
REFERENCE = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*(?:\.\w+)*)\}")
"""A reference, or a doubled brace, which stands for a single one."""
TRIES = 200
"""How often a pattern is drawn until its value is of the wanted side."""


class DrawError(Exception):
    """A request cannot be drawn with these values; the message says why."""


class Part(BaseModel):
    """A part of `world.yaml`: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Slot(Part):
    """Where the values of a slot come from: exactly one of the sources. A list alone is its values.

    Attributes:
        values: A list of values; records are mappings.
        state: Path of a table or list in the world's state. An entry of a table is a record of its fields and `key`.
        where: Fields that a record of the state has to have, each with its value or a list of values.
        days: First and last day (ISO). A day is a record: `iso`, `long` (`1 December 2026`), `us` (`December 1, 2026`),
            `short` (`1 December`), `weekday`.
        workdays: Whether Saturdays and Sundays are left out.
        number: Lowest and highest number.
        step: Difference from one number to the next.
        pattern: A text in which `#` stands for a digit and `@` for a capital letter.
        function: A function of `tools.py` that takes a random generator and the values drawn so far.
        differs_from: Another slot of the same source, whose value this one must not have.
    """

    values: Facts = Field(default_factory=list)
    state: str = ""
    where: dict[str, JsonValue] = Field(default_factory=dict)
    days: tuple[str, str] | None = None
    workdays: bool = False
    number: tuple[float, float] | None = None
    step: float = Field(default=1, gt=0)
    pattern: str = ""
    function: str = ""
    differs_from: str = ""

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_source(self) -> Slot:
        if sum(bool(getattr(self, name)) for name in SOURCES) != 1:
            raise ValueError(f"a slot has one source of values: give a list, or one of {', '.join(SOURCES[1:])}")
        if len(self.values) == 1:
            raise ValueError("a slot has at least two values, some of which are for held-out requests alone")
        if self.where and not self.state:
            raise ValueError("where chooses among the records of a state: give it beside state")
        return self

    def draw(self, rng: random.Random, scope: Mapping[str, Any], toolbox: Toolbox, held_out: bool) -> Any:
        """A value of one side.

        Args:
            rng: Decides which.
            scope: The values of the slots before it.
            toolbox: The world's functions, on the state that the request is asked on.
            held_out: Whether the value is for a held-out request.

        Raises:
            DrawError: No value is left.
        """
        if self.function:
            try:
                return getattr(toolbox.module, self.function)(rng, dict(scope))
            except Exception as error:
                raise DrawError(f"{self.function} raised {type(error).__name__}: {error}") from error
        if self.pattern:
            return self._of_pattern(rng, held_out)
        values = [value for value in side(self._all(toolbox), held_out) if self._fits(value, scope)]
        if not values:
            raise DrawError(f"it has no value for {'held-out' if held_out else 'learnt'} requests")
        return rng.choice(values)

    def _all(self, toolbox: Toolbox) -> Sequence[Any]:
        if self.values:
            return self.values
        if self.days:
            first, last = (date.fromisoformat(day) for day in self.days)
            listed = [first + timedelta(days=number) for number in range((last - first).days + 1)]
            return [day_record(day) for day in listed if not self.workdays or day.weekday() < 5]
        if self.number:
            low, high = self.number
            whole = all(float(value).is_integer() for value in (low, self.step))
            count = int((high - low) / self.step + 1e-9) + 1
            return [int(low + k * self.step) if whole else round(low + k * self.step, 10) for k in range(count)]
        try:
            return entries(at_path(toolbox.state, self.state.split(".")))
        except (KeyError, TypeError) as error:
            raise DrawError(f"the state has no table {self.state} ({error})") from None

    def _fits(self, value: Any, scope: Mapping[str, Any]) -> bool:
        if self.differs_from and value == scope[self.differs_from]:
            return False
        for name, wanted in self.where.items():
            allowed = filled(wanted, scope)
            found = value.get(name) if isinstance(value, Mapping) else None
            if found not in allowed if isinstance(allowed, list) else found != allowed:
                return False
        return True

    def _of_pattern(self, rng: random.Random, held_out: bool) -> str:
        for _ in range(TRIES):
            text = re.sub("[#@]", lambda match: rng.choice("0123456789" if match[0] == "#" else _LETTERS), self.pattern)
            if (random.Random(text).random() < 1 / 3) == held_out:
                return text
        raise DrawError(f"the pattern {self.pattern!r} has too few values")


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def side(values: Sequence[T], held_out: bool) -> list[T]:
    """The values of one side: the third, the sixth and so on (of two the second) are held out. One alone is on both."""
    if len(values) < 2:
        return list(values)
    held = set(range(2, len(values), 3)) or {len(values) - 1}
    return [value for place, value in enumerate(values) if (place in held) == held_out]


def entries(found: Any) -> list[Any]:
    """The entries of a table as records with their `key`, or those of a list as they are."""
    if isinstance(found, Mapping):
        return [
            {"key": key, **(value if isinstance(value, Mapping) else {"value": value})} for key, value in found.items()
        ]
    if isinstance(found, list | tuple):
        return list(found)
    raise TypeError(f"it is a {type(found).__name__}")


def day_record(day: date) -> dict[str, str]:
    """A day in the ways in which requests name it."""
    return {
        "iso": day.isoformat(),
        "long": f"{day.day} {day:%B} {day.year}",
        "us": f"{day:%B} {day.day}, {day.year}",
        "short": f"{day.day} {day:%B}",
        "weekday": f"{day:%A}",
    }


def references(value: Any) -> Iterator[str]:
    """The references in a value's texts, as they stand there: `name` or `name.field`."""
    if isinstance(value, str):
        yield from (match[1] for match in REFERENCE.finditer(value) if match[1])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def filled(value: Any, scope: Mapping[str, Any]) -> Any:
    """A value with its references replaced. A text that is one reference alone becomes the value itself, a number say.

    Raises:
        DrawError: A reference leads nowhere, or to a record where a text is needed.
    """
    if isinstance(value, Mapping):
        return {name: filled(inner, scope) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, scope) for inner in value]
    if not isinstance(value, str):
        return value
    alone = REFERENCE.fullmatch(value)
    if alone is not None and alone[1]:
        return _resolved(alone[1], scope)

    def text(match: re.Match[str]) -> str:
        return match[0][0] if not match[1] else as_text(_resolved(match[1], scope), match[1])

    return REFERENCE.sub(text, value)


def as_text(value: Any, name: str = "the value") -> str:
    """A drawn value as it stands in a sentence.

    Raises:
        DrawError: It is a record.
    """
    if isinstance(value, Mapping):
        raise DrawError(f"{{{name}}} is a record: name one of its fields, {', '.join(map(str, value))}")
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item, name) for item in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def at_path(value: Any, path: Sequence[str]) -> Any:
    """The part of a value at a path of keys and places.

    Raises:
        KeyError: There is no such part.
    """
    for step in path:
        if isinstance(value, Mapping):
            value = value[step]
        elif isinstance(value, list | tuple) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise KeyError(step)
    return value


def _resolved(reference: str, scope: Mapping[str, Any]) -> Any:
    name, *path = reference.split(".")
    try:
        return at_path(scope[name], path)
    except KeyError:
        raise DrawError(f"{{{reference}}} leads nowhere: {name} is {scope.get(name)!r}") from None
