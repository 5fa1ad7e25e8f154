"""Blends of skills through a bank: the sum they should be, and what PEFT's weighted adapter computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row, random_base
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.skill.skill import Skill
from loraloop.kernels.reference import Blend

from .test_bank import make

TOKENS = list(range(40, 60))
CONTEXT = [7, 9, 30, 41, 55, 60, 61, 77, 90, 101]
COMPLETION = [200, 201, 150, 140, 33]


def hidden(base: Base, bank: Bank, *choices: int | Blend, tokens: list[int] = TOKENS) -> list[torch.Tensor]:
    rows = [Row(tokens, base.new_cache(), choice) for choice in choices]
    return list(base.forward(rows, attached=bank.attached).hidden.split(len(tokens)))


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def base(request: pytest.FixtureRequest) -> Base:
    return random_base(4, dtype=request.param)


def test_a_blend_is_one_wide_adapter(base: Base) -> None:
    """The sum of weighted low-rank products equals one product whose factors are stacked, the weights in A."""
    bank = Bank(base, rank={8: 2, 16: 1})
    weights = {"one": 0.7, "two": -0.4, "wide": 1.3}
    skills = {
        "one": make(base, "one", rank=4),
        "two": make(base, "two", rank=4, targets=("q_proj", "down_proj")),
        "wide": make(base, "wide", rank=12),
    }
    blend = tuple((bank.slot(bank.add(skills[name])), weight) for name, weight in weights.items())
    stacked: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        for key, value in skills[name].tensors.items():
            scaled = value * weight * 2 if key.endswith("lora_A") else value  # alpha / rank is 2 in every one
            axis = 0 if key.endswith("lora_A") else 1
            stacked[key] = torch.cat([stacked[key], scaled], axis) if key in stacked else scaled
    from loraloop.adapters.methods.context import ConfigContext
    from loraloop.adapters.methods.lora import Lora

    whole = PayloadAttached(Lora(20, 20).payload(stacked, ConfigContext(base.config)), base.dtype)
    expected = base.forward([Row(TOKENS, base.new_cache(), 1)], attached=whole).hidden
    found, bare = hidden(base, bank, blend)[0].float(), hidden(base, bank, 0)[0].float()
    close = 1e-4 if base.dtype is torch.float32 else 0.1
    assert (found - expected.float()).norm() < close * (found - bare).norm()


def test_one_member_of_weight_one_is_the_skill_bit_for_bit(base: Base) -> None:
    bank = Bank(base, slots=2)
    slot = bank.slot(bank.add(make(base, "one")))
    assert torch.equal(hidden(base, bank, ((slot, 1.0),))[0], hidden(base, bank, slot)[0])
    assert not torch.equal(hidden(base, bank, ((slot, 0.5),))[0], hidden(base, bank, slot)[0])


def test_a_blend_depends_on_its_own_members_alone(base: Base) -> None:
    bank = Bank(base, slots=3)
    one, two, three = (bank.slot(bank.add(make(base, name))) for name in ("one", "two", "three"))
    blend: Blend = ((one, 0.5), (two, 0.5))
    mine = hidden(base, bank, blend, 0, three)
    for others in ((three, 0), (blend, one), (((three, 2.0),), two)):
        assert torch.equal(hidden(base, bank, blend, *others)[0], mine[0])
    assert torch.equal(hidden(base, bank, 0, 0, 0)[1], mine[1])


def test_a_payload_being_trained_takes_no_blend(base: Base) -> None:
    attached = PayloadAttached(make(base, "one").payload(base.config), base.dtype)
    with pytest.raises(ValueError, match="a blend needs a bank"):
        base.forward([Row(TOKENS, base.new_cache(), ((1, 0.5), (2, 0.5)))], attached=attached)


@pytest.mark.parametrize("activated", [True, False], ids=["aLoRA", "full"])
def test_parity_with_peft_weighted_adapters(tmp_path: Path, save_llama: Any, activated: bool) -> None:
    """`add_weighted_adapter(combination_type="cat")` is Σ w · scaling · B A exactly, also across ranks and scalings."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import LlamaForCausalLM

    folder = tmp_path / "tiny"
    save_llama(
        folder, 6, hidden_size=48, intermediate_size=80, num_attention_heads=6, head_dim=8, initializer_range=0.15
    )
    base = Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    prompt = list(base.chat.generation_prompt)
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    options: dict[str, dict[str, Any]] = {
        "code": {"r": 4, "lora_alpha": 6, "target_modules": every},
        "tools": {"r": 2, "lora_alpha": 5, "target_modules": every, "use_rslora": False},
        "prose": {"r": 3, "lora_alpha": 3, "target_modules": every},
    }
    bank, model = Bank(base, slots=4), None
    extra = {"alora_invocation_tokens": prompt} if activated else {}
    for name, fields in options.items():
        made = LoraConfig(task_type="CAUSAL_LM", **fields, **extra)
        plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        peft = get_peft_model(plain, made)
        with torch.no_grad():
            for key, parameter in peft.named_parameters():
                if "lora_" in key:
                    parameter.copy_(torch.randn(parameter.shape) * 0.2)
        peft.save_pretrained(tmp_path / name)
        skill = Skill.from_peft(tmp_path / name, base)
        assert skill.card.activation == ("branch" if activated else "full")
        bank.add(skill)
        if model is None:
            plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
            model = PeftModel.from_pretrained(plain, tmp_path / name, adapter_name=name).eval()
        else:
            model.load_adapter(tmp_path / name, adapter_name=name)
    assert model is not None
    for number, weights in enumerate(({"code": 0.7, "tools": 0.3}, {"code": 1.5, "tools": -0.5, "prose": 0.25})):
        model.add_weighted_adapter(list(weights), list(weights.values()), f"mix{number}", combination_type="cat")
        model.set_adapter(f"mix{number}")
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor([CONTEXT + prompt + COMPLETION])).logits[0][len(CONTEXT) :]
        blend = tuple((bank.slot(name), weight) for name, weight in weights.items())
        cache = base.new_cache()
        base.forward([Row(CONTEXT, cache, 0 if activated else blend)], attached=bank.attached)
        ours = base.logits(base.forward([Row(prompt + COMPLETION, cache, blend)], attached=bank.attached).hidden)
        alone = base.logits(hidden(base, bank, bank.slot("code"), tokens=CONTEXT + prompt + COMPLETION)[0])
        assert (ours - theirs).abs().max() < 2e-4
        assert (ours - alone[len(CONTEXT) :]).abs().max() > 0.02
