"""`loraloop skills`: what is listed, and files for other programs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.skill.skill import Skill

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A folder with a model `tiny`, a cache, and skills `lora`, `branch` and `prefix` for it."""
    from loraloop.adapters.base import Base
    from loraloop.adapters.methods import card_fields, make_method
    from loraloop.adapters.methods.context import BaseContext
    from loraloop.adapters.skill.card import Card

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


def test_a_base_that_is_not_there_has_no_list(run: Run, place: Path) -> None:
    code, out, err = run("skills", "list", "--base", "smolm2-135m")
    assert (code, out) == (2, "") and "no base is called 'smolm2-135m'; did you mean 'smollm2-135m'?" in err
    for base in ("missing.gguf", "./missing"):
        assert run("skills", "list", "--base", base, "--json")[:2] == (2, ""), base
    for base in ("qwen2.5-coder-0.5b", str(place / "tiny"), "owner/name"):
        assert run("skills", "list", "--base", base, "--json")[:2] == (0, "[]\n"), base
    shutil.copytree(place / "prefix", place / "mine" / "prefix")
    try:
        code, out, _ = run("skills", "list", "--base", "tiny", "--json")
        assert code == 0 and [card["name"] for card in json.loads(out)] == ["prefix"]
    finally:
        shutil.rmtree(place / "mine")


def test_a_base_that_is_not_there_has_no_router(run: Run) -> None:
    code, out, err = run("skills", "show", "router", "--base", "qwen2.5-coder-1b")
    assert (code, out) == (2, "") and "did you mean 'qwen2.5-coder-1.5b'?" in err
    code, out, _ = run("skills", "show", "router", "--base", "qwen2.5-coder-0.5b", "--json")
    assert code == 0 and json.loads(out)["base"].startswith("smollm2-135m"), "its states are read by the embedded base"


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


def test_what_a_card_says_is_shown_as_it_is(run: Run, place: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(place / "lora", tmp_path / "mine" / "lora")
    card = tmp_path / "mine" / "lora" / "card.json"
    said = "Ends at [/INST], marks [bold] and 1:100:2."
    card.write_text(card.read_text(encoding="utf-8").replace("A test.", said), encoding="utf-8")
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "mine"))
    for words in (("list",), ("show", "lora")):
        code, out, err = run("skills", *words, "--base", str(place / "tiny"))
        assert (code, err) == (0, "") and said in " ".join(out.split()), words


def test_a_skill_without_its_tensors_is_said(run: Run, place: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path))
    shutil.copytree(place / "lora", tmp_path / "lora")
    (tmp_path / "lora" / "skill.safetensors").unlink()
    code, _, err = run("skills", "list")
    assert code == 2 and "skill.safetensors cannot be read" in err


def test_merge(run: Run, place: Path, tmp_path: Path) -> None:
    given = ("--base", str(place / "tiny"), "--quantize", "fp32")
    code, out, err = run(
        "skills", "merge", str(place / "lora"), *given, "--out", str(tmp_path / "merged"), "--dtype", "fp32"
    )
    assert code == 0, err
    assert "wrote" in out and (tmp_path / "merged" / "model.safetensors").is_file()
    code, out, _ = run("skills", "merge", str(place / "branch"), *given, "--out", str(tmp_path / "two"), "--json")
    told = json.loads(out)
    assert told["form"] == "fp32" and "every token" in told["notes"][0]
    code, out, err = run("skills", "merge", str(place / "lora"), *given, "--out", str(tmp_path / "two"))
    assert code == 2 and "exists: name a new folder" in err and out == ""
    code, out, err = run("skills", "merge", str(place / "prefix"), *given, "--out", str(tmp_path / "three"))
    assert code == 2 and "cannot be merged into a base" in err and not (tmp_path / "three").exists()


