"""The order of examples: endless batches of similar length, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from loraloop.adapters.training.data.encode import Encoded

_TOGETHER = 4  # examples of one system message that stay together


def batches(examples: Sequence[Encoded], size: int, seed: int) -> Iterator[list[Encoded]]:
    """Endless batches of similar length, in a seeded random order, each example once an epoch.

    Up to four examples with the same system message stay together, since they share its forward.
    """
    rng = random.Random(seed)
    while True:
        units: list[list[Encoded]] = []
        open_units: dict[tuple[int, ...], list[Encoded]] = {}
        for example in rng.sample(examples, len(examples)):
            head = example.trunk[: example.shared]
            unit = open_units.get(head)
            if head and unit is not None and len(unit) < min(_TOGETHER, size):
                unit.append(example)
                continue
            units.append([example])
            open_units[head] = units[-1]
        rng.shuffle(units)
        made = []
        for start in range(0, len(units), size * 8):
            part = sorted(units[start : start + size * 8], key=lambda unit: max(e.length for e in unit))
            flat = [example for unit in part for example in unit]
            made += [flat[i : i + size] for i in range(0, len(flat), size)]
        rng.shuffle(made)
        yield from made
