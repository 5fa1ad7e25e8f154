"""`skills build`: skills and a router for a base that the package does not know, planned, built, resumed, used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloop import Runtime
from loraloop.adapters.base import Base
from loraloop.build_plan import plan
from loraloop.skill_build import BuildOrder, build, recipe_folder, skill_document
from loraloop.tool_schemas.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A random model as Hugging Face saves one."""
    place = tmp_path_factory.mktemp("model")
    save_llama(place, hidden_size=64, intermediate_size=96, max_position_embeddings=4096)
    return place


def test_a_base_of_ones_own_gets_skills_and_a_router(folder: Path, tmp_path: Path) -> None:
    order = BuildOrder(str(folder), tmp_path / "out", records=24, measured=6, router_share=0.06)
    base = Base.load(str(folder), quantize="fp32")
    assert recipe_folder(base).name == "smollm2-135m"
    report = build(replace(order, skills=("safety", "code")), base=base)
    assert [skill.name for skill in report.skills] == ["safety"]
    assert any("code learns from public sets" in note for note in report.notes)
    told = json.loads((order.out / "report.json").read_text(encoding="utf-8"))
    assert {"base", "skill"} <= set(told["skills"]["safety"]["evaluation"]["scores"])
    page = (order.out / "report.md").read_text(encoding="utf-8")
    assert "bare base" in page and "| safety |" in page and "held out macro f1" in page
    card = json.loads((order.out / "safety" / "card.json").read_text(encoding="utf-8"))
    assert card["base"].startswith(base.name) and card["data"][0]["license"] == "Apache-2.0"

    times = {path: path.stat().st_mtime_ns for path in order.out.rglob("*.safetensors")}
    again = build(replace(order, skills=("safety",)), base=base)
    assert {path: path.stat().st_mtime_ns for path in order.out.rglob("*.safetensors")} == times, "nothing is redone"
    assert again.router_scores == report.router_scores

    runtime = Runtime.load(base, skills=[skill.folder for skill in report.skills], router=report.router)
    assert runtime.skills


def test_a_plan_measures_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    order = BuildOrder(str(folder), tmp_path / "out", skills=("safety",), records=200, router_share=0.03)
    base = Base.load(str(folder), quantize="fp32")
    skill, router = plan(order, base)
    assert skill.steps == 24 and skill.seconds > 0 and skill.disk_mb > 0 and skill.memory_mb > 0
    assert router.name == "router" and router.seconds > 0 and not order.out.exists()
    on_gpu = plan(order, base, "h100")
    assert on_gpu[0].to_dict()["steps"] == 24 and on_gpu[0].seconds > 0
    with pytest.raises(UnknownNameError, match="h100"):
        plan(order, base, "h1000")


def test_what_is_wrong_with_an_order(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="tools"):
        BuildOrder("x", tmp_path, skills=("tool",))
    base = Base.load(str(folder), quantize="fp32")
    order = BuildOrder(str(folder), tmp_path / "out", skills=("code",))
    assert skill_document("code", base, order) is None
    with pytest.raises(InputError, match="--data"):
        build(order, base=base)
    with pytest.raises(InputError, match="no data file"):
        build(replace(order, data=tmp_path), base=base)