def exported(run: Run, place: Path, out: Path, *words: str | Path) -> dict[str, Any]:
    """What `skills export --json` says of one skill, which is a folder of `place`."""
    given = ("--base", str(place / "tiny"), "--quantize", "fp32", "--out", str(out), "--json")
    code, text, err = run("skills", "export", str(place / words[0]), *map(str, words[1:]), *given)
    assert code == 0, err
    (found,) = json.loads(text)
    assert re.fullmatch(rf"{Path(words[0]).name}-[0-9a-f]{{12}}(\.gguf)?", Path(found["path"]).name)
    return dict(found)


def test_export_and_lint(run: Run, place: Path, tmp_path: Path) -> None:
    made = exported(run, place, tmp_path, "branch")
    config = json.loads(Path(made["path"], "adapter_config.json").read_text())
    assert (
        config["alora_invocation_tokens"]
        and config["base_model_name_or_path"] == "tiny"
        and "aLoRA" in made["notes"][0]
    )
    told = Path(made["path"], "README.md").read_text()
    assert told.startswith('---\nbase_model: "tiny"\n') and "(aLoRA) of `tiny`" in told and "invocation tokens" in told
    code, out, _ = run("skills", "lint", made["path"])
    assert code == 1 and "refused: alora_invocation_tokens" in out
    plain = exported(run, place, tmp_path, "branch", "--for", "vllm")
    assert "whole context" in plain["notes"][0] and run("skills", "lint", plain["path"])[0] == 0
    assert "--lora-target-modules q_proj" in exported(run, place, tmp_path, "branch", "--for", "sglang")["notes"][0]
    code, out, _ = run("skills", "lint", str(place / "lora"), "--json")
    assert code == 0 and "--max-lora-rank 32" in json.loads(out)["notes"][0]
    code, out, _ = run("skills", "lint", str(place / "prefix"))
    assert code == 1 and "refuses prefixes" in out
    again = exported(run, place, tmp_path, made["path"])
    assert json.loads(Path(again["path"], "adapter_config.json").read_text()) == config


def test_the_name_of_an_exported_skill_tells_its_content(run: Run, place: Path, tmp_path: Path) -> None:
    first = exported(run, place, tmp_path, "branch", "--for", "vllm")
    before = Path(first["path"]).stat().st_mtime_ns
    assert exported(run, place, tmp_path, "branch", "--for", "vllm") == first
    assert Path(first["path"]).stat().st_mtime_ns == before, "it was written again"
    skill = Skill.load(place / "branch")
    other = {name: value + 1 for name, value in skill.tensors.items()}
    Skill(skill.card, other).save(tmp_path / "other" / "branch")
    made = exported(run, place, tmp_path, tmp_path / "other" / "branch", "--for", "vllm")
    assert made["path"] != first["path"] and Path(made["path"]).parent == Path(first["path"]).parent


@pytest.mark.parametrize("target", ["peft", "vllm", "llama.cpp"])
def test_the_order_in_which_tensors_are_read_changes_no_name(place: Path, tmp_path: Path, target: Any) -> None:
    """The library that reads them gives them in another order in each process."""
    from loraloop.adapters.base import Base
    from loraloop.adapters.peft.targets import export

    base = Base.load(str(place / "tiny"), quantize="fp32", device="cpu", cache_dir=place / "cache")
    skill = Skill.load(place / "branch")
    turned = Skill(skill.card, dict(reversed([*skill.tensors.items()])))
    paths = [export(each, target, tmp_path, base.config).path for each in (skill, turned)]
    assert paths[0] == paths[1] and [path.name for path in tmp_path.iterdir()] == [paths[0].name]


def test_servers_get_the_skill_that_was_trained_for_whole_contexts(run: Run, place: Path, tmp_path: Path) -> None:
    """It lies in `full` inside the skill's folder; a program that activates skills in the middle gets the skill."""
    shutil.copytree(place / "branch", tmp_path / "branch")
    alone = {
        target: exported(run, place, tmp_path, tmp_path / "branch", "--for", target) for target in ("peft", "vllm")
    }
    full = Skill.load(place / "branch")
    card = full.card.model_copy(update={"activation": "full", "invocation": ()})
    Skill(card, {name: value + 1 for name, value in full.tensors.items()}).save(tmp_path / "branch" / "full")
    beside = {target: exported(run, place, tmp_path, tmp_path / "branch", "--for", target) for target in alone}
    assert beside["peft"] == alone["peft"] and beside["vllm"]["path"] != alone["vllm"]["path"]
    assert alone["vllm"]["notes"] and not any("whole context" in note for note in beside["vllm"]["notes"])


