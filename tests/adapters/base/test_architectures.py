"""Mistral, Qwen2, Qwen3 and Granite against transformers, on random small configs in fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, BranchCache, Row, random_base
from loraloop.adapters.base.config import ARCHITECTURES, ModelConfig
from loraloop.adapters.training.trainer.trainer import training_view
from loraloop.tool_schemas.errors import BaseModelError

TOLERANCE = 3e-4  # fp32 logits of magnitude ~1-10; sums run in another order
GRANITE = {"embedding_multiplier": 5.0, "attention_multiplier": 0.2, "residual_multiplier": 0.4, "logits_scaling": 3.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
MINISTRAL = {
    **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 100,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, sliding": ("mistral", {"sliding_window": 23}),
    "qwen2": ("qwen2", {}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    "qwen2, all layers sliding": ("qwen2", {"use_sliding_window": True, "sliding_window": 17, "max_window_layers": 0}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen2, YaRN": ("qwen2", {"rope_parameters": {**YARN, "beta_fast": 8.0, "truncate": False}}),
    "qwen3, YaRN": ("qwen3", {"head_dim": 16, "rope_parameters": YARN}),
    "llama, YaRN with a factor of its own": ("llama", {"rope_parameters": {**YARN, "attention_factor": 1.5}}),
    "ministral3": ("ministral3", {"head_dim": 16, "rope_parameters": MINISTRAL}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}),
    "smollm3, other layers": ("smollm3", {"num_hidden_layers": 3, "no_rope_layers": [0, 1, 0]}),
    "granite": ("granite", GRANITE),
    "granite, nothing scaled": ("granite", {"attention_multiplier": 8**-0.5}),
}
DIFFERENT: list[dict[str, Any]] = [
    {},
    {"architecture": "mistral", "sliding_window": 5},
    {"architecture": "qwen2", "qkv_bias": True},
    {"architecture": "qwen3", "qk_norm": True},
    {"architecture": "smollm3", "rope_skipped": [1]},
    {"rope_scaling": sorted(YARN.items())},
    {
        "architecture": "granite", "embedding_scale": 4.0, "attention_scale": 0.2, "residual_scale": 0.5,
        "logits_scale": 2.0,
    },
]  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_logits_equal_transformers(tmp_path: Path, save_llama: Any, case: str) -> None:
    """Prefill, one token at a time, several on top of a context: as transformers computes the whole at once."""
    kind, overrides = KINDS[case]
    model = save_llama(tmp_path / "model", seed=3, kind=kind, **overrides)
    base = Base.load(tmp_path / "model", quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    assert base.config.architecture == kind
    tokens = torch.randint(0, 259, (90,), generator=torch.Generator().manual_seed(1)).tolist()
    cache = base.new_cache()
    parts = [base.logits(base.forward([Row(tokens[:50], cache)]).hidden)]
    parts += [base.logits(base.forward([Row([token], cache)]).hidden) for token in tokens[50:60]]
    parts.append(base.logits(base.forward([Row(tokens[60:], cache)]).hidden))
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(torch.cat(parts), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("form", ["bf16", "int8"])
@pytest.mark.parametrize("case", KINDS)
def test_served_forms_come_close(tmp_path: Path, shared_cache: Path, save_llama: Any, case: str, form: str) -> None:
    """Dimensions that the C decoder serves, where it could be built: whole, and token by token."""
    kind, overrides = KINDS[case]
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1}
    sized = {**overrides, **sizes, **({"head_dim": 32} if "head_dim" in overrides else {})}
    model = save_llama(tmp_path / "model", seed=4, kind=kind, **sized)
    base = Base.load(tmp_path / "model", quantize=form, device="cpu", cache_dir=shared_cache)
    tokens = torch.randint(0, 259, (60,), generator=torch.Generator().manual_seed(2)).tolist()
    cache = base.new_cache()
    parts = [base.logits(base.forward([Row(tokens[:40], cache)]).hidden)]
    parts += [base.logits(base.forward([Row([token], cache)]).hidden) for token in tokens[40:]]
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0]
    likeness = torch.nn.functional.cosine_similarity(torch.cat(parts), expected)
    least = {"bf16": (0.997, 0.998), "int8": (0.99, 0.994)}[form]  # activations of 16 and of 8 bits
    assert likeness.mean() > least[0] and likeness.median() > least[1]


@given(different=st.sampled_from(DIFFERENT), seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 12), min_size=2))
@settings(max_examples=20, deadline=None)
def test_reused_keys_and_values_equal_recomputed(different: dict[str, Any], seed: int, cuts: list[int]) -> None:
    base = random_base(seed, **different)
    tokens = torch.randint(0, 259, (sum(cuts),), generator=torch.Generator().manual_seed(seed)).tolist()
    whole = base.forward([Row(tokens, base.new_cache())]).hidden
    cache, parts, at = base.new_cache(), [], 0
    for count in cuts:
        parts.append(base.forward([Row(tokens[at : at + count], cache)]).hidden)
        at += count
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("different", DIFFERENT)
def test_the_trainer_sees_the_same_base(different: dict[str, Any]) -> None:
    base = random_base(7, **different)
    context, branch = list(range(3, 15)), [30, 31, 32]
    trunk = base.new_cache()
    base.forward([Row(context, trunk)])
    trained = training_view(base).forward([Row(branch, BranchCache(trunk))]).hidden  # type: ignore[arg-type]
    torch.testing.assert_close(trained, base.forward([Row(branch, trunk)]).hidden, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("different", DIFFERENT)
def test_a_config_survives_being_written(different: dict[str, Any]) -> None:
    config = random_base(0, **different).config
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert set(config.to_dict()) - set(random_base(0).config.to_dict()) == set(different) - {
        "architecture",
        "rope_scaling",
    }


def test_what_cannot_be_served_is_refused_with_advice() -> None:
    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 259, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    for extra, message in (
        ({"model_type": "mamba"}, "'mamba' in config.json.*" + ".*".join(ARCHITECTURES)),
        ({"model_type": "qwen3", "attention_bias": True}, "biases"),
        (
            {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            "mixes layers",
        ),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding window of 0"),
        ({"model_type": "qwen2", "rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope scaling 'dynamic'"),
    ):
        with pytest.raises(BaseModelError, match=message):
            ModelConfig.from_hf({**sizes, **extra})
