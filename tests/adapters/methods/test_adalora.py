"""AdaLoRA's importance and budget, beside `peft`'s own allocator on the same parameters and gradients."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from loraloop.adapters.methods.adalora import AdaLora
from loraloop.adapters.methods.context import MethodContext
from loraloop.tool_schemas.errors import InputError

CONFIG = SimpleNamespace(hidden_size=8, intermediate_size=12, layers=2, heads=2, kv_heads=1, head_dim=4)
CONTEXT = MethodContext(CONFIG)
METHOD = AdaLora(rank=4, alpha=8.0, targets=("q_proj", "down_proj"), target_rank=2, t_init=2, t_final=3, delta_t=2)


class Named(torch.nn.Module):
    """Parameters under PEFT's names."""

    def __init__(self, parameters: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.held = parameters

    def named_parameters(self, *_: object, **__: object):  # type: ignore[no-untyped-def, override]
        for name in METHOD.trainable(self.held):
            yield f"base.{name}.default", self.held[name]


def test_the_same_triplets_are_cut_as_by_peft() -> None:
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    steps = 12
    ours, theirs = METHOD.init(CONTEXT, 0), METHOD.init(CONTEXT, 0)
    model = Named(theirs)
    config = AdaLoraConfig(
        init_r=4, target_r=2, tinit=2, tfinal=3, deltaT=2, beta1=0.85, beta2=0.85, total_step=steps, lora_alpha=8
    )
    allocator = RankAllocator(model, config, "default")
    generator = torch.Generator().manual_seed(1)
    pattern = None
    for step in range(1, steps + 1):
        for name in METHOD.trainable(ours):
            change = torch.randn(ours[name].shape, generator=generator)
            for parameters in (ours, theirs):
                parameters[name].data.add_(change, alpha=0.1)  # an optimizer's step
                parameters[name].grad = change.clone()
        METHOD.after_step(ours, step, steps)
        if step < steps - 3:  # as AdaLoraModel.update_and_allocate does
            allocator.update_and_allocate(model, step)
        elif step == steps - 3:
            _, pattern = allocator.update_and_allocate(model, step, force_mask=True)
        else:
            allocator.mask_using_rank_pattern(model, pattern)
        for name in METHOD.trainable(ours):
            torch.testing.assert_close(ours[name], theirs[name])
        values = torch.cat([ours[name].flatten() for name in ours if name.endswith("lora_E")])
        assert int((values != 0).sum()) == (METHOD.budget(step, steps, 4) if step in (4, 6, 8) or step >= 9 else 16)
    finished = METHOD.finished(ours, CONTEXT)
    assert METHOD.reader(finished).rank == max(len(A) for name, A in finished.items() if name.endswith("A"))


def test_the_budget_falls_with_a_cubic() -> None:
    budgets = [METHOD.budget(step, 12, 4) for step in range(1, 13)]
    assert budgets[3] == 10
    assert budgets[:2] == [16, 16] and budgets[-3:] == [8, 8, 8] and budgets == sorted(budgets, reverse=True)
    assert budgets[3] == int(8 * (1 - 2 / 7) ** 3 + 8)
    with pytest.raises(InputError, match="leave no time to cut"):
        METHOD.after_step(METHOD.init(CONTEXT), 1, 5)


def test_a_module_may_lose_all_its_ranks() -> None:
    parameters = METHOD.init(CONTEXT)
    for name, tensor in parameters.items():
        if name.endswith("lora_E") and "q_proj" not in name:
            tensor.data[1:3] = 1.0
    finished = METHOD.finished(parameters, CONTEXT)
    assert sorted({name.split(".")[2] for name in finished}) == ["down_proj"]
    reader = METHOD.reader(finished)
    assert reader.targets == ("down_proj",) and reader.rank == 2
    untrained = METHOD.finished(METHOD.init(CONTEXT), CONTEXT)
    assert METHOD.reader(untrained).rank == 1
    assert not METHOD.reader(untrained).payload(untrained, CONTEXT).pairs[0, "qkv"].A.any()


def test_the_regularizer_is_zero_for_orthonormal_vectors() -> None:
    parameters = METHOD.init(CONTEXT)
    assert float(METHOD.regularizer(parameters)) > 0.5  # type: ignore[arg-type]
    for name, tensor in parameters.items():
        if name.endswith("lora_A"):
            tensor.data.copy_(torch.eye(*tensor.shape))
        if name.endswith("lora_B"):
            tensor.data.copy_(torch.eye(*tensor.shape))
    assert float(METHOD.regularizer(parameters)) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
    assert AdaLora(orthogonal=0.0).regularizer(parameters) is None


@pytest.mark.parametrize("seconds", [None, 1e-9])
def test_a_training_keeps_no_parameters_above_the_budget(tmp_path: Path, seconds: float | None) -> None:
    """However low the loss was before the last cut; a run that time cuts short keeps what it has."""
    from loraloop.adapters.base import random_base
    from loraloop.adapters.training.data.encode import Encoded, EncodedBranch
    from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer

    base = random_base(0)
    prompt = base.chat.generation_prompt

    def examples(answer: int) -> list[Encoded]:
        return [Encoded((5, 6, 7 + i), (EncodedBranch((*prompt, answer, 2), len(prompt)),)) for i in range(8)]

    method = AdaLora(rank=4, alpha=8.0, targets=("q_proj", "v_proj"), target_rank=1, t_final=2)
    config = TrainConfig(steps=6, batch=4, validate_every=1, learning_rate=0.05, seconds=seconds)
    trainer = Trainer(base, method, examples(30), examples(31), config, tmp_path)  # it gets worse with every step
    trainer.run()
    left = sum(int((value != 0).sum()) for name, value in trainer.best_parameters().items() if name.endswith("lora_E"))
    assert left <= 4 if seconds is None else trainer.step == 1
