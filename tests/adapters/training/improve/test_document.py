"""The recipe with which a skill goes on learning."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.card import Card, Threshold
from loraloop.adapters.skill.registry import library
from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.adapters.training.improve.document import OWN_SHARE, continued, inherited
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.recipe_lines import read_yaml

ROOT = Path(__file__).parents[4]


def recipe(base: str) -> dict[str, Any]:
    return read_yaml(ROOT / "recipes" / base / "tools.yaml")[0]


def made(tmp_path: Path, base: str = "smollm2-135m", count: int = 100, **more: Any) -> dict[str, Any]:
    folder = library(base)["tools"]
    given: dict[str, Any] = {"base": {"name": base}, "seconds": 60.0, "output": tmp_path / "out", **more}
    return continued(Card.read(folder / "card.json"), folder, tmp_path / "records.jsonl", count, recipe(base), **given)


@pytest.mark.parametrize("base", ["smollm2-135m", "qwen2.5-coder-1.5b"])
def test_it_goes_on_from_the_skill_as_it_is(tmp_path: Path, base: str) -> None:
    document = made(tmp_path, base)
    read = read_recipe(document).content
    card = Card.read(library(base)["tools"] / "card.json")
    assert read.start == str(library(base)["tools"]) and read.skill.contract == "calls"
    assert (read.method.name, read.method.options["rank"]) == (card.method, card.rank)
    assert float(str(read.schedule["learning_rate"])) == float(recipe(base)["schedule"]["learning_rate"]) / 2
    assert read.schedule["seconds"] == 60.0 and not read.output.registered and not read.router.enabled


def test_a_trained_skill_keeps_its_own_description(tmp_path: Path) -> None:
    folder = library()["tools"]
    card = Card.read(folder / "card.json").model_copy(update={"name": "my-tools", "description": "Calls my tools."})
    given: dict[str, Any] = {"base": {"name": "x"}, "seconds": 1.0, "output": tmp_path}
    document = continued(card, folder, tmp_path / "records.jsonl", 10, recipe("smollm2-135m"), **given)
    assert (document["skill"]["name"], document["skill"]["description"]) == ("my-tools", "Calls my tools.")


def test_old_records_are_replayed_beside_the_new_ones(tmp_path: Path) -> None:
    document = made(tmp_path, "qwen2.5-coder-1.5b", count=100)
    own, *others = document["data"]["sources"]
    assert own["share"] == OWN_SHARE and document["data"]["limit"] == 200
    assert document["data"]["on_error"] == "skip", (
        "as the recipe reads them: a hundred of them hold a call that no tool takes"
    )
    assert sum(source["share"] for source in others) == pytest.approx(1 - OWN_SHARE)
    names = [source["name"] for source in others]
    kinds = ["worlds", "steps", "turns", "stop", "missing"]
    assert names == [*kinds, "desks", "tools"], "public ones are left out without their folder"
    missing = [json.loads(line) for line in Path(others[4]["file"]).read_text(encoding="utf-8").splitlines()]
    assert missing and {row["kind"] for row in missing} == {"missing"}
    known = {json.dumps(row) for _, row in frozen_rows("worlds") if row.get("part", "train") == "train"}
    rows = [json.loads(line) for line in Path(others[0]["file"]).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == math.ceil(others[0]["share"] * 200)
    assert all(json.dumps(row) in known for row in rows), "none that validates is learnt"
    assistants = [
        Counter(json.dumps([json.loads(line)["messages"][0], json.loads(line)["tools"]]) for line in lines)
        for lines in (Path(source["file"]).read_text(encoding="utf-8").splitlines() for source in others[:5])
    ]
    assert max(assistants[0].values()) == 2 and len(set().union(*assistants)) < sum(map(Counter.total, assistants)) / 4
    again = made(tmp_path, "qwen2.5-coder-1.5b", count=100, seed=1)["data"]["sources"][1]["file"]
    assert [json.loads(line) for line in Path(again).read_text(encoding="utf-8").splitlines()] != rows


def test_a_skill_that_is_the_base_begins_from_nothing(tmp_path: Path, tiny_base: Base) -> None:
    blank = blank_skill(tiny_base, "tools", "calls")
    document = continued(
        blank.card, None, tmp_path / "records.jsonl", 10, {}, base={"name": "x"}, seconds=1.0, output=tmp_path
    )
    assert "start" not in document and document["method"]["name"] == "lora"
    assert document["data"]["sources"] == [
        {"file": str(tmp_path / "records.jsonl"), "license": "proprietary", "name": "own runs", "form": "calls"}
    ]
    assert read_recipe(document).content.skill.name == "tools"


def test_a_threshold_is_inherited(tiny_base: Base) -> None:
    plain = blank_skill(tiny_base, "tools", "calls").card
    chosen = Threshold(value=0.4, chosen={"rule": "a test"})
    before = plain.model_copy(update={"threshold": chosen})
    assert inherited(plain, before).threshold == chosen and inherited(before, plain).threshold == chosen
    assert inherited(plain, plain).threshold is None
