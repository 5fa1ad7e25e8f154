"""Requests written for this project to teach the router when to choose no skill, and what is dangerous in earnest.

They lie in `composed.txt`, as templates with slots. No sentence there comes from an evaluation file: the fitting
command counts n-gram overlaps and puts the counts on the router's card.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Book:
    """All templates by section, and the values of their slots."""

    sections: Mapping[str, tuple[str, ...]]

    def __getitem__(self, section: str) -> tuple[str, ...]:
        return self.sections[section]

    @property
    def none(self) -> dict[str, tuple[str, ...]]:
        """Requests that no skill serves, by kind."""
        return {name.removeprefix("none "): lines for name, lines in self.sections.items() if name.startswith("none ")}

    @property
    def slots(self) -> dict[str, tuple[str, ...]]:
        return {name.removeprefix("slot "): lines for name, lines in self.sections.items() if name.startswith("slot ")}


@cache
def book() -> Book:
    """Read the templates, once."""
    sections: dict[str, list[str]] = {}
    here: list[str] = []
    for line in Path(__file__).with_name("composed.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            here = sections.setdefault(line[3:], [])
        elif line and not line.startswith("# "):
            here.append(line.replace("\\n", "\n"))
    return Book({name: tuple(lines) for name, lines in sections.items()})


def fill(template: str, slots: Mapping[str, Sequence[object]], rng: random.Random) -> str:
    """Fill each `{slot}` with a random value; a slot ending in 2 differs from its sibling."""
    chosen: dict[str, str] = {}
    for name in re.findall(r"{(\w+)}", template):
        values = [str(value) for value in slots[name.rstrip("2")]]
        chosen[name] = rng.choice([value for value in values if value not in chosen.values()])
    return template.format(**chosen)


def compose(templates: Sequence[str], n: int, rng: random.Random) -> Iterator[str]:
    """Yield up to `n` distinct fillings, going round the templates in random order."""
    seen: set[str] = set()
    order = list(templates)
    rng.shuffle(order)
    for template in itertools.islice(itertools.cycle(order), 12 * n):
        if len(seen) >= n:
            return
        text = fill(template, book().slots, rng)
        if text not in seen:
            seen.add(text)
            yield text
