"""`loraloop skills`: what is listed, and files for other programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A folder with a model `tiny`, a cache, and skills `lora`, `branch` and `prefix` for it."""
    from loraloop.adapters.base import Base
    from loraloop.adapters.methods import card_fields, make_method
    from loraloop.adapters.methods.context import BaseContext
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    root = tmp_path_factory.mktemp("skills-cli")
    save_llama(root / "tiny", 3, hidden_size=64, intermediate_size=96)
    base = Base.load(str(root / "tiny"), quantize="fp32", device="cpu", cache_dir=root / "cache")
    options = {
        "lora": ("lora", {"rank": 20, "alpha": 20.0}),
        "branch": ("lora", {"rank": 2, "alpha": 2.0}),
        "prefix": ("prefix", {}),
    }
    for name, (kind, given) in options.items():
        method, context = make_method(kind, given), BaseContext(base)
        torch.manual_seed(1)
        tensors = {key: torch.randn(value.shape) * 0.05 for key, value in method.init(context).items()}
        fields = {
            "name": name, "description": "A test.", "base": base.name,
            "activation": "branch" if name == "branch" else "full",
            "invocation": tuple(base.chat.generation_prompt) if name == "branch" else (),
            "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
        }  # fmt: skip
        Skill(Card.checked(fields | card_fields(method, tensors)), tensors).save(root / name)
    return root


