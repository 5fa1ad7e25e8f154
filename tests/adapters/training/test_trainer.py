"""The trunk-cached trainer: the same objective as a full forward, exact resume, and it learns."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base import BranchCache, Message, Row, random_base
from loraloop.adapters.methods import make_method
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer, training_view
from loraloop.tool_schemas.errors import InputError


def examples(count: int, seed: int = 0) -> list[Encoded]:
    """Echo the user's letter three times."""
    rng, base = random.Random(seed), random_base(0)
    letters = [rng.choice("abcd") for _ in range(count)]
    return [encode(base, [Message("user", f"say {letter}")], letter * 3) for letter in letters]


def trainer(folder: Path, **config: Any) -> Trainer:
    settings = {"steps": 40, "batch": 4, "learning_rate": 1e-2, "validate_every": 10, **config}
    return Trainer(random_base(0), Lora(4, 8), examples(64), examples(16, seed=1), TrainConfig.of(**settings), folder)


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=60)
    before = made.validate()
    best = made.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validated = [record["valid_loss"] for record in log if "valid_loss" in record]
    assert made.best == min(validated) < 0.7 * before
    assert all(tensor.isfinite().all() for tensor in best.values())


@dataclass
class FromInvocation:
    """The adapter on the tokens from `start` on, the graph on all of them."""

    attached: PayloadAttached
    start: int

    def linear(self, layer: int, group: str, x: Any, y: Any, segments: Any) -> Any:
        return self.attached.linear(layer, group, x, y, ((0, self.start, 0), (self.start, len(x), 1)))

    def beyond(self, segments: Any) -> None:
        return None

    def virtual(self, slot: Any) -> None:
        return None


def test_gradients_equal_those_of_one_forward_over_the_whole_sequence(tmp_path: Path) -> None:
    """Leaving the trunk out of the graph loses nothing: the same loss and gradients as aLoRA in one pass."""
    made = trainer(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in made.parameters.items():
        if name.endswith("lora_B"):
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    batch = examples(3, seed=5)
    loss = made.loss(batch, grad=True)
    loss.backward()  # type: ignore[no-untyped-call]
    ours = {name: tensor.grad.clone() for name, tensor in made.parameters.items() if tensor.grad is not None}
    made.optimizer.zero_grad()

    decoder, total, count = training_view(made.base), torch.zeros(()), 0
    for example in batch:
        attached = PayloadAttached(made.method.payload(made.parameters, MethodContext(made.base.config)))

        (branch,) = example.branches
        tokens = [*example.trunk, *branch.tokens]
        row = Row(tokens[:-1], BranchCache(made.base.new_cache()), 1)
        hidden = decoder.forward([row], FromInvocation(attached, len(example.trunk))).hidden
        first = len(example.trunk) + branch.start
        targets = torch.tensor(tokens[first:])
        total = total + torch.nn.functional.cross_entropy(decoder.logits(hidden[first - 1 :]), targets, reduction="sum")
        count += len(targets)
    torch.testing.assert_close(loss, total / count, atol=1e-5, rtol=1e-5)
    (total / count).backward()
    for name, tensor in made.parameters.items():
        torch.testing.assert_close(ours[name], tensor.grad, atol=1e-5, rtol=1e-4)


def test_examples_that_share_a_system_message_share_its_forward(tmp_path: Path) -> None:
    made, base = trainer(tmp_path), random_base(0)
    turns = [[Message("system", head), Message("user", text)] for head in ("Be kind.", "Be brief.") for text in "abc"]
    shared = [encode(base, messages, "yes") for messages in turns]
    alone = [replace(example, shared=0) for example in shared]
    assert all(example.shared for example in shared)
    first = made.loss(shared, grad=False)
    torch.testing.assert_close(first, made.loss(alone, grad=False), atol=1e-5, rtol=1e-5)
    made.loss(shared[3:], grad=False)  # one of both messages is kept from here on
    assert torch.equal(made.loss(shared, grad=False), first)
    made.train_set = shared * 3
    batches = made.batches()
    epoch = [example for _ in range(5) for example in next(batches)]
    assert sorted(e.trunk for e in epoch) == sorted(e.trunk for e in made.train_set)


def test_a_run_can_begin_from_a_skill_of_smaller_rank(tmp_path: Path) -> None:
    small = trainer(tmp_path / "small", steps=5)
    found = small.run()
    config = TrainConfig(steps=1)
    wide = Trainer(random_base(0), Lora(8, 16), examples(8), examples(16, seed=1), config, tmp_path / "wide", found)
    assert wide.validate() == pytest.approx(small.validate(), abs=1e-5)
    with pytest.raises(InputError, match="cannot begin"):
        Trainer(random_base(0), Lora(2, 4), examples(8), examples(8), config, tmp_path / "narrow", found)


@pytest.mark.parametrize("name", ["dora", "ia3"])
def test_a_run_can_begin_from_a_skill_that_stores_what_follows_from_other_tensors(tmp_path: Path, name: str) -> None:
    base = random_base(0, qkv_bias=True, architecture="qwen2")
    method = make_method(name, {"rank": 2, "alpha": 4} if name == "dora" else {})
    settings = TrainConfig(steps=3, batch=4, learning_rate=1e-2, validate_every=3)
    small = Trainer(base, method, examples(8), examples(8, seed=1), settings, tmp_path / "small")
    found, config = small.run(), TrainConfig(steps=1)
    assert any(tensor_name.endswith((".gain", ".bias")) for tensor_name in found)
    again = Trainer(base, method, examples(8), examples(8, seed=1), config, tmp_path / "again", found)
    assert again.validate() == pytest.approx(small.validate(), abs=1e-5)


def test_a_killed_run_resumes_exactly(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", steps=20).run()
    cut = trainer(tmp_path / "cut", steps=20)
    cut._write = lambda record: (_ for _ in ()).throw(KeyboardInterrupt) if record["step"] == 15 else None  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    part = tmp_path / "cut" / ".state.pt.1-1.part"  # of a checkpoint that another kill cut short
    part.touch()
    os.utime(part, (0, 0))
    resumed = trainer(tmp_path / "cut", steps=20)
    assert resumed.step == 10
    for name, tensor in resumed.run().items():
        torch.testing.assert_close(tensor, whole[name], atol=0, rtol=0)
    assert not part.exists()


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=10)
    made.run()
    with pytest.raises(InputError, match="other settings"):
        trainer(tmp_path, steps=10, batch=5)
    longer = trainer(tmp_path, steps=12)
    longer.run()
    assert longer.step == 12
    with pytest.raises(InputError, match="at least 1"):
        TrainConfig(steps=0)
    for seconds in (-1.0, 0.0, float("nan")):
        with pytest.raises(InputError, match="seconds must be positive, or left out, not"):
            TrainConfig(steps=1, seconds=seconds)
    with pytest.raises(InputError, match="at least one"):
        Trainer(random_base(0), Lora(4, 8), [], examples(1), TrainConfig(steps=1), tmp_path / "none")
