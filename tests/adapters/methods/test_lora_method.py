from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora, RsLora
from loraloop.adapters.payload.payload import LowRank, PayloadAttached
from loraloop.adapters.payload.sites import GROUPS, MODULES, group_shape, module_shape
from loraloop.tool_schemas.errors import InputError, UnknownNameError

CONFIG = SimpleNamespace(hidden_size=24, intermediate_size=40, layers=2, heads=4, kv_heads=2, head_dim=6)
CONTEXT = MethodContext(CONFIG)


def filled(method: Lora) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(tensor.shape).requires_grad_() for name, tensor in method.init(CONTEXT, 0).items()}


def test_start_is_the_base_and_bounded_like_peft() -> None:
    parameters = Lora(4, 8).init(CONTEXT, seed=3)
    assert len(parameters) == CONFIG.layers * len(MODULES) * 2
    for name, tensor in parameters.items():
        _, _, module, factor = name.split(".")
        out_features, in_features = module_shape(CONFIG, module)
        assert tensor.dtype == torch.float32 and tensor.requires_grad and tensor.is_leaf
        if factor == "lora_A":
            assert tensor.shape == (4, in_features)
            assert 0.5 / math.sqrt(in_features) < tensor.abs().max() <= 1 / math.sqrt(in_features)
        else:
            assert tensor.shape == (out_features, 4) and not tensor.any()
    again = Lora(4, 8).init(CONTEXT, seed=3)
    assert all(torch.equal(again[name], tensor) for name, tensor in parameters.items())
    assert not torch.equal(Lora(4, 8).init(CONTEXT, seed=4)["layers.0.q_proj.lora_A"], again["layers.0.q_proj.lora_A"])


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("targets", [MODULES, ("q_proj", "v_proj"), ("up_proj", "down_proj")])
def test_payload_equals_the_sum_of_its_modules(targets: tuple[str, ...], rslora: bool) -> None:
    method = (RsLora if rslora else Lora)(3, 5, targets)
    parameters = filled(method)
    payload = method.payload(parameters, CONTEXT)
    scaling = 5 / math.sqrt(3) if rslora else 5 / 3
    for layer in range(CONFIG.layers):
        for group, parts in GROUPS.items():
            out_features, in_features = group_shape(CONFIG, group)
            if not set(parts) & set(targets):
                assert (layer, group) not in payload.pairs
                continue
            pair = payload.pairs[layer, group]
            assert pair.A.shape == (pair.rank, in_features) and pair.B.shape == (out_features, pair.rank)
            dense = torch.zeros_like(pair.B)
            column = 0
            for ranks, first, end in pair.blocks or [(pair.rank, 0, out_features)]:
                dense[first:end, column : column + ranks] = pair.B[first:end, column : column + ranks]
                column += ranks
            assert column == pair.rank and torch.equal(dense, pair.B)
            x = torch.randn(5, in_features)
            expected = []
            for part in parts:
                if part in targets:
                    A, B = (parameters[f"layers.{layer}.{part}.lora_{f}"] for f in "AB")
                    expected.append(x @ A.T @ B.T * scaling)
                else:
                    expected.append(torch.zeros(5, module_shape(CONFIG, part)[0]))
            torch.testing.assert_close(x @ pair.A.T @ pair.B.T, torch.cat(expected, 1))


def test_gradients_reach_every_parameter() -> None:
    method = Lora(2, 4)
    parameters = filled(method)
    attached = PayloadAttached(method.payload(parameters, CONTEXT), torch.bfloat16)
    total = torch.zeros(())
    for layer in range(CONFIG.layers):
        for group in GROUPS:
            out_features, in_features = group_shape(CONFIG, group)
            x, y = torch.randn(3, in_features).bfloat16(), torch.zeros(3, out_features).bfloat16()
            y = attached.linear(layer, group, x, y, ((0, 3, 1),))
            assert y.dtype == torch.bfloat16
            total = total + y.float().square().sum()
    total.backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in parameters.values())


def test_rows_on_slot_0_are_untouched() -> None:
    method = Lora(2, 4, ("o_proj",))
    attached = PayloadAttached(method.payload(filled(method), CONTEXT))
    x, y = torch.randn(6, 24), torch.randn(6, 24)
    out = attached.linear(1, "o", x, y, ((0, 2, 0), (2, 5, 1), (5, 6, 0)))
    whole = attached.linear(1, "o", x, y, ((0, 6, 1),))
    assert torch.equal(out[:2], y[:2]) and torch.equal(out[5:], y[5:])
    torch.testing.assert_close(out[2:5], whole[2:5])
    assert attached.linear(1, "down", x, y, ((0, 6, 1),)) is y


def test_bad_options_say_what_to_do() -> None:
    with pytest.raises(InputError, match="rank must be at least 1"):
        Lora(0, 1)
    with pytest.raises(InputError, match="alpha must be a positive"):
        Lora(1, float("nan"))
    with pytest.raises(InputError, match="at least one target"):
        Lora(1, 1, ())
    with pytest.raises(UnknownNameError, match="q_proj"):
        Lora(1, 1, ("q_porj",))
    with pytest.raises(ValueError, match="do not fit"):
        LowRank(torch.zeros(2, 3), torch.zeros(4, 3))
