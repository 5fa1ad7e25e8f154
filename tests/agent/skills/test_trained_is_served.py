"""What the trainer measured is what the engine serves, for every method: the same loss, token by token."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import random_base
from loraloop.adapters.methods import METHODS, card_fields, make_method
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.trunk import Trunk

PAIRS = {"rank": 4, "alpha": 8}
OPTIONS = {
    "lora": PAIRS, "rslora": PAIRS, "dora": PAIRS, "adalora": {**PAIRS, "target_rank": 2}, "vera": {"rank": 4},
    "ia3": {}, "prefix": {"tokens": 4}, "prompt": {"tokens": 4}, "bottleneck": {}, "galore": {"rank": 32},
}  # fmt: skip
"""GaLore's is the full rank of the base, so that its skill is all of what was trained."""


@pytest.mark.parametrize("activation", ["branch", "full"])
@pytest.mark.parametrize("name", METHODS)
def test_the_served_loss_is_the_trained_one(name: str, activation: str, tmp_path: Path) -> None:
    base, rng = random_base(3), random.Random(0)
    invocation = tuple(base.chat.generation_prompt)

    def example() -> Encoded:
        first = rng.randrange(40, 90)
        tokens = tuple(first + i for i in range(rng.randrange(3, 6)))
        branch = EncodedBranch((*invocation, *tokens), len(invocation))
        return Encoded(tuple(rng.randrange(3, 259) for _ in range(12)), (branch,))

    train, valid = [example() for _ in range(12)], [example() for _ in range(3)]
    method = make_method(name, OPTIONS[name])
    config = TrainConfig(6, 4, learning_rate=0.02, validate_every=6, mode="full" if activation == "full" else "branch")
    trainer = Trainer(base, method, train, valid, config, tmp_path)
    before = trainer.validate()
    tensors = trainer.run()
    prints = base.fingerprints
    fields = {
        "name": "made", "description": "x", "base": base.name, "invocation": invocation, "activation": activation,
        "fingerprints": {"architecture": prints.architecture, "weights": prints.weights},
        **card_fields(method, tensors),
    }  # fmt: skip
    folder = Skill(Card.checked(fields), tensors).save(tmp_path / "made")
    bank = Bank(base, slots=1, rank=64)
    slot = bank.slot(bank.add(folder))
    who = Author(prints.weights, "made", slot, activation, bank.identity("made"))
    total, count = 0.0, 0
    for each in valid:
        trunk = Trunk(base, (), bank.attached)
        trunk.extend(each.trunk)
        branch, (completion,) = trunk.branch(who), each.branches
        logits = branch.feed(completion.tokens[: completion.start])
        for token in completion.tokens[completion.start :]:
            total -= float(torch.log_softmax(logits, -1)[token])
            count += 1
            logits = branch.feed([token])
        branch.close()
    assert abs(total / count - trainer.best) < 1e-3
    assert abs(before - trainer.best) > 10 * abs(total / count - trainer.best), "training must have moved the loss"
