"""The recipes of the shipped skills and routers can be read, and name frozen data that is there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from loraloop.adapters.base.loading.catalog import CATALOG
from loraloop.adapters.training.data.frozen import frozen_names
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.router.fit import read_router_recipe

FOLDER = Path(str(files("loraloop.recipes")))
RECIPES = sorted(path for base in CATALOG for path in (FOLDER / base).rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_recipes_can_be_read(path: Path) -> None:
    base = path.relative_to(FOLDER).parts[0]
    if path.stem == "router":
        assert read_router_recipe(path).base.name == base
        return
    content = read_recipe(path).content
    assert content.base.name == base and content.skill.name == path.stem
    for source in content.data.sources:
        assert (source.frozen or f"{source.public}.public") in frozen_names()
