"""DPO, KTO and distillation, against their formulas on the decoder's own forward."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, logsigmoid

from loraloop.adapters.base import BranchCache, Message, Row, random_base
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch, encode, encode_pair
from loraloop.adapters.training.forward.scored import Reader
from loraloop.adapters.training.objectives.distill import BaseTeacher, Distill, SkillTeacher
from loraloop.adapters.training.objectives.dpo import Dpo
from loraloop.adapters.training.objectives.kto import Kto, mismatched
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.objectives.reference import Reference
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import InputError

BASE = random_base(0)
METHOD = Lora(4, 8)


def parameters(seed: int, scale: float = 0.1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = METHOD.init(MethodContext(BASE.config), seed)
    return {
        name: (tensor.detach() + torch.randn(tensor.shape, generator=generator) * scale).requires_grad_()
        for name, tensor in made.items()
    }


def payload(seed: int, scale: float = 0.1) -> Any:
    return METHOD.payload({name: t.detach() for name, t in parameters(seed, scale).items()}, MethodContext(BASE.config))


def pairs(count: int, seed: int = 0) -> list[Encoded]:
    rng = random.Random(seed)
    texts = ["".join(rng.choices("abcdefgh ", k=rng.randrange(3, 12))) for _ in range(3 * count)]
    return [encode_pair(BASE, [Message("user", a)], b, c) for a, b, c in zip(*[iter(texts)] * 3, strict=True)]


def single(example: Encoded, desirable: bool) -> Encoded:
    """The example with its first branch alone."""
    return replace(example, branches=(replace(example.branches[0], desirable=desirable),))


def logits(example: Encoded, branch: EncodedBranch, made: Any, base: Any = BASE) -> Tensor:
    """Logits of each completion token, by `Decoder.forward`."""
    trunk = example.trunk[: branch.at]
    cache = base.decoder.new_cache()
    if trunk:
        base.decoder.forward([Row(trunk, cache)])
    attached = None if made is None else PayloadAttached(made)
    hidden = base.decoder.forward([Row(branch.tokens[:-1], BranchCache(cache), int(made is not None))], attached).hidden
    return base.decoder.logits(hidden[branch.start - 1 :])


def summed(example: Encoded, branch: EncodedBranch, made: Any) -> Tensor:
    targets = torch.tensor(branch.tokens[branch.start :])[:, None]
    return log_softmax(logits(example, branch, made), -1).gather(1, targets).sum()


def gradients(loss: Tensor, leaves: dict[str, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(leaves.values())))


def compare(objective: Objective, examples: list[Encoded], formula: Any, tmp_path: Path) -> None:
    """Loss and gradients of an objective equal those of a formula of the policy's payload."""
    reader, leaves = Reader(BASE.decoder), parameters(1)
    objective.prepare(reader, examples, tmp_path, "f", False)
    policy = METHOD.payload(leaves, MethodContext(BASE.config))
    ours = objective.loss(reader, reader.read(examples, policy))
    theirs = formula(METHOD.payload(leaves, MethodContext(BASE.config)))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    for mine, plain in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("reference", [None, 7])
def test_dpo_is_its_formula(tmp_path: Path, reference: int | None) -> None:
    examples, held = pairs(3), None if reference is None else payload(reference)

    def formula(policy: Any) -> Tensor:
        total = torch.zeros(())
        for example in examples:
            chosen, rejected = (
                summed(example, branch, policy) - summed(example, branch, held).detach() for branch in example.branches
            )
            total = total - 0.9 * logsigmoid(0.3 * (chosen - rejected)) - 0.1 * logsigmoid(-0.3 * (chosen - rejected))
        return total

    compare(Dpo(0.3, 0.1, Reference(held, str(reference))), examples, formula, tmp_path)


def test_an_anchor_adds_the_cross_entropy_of_what_was_chosen(tmp_path: Path) -> None:
    examples = pairs(3)

    def formula(policy: Any) -> Tensor:
        total = torch.zeros(())
        for example in examples:
            logs = [summed(example, branch, policy) for branch in example.branches]
            ratios = [
                log - summed(example, branch, None).detach() for log, branch in zip(logs, example.branches, strict=True)
            ]
            total = total - logsigmoid(0.3 * (ratios[0] - ratios[1])) - 0.5 * logs[0] / example.branches[0].counted
        return total

    compare(Dpo(0.3, anchor=0.5), examples, formula, tmp_path)
    assert "anchor=0.5" in Dpo(anchor=0.5).name and "anchor" not in Dpo().name
    with pytest.raises(InputError, match="anchor"):
        Dpo(anchor=-1.0)


