"""`accelerate launch --use_fsdp -m loraloop train`: two processes that share the base out, from a recipe to a skill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraloop.adapters.skill.skill import Skill


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_recipe_is_trained_by_processes_that_share_the_base_out(tmp_path: Path, save_llama: Any) -> None:
    """An estimate first; then a skill, measured by the first process on the base that it still serves."""
    save_llama(tmp_path / "base")
    words = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
    rows = [{"text": f"{words[k % 8]} {k}", "label": "warm" if k % 8 in (0, 6, 7) else "cold"} for k in range(60)]
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "base": {"name": str(tmp_path / "base"), "quantize": "bf16"},
        "skill": {"name": "colours", "description": "Warm or cold.", "max_tokens": 8},
        "data": {"sources": [{"file": "colours.jsonl", "license": "MIT"}], "validation": 0.2, "longest": 512},
        "method": {"name": "dora", "rank": 2, "alpha": 4},
        "schedule": {"epochs": 1, "batch": 4, "validate_every": 3, "learning_rate": 0.01},
        "evaluation": {"share": 0.2, "limit": 4},
        "router": {"enabled": False},
        "output": {"folder": "out"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")

    def launch(*options: str) -> Any:
        launcher = [
            "-m",
            "accelerate.commands.launch",
            "--use_fsdp",
            "--num_processes",
            "2",
            "--main_process_port",
            "0",
        ]
        command = [sys.executable, *launcher, "-m", "loraloop", "train", str(tmp_path / "recipe.yaml"), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LORALOOP_CACHE": str(tmp_path / "cache")}
        environment["LORALOOP_SKILLS"] = str(tmp_path / "home")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
        assert done.returncode == 0, done.stderr[:3000]
        return json.loads(done.stdout[done.stdout.index("{") :])

    reckoned = launch("--dry-run", "--json")["estimate"]
    assert reckoned["step_seconds"] > 0 and not (tmp_path / "out").exists()
    report = launch("--json")
    assert reckoned["steps"] == report["training"]["steps"] < 10
    assert report["evaluation"]["n"] == 4
    assert Skill.load(tmp_path / "home" / "colours").card.method == "dora"