@pytest.fixture(autouse=True)
def own_folders(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_CACHE", str(place / "cache"))
    monkeypatch.setenv("LORALOOP_SKILLS", str(place / "mine"))


def test_each_base_has_shipped_skills_of_its_own(run: Run) -> None:
    for base in ("smollm2-135m", "qwen2.5-coder-1.5b"):
        code, out, _ = run("skills", "list", "--base", base, "--json")
        assert code == 0 and all(card["base"].startswith(base) for card in json.loads(out))
        code, out, _ = run("skills", "show", "tools", "--base", base, "--json")
        assert code == 0 and json.loads(out)["base"].startswith(base)


def test_your_own_skills_are_listed_and_shown(run: Run, place: Path) -> None:
    shutil.copytree(place / "prefix", place / "mine" / "prefix")
    try:
        names = [card["name"] for card in json.loads(run("skills", "list", "--json")[1])]
        assert {"tools", "safety", "prefix"} <= set(names)
        assert "prefix" in run("skills", "list")[1]
        assert json.loads(run("skills", "show", "prefix", "--json")[1])["method"] == "prefix"
    finally:
        shutil.rmtree(place / "mine")
    code, out, err = run("skills", "show", "prefx")
    assert code == 2 and out == "" and "no skill is called 'prefx'" in err
    assert "full" in run("skills", "show", str(place / "prefix"))[1]


def test_merge(run: Run, place: Path, tmp_path: Path) -> None:
    given = ("--base", str(place / "tiny"), "--quantize", "fp32")
    code, out, err = run(
        "skills", "merge", str(place / "lora"), *given, "--out", str(tmp_path / "merged"), "--dtype", "fp32"
    )
    assert code == 0, err
    assert "wrote" in out and "loaded as fp32: weights 0.00% off" in out and "the same next token at 100.0%" in out
    code, out, _ = run("skills", "merge", str(place / "branch"), *given, "--out", str(tmp_path / "two"), "--json")
    told = json.loads(out)
    assert [error["form"] for error in told["errors"]] == ["bf16", "fp32"] and "every token" in told["notes"][0]
    code, out, err = run("skills", "merge", str(place / "lora"), *given, "--out", str(tmp_path / "two"))
    assert code == 2 and "exists: name a new folder" in err and out == ""
    code, out, err = run("skills", "merge", str(place / "prefix"), *given, "--out", str(tmp_path / "three"))
    assert code == 2 and "cannot be merged into a base" in err and not (tmp_path / "three").exists()
    assert run("skills", "merge", str(place / "lora"), *given, "--out", str(tmp_path / "four"), "--no-measure")[0] == 0


def test_merge_says_when_a_form_rounds_the_skill_away(run: Run, place: Path, tmp_path: Path) -> None:
    given = ("--base", str(place / "tiny"), "--quantize", "nf4", "--out", str(tmp_path / "merged"))
    code, out, err = run("skills", "merge", str(place / "branch"), *given)
    assert code == 0 and "another quantization" in err
    assert "loaded as bf16" in out and "loaded as nf4" in out and "nf4 rounds away much of the skill" in out


def test_export_and_lint(run: Run, place: Path, tmp_path: Path) -> None:
    given = ("--base", str(place / "tiny"), "--quantize", "fp32", "--out")
    code, out, err = run("skills", "export", str(place / "branch"), *given, str(tmp_path / "peft"))
    assert code == 0 and "aLoRA" in out, err
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["alora_invocation_tokens"] and config["base_model_name_or_path"] == "tiny"
    told = (tmp_path / "peft" / "README.md").read_text()
    assert told.startswith('---\nbase_model: "tiny"\n') and "(aLoRA) of `tiny`" in told and "invocation tokens" in told
    code, out, _ = run("skills", "lint", str(tmp_path / "peft"))
    assert code == 1 and "refused: alora_invocation_tokens" in out
    told = json.loads(
        run("skills", "export", str(place / "branch"), *given, str(tmp_path / "v"), "--format", "vllm", "--json")[1]
    )
    assert told["format"] == "vllm" and "whole context" in told["notes"][0]
    assert run("skills", "lint", str(tmp_path / "v"))[:2] == (0, "OK: vLLM can serve this adapter\n")
    code, out, _ = run("skills", "lint", str(place / "lora"), "--json")
    assert code == 0 and "--max-lora-rank 32" in json.loads(out)["notes"][0]
    code, out, _ = run("skills", "lint", str(place / "prefix"))
    assert code == 1 and "not prefixes" in out
    code, _, err = run("skills", "export", str(place / "prefix"), *given, str(tmp_path / "p"), "--format", "vllm")
    assert code == 2 and "cannot be served by vLLM" in err and not (tmp_path / "p").exists()
    code, _, err = run("skills", "export", str(place / "lora"), *given, str(tmp_path / "v"))
    assert code == 2 and "exists" in err
    assert run("skills", "export", str(place / "lora"), *given, str(tmp_path / "m"), "--format", "merged")[0] == 0
    assert (tmp_path / "m" / "model.safetensors").is_file()
    code, out, err = run("skills", "export", str(tmp_path / "peft"), *given, str(tmp_path / "again"))
    assert code == 0 and (tmp_path / "again" / "adapter_config.json").is_file(), err


def test_versions_are_listed_rolled_back_and_removed(run: Run, place: Path) -> None:
    from loraloop.adapters.skill import registry

    code, _, err = run("skills", "history", "mine")
    assert code == 2 and "no skill of yours is called 'mine'" in err
    for name in ("lora", "branch"):
        registry.register(place / name, "mine", {"command": f"made {name}", "held_out": "20.0% -> 35.0% (n = 60)"})
    code, out, _ = run("skills", "history", "mine")
    assert (
        code == 0 and "made lora" in out and "held_out: 20.0%" in out and out.index("made branch") < out.index("lora")
    )
    code, out, _ = run("skills", "rollback", "mine")
    assert code == 0 and "mine is version 1 of" in out and "(made lora)" in out
    listed = json.loads(run("skills", "history", "mine", "--json")[1])
    assert [(row["number"], row["current"]) for row in listed] == [(1, True), (2, False)]
    assert (Path(listed[1]["folder"]) / "card.json").is_file()
    code, _, err = run("skills", "rollback", "mine")
    assert code == 2 and "no version before 1" in err
    code, out, _ = run("skills", "rollback", "mine", "--to", "2")
    assert code == 0 and "version 2" in out
    code, out, _ = run("skills", "remove", "mine")
    assert code == 0 and "removed mine (2 versions)" in out
    assert run("skills", "remove", "mine")[0] == 2
    registry.register(place / "lora", "tools")
    assert "ships for qwen2.5-coder-1.5b and smollm2-135m is used again" in run("skills", "remove", "tools")[1]
