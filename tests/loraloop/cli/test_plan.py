"""``loraloop plan``: tables for people, one JSON document for programs, and errors that say what to give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base, random_base

LLAMA = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "rms_norm_eps": 1e-5,
}  # fmt: skip


def test_this_machine_is_measured(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_base(seed=0)
    monkeypatch.setattr(Base, "load", classmethod(lambda cls, *args, **kwargs: made))
    code, out, _ = run("plan", "--agents", "3", "--context", "64", "--shared", "0", "--speed", "0.01", "--json")
    found = json.loads(out)
    assert code == 0 and found["load"]["agents"] == 3 and found["replicas"] == 1
    assert found["most"]["speed"] >= 3 and found["rates"]["tokens"] > 0


def test_a_card_is_planned_from_a_config_alone(run: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    asked = ["plan", "--base", str(tmp_path), "--gpu", "l4", "--agents", "1000", "--skills", "50"]
    code, out, _ = run(*asked)
    assert code == 0
    found = json.loads(run(*asked, "--json")[1])
    assert found["replicas"] > 1 and found["bytes"]["token"] == 2 * 16 * 8 * 64 * 2
    assert f"1000 agents need {found['replicas']} such machines" in out
    assert "keys and values of 1000 agents" in out and "slots of 8 skills" in out
    assert str(found["most"]["memory"]) in out
    assert found["skills"]["disk"] > found["skills"]["memory"] == 256 << 20 and found["bytes"]["skills"] == 0
    assert f"{found['skills']['disk'] / 1e9:.3f}" in out and "0.268" in out, "the host's memory and disk"
    assert "at most 8 skills write at once" in out
    assert "write at once" not in run(*asked[:-1], "8")[1]
    asked[asked.index("1000")] = "1"
    assert "1 agent needs 1 such machine; one" in run(*asked)[1]


def test_what_is_shared_is_no_more_than_the_context(run: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    code, out, _ = run("plan", "--base", str(tmp_path), "--gpu", "l4", "--context", "512", "--json")
    assert code == 0 and json.loads(out)["load"]["shared"] == 512


def test_errors_say_what_to_give(run: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    place = str(tmp_path)
    for words, asked in {
        "did you mean 'h100'": ["--base", place, "--gpu", "h10"],
        "do not fit into a context": ["--base", place, "--gpu", "l4", "--shared", "4096"],
        "a folder with a config.json": ["--base", place + "x", "--gpu", "l4"],
        "unsupported architecture": ["--base", place, "--gpu", "l4"],
    }.items():
        if words.startswith("unsupported"):
            (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"model_type": "bert"}))
        code, out, err = run("plan", *asked)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1, err
