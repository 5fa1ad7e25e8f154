"""Follows the example of docs/training.md from raw data to a routed skill, and says how long each part takes.

    python benchmarks/train_a_skill.py --json benchmarks/results/train_a_skill.json

`--limit N` trains N steps and measures N records. Peers: `base` under the same grammar, and `base_told`, which has a
sentence about the task in its system message. Nothing is registered.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from loraloop.recipe_run import run_recipe
from loraloop.train_watch import Watch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, finish, options

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "train_a_skill"


def main() -> int:
    given = options("the example that trains a skill, from raw data to a router").parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    recipe = yaml.safe_load((EXAMPLE / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["schedule"]["seed"] = given.seed
    if given.limit:
        recipe["schedule"] |= {"steps": given.limit, "validate_every": given.limit}
        recipe["evaluation"]["limit"] = given.limit
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        subprocess.run([sys.executable, EXAMPLE / "make_data.py", folder / "data"], check=True)
        recipe["output"] = {"folder": "out", "register": False}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        told = run_recipe(folder / "recipe.yaml", observer=Watch())
        seconds = time.perf_counter() - start
    finish(made(told.to_dict(), seconds), given.json)
    return 0


def made(told: dict[str, Any], seconds: float) -> Report:
    """The benchmark's report of a recipe's."""
    evaluation = told["evaluation"]
    systems = {name: shares(found) for name, found in evaluation["scores"].items()}
    ours = {
        **systems["skill"],
        "free_exact_percent": systems["skill_free"]["exact_percent"],
        "routed_percent": 100 * told["routing"]["new_test"],
        "others_before_percent": 100 * told["routing"]["known_before"],
        "others_after_percent": 100 * told["routing"]["known_after"],
        "training_s": told["training"]["seconds"],
        "whole_s": seconds,
        "steps": told["training"]["steps"],
        "validation_loss": told["training"]["validation_loss"],
    }
    peers = {name: systems[name] for name in ("base", "base_told")}
    base = peers["base"]
    ratios = {name.removesuffix("_percent"): ours[name] / value for name, value in base.items() if value}
    details = {"samples": evaluation["samples"], "data": told["data"], "routing": told["routing"]}
    return Report("train_a_skill", evaluation["n"], ours, peers, ratios, details)


def shares(found: dict[str, float]) -> dict[str, float]:
    """The scores in percent, without their intervals."""
    return {f"{name}_percent": 100 * value for name, value in found.items() if f"{name}_n" in found}


if __name__ == "__main__":
    raise SystemExit(main())
