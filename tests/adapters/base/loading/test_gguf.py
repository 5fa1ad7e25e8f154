"""GGUF files: each architecture, each kind of block, and which form its parts are served in."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.loading.gguf_source import GGUFSource
from loraloop.adapters.base.loading.kquants import CODES, FINE, KINDS, decode
from loraloop.adapters.base.loading.quantize import fused, group_parts
from loraloop.adapters.base.loading.source import Codes4, Fine
from loraloop.kernels.quantized import Int4Weight, Int8Weight, StackedWeight
from loraloop.tool_schemas.errors import BaseModelError, LoraloopError

TOKENS = list(range(3, 60))
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2}

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_theta": 500000.0,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
MINISTRAL = {
    **YARN, "beta_fast": 16.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    "original_max_position_embeddings": 100,
}  # fmt: skip


def logits(model: Path, form: str, cache: Path) -> torch.Tensor:
    base = Base.load(model, quantize=form, device="cpu", cache_dir=cache)
    return base.logits(base.forward([Row(TOKENS, base.new_cache())]).hidden)


def theirs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0]


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("llama", {}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"tie_word_embeddings": False}),
        ("qwen3", {"head_dim": 16}),
        ("qwen3", {"head_dim": 16, "rope_parameters": YARN}),
        ("qwen2", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ("smollm3", {"num_hidden_layers": 5}),
        ("ministral3", {"head_dim": 16, "rope_parameters": MINISTRAL}),
        (
            "granite",
            {
                "embedding_multiplier": 5.0, "attention_multiplier": 0.2, "residual_multiplier": 0.4,
                "logits_scaling": 3.0,
            },
        ),
    ],
)  # fmt: skip
def test_each_architecture_is_read_as_it_was_written(
    tmp_path: Path, shared_cache: Path, save_llama: Any, write_gguf: Any, kind: str, extra: dict[str, Any]
) -> None:
    model = save_llama(tmp_path / "hf", seed=5, kind=kind, **extra)
    write_gguf(tmp_path / "m.gguf", model)
    torch.testing.assert_close(logits(tmp_path / "m.gguf", "fp32", shared_cache), theirs(model), atol=3e-4, rtol=3e-4)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_1", "Q4_0"])
def test_each_kind_is_read_as_it_was_written(
    tmp_path: Path, shared_cache: Path, save_llama: Any, write_gguf: Any, kind: str
) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96}
    model = save_llama(tmp_path / "hf", seed=5, **sizes)
    write_gguf(tmp_path / "m.gguf", model, kind)
    read = logits(tmp_path / "m.gguf", "fp32", shared_cache)
    likeness = torch.nn.functional.cosine_similarity(read, theirs(model)).mean()
    assert likeness > {"F16": 0.99999, "BF16": 0.9999, "Q8_0": 0.999, "Q5_0": 0.95, "Q5_1": 0.95}.get(kind, 0.8)
    served = logits(tmp_path / "m.gguf", "int4", shared_cache)
    if "16" not in kind:  # the file's own precision is kept: only scales and activations are rounded
        assert torch.nn.functional.cosine_similarity(served, read).mean() > 0.998


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_mixed_k_quants_are_served_part_by_part(
    tmp_path: Path, shared_cache: Path, save_llama: Any, write_gguf: Any, architecture: str
) -> None:
    """As in a Q4_K_M file: queries and keys in Q4_K, values and head in Q6_K."""
    model = save_llama(tmp_path / "hf", kind=architecture, tie_word_embeddings=False, **WIDE)
    path = tmp_path / "m.gguf"
    write_gguf(path, model, "Q4_K", finer="Q6_K", pre="qwen2")
    read = logits(path, "fp32", shared_cache)
    torch.testing.assert_close(read, theirs(model), atol=1e-3, rtol=1e-3)
    weight = fused(group_parts(GGUFSource(path), 0, "qkv"), "int4")
    assert isinstance(weight, StackedWeight) and [type(part) for part in weight.parts] == [Int4Weight, Int8Weight]
    assert isinstance(fused(group_parts(GGUFSource(path), 0, "gate_up"), "int4"), Int4Weight)
    x = torch.randn(3, 256, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = torch.nn.functional.linear(x.float(), weight.dequantize().float())
    torch.testing.assert_close(weight(x).float(), expected, atol=5e-2, rtol=2e-2)
    assert (weight.out_features, weight.in_features) == expected.shape[1:] + x.shape[1:]
    for form, least in (("int4", 0.995), ("int8", 0.995), ("bf16", 0.998)):
        served = logits(path, form, shared_cache)
        assert torch.nn.functional.cosine_similarity(served, read).mean() > least
        again = logits(path, form, shared_cache)  # from the converted folder
        assert torch.equal(served, again)


@given(kind=st.sampled_from(["Q4_K", "Q5_K", "Q6_K", "Q3_K", "Q2_K", "IQ4_XS"]), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_random_blocks_have_the_values_that_gguf_says(random_blocks: Any, kind: str, seed: int) -> None:
    data = random_blocks(kind, 6, 512, seed)
    before = data.copy()
    part = decode(kind, data, (6, 512))
    assert isinstance(part, Codes4 if kind == "Q4_K" else Fine) and np.array_equal(data, before)
    expected = torch.from_numpy(gguf.dequantize(data, gguf.GGMLQuantizationType[kind]))
    torch.testing.assert_close(part.dense(), expected, atol=1e-6, rtol=1e-5)
    if isinstance(part, Codes4):
        nibbles = np.sort(np.concatenate([data.reshape(-1, 144)[:, 16:] & 15, data.reshape(-1, 144)[:, 16:] >> 4], 1))
        assert np.array_equal(np.sort(part.codes.numpy().reshape(-1, 256)), nibbles)  # the file's own codes


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("qwen2", ["It", "'s", " a", " TestCase", ",", " ", "1", "2", "3", "/", "4", "!\n\n", "é日", " ", " ok"]),
        ("llama-bpe", ["It", "'s", " a", " TestCase", ",", " ", "123", "/", "4", "!\n\n", "é日", " ", " ok"]),
        ("tekken", ["It", "'s", " a", " Test", "Case", ",", " ", "1", "2", "3", "/", "4", "!\n\n", "é日", " ", " ok"]),
        (
            "smollm",
            ["It", "'s", " a", " TestCase", ",", " ", "1", "2", "3", "/", "4", "!", "\n", "\n", "é日", " ", " ok"],
        ),
    ],
)
def test_text_is_split_by_the_rule_that_the_file_names(
    tmp_path: Path, save_llama: Any, write_gguf: Any, pre: str, words: list[str]
) -> None:
    write_gguf(tmp_path / "m.gguf", save_llama(tmp_path / "hf"), pre=pre)
    tokenizer = tokenizers.Tokenizer.from_str(GGUFSource(tmp_path / "m.gguf").tokenizer_json)
    text = "It's a TestCase, 123/4!\n\né日  ok"
    spans = [span for _, span in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert [text[start:end] for start, end in spans] == words
    assert (tokenizer.normalizer is not None) == (pre == "qwen2")


def test_every_kind_that_is_named_can_be_decoded() -> None:
    assert set(CODES) | set(FINE) <= set(KINDS)
    for kind in set(CODES) | set(FINE):
        size, stored = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        part = decode(kind, np.zeros((2, stored), dtype=np.uint8), (2, size))
        assert not isinstance(part, torch.Tensor) and part.dense().shape == (2, size)


def test_other_files_are_refused_with_advice(tmp_path: Path, save_llama: Any, write_gguf: Any) -> None:
    path = tmp_path / "m.gguf"

    def write(**fields: str) -> None:
        writer = gguf.GGUFWriter(str(path), fields.get("architecture", "llama"))
        writer.add_tensor("token_embd.weight", np.zeros((2, 256), dtype=np.float32))
        if "kind" in fields:
            kind = gguf.GGMLQuantizationType[fields["kind"]]
            size, stored = gguf.GGML_QUANT_SIZES[kind]
            writer.add_tensor("blk.0.x.weight", np.zeros((2, 256 // size * stored), dtype=np.uint8), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write(architecture="mamba")
    with pytest.raises(BaseModelError, match=r"'mamba' in the GGUF file.*llama, mistral, ministral3, qwen2"):
        GGUFSource(path)
    write(kind="TQ1_0")
    with pytest.raises(BaseModelError, match=r"TQ1_0 tensors.*Q4_K"):
        GGUFSource(path)
    write_gguf(path, save_llama(tmp_path / "other", rope_parameters={**LLAMA3, "high_freq_factor": 9.0}))
    with pytest.raises(BaseModelError, match=r"scales its rotary frequencies.*Hugging Face folder"):
        GGUFSource(path)
    write_gguf(path, save_llama(tmp_path / "hf"), pre="klingon")
    with pytest.raises(BaseModelError, match=r"'klingon'.*Hugging Face folder"):
        GGUFSource(path)


def test_a_damaged_file_is_refused_or_read(tmp_path: Path, save_llama: Any, write_gguf: Any) -> None:
    """Wherever bytes were changed or are missing; a list that claims 2**40 entries is not read for ever."""
    write_gguf(tmp_path / "m.gguf", save_llama(tmp_path / "hf"))
    content, key, rng = (tmp_path / "m.gguf").read_bytes(), b"tokenizer.ggml.token_type", random.Random(7)
    cases = [(content, [(content.index(key) + len(key) + 8 + 5, 1)])]  # behind the types of value and entries
    for last in 10 * (14_000, len(content)):  # names, lists and shapes come first
        cases.append((content, [(rng.randrange(last), rng.randrange(256)) for _ in range(rng.randint(1, 4))]))
    cases += [(content[: rng.randrange(len(content))], []) for _ in range(6)]
    refused = 0
    for kept, changes in cases:
        damaged = bytearray(kept)
        for place, value in changes:
            damaged[place] = value
        (tmp_path / "m.gguf").write_bytes(damaged)
        try:
            Base.load(tmp_path / "m.gguf", quantize="fp32", device="cpu", cache_dir=tmp_path / "c")
        except LoraloopError:
            refused += 1
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
    assert 8 < refused < len(cases)
