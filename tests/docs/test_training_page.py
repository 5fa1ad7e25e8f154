"""The page on training: its recipes are read, its records are records, and it names whatever there is."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import loraloop
from loraloop.adapters.methods import METHODS
from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.readers import FORMS, Reading, form_of
from loraloop.adapters.training.recipe.gather import check_files
from loraloop.adapters.training.recipe.objective import OPTIONS
from loraloop.adapters.training.recipe.recipe_file import RecipeFile, read_recipe
from loraloop.adapters.training.recipe.run import _config, _method
from loraloop.adapters.training.trainer.train_config import setting_names

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
WHOLE: dict[str, Any] = {
    "skill": {"name": "x", "description": "y"},
    "data": {"sources": [{"file": "a.jsonl", "license": "MIT"}]},
    "schedule": {"steps": 1},
}


def blocks(language: str) -> list[tuple[str, str]]:
    return re.findall(rf"```{language}([^\n]*)\n(.*?)```", TEXT, re.DOTALL)


def test_every_block_is_looked_at() -> None:
    kinds = re.findall(r"^```(\w+)", TEXT, re.MULTILINE)
    assert set(kinds) == {"sh", "jsonl", "yaml", "python"} and TEXT.count("```") == 2 * len(kinds)


@pytest.mark.parametrize(("about", "text"), blocks("yaml"))
def test_recipes_and_parts_of_them_are_read(about: str, text: str) -> None:
    part = about.split("=")[-1]
    if "file" in about:
        shown, file = yaml.safe_load(text), yaml.safe_load((ROOT / part).read_text(encoding="utf-8"))
        assert all(file[name] == value for name, value in shown.items())
        read_recipe(ROOT / part)
        return
    recipe = read_recipe({**WHOLE, part: yaml.safe_load(text)})
    _config(recipe, 100), _method(recipe)
    if part == "objective":
        assert set(recipe.content.objective.options) <= set(OPTIONS[recipe.content.objective.name])


@pytest.mark.parametrize(("about", "text"), blocks("jsonl"))
def test_records_are_of_their_contracts(tmp_path: Path, about: str, text: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text, encoding="utf-8")
    found = check_files([file], [], Reading(about.split("=")[-1]), Checker())
    assert found.records and not found.findings, found.findings


def test_all_forms_are_shown() -> None:
    shown = {form_of(json.loads(line)) for _, text in blocks("jsonl") for line in text.splitlines()}
    assert shown == set(FORMS)


def test_python_names_what_exists() -> None:
    for _, text in blocks("python"):
        tree = ast.parse(text)
        from_us = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "loraloop"]
        imported = [alias.name for node in from_us for alias in node.names]
        assert imported and all(hasattr(loraloop, name) for name in imported)


def test_it_names_every_method_schedule_objective_and_part() -> None:
    known = [*METHODS, *setting_names(), *OPTIONS, *RecipeFile.model_fields]
    assert not [name for name in known if not re.search(rf"\b{name}\b", TEXT)]
