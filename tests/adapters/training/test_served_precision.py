"""Products as they are served: a training forward through the C kernels, and its gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from loraloop.adapters.base import Base, Message, random_base
from loraloop.adapters.base.decoder.served_weight import ServedWeight
from loraloop.adapters.base.training_view import training_view
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import InputError


@pytest.fixture
def native(base: Base) -> Base:
    if not base.native:
        pytest.skip("needs the C decoder")
    return base


def examples_of(base: Base) -> list[Encoded]:
    brief = Message("system", "Be brief. " * 8)
    asked = ("Name three rivers.", "Why is the sky blue, and the sea too?")
    return [encode(base, [brief, Message("user", text)], "The Rhine, the Rhone and the Po.") for text in asked]


def trainer_of(base: Base, folder: Path, precision: str) -> Trainer:
    examples = examples_of(base)
    config = TrainConfig.of(steps=8, batch=2, learning_rate=3e-3, precision=precision, trunks="served")
    return Trainer(base, Lora(4, 8), examples, examples, config, folder / precision)


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Gradients of all parameters, beside an adapter that is not zero."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in trainer.trained.items():
        if name.endswith("lora_B"):
            tensor.data = 0.02 * torch.randn(tensor.shape, generator=generator)
    trainer.loss(examples_of(trainer.base), grad=True).backward()
    return {name: tensor.grad for name, tensor in trainer.trained.items() if tensor.grad is not None}


def test_a_product_and_its_gradient_are_near_those_of_the_dense_values(native: Base) -> None:
    layer = training_view(native, "served").layers[0]
    weights = (layer.qkv, layer.o, layer.gate_up, layer.down)
    for weight in weights:
        assert isinstance(weight, ServedWeight)
        x = torch.randn(5, weight.in_features, requires_grad=True)
        upstream = torch.randn(5, weight.out_features)
        (found,) = torch.autograd.grad(weight(x), x, upstream)
        dense = weight.dequantize().float()
        for ours, exact in ((weight(x), x @ dense.T), (found, upstream @ dense)):
            assert (ours - exact).norm() < 0.02 * exact.norm()


def test_gradients_are_near_those_of_dense_weights(native: Base, tmp_path: Path) -> None:
    found = {precision: gradients(trainer_of(native, tmp_path, precision)) for precision in ("fp32", "served")}
    assert found["served"].keys() == found["fp32"].keys() and len(found["served"]) > 100
    exact, rounded = (torch.cat([grad.flatten() for grad in each.values()]) for each in found.values())
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.99
    assert float(rounded.norm() / exact.norm()) == pytest.approx(1, abs=0.05)


def test_a_skill_learns_through_them(native: Base, tmp_path: Path) -> None:
    trainer = trainer_of(native, tmp_path, "served")
    before = trainer.validate()
    trainer.run()
    assert trainer.validate() < 0.7 * before


def test_a_base_that_torch_serves_is_refused() -> None:
    with pytest.raises(InputError, match="set precision to 'fp32' or 'bf16'"):
        training_view(random_base(0), "served")
