"""A random transformers model saved as a folder: the reference for the decoder and for PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SaveLlama = Callable[..., Any]


@pytest.fixture(scope="session")
def save_llama() -> SaveLlama:
    """`save_llama(folder, seed, kind, **config)` saves a random model with a byte tokenizer and returns it.

    Other kinds than Llama get random biases and norms, which transformers would initialize to zeros and ones.
    """

    def save(folder: Path, seed: int = 0, kind: str = "llama", **overrides: Any) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        from loraloop.adapters.base.random_base import byte_tokenizer_json

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
