"""Recipe files: what is read, and how what is wrong is told: with the nearest key and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.recipe_lines import Lines, checked
from loraloop.adapters.training.trainer.trainer import TrainConfig
from loraloop.tool_schemas.errors import InputError

WHOLE = """\
base: smollm2-135m
skill:
  name: triage
  description: Sorts mail.
data:
  sources:
    - file: mails.jsonl
      license: Apache-2.0
      form: label
method: {name: lora, rank: 4, alpha: 8}
schedule:
  steps: 20
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_is_read_with_its_lines(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, WHOLE))
    assert recipe.content.skill.name == "triage" and recipe.content.method.options == {"rank": 4, "alpha": 8}
    assert recipe.at("data", "sources", 0, "form").endswith("recipe.yaml:9")
    assert recipe.at("data", "sources", 0, "weight").endswith("recipe.yaml:7"), "what is not there has its parent's"
    assert recipe.path("mails.jsonl") == tmp_path / "mails.jsonl"
    assert recipe.output == tmp_path / "build" / "triage"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  sources:", "  validtion: 0.1\n  sources:", "recipe.yaml:6: unknown key data.validtion; did you mean 'val"),
        ("form: label", "from: label", r"recipe.yaml:9: unknown key data.sources\[0\].from; did you mean 'form'"),
        ("license: Apache-2.0", "", r"recipe.yaml:7: data.sources\[0\]: license is missing"),
        ("name: triage", "name: none", "recipe.yaml:3: skill.name: 'none' is reserved for the bare base"),
        ("name: triage", "name: routers", "recipe.yaml:3: skill.name: 'routers' is reserved for the routers"),
        ("name: triage", "name: triage\n  contract: txt", "recipe.yaml:4: skill.contract: input should be"),
        ("schedule:", "base: other\nschedule:", "recipe.yaml:11: base is given twice; line 1 has it too"),
        ("schedule:", "schedule: [", "recipe.yaml:1[0-9]: no valid YAML"),
        ("name: triage", "name: triage\n  contract: calls\n  schema: {}", "a schema is for text skills"),
        ("name: triage", "name: triage\n  talks: true", "talks: only a skill that closes runs talks; add closes: true"),
        ("name: triage", "name: triage\n  schema: {pattern: '^INV-('}", r"skill: schema: \$\.pattern: "),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe(written(tmp_path, WHOLE.replace(old, new, 1)))


def test_a_mapping_is_a_recipe_too() -> None:
    with pytest.raises(InputError, match=r"recipe: unknown key skill.nmae; did you mean 'name'\?"):
        read_recipe({"skill": {"nmae": "x", "description": "y"}, "data": {"sources": []}})


def test_options_are_those_of_the_method_and_the_trainer() -> None:
    lines = Lines("recipe.yaml", {("method",): 9, ("method", "rnk"): 10, ("schedule",): 11})
    assert checked(Lora, {"rank": 4, "alpha": 8}, lines, ("method",)) == Lora(4, 8)
    with pytest.raises(InputError, match=r"recipe.yaml:10: unknown key method.rnk; did you mean 'rank'"):
        checked(Lora, {"rnk": 4, "alpha": 8}, lines, ("method",))
    with pytest.raises(InputError, match=r"recipe.yaml:9: no target module is called 'qproj'"):
        checked(Lora, {"rank": 4, "alpha": 8, "targets": ["qproj"]}, lines, ("method",))
    with pytest.raises(InputError, match=r"recipe.yaml:11: schedule.steps is missing"):
        checked(TrainConfig, {}, lines, ("schedule",))
