"""Random GGUF files, and what is built once for all tests of the room."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for all tests of a run: what is built for the processor is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def race() -> Callable[..., None]:
    """`race(work)` calls `work(seed)` on four threads at once, which are switched as often as can be."""

    def run(work: Callable[[int], None]) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)

    return run


_TENSORS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
    "lm_head": "output",
}  # fmt: skip
_SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q3_K": (108,), "Q2_K": (80, 82), "IQ4_XS": (0,)}
"""Where a block's fp16 numbers stand."""


@pytest.fixture(scope="session")
def random_blocks() -> Callable[..., np.ndarray[Any, Any]]:
    """`random_blocks(kind, rows, columns, seed)`: any bits, with fp16 scales that make values of about 0.1."""

    def make(kind: str, rows: int, columns: int, seed: int) -> np.ndarray[Any, Any]:
        size, stored = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        rng = np.random.default_rng(seed)
        data = rng.integers(0, 256, (rows, columns // size, stored), dtype=np.uint8)
        d = rng.uniform(0.5, 1.5, (rows, columns // size, 1)) * {"Q6_K": 1e-4, "Q3_K": 2e-3}.get(kind, 4e-4)
        for at, factor in zip(_SCALES[kind], (1, {"Q5_K": 15.5, "Q2_K": 1.5}.get(kind, 7.5)), strict=False):
            data[..., at : at + 2] = (d * factor).astype(np.float16).view(np.uint8)
        return data.reshape(rows, -1)

    return make


@pytest.fixture(scope="session")
def write_gguf(random_blocks: Any) -> Callable[..., None]:
    """`write_gguf(path, model, kind, finer, pre)` writes a transformers model as llama.cpp's converter does.

    Its names, its rotary row order, its metadata. Matrices are of `kind`, those of `v_proj` and the head of `finer`.
    Python has no quantizer for K-quants: then the blocks are random, and the model gets the values they stand for.
    """
    from loraloop.adapters.base.random_base import CHATML, byte_tokenizer_json

    def interleaved(values: Any, heads: int) -> Any:
        pairs = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)

    def halves(values: Any, heads: int) -> Any:
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)

    def write(path: Path, model: Any, kind: str = "F32", finer: str | None = None, pre: str = "smollm") -> None:
        config, spec = model.config, json.loads(byte_tokenizer_json())
        llama_like = config.model_type in ("llama", "mistral", "granite")
        writer = gguf.GGUFWriter(str(path), "llama" if config.model_type == "mistral" else config.model_type)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        if config.model_type == "qwen3":
            writer.add_key_length(config.head_dim)
        if config.model_type == "granite":
            writer.add_attention_scale(config.attention_multiplier)
            writer.add_embedding_scale(config.embedding_multiplier)
            writer.add_residual_scale(config.residual_multiplier)
            writer.add_logit_scale(config.logits_scaling)
        if config.rope_parameters["rope_type"] == "llama3":
            half = torch.arange(0, config.head_dim, 2) / config.head_dim
            plain, scaled = config.rope_parameters["rope_theta"] ** -half, model.model.rotary_emb.inv_freq
            writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy())
        vocabulary = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(vocabulary)
        writer.add_token_types([3] * 3 + [1] * (len(vocabulary) - 3))
        writer.add_eos_token_id(0)
        writer.add_chat_template(CHATML)
        for seed, (name, tensor) in enumerate(model.state_dict().items()):
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            module, suffix = name.rsplit(".", 1)
            layer = f"blk.{module.split('.')[2]}." if module.startswith("model.layers.") else ""
            short = module.split(".", 3)[3] if layer else module
            heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
            turned = heads.get(short) if llama_like else None
            here = finer if finer and short in ("self_attn.v_proj", "lm_head") else kind
            chosen = gguf.GGMLQuantizationType["F32" if tensor.ndim == 1 else here]
            if chosen.name in _SCALES:
                data = random_blocks(chosen.name, *tensor.shape, seed)
                values = gguf.dequantize(data, chosen)
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(halves(values, turned) if turned else values)))
            else:
                values = interleaved(tensor.numpy(), turned) if turned else tensor.numpy()
                data = gguf.quantize(np.ascontiguousarray(values), chosen)
            writer.add_tensor(f"{layer}{_TENSORS[short]}.{suffix}", data, raw_dtype=chosen)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write
