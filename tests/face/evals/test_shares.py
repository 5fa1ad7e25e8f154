"""How much of an update is kept: the choice, and `loraloop eval tools-shares` from data to a new folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base, Message
from loraloop.adapters.skill.skill import Skill, library
from loraloop.evals.shares import Share, choose, of_share
from loraloop.skill_eval import Bench, System
from loraloop.tool_schemas.errors import InputError

Run = Callable[..., tuple[int, str, str]]


def test_the_share_that_gets_most_right_is_chosen_and_the_smallest_of_equal_ones() -> None:
    shares = [Share(0.0, 0.9, 10), Share(0.5, 0.6, 10), Share(0.75, 0.7, 10), Share(1.0, 0.7, 10)]
    assert choose(shares).share == 0.75
    with pytest.raises(InputError, match="above 0"):
        choose(shares[:1])


def test_a_share_is_of_the_update() -> None:
    skill = Skill.load(library()["tools"])
    assert of_share(skill, 1.0) is skill
    name = next(name for name in skill.tensors if name.endswith("lora_A"))

    def update(of: Skill) -> Any:
        return of.tensors[name.replace("lora_A", "lora_B")].float() @ of.tensors[name].float()

    half, whole = update(of_share(skill, 0.5)), update(skill)
    assert (half - 0.5 * whole).norm() < 0.01 * whole.norm()
    for wrong in (0.0, 1.5, -1.0, float("nan")):
        with pytest.raises(InputError, match="at most 1"):
            of_share(skill, wrong)


def test_a_variant_writes_as_the_skill_does_and_hardly_any_of_it_as_the_base(base: Base) -> None:
    skill = Skill.load(library()["tools"])
    bench = Bench(base, skill, 48, {"all": skill, "little": of_share(skill, 0.01)})
    messages = [Message("user", "Tell me the capital of France.")]
    systems = [System(str(it), messages, it, None) for it in (False, True, "all", "little")]
    bare, whole, same, little = (text for _, text, _ in bench.steps(systems))
    assert whole == same and bare == little and bare != whole


def test_the_command_chooses_writes_a_new_folder_and_goes_on(run: Run, tools_data: Path, tmp_path: Path) -> None:
    asked = ["eval", "tools-shares", "--data", str(tools_data), "--shares", "0,0.5,1", "--limit", "20"]
    kept = ["--outputs", str(tmp_path / "kept.jsonl")]
    code, first, errors = run(*asked, *kept, "--out", str(tmp_path / "made"))
    assert code == 0, errors
    rows = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()][1:]
    assert len(rows) > 10 and f"n = {len(rows)}" in first and all(len(row["texts"]) == 3 for row in rows)
    made, shipped = Skill.load(tmp_path / "made"), Skill.load(library()["tools"])
    whole = "best with 1 of" in first
    assert (made.card.sha256 == shipped.card.sha256) == whole and (made.card.reranking is None) != whole
    before = (tmp_path / "kept.jsonl").read_text()
    code, again, _ = run(*asked, *kept)
    assert code == 0 and (tmp_path / "kept.jsonl").read_text() == before
    assert [line for line in again.splitlines() if "%" in line] == [line for line in first.splitlines() if "%" in line]
    for wrong, about in (("a,1", "numbers"), ("2", "at most 1"), ("0", "above 0")):
        code, _, errors = run(*asked[:4], "--shares", wrong, "--limit", "20")
        assert code == 2 and about in errors, errors


def test_a_card_names_the_folder_that_its_settings_were_chosen_for(
    run: Run, tools_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(library()["tools"], "mine")
    for chooser, own in (("tools-threshold", []),):
        code, _, errors = run(
            "eval", chooser, "--data", str(tools_data), "--skill", "mine", *own, "--limit", "20", "--write"
        )
        assert code == 0, errors
        options = " ".join(["--base smollm2-135m --skill mine", *own, "--limit 20 --write"])
        assert f'"loraloop eval {chooser} --data DATA {options}"' in Path("mine/card.json").read_text()
