"""Records that a maker of `recipes/make` writes of some of the training worlds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.training.data.frozen import unfolded

RECIPES = Path(__file__).parents[2] / "recipes"
SOME = 8
"""Worlds."""


@pytest.fixture(scope="module")
def made_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """The records of a maker, run as the data was made, with one draw of each item."""

    def made(name: str) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp(name)
        out, some = folder / "made.jsonl", folder / "worlds"
        some.mkdir()
        for world in sorted((RECIPES / "worlds").glob("*/world.yaml"))[:SOME]:
            (some / world.parent.name).symlink_to(world.parent)
        make = str(RECIPES / "make" / f"{name}.py")
        subprocess.run([sys.executable, make, "--worlds", str(some), "--draws", "1", "--out", str(out)], check=True)
        return [row for line in out.read_text("utf-8").splitlines() for row in unfolded(json.loads(line))]

    return made
