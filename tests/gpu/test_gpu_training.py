"""Training on a GPU over frozen NF4: it learns, and its weights stay in four bits."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from loraloop.adapters.base import Message
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.kernels.nf4 import Nf4Weight

from .test_gpu_graphs import gpu_base


def examples(base, count: int, seed: int = 0) -> list[Encoded]:
    """Echo the user's letter three times."""
    rng = random.Random(seed)
    letters = [rng.choice("abcd") for _ in range(count)]
    return [encode(base, [Message("user", f"say {letter}")], letter * 3) for letter in letters]


@pytest.mark.parametrize("form", ["nf4", "bf16"])
def test_it_learns(form: str, tmp_path: Path) -> None:
    base = gpu_base(form)
    config = TrainConfig(steps=60, batch=4, learning_rate=1e-2, validate_every=10)
    made = Trainer(base, Lora(8, 16), examples(base, 64), examples(base, 16, seed=1), config, tmp_path)
    assert all(isinstance(layer.qkv, Nf4Weight) == (form == "nf4") for layer in made.decoder.layers)
    before = made.validate()
    best = made.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert min(record["valid_loss"] for record in log if "valid_loss" in record) < 0.8 * before
    assert all(tensor.isfinite().all() and tensor.device == torch.device("cpu") for tensor in best.values())