@pytest.mark.parametrize(("target", "name"), [("vllm", "vLLM"), ("sglang", "SGLang"), ("llama.cpp", "llama.cpp")])
def test_a_skill_that_an_engine_refuses_is_not_exported(
    run: Run, place: Path, tmp_path: Path, target: str, name: str
) -> None:
    given = ("--base", str(place / "tiny"), "--quantize", "fp32", "--out", str(tmp_path), "--for", target)
    code, _, err = run("skills", "export", str(place / "prefix"), *given)
    assert code == 2 and f"cannot be served by {name}: {name} refuses prefixes" in err and not list(tmp_path.iterdir())


def test_llama_cpp_gets_an_alora_with_its_invocation(run: Run, place: Path, tmp_path: Path) -> None:
    """Names, values and tokens as llama.cpp reads them; the rows of queries stand as in the base's own GGUF file."""
    from gguf import GGUFReader

    from loraloop.adapters.base.loading.gguf_source import _unpermute_rows

    skill = Skill.load(place / "branch")
    reader = GGUFReader(exported(run, place, tmp_path, "branch", "--for", "llama.cpp")["path"])
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["adapter.alora.invocation_tokens"] == list(skill.card.invocation)
    assert (fields["general.architecture"], fields["adapter.type"]) == ("llama", "lora")
    assert fields["adapter.lora.alpha"] == skill.card.alpha == 2
    values = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    assert len(values) == len(skill.tensors) > 0
    assert torch.equal(values["blk.1.ffn_down.weight.lora_b"], skill.tensors["layers.1.down_proj.lora_B"])
    queries = _unpermute_rows(values["blk.1.attn_q.weight.lora_b"], 4)
    assert torch.equal(queries, skill.tensors["layers.1.q_proj.lora_B"])
    whole = exported(run, place, tmp_path, "lora", "--for", "llama.cpp")
    assert "adapter.alora.invocation_tokens" not in GGUFReader(whole["path"]).fields


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_push_loads_skills_into_a_running_server(
    run: Run, place: Path, tmp_path: Path, adapter_server: Any, engine: str
) -> None:
    given = (adapter_server.url, "--engine", engine, "--base", str(place / "tiny"), "--out", str(tmp_path))
    code, out, err = run("skills", "push", *given, str(place / "lora"), str(place / "branch"))
    assert code == 0, err
    assert sorted(adapter_server.adapters) == sorted(folder.name for folder in tmp_path.iterdir())
    assert out == "".join(f"loaded {name}\n" for name in adapter_server.adapters) and "lora-" in out
    folder = next(tmp_path.glob("branch-*"))
    code, out, _ = run("skills", "push", adapter_server.url, "--engine", engine, str(folder), "--json")
    assert code == 0 and json.loads(out) == [{"name": folder.name, "path": str(folder), "loaded": False}]
    adapter_server.adapters.clear()
    adapter_server.loads = False
    code, _, err = run("skills", "push", adapter_server.url, "--engine", engine, str(folder))
    assert code == 2 and "--enable-lora" in err
    alora = exported(run, place, tmp_path, "branch")
    code, _, err = run("skills", "push", adapter_server.url, "--engine", engine, alora["path"])
    assert code == 2 and "alora_invocation_tokens" in err and not adapter_server.adapters
    code, _, err = run("skills", "push", adapter_server.url, "--key-env", "LORALOOP_NO_KEY", str(folder))
    assert code == 2 and "LORALOOP_NO_KEY is empty" in err


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
