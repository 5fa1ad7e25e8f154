"""Every kind of adapter that PEFT and a skill share, at full activation: the same logits, in and out.

Tolerance as in test_peft_parity.py. Skills run through the torch decoder, as a trainer runs them, and from a slot.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, BranchCache, Row
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.peft.plain_lora import lint, lint_peft, to_plain_lora
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, SkillError

TOLERANCE = 2e-4
CONTEXT = [7, 9, 30, 41, 55, 60, 61, 77, 90, 101]
COMPLETION = [200, 201, 150, 140, 33]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A Qwen2, whose queries, keys and values have biases."""
    path = tmp_path_factory.mktemp("model") / "biased"
    save_llama(path, 6, "qwen2", initializer_range=0.15)
    return path


def load(folder: Path, cache: Path) -> Base:
    return Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=cache)


@pytest.fixture(scope="module")
def base(llama_base: Base) -> Base:
    return llama_base


def plain_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def configured(kind: str, **options: Any) -> Any:
    import peft

    return getattr(peft, f"{kind}Config")(task_type="CAUSAL_LM", **options)


def trained(folder: Path, target: Path, config: Any) -> Any:
    """A PEFT model whose parameters are moved at random, saved to `target`."""
    from peft import get_peft_model

    torch.manual_seed(3)
    model = get_peft_model(plain_model(folder), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
            if "lora_E" in name and "layers.1.self_attn" in name:
                parameter[1:].zero_()  # as a budget leaves it
    model.save_pretrained(target)
    return model


@torch.no_grad()
def peft_logits(model: Any, tokens: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([tokens])).logits[0][-len(tokens) :]


@torch.no_grad()
def skill_logits(base: Base, skill: Skill, tokens: list[int]) -> torch.Tensor:
    payload = skill.payload(base.config)
    row = Row(tokens, BranchCache(base.decoder.new_cache(), payload.prefix), 1, before=payload.prompt)
    hidden = base.decoder.forward([row], PayloadAttached(payload, base.dtype)).hidden[-len(tokens) :]
    if not payload.virtual:
        bank = Bank(base, slots=1, rank=256)
        slot = bank.slot(bank.add(skill))
        served = base.forward([Row(tokens, base.new_cache(), slot)], attached=bank.attached).hidden
        torch.testing.assert_close(served, hidden, atol=TOLERANCE, rtol=TOLERANCE)
    return base.logits(hidden)


def assert_parity(model: Any, base: Base, skill: Skill) -> None:
    tokens = CONTEXT + COMPLETION
    theirs, ours = peft_logits(model, tokens), skill_logits(base, skill, tokens)
    assert (ours - theirs).abs().max() < TOLERANCE
    bare = base.logits(base.forward([Row(tokens, base.new_cache())]).hidden)
    assert (ours - bare).abs().max() > 50 * TOLERANCE


KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "dora": ("Lora", {"r": 4, "lora_alpha": 6, "use_dora": True, "target_modules": ALL}, "dora"),
    "dora, patterns, rslora": (
        "Lora",
        {"r": 4, "use_dora": True, "use_rslora": True, "target_modules": ["q_proj", "up_proj"],
         "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}},
        "dora",
    ),
    "adalora": ("AdaLora", {"init_r": 4, "target_r": 2, "total_step": 9, "target_modules": ALL}, "adalora"),
    "vera": ("Vera", {"r": 6, "target_modules": ALL, "projection_prng_key": 11}, "vera"),
    "vera, not saved": (
        "Vera", {"r": 6, "target_modules": ["v_proj", "down_proj"], "save_projection": False}, "vera",
    ),
    "ia3": ("IA3", {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}, "ia3"),
    "ia3, all outputs": ("IA3", {"target_modules": ALL, "feedforward_modules": []}, "ia3"),
    "prefix": ("PrefixTuning", {"num_virtual_tokens": 3}, "prefix"),
    "prefix, projected": (
        "PrefixTuning", {"num_virtual_tokens": 3, "prefix_projection": True, "encoder_hidden_size": 5}, "prefix",
    ),
    "prompt": ("PromptTuning", {"num_virtual_tokens": 3}, "prompt"),
    "p-tuning": ("PromptEncoder", {"num_virtual_tokens": 3, "encoder_hidden_size": 7}, "prompt"),
    "loha": ("LoHa", {"r": 3, "alpha": 4, "target_modules": ALL}, "lora"),
    "loha, patterns": (
        "LoHa", {"r": 3, "target_modules": ["q_proj", "up_proj"], "rank_pattern": {"q_proj": 2},
                 "alpha_pattern": {"up_proj": 5}}, "lora",
    ),
    "lokr": ("LoKr", {"r": 2, "alpha": 3, "target_modules": ALL}, "lora"),
    "lokr, both": ("LoKr", {"r": 1, "target_modules": ["q_proj", "down_proj"], "decompose_both": True}, "lora"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_peft_to_skill_and_back(llama_folder: Path, base: Base, tmp_path: Path, kind: str) -> None:
    from peft import PeftModel

    theirs, options, method = KINDS[kind]
    model = trained(llama_folder, tmp_path / "adapter", configured(theirs, **options))
    skill = Skill.from_peft(tmp_path / "adapter", base)
    assert skill.card.method == method and skill.card.activation == "full"
    assert_parity(model, base, skill)
    reloaded = Skill.load(skill.save(tmp_path / "skill"))
    back = reloaded.to_peft(tmp_path / "back", base.config)
    again = PeftModel.from_pretrained(plain_model(llama_folder), back).eval()
    assert_parity(again, base, reloaded)
    assert_parity(again, base, Skill.from_peft(back, base))


@pytest.mark.parametrize("kind", ["ia3", "dora", "adalora", "prefix", "loha"])
def test_a_base_with_biases(biased: Path, tmp_path: Path, kind: str) -> None:
    base = load(biased, tmp_path / "cache")
    theirs, options, _ = KINDS[kind]
    model = trained(biased, tmp_path / "adapter", configured(theirs, **options))
    skill = Skill.from_peft(tmp_path / "adapter", base)
    if kind == "ia3":
        assert any(name.endswith(".bias") for name in skill.tensors)
    assert_parity(model, base, skill)


def test_other_projections_are_folded(llama_folder: Path, base: Base, tmp_path: Path) -> None:
    """Matrices that no seed of ours draws become low-rank pairs."""
    from safetensors.torch import load_file, save_file

    model = trained(llama_folder, tmp_path / "adapter", configured("Vera", r=6, target_modules=["q_proj", "down_proj"]))
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    with torch.no_grad():
        model.base_model.vera_A["default"].mul_(1.5)
    tensors["base_model.vera_A"].mul_(1.5)
    save_file(tensors, file)
    skill = Skill.from_peft(tmp_path / "adapter", base)
    assert skill.card.method == "lora" and skill.card.rank == 6
    assert_parity(model, base, skill)


@pytest.mark.parametrize("kind", ["OFT", "BOFT", "LNTuning", "FourierFT"])
def test_what_no_slot_holds_is_refused_by_name(llama_folder: Path, base: Base, tmp_path: Path, kind: str) -> None:
    sizes = {"OFT": {"oft_block_size": 4}, "BOFT": {"boft_block_size": 4}, "FourierFT": {"n_frequency": 9}}
    targets = ["input_layernorm"] if kind == "LNTuning" else ["q_proj"]
    trained(llama_folder, tmp_path / "adapter", configured(kind, target_modules=targets, **sizes.get(kind, {})))
    name = {"LNTuning": "LN_TUNING", "FourierFT": "FOURIERFT"}.get(kind, kind)
    with pytest.raises(SkillError, match=f"peft_type '{name}' cannot be imported; merge it"):
        Skill.from_peft(tmp_path / "adapter", base)


def test_damaged_folders_of_other_kinds(llama_folder: Path, base: Base, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def broken(kind: str, message: str, change: Any, **fields: Any) -> None:
        target = tmp_path / kind / str(abs(hash(message)))
        trained(llama_folder, target, configured(KINDS[kind][0], **KINDS[kind][1]))
        file, card = target / "adapter_model.safetensors", target / "adapter_config.json"
        save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file)
        card.write_text(json.dumps({**json.loads(card.read_text()), **fields}))
        with pytest.raises(SkillError, match=message):
            Skill.from_peft(target, base)

    broken("prefix", r"one tensor prompt_embeddings \[tokens, 64\]", lambda t: {n: v[:, :-1] for n, v in t.items()})
    broken("prompt", "one tensor prompt_embeddings", lambda t: {**t, "other": torch.zeros(2)})
    broken("prefix", "encoder-decoders", dict, num_transformer_submodules=2)
    broken(
        "vera", "lacks vera_b", lambda t: {n: v for n, v in t.items() if "layers.0.mlp.up_proj.vera_lambda_b" not in n}
    )
    broken("vera", "not an update of", lambda t: {**t, "base_model.model.lm_head.vera_lambda_b": torch.zeros(3)})
    broken("ia3", "ia3_l of", lambda t: {n: v.flatten() for n, v in t.items()})
    broken("adalora", "at once", lambda t: {n: v[:3] if n.endswith("lora_E") else v for n, v in t.items()})
    broken("adalora", "changes nothing", lambda t: {n: v * (0 if n.endswith("lora_E") else 1) for n, v in t.items()})
    broken(
        "lokr",
        "does not fit the base",
        lambda t: {n: torch.cat([v, v]) if n.endswith("w2_a") else v for n, v in t.items()},
    )
    broken("loha", "says 4; export it again", dict, r=4)
    broken("dora", "lacks magnitude", lambda t: {n: v for n, v in t.items() if "magnitude" not in n})
    broken("prompt", "prompt_tuning_new", dict, prompt_tuning_new=3)
    split = configured("IA3", target_modules=["up_proj"], feedforward_modules=["up_proj"])
    trained(llama_folder, tmp_path / "split", split)
    with pytest.raises(SkillError, match="the input of 'up_proj' feeds other modules too"):
        Skill.from_peft(tmp_path / "split", base)
    wide = configured("LoHa", r=17, target_modules=["q_proj"])
    trained(llama_folder, tmp_path / "wide", wide)
    with pytest.raises(SkillError, match="rank 289 here, and no slot holds more than 256"):
        Skill.from_peft(tmp_path / "wide", base)


@pytest.mark.parametrize("write", [lambda s, f, c: s.to_peft(f), to_plain_lora], ids=["peft", "vllm"])
def test_ranks_and_scalings_of_a_card_are_exported(base: Base, tmp_path: Path, write: Any, random_skill: Any) -> None:
    plain = random_skill(base, "lora", "full", rank=3, alpha=5.0)
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 9.0}}
    tensors = dict(plain.tensors)
    for name in [name for name in tensors if ".q_proj." in name]:
        tensors[name] = (tensors[name][:2] if name.endswith("A") else tensors[name][:, :2]).contiguous()
    skill = Skill(plain.card.model_copy(update={"options": patterns}), tensors)
    write(skill, tmp_path / "out", base.config)
    written = Skill.from_peft(tmp_path / "out", base).payload(base.config).pairs
    for site, pair in skill.payload(base.config).pairs.items():
        torch.testing.assert_close(written[site].B @ written[site].A, pair.B @ pair.A)


BRANCH: dict[str, dict[str, Any]] = {
    "adalora": {"rank": 4, "target_rank": 2}, "vera": {"rank": 6}, "galore": {"rank": 5},
    "lora": {"rank": 3, "alpha": 5.0, "start": "pissa"},
    "rslora": {"rank": 3, "alpha": 5.0, "rank_pattern": {"q_proj": 2}},
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCH)
def test_a_branch_skill_becomes_an_alora(
    llama_folder: Path, base: Base, tmp_path: Path, name: str, random_skill: Any
) -> None:
    from peft import PeftModel

    skill = random_skill(base, name, "branch", **BRANCH[name])
    model = PeftModel.from_pretrained(plain_model(llama_folder), skill.to_peft(tmp_path / "peft", base.config)).eval()
    prompt = list(base.chat.generation_prompt)
    theirs = peft_logits(model, CONTEXT + prompt + COMPLETION)[len(CONTEXT) :]
    bank = Bank(base, slots=1, rank=16)
    slot, cache = bank.slot(bank.add(skill)), base.new_cache()
    base.forward([Row(CONTEXT, cache)])
    found = base.logits(base.forward([Row(prompt + COMPLETION, cache, slot)], attached=bank.attached).hidden)
    assert (found - theirs).abs().max() < TOLERANCE


def test_what_peft_would_load_as_something_else_is_not_exported(base: Base, tmp_path: Path, random_skill: Any) -> None:
    cases: dict[str, dict[str, Any]] = {"dora": {"rank": 2, "alpha": 3.0}, "ia3": {}, "prefix": {}, "prompt": {}}
    for name, options in cases.items():
        with pytest.raises(SkillError, match=rf"would apply {name} to the whole context: its .*; merge it"):
            random_skill(base, name, "branch", **options).to_peft(tmp_path / name, base.config)
    for activation in ("branch", "full"):
        with pytest.raises(SkillError, match="PEFT has no bottleneck adapters"):
            random_skill(base, "bottleneck", activation).to_peft(tmp_path / "bottleneck")
    for name in ("vera", "prompt"):
        with pytest.raises(InputError, match="dimensions"):
            random_skill(base, name, "branch" if name == "vera" else "full").to_peft(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_scale_of_rslora_is_in_the_alpha_of_a_plain_lora(base: Base, tmp_path: Path, random_skill: Any) -> None:
    """SGLang scales by alpha / r, whatever `use_rslora` says."""
    skill = random_skill(base, "rslora", "full", rank=4, alpha=3.0)
    notes = to_plain_lora(skill, tmp_path / "out", engine="sglang")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["use_rslora"], config["lora_alpha"], config["r"]) == (
        False,
        6.0,
        4,
    ) and "--max-lora-rank 4" in notes[0]
    written = Skill.from_peft(tmp_path / "out", base).payload(base.config).pairs
    for site, pair in skill.payload(base.config).pairs.items():
        torch.testing.assert_close(written[site].B @ written[site].A, pair.B @ pair.A)


def test_vllm_gets_a_plain_lora_and_is_told_the_difference(
    llama_folder: Path, base: Base, tmp_path: Path, random_skill: Any
) -> None:
    from peft import PeftModel

    skill = random_skill(base, "lora", "branch", rank=10, alpha=5.0, start="pissa")
    notes = to_plain_lora(skill, tmp_path / "vllm")
    assert any("--max-lora-rank 32" in note for note in notes) and any("whole context" in note for note in notes)
    config = json.loads((tmp_path / "vllm" / "adapter_config.json").read_text())
    assert config["r"] == 20 and config["bias"] == "none" and config["init_lora_weights"] is True
    assert not {"alora_invocation_tokens", "use_dora", "modules_to_save", "lora_bias"} & set(config)
    model = PeftModel.from_pretrained(plain_model(llama_folder), tmp_path / "vllm").eval()
    full = Skill(skill.card.model_copy(update={"activation": "full"}), skill.tensors)
    assert_parity(model, base, full)
    assert lint_peft(tmp_path / "vllm") == ([], ["rank 20: start vLLM with --max-lora-rank 32 (16 by default)"])
    assert to_plain_lora(random_skill(base, "lora", "full", rank=8, alpha=8.0), tmp_path / "plain") == []
    assert "LoRA pairs" in to_plain_lora(random_skill(base, "vera", "full", rank=6), tmp_path / "vera", base.config)[0]
    for name, options in {
        "dora": {"rank": 2, "alpha": 1.0},
        "ia3": {},
        "prefix": {},
        "prompt": {},
        "bottleneck": {},
    }.items():
        with pytest.raises(SkillError, match="cannot be served by vLLM: vLLM"):
            to_plain_lora(random_skill(base, name, "full", **options), tmp_path / name)
    wide = Card.checked({**skill.card.model_dump(), "rank": 600})
    assert "above vLLM's largest, 512" in lint(_with(skill, wide))[0][0]


@pytest.mark.parametrize(
    "fields, refused",
    [
        ({"use_dora": True}, "use_dora"), ({"alora_invocation_tokens": [1]}, "alora"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"lora_bias": True}, "lora_bias"), ({"init_lora_weights": "pissa_niter_4"}, "pissa"), ({"r": 513}, "above"),
        ({"init_lora_weights": "olora"}, "olora"), ({"modules_to_save": ["lm_head"]}, "lm_head"), ({"r": 8}, ""),
        ({"init_lora_weights": "gaussian"}, ""), ({"peft_type": "VERA"}, "VERA"), ({"rank_pattern": {"q": 999}}, "999"),
    ],
)  # fmt: skip
def test_the_lint_of_a_peft_folder(tmp_path: Path, fields: dict[str, Any], refused: str) -> None:
    plain = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain | fields))
    found, _ = lint_peft(tmp_path)
    assert (len(found) == 1 and refused in found[0]) if refused else not found
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(SkillError, match="no JSON object"):
        lint_peft(tmp_path)
    with pytest.raises(SkillError, match="cannot be read"):
        lint_peft(tmp_path / "absent")


@pytest.mark.parametrize(
    "field", ["use_rslora", "rank_pattern", "alpha_pattern", "alora_invocation_tokens", "use_dora"]
)
def test_sglang_would_compute_something_else(tmp_path: Path, field: str) -> None:
    plain = {"peft_type": "LORA", "r": 600, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain))
    assert lint_peft(tmp_path, "sglang") == ([], [])
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain | {field: {"q_proj": 2}}))
    (refused,) = lint_peft(tmp_path, "sglang")[0]
    assert refused.startswith(field)


def _with(skill: Skill, card: Card) -> Skill:
    """The skill under another card, unchecked."""
    other = object.__new__(Skill)
    object.__setattr__(other, "card", card)
    object.__setattr__(other, "tensors", skill.tensors)
    return other
