"""What a PEFT folder says about itself: its base as the hub names it, and a README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loraloop.adapters.base.loading.catalog import CATALOG
from loraloop.adapters.peft.plain_lora import to_plain_lora
from loraloop.adapters.skill.registry import known_skills
from loraloop.adapters.skill.skill import Skill

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize(("form", "kind"), [("peft", "aLoRA"), ("vllm", "LORA")])
def test_a_shipped_skill_names_its_base_as_the_hub_does(form: str, kind: str, tmp_path: Path) -> None:
    skill = Skill.load(known_skills("smollm2-135m")["code"])
    assert skill.card.base != HUB
    if form == "peft":
        skill.to_peft(tmp_path / "out")
    else:
        to_plain_lora(skill, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == HUB
    told = (tmp_path / "out" / "README.md").read_text()
    assert told.startswith(f'---\nbase_model: "{HUB}"\nlibrary_name: "peft"\n') and f"# {skill.card.name}\n" in told
    assert f"({kind}) of `{HUB}`" in told and f'from_pretrained("{HUB}")' in told
    assert ("measure it" in told) == (form == "vllm")
    assert all(f"{each.name}, {each.license}" in told for each in skill.card.data) and skill.card.data
    skill.to_peft(tmp_path / "mine", base="someone/else")
    assert 'base_model: "someone/else"' in (tmp_path / "mine" / "README.md").read_text()


def test_every_base_of_the_catalog_has_a_name_on_the_hub() -> None:
    assert CATALOG and all(entry.model.count("/") == 1 for entry in CATALOG.values())
