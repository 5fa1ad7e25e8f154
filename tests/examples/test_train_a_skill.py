"""The example that trains a fifth skill, followed word by word from docs/tutorials/train.md, with a few steps."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "train_a_skill"
PAGE = (ROOT / "docs" / "tutorials" / "train.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """What the tutorial has one do before the skill is used, and the example's own agent."""
    blocks = re.findall(r"```sh[^\n]*\n(.*?)```", PAGE.partition("## 4.")[0], re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(("python", "loraloop"))]
    return [shlex.split(line) for line in (*lines, "python agent.py")]


def test_its_data_are_the_same_each_time_and_leak_nothing(tmp_path: Path) -> None:
    from loraloop.adapters.training.data.checker import Checker
    from loraloop.adapters.training.data.readers import Reading
    from loraloop.adapters.training.recipe.gather import check_files

    schema = yaml.safe_load((EXAMPLE / "recipe.yaml").read_text(encoding="utf-8"))["skill"]["schema"]
    for folder in ("a", "b"):
        subprocess.run([sys.executable, EXAMPLE / "make_data.py", tmp_path / folder], check=True, timeout=60)
    for name in ("mails.jsonl", "held_out.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    mails, held_out = tmp_path / "a" / "mails.jsonl", tmp_path / "a" / "held_out.jsonl"
    found = check_files([mails], [held_out], Reading(form="label"), Checker(schema=schema))
    assert not found.errors and found.counts.get("leakage", 0) == 0 and len(found.records) >= 1150
    queues = {json.loads(record.completion)["queue"] for record in found.records}
    assert queues == set(schema["properties"]["queue"]["enum"])


@pytest.mark.slow
@pytest.mark.timeout(900)  # seconds where nothing else runs; all processes load the base
def test_it_runs_word_by_word(tmp_path: Path) -> None:
    folder = tmp_path / "train_a_skill"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "build", "__pycache__"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["schedule"] |= {"steps": 3, "batch": 2, "validate_every": 3}
    recipe["evaluation"]["limit"], recipe["router"]["limit"], recipe["data"]["limit"] = 2, 12, 60
    recipe["data"]["validation"] = 0.01
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    environment = {**os.environ, "LORALOOP_SKILLS": str(tmp_path / "skills")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outputs = []
    for command in commands():
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    _, checked, previewed, trained, ran = outputs
    assert re.search(r"records read, \d+ examples to train on", checked)
    assert "⟦branch: <|im_start|>assistant" in previewed and "Nothing was written." in previewed
    assert "registered as triage" in trained and "base, told the task" in trained
    assert [line.split(":")[0] for line in ran.splitlines()] == ["triage", "none", "code"]
    told = json.loads((folder / "build" / "triage" / "report.json").read_text(encoding="utf-8"))
    assert told["routing"]["known_after"] >= told["routing"]["known_before"] - 0.02
    assert told["routing"]["new_test"] >= 0.75
    assert (tmp_path / "skills" / "triage" / "card.json").is_file()
