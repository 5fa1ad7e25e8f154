"""Every method through the trainer: it learns, resumes to the bit, and what it stores is what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base import random_base
from loraloop.adapters.methods import METHODS, make_method
from loraloop.adapters.training.objectives.head import cross_entropy
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer

from .training_job import examples

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "alpha": 8.0},
    "rslora": {"rank": 4, "alpha": 8.0},
    "dora": {"rank": 4, "alpha": 8.0},
    "adalora": {"rank": 6, "target_rank": 3, "alpha": 8.0},
    "vera": {"rank": 16},
    "ia3": {},
    "prefix": {"tokens": 4},
    "prompt": {"tokens": 4},
    "bottleneck": {"reduction": 4.0},
    "galore": {"rank": 4},
}


def trainer(folder: Path, name: str, mode: str = "branch") -> Trainer:
    optimizer = "galore" if name == "galore" else "adamw"
    rate = 2e-2 if name in ("lora", "rslora", "dora", "adalora", "galore") else 1e-1
    config = TrainConfig.of(
        steps=40, batch=8, learning_rate=rate, validate_every=10, optimizer=optimizer, galore_rank=4, mode=mode
    )  # fmt: skip
    method = make_method(name, SETTINGS[name])
    return Trainer(random_base(0), method, examples(48), examples(12, 1), config, folder)


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_resumes(name: str, tmp_path: Path) -> None:
    made = trainer(tmp_path / "whole", name)
    before = made.validate()
    whole = made.run()
    assert made.best < 0.95 * before
    cut = trainer(tmp_path / "cut", name)
    cut.progress = lambda told: (_ for _ in ()).throw(KeyboardInterrupt) if told.step == 25 else None
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = trainer(tmp_path / "cut", name)
    assert resumed.step == 20
    again = resumed.run()
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)
    assert all(torch.equal(made.parameters[key], resumed.parameters[key]) for key in made.parameters)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_stored_is_what_was_trained(name: str, tmp_path: Path) -> None:
    """The stored tensors' payload, read without the base's weights, has the loss that training measured."""
    from loraloop.adapters.methods.context import MethodContext

    if name == "galore":
        pytest.skip("its skill is a truncation of what was trained; test_methods measures it")
    made = trainer(tmp_path, name, "full")
    stored = made.run()
    reader = made.method.reader(stored)
    payload = reader.payload(stored, MethodContext(made.base.config))
    payload.check(made.base.config, name)
    total = sum(
        float(cross_entropy(made.decoder, scored.states, scored.targets))
        for scored in (made.reader.read([example], payload, full=True) for example in made.valid_set)
    )
    assert total / sum(example.counted for example in made.valid_set) == pytest.approx(made.best, rel=2e-3)
