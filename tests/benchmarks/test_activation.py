"""Branch against full activation: the two losses are of one skill on the same records, and differ where it acts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from loraloop.adapters.base import random_base
from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.run import prepare


def test_the_modes_differ_by_what_the_skill_does_to_the_context(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    lines = [json.dumps({"text": f"number {k}", "label": "odd" if k % 2 else "even"}) for k in range(40)]
    (tmp_path / "numbers.jsonl").write_text("\n".join(lines))
    recipe = {
        "base": "tiny",
        "skill": {"name": "numbers", "description": "Odd or even."},
        "data": {"sources": [{"file": str(tmp_path / "numbers.jsonl"), "license": "CC0-1.0"}], "validation": 0.3},
        "method": {"name": "lora", "rank": 2, "alpha": 4},
        "schedule": {"steps": 4, "batch": 4, "learning_rate": 0.01},
        "output": {"folder": str(tmp_path / "out")},
    }
    base = random_base()
    prepared = prepare(read_recipe(recipe), base)
    tensors = prepared.method.init(BaseContext(base), 0)
    records = prepared.gathered.valid
    assert len(records) > 3
    losses = benchmark("activation").losses
    idle = losses(prepared, SimpleNamespace(tensors=tensors), records)
    assert idle["branch"] == pytest.approx(idle["full"], abs=1e-4), "a skill that changes nothing"
    generator = torch.Generator().manual_seed(0)
    moved = {name: each + 0.3 * torch.randn(each.shape, generator=generator) for name, each in tensors.items()}
    acting = losses(prepared, SimpleNamespace(tensors=moved), records)
    assert abs(acting["branch"] - idle["branch"]) > 0.01 and abs(acting["full"] - acting["branch"]) > 0.01
    assert not (tmp_path / "out").exists()
