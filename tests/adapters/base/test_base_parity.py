"""The decoder against transformers, on random small configs in fp32 and on the default base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, KVCache, Message, Row, random_base

TOLERANCE = 2e-4  # fp32 logits of magnitude ~1-10; sums run in another order


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"num_key_value_heads": 4, "tie_word_embeddings": False},
        {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-3},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}},
        {
            "rope_parameters": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64, "rope_theta": 500000.0,
            }
        },
    ],
)  # fmt: skip
def test_logits_equal_transformers(tmp_path: Path, save_llama: Any, overrides: dict[str, Any]) -> None:
    model = save_llama(tmp_path / "model", seed=3, **overrides)
    base = Base.load(tmp_path / "model", quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    tokens = torch.randint(0, 259, (90,), generator=torch.Generator().manual_seed(1)).tolist()
    cache = base.new_cache()
    first = base.forward([Row(tokens[:50], cache)])
    parts = [base.logits(first.hidden)]
    parts += [base.logits(base.forward([Row([token], cache)]).hidden) for token in tokens[50:60]]
    parts.append(base.logits(base.forward([Row(tokens[60:], cache)]).hidden))
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(torch.cat(parts), expected, atol=TOLERANCE, rtol=TOLERANCE)


@given(
    seed=st.integers(0, 100),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    heads=st.sampled_from([(4, 1), (4, 2), (4, 4)]),
)
@settings(max_examples=25, deadline=None)
def test_reused_keys_and_values_equal_recomputed(seed: int, cuts: list[int], heads: tuple[int, int]) -> None:
    base = random_base(seed, heads=heads[0], kv_heads=heads[1])
    tokens = torch.randint(0, 259, (sum(cuts),), generator=torch.Generator().manual_seed(seed)).tolist()
    whole = base.forward([Row(tokens, base.new_cache())]).hidden
    cache, parts, at = base.new_cache(), [], 0
    for count in cuts:
        base.forward([Row([5, 6, 7], cache)])  # a branch that is dropped
        cache.truncate(at)
        parts.append(base.forward([Row(tokens[at : at + count], cache)]).hidden)
        at += count
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=1e-4)


def test_rows_of_different_lengths_equal_single_rows() -> None:
    base = random_base(1)
    rows = [[1, 2, 3, 4, 5], [9], [20, 21, 22]]
    alone = [base.forward([Row(row, base.new_cache())]).hidden for row in rows]
    together = base.forward([Row(row, base.new_cache()) for row in rows]).hidden
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_a_cache_grows_without_losing_anything_and_forks_apart() -> None:
    base = random_base(2)
    small, large = base.new_cache(4), base.new_cache(4096)
    tokens = torch.randint(0, 259, (700,), generator=torch.Generator().manual_seed(0)).tolist()
    for start in range(0, 700, 70):
        a = base.forward([Row(tokens[start : start + 70], small)]).hidden
        b = base.forward([Row(tokens[start : start + 70], large)]).hidden
    torch.testing.assert_close(a, b)
    fork: KVCache = small.fork()
    base.forward([Row([1, 2], fork)])
    assert (small.length, fork.length) == (700, 702)
    again = base.forward([Row([8], small)]).hidden
    torch.testing.assert_close(again, base.forward([Row([8], large)]).hidden)
    with pytest.raises(ValueError, match="truncate"):
        small.truncate(9000)


def test_the_decode_loop_allocates_no_cache_between_steps() -> None:
    base = random_base(0)
    cache = base.new_cache(512)
    base.forward([Row([1, 2, 3], cache)])
    pointers = [plane.data_ptr() for plane in (*cache.keys, *cache.values)]
    for token in range(200):
        base.forward([Row([token], cache)])
    assert pointers == [plane.data_ptr() for plane in (*cache.keys, *cache.values)]


def test_default_base_equals_transformers_on_the_same_file(base: Base, tmp_path: Path) -> None:
    """The file's dequantized values in fp32, both sides: only the order of sums differs."""
    from transformers import AutoModelForCausalLM

    from loraloop.adapters.base.loading.fetch import gguf_file

    gguf = gguf_file()
    ours = Base.load(gguf, quantize="fp32", device="cpu", cache_dir=tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    messages = [Message("system", "Be brief."), Message("user", "Name three rivers in Europe. Ünïcödé 123!")]
    tokens = ours.chat.render(messages) + list(ours.chat.generation_prompt)
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens])).logits[0]
    logits = ours.logits(ours.forward([Row(tokens, ours.new_cache())]).hidden)
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-3)
    served = base.logits(base.forward([Row(tokens, base.new_cache())]).hidden)
    assert (served.argmax(-1) == expected.argmax(-1)).float().mean() > 0.85
    divergence = torch.nn.functional.kl_div(
        served.log_softmax(-1), expected.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert divergence < 0.02
