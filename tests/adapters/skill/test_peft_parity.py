"""Logits of `peft` and of a skill in a slot, for the same file on the same base, in both directions; and gradients.

Tolerance: 2e-4 absolute on logits of order 1 in fp32; what differs is the order of summation in attention and in the
fused products, over two layers. Gradients of A and B, of order 0.1, are in 1e-5 absolute and 1e-3 of each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora, RsLora
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import SkillError

TOLERANCE = 2e-4
CONTEXT = [7, 9, 30, 41, 55, 60, 61, 77, 90, 101]
COMPLETION = [200, 201, 150, 140, 33]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(llama_base: Base) -> Base:
    return llama_base


def plain_model(folder: Path) -> Any:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def trained(folder: Path, target: Path, **options: Any) -> Any:
    """A PEFT model whose adapter is random in both factors, saved to `target`."""
    from peft import LoraConfig, get_peft_model

    fields = {"r": 4, "lora_alpha": 6, "target_modules": ALL, "task_type": "CAUSAL_LM", **options}
    model = get_peft_model(plain_model(folder), LoraConfig(**fields)).eval()
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(target)
    return model


def peft_logits(model: Any, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0]


def skill_logits(base: Base, skill: Skill, context: list[int], branch: list[int]) -> torch.Tensor:
    """The context as the skill's activation wants it, then the branch under the skill's slot; logits of the branch."""
    bank = Bank(base, slots=2)
    slot = bank.slot(bank.add(skill))
    cache = base.new_cache()
    base.forward([Row(context, cache, 0 if skill.card.activation == "branch" else slot)], attached=bank.attached)
    return base.logits(base.forward([Row(branch, cache, slot)], attached=bank.attached).hidden)


def assert_parity(model: Any, base: Base, skill: Skill) -> None:
    prompt = list(base.chat.generation_prompt)
    theirs = peft_logits(model, CONTEXT + prompt + COMPLETION)[len(CONTEXT) :]
    ours = skill_logits(base, skill, CONTEXT, prompt + COMPLETION)
    assert (ours - theirs).abs().max() < TOLERANCE
    bare = base.new_cache()
    base.forward([Row(CONTEXT, bare)])
    without = base.logits(base.forward([Row(prompt + COMPLETION, bare)]).hidden)
    assert (ours - without).abs().max() > 100 * TOLERANCE


VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "attention only": {"target_modules": ["q_proj", "v_proj"]},
    "one layer": {"layers_to_transform": [1]},
    "patterns": {
        "rank_pattern": {"q_proj": 2, r"layers.1.mlp.down_proj": 6},
        "alpha_pattern": {"v_proj": 10, "q_proj": 3},
    },
    "patterns, rslora": {"use_rslora": True, "rank_pattern": {"o_proj": 7}, "alpha_pattern": {"up_proj": 1}},
}


@pytest.mark.parametrize("activated", [True, False], ids=["aLoRA", "full"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_peft_to_skill_and_back(llama_folder: Path, base: Base, tmp_path: Path, variant: str, activated: bool) -> None:
    from peft import PeftModel

    prompt = list(base.chat.generation_prompt)
    options = VARIANTS[variant] | ({"alora_invocation_tokens": prompt} if activated else {})
    model = trained(llama_folder, tmp_path / "My Adapter", **options)
    skill = Skill.from_peft(tmp_path / "My Adapter", base, contract="calls")
    card = skill.card
    assert card.name == "my-adapter" and card.contract == "calls" and card.base == "tiny"
    assert card.activation == ("branch" if activated else "full")
    assert card.invocation == (tuple(prompt) if activated else ())
    assert_parity(model, base, skill)

    reloaded = Skill.load(skill.save(tmp_path / "skill"))
    again = PeftModel.from_pretrained(plain_model(llama_folder), reloaded.to_peft(tmp_path / "back")).eval()
    assert_parity(again, base, reloaded)
    twice = Skill.from_peft(tmp_path / "back", base)
    assert all(torch.equal(twice.tensors[name], tensor) for name, tensor in reloaded.tensors.items())


@pytest.mark.parametrize("activated", [True, False], ids=["aLoRA", "full"])
def test_gradients_are_those_of_peft(llama_folder: Path, base: Base, tmp_path: Path, activated: bool) -> None:
    """Gradients of one A and B are equal on a batch whose rows differ in length, for mean cross-entropy a token."""
    prompt = tuple(base.chat.generation_prompt)
    pairs = [(CONTEXT, COMPLETION), (CONTEXT[:4], COMPLETION[:3]), (CONTEXT[2:9], [33, 150])]
    model = trained(llama_folder, tmp_path / "peft", **({"alora_invocation_tokens": list(prompt)} if activated else {}))
    total, count = torch.zeros(()), sum(len(completion) for _, completion in pairs)
    for context, completion in pairs:
        tokens, first = torch.tensor([*context, *prompt, *completion]), len(context) + len(prompt)
        logits = model(input_ids=tokens[None]).logits[0, first - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, tokens[first:], reduction="sum")
    (total / count).backward()

    skill = Skill.from_peft(tmp_path / "peft", base)
    rows = [(tuple(context), EncodedBranch((*prompt, *completion), len(prompt))) for context, completion in pairs]
    batch = [Encoded(context, (branch,)) for context, branch in rows]
    config = TrainConfig.of(steps=1, batch=len(batch), mode="branch" if activated else "full")
    made = Trainer(base, Lora(4, 6, tuple(ALL)), batch, batch, config, tmp_path / "run", skill.tensors)
    loss = made.loss(batch, grad=True)
    loss.backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(loss.detach(), (total / count).detach(), atol=1e-5, rtol=1e-5)
    theirs = {name.removesuffix(".default.weight"): p.grad for name, p in model.named_parameters() if "lora_" in name}
    assert len(theirs) == len(made.trained) == 2 * 2 * len(ALL)
    for name, tensor in made.trained.items():
        _, layer, module, factor = name.split(".")
        (grad,) = (g for key, g in theirs.items() if f"layers.{layer}." in key and key.endswith(f"{module}.{factor}"))
        assert tensor.grad is not None and tensor.grad.abs().max() > 1e-3
        torch.testing.assert_close(tensor.grad, grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("rslora", [False, True])
def test_skill_to_peft(llama_folder: Path, base: Base, tmp_path: Path, rslora: bool) -> None:
    from peft import PeftModel

    method = (RsLora if rslora else Lora)(5, 7.5, ("k_proj", "gate_proj", "down_proj"))
    torch.manual_seed(2)
    made = method.init(MethodContext(base.config))
    tensors = {name: torch.randn(value.shape) * 0.2 for name, value in made.items()}
    fields = {
        "name": "mine", "description": "A test.", "method": method.name, "rank": 5, "alpha": 7.5,
        "targets": method.targets, "base": base.name, "invocation": tuple(base.chat.generation_prompt),
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
    }  # fmt: skip
    skill = Skill(Card.checked(fields), tensors)
    model = PeftModel.from_pretrained(plain_model(llama_folder), skill.to_peft(tmp_path / "peft")).eval()
    assert_parity(model, base, skill)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bias": "lora_only"}, 'bias = "lora_only"'),
        ({"modules_to_save": ["lm_head"]}, r'modules_to_save = \["lm_head"\]'),
        ({"lora_bias": True}, "lora_bias = true"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"target_modules": [*ALL, "embed_tokens"]}, "embed_tokens"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
)
def test_what_a_skill_cannot_express(
    llama_folder: Path, base: Base, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    trained(llama_folder, tmp_path / "adapter", **options)
    with pytest.raises(SkillError, match=message):
        Skill.from_peft(tmp_path / "adapter", base)


def test_damaged_folders(llama_folder: Path, base: Base, tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    trained(llama_folder, target)
    config = json.loads((target / "adapter_config.json").read_text())
    weights = target / "adapter_model.safetensors"
    whole = weights.read_bytes()

    def refused(message: str, **changes: Any) -> None:
        (target / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(SkillError, match=message):
            Skill.from_peft(target, base)

    refused("peft_type 'OFT' cannot be imported; merge", peft_type="OFT")
    refused("peft_type 'NEWEST' cannot be imported; merge", peft_type="NEWEST")
    refused("init_lora_weights = true cannot be expressed", peft_type="VERA")
    refused("lacks magnitude", use_dora=True)
    refused("no aLoRA with DoRA", use_dora=True, alora_invocation_tokens=[1])
    refused("has rank 4, but", r=5)
    refused("lora_alpha = -1 is not a positive", lora_alpha=-1)
    refused("some_new_field", some_new_field={"x": 1})
    weights.write_bytes(whole[:-100])
    refused("header promises")
    wide = {name: torch.cat([tensor, tensor], 1) for name, tensor in load_file_bytes(whole, tmp_path).items()}
    save_file({n: t if "lora_A" in n else t[:, :4].contiguous() for n, t in wide.items()}, weights)
    refused("the base 'tiny' has 2 layers of 48 x 80")
    weights.unlink()
    (target / "adapter_model.bin").write_bytes(b"")
    refused("pickled weights are not read")
    with pytest.raises(SkillError, match=r"lacks adapter_config\.json"):
        Skill.from_peft(tmp_path, base)


def load_file_bytes(content: bytes, tmp_path: Path) -> dict[str, torch.Tensor]:
    (tmp_path / "copy.safetensors").write_bytes(content)
    return load_file(tmp_path / "copy.safetensors")
