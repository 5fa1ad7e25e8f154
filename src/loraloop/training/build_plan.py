"""What building skills for a base would take: time, memory and disk, from a few measured steps or for a named GPU."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from loraloop.training.build import BuildOrder, parameters, router_document, skill_document, skill_names

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.recipe.run import Prepared

SAMPLED = 64
"""Training records of a skill, and router states, from which a plan reckons."""
READ = 256
"""Frozen records of a source that a plan reads."""
MOST_SECONDS = 45.0
"""After so many no further step of a training is measured."""
ROUTER_SECONDS = 10.0
"""After so many no further states are read."""
TOGETHER = 4
"""States that are read at once."""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """The time, memory and disk space that one part of a build needs.

    Attributes:
        name: A skill, or `router`.
        steps: Steps of the skill's training; for the router, the states to read.
        seconds: Seconds for everything but the evaluation.
        memory_mb: Peak memory in MB.
        disk_mb: Disk space in MB while it is built.
    """

    name: str
    steps: int
    seconds: float
    memory_mb: float
    disk_mb: float

    def to_dict(self) -> dict[str, Any]:
        times = {"seconds": round(self.seconds), "memory_mb": round(self.memory_mb), "disk_mb": round(self.disk_mb)}
        return {"name": self.name, "steps": self.steps, **times}


def plan(order: BuildOrder, base: Base, say: Callable[[str], object] = str) -> list[PlannedPart]:
    """What `build` would take for an order, part by part; nothing is written.

    It measures for `MOST_SECONDS` at most, and reckons what it did not measure from what it did.

    Args:
        order: What would be built.
        base: The loaded base.
        say: Is given a line before each part.
    """
    from loraloop.adapters.training.recipe.preview import estimate
    from loraloop.adapters.training.recipe.recipe_file import read_recipe
    from loraloop.adapters.training.recipe.run import prepare

    names, parts, begun = skill_names(order, base), list[PlannedPart](), time.monotonic()
    each, memory = 0.0, 0.0
    for place, name in enumerate(names):
        document = skill_document(name, base, order)
        if document is None:
            continue
        document["data"]["limit"] = SAMPLED
        say(f"{name}: reading some of its records")
        prepared = prepare(read_recipe(document), base, sample=READ)
        tokens = sum(example.length for example in prepared.train) / len(prepared.train)
        if (left := MOST_SECONDS - (time.monotonic() - begun)) > 0 or not each:
            say(f"{name}: measuring steps of its training")
            found = estimate(prepared, seconds=max(1.0, left / (len(names) - place + 1)))
            seconds, memory = found.seconds, max(memory, found.memory_mb)
            checks = ceil(found.steps / prepared.config.validate_every)
            whole = found.step_seconds * found.steps + found.validation_seconds * checks
            each = whole / (found.steps * prepared.config.batch * tokens)
        else:
            seconds = min(each * prepared.config.steps * prepared.config.batch * tokens, prepared.config.seconds or inf)
        parts.append(PlannedPart(name, prepared.config.steps, seconds, memory, _disk_mb(prepared, base)))
    say("router: reading some of its states")
    return [*parts, _router(order, base)]


def _disk_mb(prepared: Prepared, base: Base) -> float:
    """Two copies of the parameters, the optimizer's state, the skill, and the trunks that are kept."""
    from loraloop.adapters.methods.context import BaseContext

    count = sum(tensor.numel() for tensor in prepared.method.init(BaseContext(base), 0).values())
    return count * (4 * 4 + 2 * 2) / 2**20 + 1024 * prepared.config.compute.trunk_cache_gb


def _router(order: BuildOrder, base: Base) -> PlannedPart:
    """Reading the states, each once, and the fits, which take about two minutes on a processor."""
    from loraloop.router.features import extract
    from loraloop.router.fit import read_router_recipe, share_of
    from loraloop.router.states import call_states, frozen_states

    recipe, header = read_router_recipe(router_document(base, order)), base.prompting.tools_header
    states = share_of(base, frozen_states("train", order.data, header), recipe.share)
    if recipe.call is not None:
        states += call_states(header)
    some = states[:: max(1, len(states) // SAMPLED)]
    some = random.Random(0).sample(some, len(some))  # as many of them as there is time for
    layer = max(1, round(base.config.layers * 2 / 3))
    start, read = time.perf_counter(), 0
    while read < len(some) and (not read or time.perf_counter() - start < ROUTER_SECONDS):
        extract(base, [state.messages for state in some[read : read + TOGETHER]], (layer,))
        read += len(some[read : read + TOGETHER])
    each = (time.perf_counter() - start) / read
    disk = len(states) * 2 * 4 * 2 * base.config.hidden_size / 2**20
    return PlannedPart("router", len(states), each * len(states) + 120, 2 * parameters(base) / 2**20, disk)
