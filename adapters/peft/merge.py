"""A skill inside a base: merged safetensors that transformers and `Base.load` read.

The skill is added to the values that the given base serves, which are those that it was trained on; from a quantized
base, that is its dequantized values. Quantizing the result again rounds once more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import MODULE_PATHS, MODULES
from loraloop.adapters.peft.folding import folded
from loraloop.adapters.skill import store
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.skill.tensors import check_base
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.chat import ChatFormat
    from loraloop.adapters.base.config import ModelConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SHARD = 4 << 30
"""Bytes of a file of weights; a larger model is written in several."""


def merge(base: Base, skill: Skill, folder: str | Path, dtype: str = "bf16") -> Path:
    """Writes a base with a skill in it; returns the folder.

    The merged model acts as the skill on every token: that of a "branch" skill, which acts from the invocation on, is
    another computation, and its scores are not the card's.

    Args:
        base: what the skill was trained on, in the form that serves it.
        skill: of a method that amounts to other matrices: not a prefix, a prompt or a bottleneck.
        folder: config.json, tokenizer and safetensors, as transformers saves them; it must not be there yet.
        dtype: of the written weights: "bf16", "fp16" or "fp32".

    Raises:
        SkillError: the skill cannot be merged, or belongs to another base.
        InputError: the folder is there already, or the dtype is unknown.
    """
    check_base(skill.card, skill.shapes, base)
    return merge_payload(base, skill.payload(base.config), folder, dtype, f"skill {skill.card.name!r}")


def merge_payload(
    base: Base, payload: Payload, folder: str | Path, dtype: str = "bf16", where: str = "the payload"
) -> Path:
    """Writes a base with a payload in it, such as that of GaLore's parameters, whose differences have full rank.

    Args:
        base: The base, in the form that serves the payload.
        payload: What a skill leaves in a slot; it has to amount to other matrices and biases. An empty one writes the
            base.
        folder: Where to; it must not be there yet.
        dtype: Type of the written weights: "bf16", "fp16" or "fp32".
        where: What the payload is called in messages.

    Returns:
        The folder.

    Raises:
        SkillError: The payload cannot be merged.
        InputError: The folder is there already, or the dtype is unknown.
    """
    folder = Path(folder)
    if dtype not in DTYPES:
        raise InputError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if folder.exists():
        raise InputError(f"{folder} exists: name a new folder, or remove it")
    context = BaseContext(base)
    tensors: dict[str, Tensor] = {}

    def put(name: str, tensor: Tensor) -> None:  # in its last dtype at once: no copy of the whole model in fp32
        tensors[name] = tensor.detach().to("cpu", DTYPES[dtype]).contiguous()

    for made in folded(payload, context, where):
        place = f"model.layers.{made.layer}.{MODULE_PATHS[made.module]}"
        put(f"{place}.weight", made.weight)
        if made.bias is not None:
            put(f"{place}.bias", made.bias)
    put("model.embed_tokens.weight", base.decoder.embedding.dequantize())
    for index, layer in enumerate(base.decoder.layers):
        place = f"model.layers.{index}"
        put(f"{place}.input_layernorm.weight", layer.attention_norm)
        put(f"{place}.post_attention_layernorm.weight", layer.mlp_norm)
        for name in ("q_norm", "k_norm"):
            if (norm := getattr(layer, name)) is not None:
                put(f"{place}.self_attn.{name}.weight", norm)
        for module in MODULES:
            path = f"{place}.{MODULE_PATHS[module]}"
            if f"{path}.weight" in tensors:
                continue
            put(f"{path}.weight", context.weight(index, module))
            if (bias := context.bias(index, module)) is not None:
                put(f"{path}.bias", bias)
    put("model.norm.weight", base.decoder.norm)
    if not base.config.tied_embeddings:
        put("lm_head.weight", base.decoder.head.dequantize())
    store.write_folder(folder, {**_weights(tensors), **_described(base, dtype)})
    return folder


def _weights(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """Safetensors files, with an index where they are several."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save

    split = split_torch_state_dict_into_shards(tensors, max_shard_size=SHARD)
    files = {
        file: save({name: tensors[name] for name in names}, metadata={"format": "pt"})
        for file, names in split.filename_to_tensors.items()
    }
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        files["model.safetensors.index.json"] = (json.dumps(index, indent=2) + "\n").encode()
    return files


def _described(base: Base, dtype: str) -> dict[str, bytes]:
    """config.json, generation_config.json and the tokenizer's files."""
    special = {number: piece for piece, number in base.tokenizer.special.items()}
    eos = list(base.tokenizer.eos_ids)
    closing = special.get(base.chat.closing[0], special.get(eos[0], ""))
    bos = base.chat.format.opening if base.chat.format.opening in base.tokenizer.special else None
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": closing,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(base.chat.format),
    }
    config = {**hf_config(base.config), "eos_token_id": eos, "torch_dtype": str(DTYPES[dtype]).removeprefix("torch.")}
    if bos is not None:
        config["bos_token_id"] = base.tokenizer.special[bos]
    made = {"config.json": config, "generation_config.json": {"eos_token_id": eos}, "tokenizer_config.json": settings}
    files = {
        name: (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode() for name, content in made.items()
    }
    return {**files, "tokenizer.json": base.tokenizer.json.encode()}


def hf_config(config: ModelConfig) -> dict[str, Any]:
    """`config.json` of transformers for a base's dimensions; the inverse of `ModelConfig.from_hf`."""
    kind = config.architecture
    rope = {"rope_type": "default", **dict(config.rope.scaling), "rope_theta": config.rope.theta}
    made: dict[str, Any] = {
        "architectures": [{"qwen2": "Qwen2", "qwen3": "Qwen3"}.get(kind, kind.capitalize()) + "ForCausalLM"],
        "model_type": kind,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_embeddings,
        "rope_parameters": rope,
    }
    if kind == "mistral" or config.sliding_window is not None:
        made["sliding_window"] = config.sliding_window
    if kind in ("qwen2", "qwen3"):
        slides = config.sliding_window is not None
        made |= {"use_sliding_window": slides, "max_window_layers": 0 if slides else config.layers}
    if kind == "granite":
        made |= {
            "embedding_multiplier": config.scales.embedding,
            "attention_multiplier": config.scales.attention,
            "residual_multiplier": config.scales.residual,
            "logits_scaling": config.scales.logits,
        }
    return made


def chat_template(format: ChatFormat) -> str:
    """A Jinja template that renders what a base's chat format does."""
    pieces = {role: (json.dumps(head), json.dumps(tail)) for role, (head, tail) in format.around.items()}
    branches = "".join(
        f"{{% {'if' if number == 0 else 'elif'} m['role'] == '{role}' %}}{{{{ {head} + m['content'] + {tail} }}}}"
        for number, (role, (head, tail)) in enumerate(pieces.items())
    )
    first = ""
    if format.default_system is not None:
        head, tail = format.around["system"]
        first = f"{{{{ {json.dumps(head + format.default_system + tail)} }}}}"
    elif format.opening:
        first = f"{{{{ {json.dumps(format.opening)} }}}}"
    begin = f"{{% if messages and messages[0]['role'] != 'system' %}}{first}{{% endif %}}" if first else ""
    end = f"{{% if add_generation_prompt %}}{{{{ {json.dumps(format.generation)} }}}}{{% endif %}}"
    return f"{begin}{{% for m in messages %}}{branches}{{% endif %}}{{% endfor %}}{end}"
