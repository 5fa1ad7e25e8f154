"""Merged bases: what transformers and `Base.load` make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.chat import ChatFormat
from loraloop.adapters.base.random_weights import CHATML
from loraloop.adapters.methods import make_method
from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.peft import merge as merging
from loraloop.adapters.peft.merge import chat_template, merge, merge_payload
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.trainer.trainer import training_view
from loraloop.tool_schemas.errors import InputError, SkillError

TOKENS = [7, 9, 30, 41, 55, 60, 61, 77, 90, 101]
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.15}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory, save_llama: Any, shared_cache: Path) -> Any:
    root = tmp_path_factory.mktemp("bases")

    def made(kind: str = "llama", form: str = "fp32") -> Base:
        folder = root / kind
        if not folder.exists():
            more = {"head_dim": 16} if kind == "qwen3" else {}
            save_llama(folder, 5, kind, **SIZES, **more)
        return Base.load(str(folder), quantize=form, device="cpu", cache_dir=shared_cache)

    return made


@torch.no_grad()
def attached(base: Base, skill: Skill) -> torch.Tensor:
    decoder = training_view(base)
    payload = PayloadAttached(skill.payload(base.config), base.dtype)
    return decoder.logits(decoder.forward([Row(TOKENS, decoder.new_cache(), 1)], payload).hidden)


METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "alpha": 8.0}, "dora": {"rank": 4, "alpha": 8.0}, "ia3": {}, "galore": {"rank": 8},
}  # fmt: skip


@pytest.mark.parametrize(
    "kind, name",
    [
        *((kind, name) for kind in ("llama", "qwen2") for name in METHODS),
        ("qwen3", "ia3"), ("mistral", "lora"), ("granite", "lora"),
    ],
)  # fmt: skip
def test_transformers_and_base_load_read_it(load: Any, tmp_path: Path, kind: str, name: str, random_skill: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = load(kind)
    skill = random_skill(base, name, scale=0.1, **METHODS[name])
    folder = merge(base, skill, tmp_path / "merged", "fp32")
    expected = attached(base, skill)
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        theirs = model(input_ids=torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(theirs, expected, atol=3e-4, rtol=3e-4)
    again = Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    assert again.config == base.config and again.fingerprints.architecture == base.fingerprints.architecture
    assert again.stop_ids == base.stop_ids
    found = again.logits(again.forward([Row(TOKENS, again.new_cache())]).hidden)
    torch.testing.assert_close(found, expected, atol=3e-4, rtol=3e-4)
    bare = base.logits(base.forward([Row(TOKENS, base.new_cache())]).hidden)
    assert (expected - bare).abs().max() > 0.05
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "Hi."}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == [*base.chat.message("user", "Hi."), *base.chat.generation_prompt]


def test_a_payload_of_full_rank_is_merged_whole(load: Any, tmp_path: Path) -> None:
    base = load()
    method, context = make_method("galore", {"rank": 2}), BaseContext(base)
    parameters = {key: torch.randn(value.shape) * 0.05 for key, value in method.init(context).items()}
    folder = merge_payload(base, method.payload(parameters, context), tmp_path / "merged", "fp32")
    again = BaseContext(Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=tmp_path / "cache"))
    for layer in range(2):
        for module in ("q_proj", "down_proj"):
            wanted = context.weight(layer, module) + parameters[f"layers.{layer}.{module}.delta"]
            torch.testing.assert_close(again.weight(layer, module), wanted)


def test_a_large_model_is_written_in_shards(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_skill: Any
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(merging, "SHARD", 60_000)
    base = load()
    skill = random_skill(base, "lora", scale=0.1, rank=4, alpha=8.0)
    folder = merge(base, skill, tmp_path / "merged", "fp32")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(
        t.nbytes
        for t in AutoModelForCausalLM.from_pretrained(folder, tie_word_embeddings=True).model.state_dict().values()
    )
    again = Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    found = again.logits(again.forward([Row(TOKENS, again.new_cache())]).hidden)
    torch.testing.assert_close(found, attached(base, skill), atol=3e-4, rtol=3e-4)


def test_what_cannot_be_merged_writes_nothing(load: Any, tmp_path: Path, random_skill: Any) -> None:
    base = load()
    for name in ("prefix", "prompt", "bottleneck"):
        with pytest.raises(SkillError, match="cannot be merged into a base"):
            merge(base, random_skill(base, name, scale=0.1), tmp_path / name)
    skill = random_skill(base, "lora", scale=0.1, rank=1, alpha=1.0)
    with pytest.raises(InputError, match="dtype is one of"):
        merge(base, skill, tmp_path / "x", "int4")
    with pytest.raises(InputError, match="exists: name a new folder"):
        merge(base, skill, tmp_path)
    with pytest.raises(SkillError, match="was made for the base"):
        merge(load("qwen2"), skill, tmp_path / "other")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + CHATML,
        "{{ '<|endoftext|>' }}" + CHATML,
        "{% for m in messages %}{{ '[' + m['role'] + ']\"\\'' + m['content'] + '<|im_end|>é' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]\"\\'' }}{% endif %}",
    ],
)
def test_the_chat_template_is_the_format(template: str) -> None:
    found = ChatFormat.probe(template)
    assert ChatFormat.probe(chat_template(found)) == found