def test_kto_is_its_formula(tmp_path: Path) -> None:
    examples = [single(example, desirable=index % 2 == 0) for index, example in enumerate(pairs(4, seed=3))]

    def formula(policy: Any) -> Tensor:
        far = torch.stack(
            [summed(e, e.branches[0], policy) - summed(e, e.branches[0], None) for e in mismatched(examples)]
        ).mean().detach().clamp(min=0)  # fmt: skip
        total = torch.zeros(())
        for example in examples:
            ratio = summed(example, example.branches[0], policy) - summed(example, example.branches[0], None).detach()
            wanted = example.branches[0].desirable
            sign = 1 if wanted else -1
            total = total + (2.0 if wanted else 1.0) * (1 - torch.sigmoid(0.2 * sign * (ratio - far)))
        return total

    compare(Kto(0.2, desirable=2.0), examples, formula, tmp_path)


@pytest.mark.parametrize("kind", ["skill", "base"])
def test_distillation_is_its_formula(tmp_path: Path, kind: str) -> None:
    examples, other = pairs(3, seed=5), random_base(4, hidden_size=48, layers=3)
    held = payload(9, 0.3)
    teacher = SkillTeacher(held) if kind == "skill" else BaseTeacher(other, BASE)

    def formula(policy: Any) -> Tensor:
        total = torch.zeros(())
        for example in examples:
            for branch in example.branches:
                ours = logits(example, branch, policy)
                taught = logits(example, branch, held) if kind == "skill" else logits(example, branch, None, other)
                soft = kl_div(
                    log_softmax(ours / 2, -1), log_softmax(taught.detach() / 2, -1), log_target=True, reduction="sum"
                )
                targets = torch.tensor(branch.tokens[branch.start :])
                hard = torch.nn.functional.cross_entropy(ours, targets, reduction="sum")
                total = total + 0.75 * 4 * soft + 0.25 * hard
        return total

    compare(Distill(teacher, temperature=2.0, share=0.75), examples, formula, tmp_path)


def test_training_prefers_what_is_chosen(tmp_path: Path) -> None:
    trainer = Trainer(
        BASE, METHOD, pairs(8), pairs(4), TrainConfig(steps=16, batch=4, learning_rate=1e-2, validate_every=8),
        tmp_path, objective=Dpo(),
    )  # fmt: skip
    before = trainer.validate()
    trainer.run()
    assert before == pytest.approx(0.6931, abs=1e-3)
    assert trainer.best < 0.55


@pytest.mark.parametrize(("kind", "mode"), [("dpo", "full"), ("kto", "branch"), ("kto", "full"), ("distill", "full")])
def test_objectives_train_in_other_modes(kind: str, mode: Any, tmp_path: Path) -> None:
    held = Reference(payload(7, 0.02), "a skill")
    singles = [single(example, desirable=index % 2 == 0) for index, example in enumerate(pairs(8, seed=2))]
    objective, data = {
        "dpo": (Dpo(0.5, reference=held), pairs(8)),
        "kto": (Kto(0.5, reference=held), singles),
        "distill": (Distill(SkillTeacher(payload(9, 0.1))), pairs(8)),
    }[kind]
    config = TrainConfig(steps=8, batch=8, learning_rate=1e-2, validate_every=4, mode=mode)
    trainer = Trainer(BASE, METHOD, data, data, config, tmp_path, objective=objective)
    before = trainer.validate()
    trainer.run()
    assert trainer.best < 0.95 * before


def test_what_the_reference_says_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Dpo().prepare(Reader(BASE.decoder), pairs(3), tmp_path, "f", False)
    monkeypatch.setattr(Reference, "sums", lambda *_: pytest.fail("computed again"))
    Dpo().prepare(Reader(BASE.decoder), pairs(3), tmp_path, "f", False)
    with pytest.raises(pytest.fail.Exception):
        Dpo().prepare(Reader(BASE.decoder), pairs(3), tmp_path, "another base", False)


def test_data_of_the_wrong_form_is_refused(tmp_path: Path) -> None:
    reader, plain = Reader(BASE.decoder), [encode(BASE, [Message("user", "a")], "b")]
    with pytest.raises(InputError, match="encode_pair"):
        Dpo().prepare(reader, plain, tmp_path, "f", False)
    with pytest.raises(InputError, match="both kinds"):
        Kto().prepare(reader, plain, tmp_path, "f", False)
    with pytest.raises(InputError, match="beta"):
        Dpo(beta=0)
    with pytest.raises(InputError, match="share"):
        Distill(SkillTeacher(payload(0)), share=0)
