"""Small random bases with a real tokenizer, for tests and experiments that need no trained weights."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.base import Base
from loraloop.adapters.base.chat import ChatFormat
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.decoder import Decoder, Layer
from loraloop.adapters.base.loading.convert import BaseFingerprints, Converted
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.adapters.payload.sites import GROUPS, group_shape
from loraloop.kernels.quantized import DenseWeight

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer_json() -> str:
    """A tokenizer of 256 bytes and three special tokens (ids 0-2), as `tokenizer.json` text."""
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = [*_SPECIAL, *sorted(ByteLevel.alphabet())]
    added = [
        {"id": index, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for index, name in enumerate(_SPECIAL)
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {piece: index for index, piece in enumerate(pieces)}, "merges": []}
    return json.dumps(
        {"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level,
         "post_processor": None, "decoder": byte_level, "model": model}
    )  # fmt: skip


def random_base(seed: int = 0, *, dtype: torch.dtype = torch.float32, scale: float = 0.2, **config: Any) -> Base:
    """A random decoder in `dtype` over a byte tokenizer; `config` overrides fields of `ModelConfig.to_dict`.

    The weights are normal with standard deviation `scale`, enough for attention and adapters to matter.

    Args:
        seed: Equal seeds give equal bases.
        dtype: Type of the weights.
        scale: Standard deviation.
        **config: Fields as `ModelConfig.to_dict` names them.
    """
    fields: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8,
        "vocab_size": 259, "max_positions": 4096, **config,
    }  # fmt: skip
    shape = ModelConfig.from_dict(fields)
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return (torch.randn(*size, generator=generator) * scale).to(dtype)

    fused = {group: group_shape(shape, group) for group in GROUPS}
    layers = []
    for _ in range(shape.layers):
        weights = {group: DenseWeight(draw(*size)) for group, size in fused.items()}
        norms = [(1 + draw(shape.hidden_size)).to(dtype) for _ in range(2)]
        bias = draw(fused["qkv"][0]) if shape.qkv_bias else None
        q_norm, k_norm = (
            ((1 + draw(shape.head_dim)).to(dtype), (1 + draw(shape.head_dim)).to(dtype))
            if shape.qk_norm
            else (None, None)
        )
        layers.append(
            Layer(attention_norm=norms[0], mlp_norm=norms[1], **weights, qkv_bias=bias, q_norm=q_norm, k_norm=k_norm)
        )
    embedding = DenseWeight(draw(shape.vocab_size, shape.hidden_size))
    head = embedding if shape.tied_embeddings else DenseWeight(draw(shape.vocab_size, shape.hidden_size))
    norm = (1 + draw(shape.hidden_size)).to(dtype)
    decoder = Decoder(shape, embedding, layers, norm, head, dtype=dtype, device=torch.device("cpu"))
    tokenizer = Tokenizer(byte_tokenizer_json(), (0,))
    chat = ChatFormat.probe(CHATML)
    prints = BaseFingerprints(f"random-{sorted(shape.to_dict().items())}", f"random-{seed}-{dtype}-{scale}")
    form = "fp32" if dtype == torch.float32 else "bf16"
    card = Converted(name="random", form=form, config=shape, chat=chat, eos_ids=(0,), fingerprints=prints, sha256="")
    return Base(card, decoder, tokenizer)
