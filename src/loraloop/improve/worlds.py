"""Worlds that can be learnt from."""

from __future__ import annotations

from pathlib import Path

from loraloop.evals.desk.oracle import check_draws
from loraloop.evals.desk.world import World, load_worlds
from loraloop.tool_schemas.errors import InputError


def open_worlds(folder: Path) -> list[World]:
    """The worlds of a folder, checked: right runs of their drawn requests pass their own checks. `tools.py` is run.

    Raises:
        InputError: There are none, one is wrong, or none has a request with slots or several wordings.
    """
    found = load_worlds(folder)
    for world in found:
        check_draws(world)
    if not any(template.varied for world in found for template in world.templates):
        raise InputError(
            f"no world in {folder} has requests with slots and several wordings to learn from: "
            "see recipes/worlds/README.md"
        )
    return found
