"""transformers and PEFT as peers: the very values that our base serves, as their model, tokenizer and adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loraloop.adapters.payload.sites import GROUPS, module_shape

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def transformers_model(base: Base, dtype: torch.dtype = torch.bfloat16, attention: str = "sdpa") -> Any:
    """The base as transformers' own model of its architecture, in eval mode.

    Raises:
        RuntimeError: if the weights do not fit it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    ours = base.config
    rope = dict(ours.rope.scaling) or {"rope_type": "default"}
    fields: dict[str, Any] = {
        "hidden_size": ours.hidden_size,
        "intermediate_size": ours.intermediate_size,
        "num_hidden_layers": ours.layers,
        "num_attention_heads": ours.heads,
        "num_key_value_heads": ours.kv_heads,
        "head_dim": ours.head_dim,
        "vocab_size": ours.vocab_size,
        "max_position_embeddings": ours.max_positions,
        "rope_parameters": {**rope, "rope_theta": ours.rope.theta},
        "rms_norm_eps": ours.rms_eps,
        "tie_word_embeddings": ours.tied_embeddings,
        "bos_token_id": None,
        "eos_token_id": base.chat.closing[0],
        "pad_token_id": base.chat.closing[0],
        "dtype": dtype,
    }
    if ours.sliding_window is not None:
        fields["sliding_window"] = ours.sliding_window
    if ours.architecture == "granite":
        fields |= {
            "embedding_multiplier": ours.scales.embedding,
            "attention_multiplier": ours.scales.attention,
            "residual_multiplier": ours.scales.residual,
            "logits_scaling": ours.scales.logits,
        }
    config = AutoConfig.for_model(ours.architecture, **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    missing = model.load_state_dict(state(base, dtype), strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise RuntimeError(f"the weights do not fit transformers' model: {missing}")
    model.generation_config.do_sample = False
    return model.eval().requires_grad_(False)


def state(base: Base, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The base's dense values under transformers' names."""
    decoder = base.decoder
    found = {
        "model.embed_tokens.weight": decoder.embedding.dequantize(),
        "model.norm.weight": decoder.norm,
        "lm_head.weight": decoder.head.dequantize(),
    }
    for index, layer in enumerate(decoder.layers):
        place = f"model.layers.{index}"
        found[f"{place}.input_layernorm.weight"] = layer.attention_norm
        found[f"{place}.post_attention_layernorm.weight"] = layer.mlp_norm
        for each in ("q", "k"):
            if (norm := getattr(layer, f"{each}_norm")) is not None:
                found[f"{place}.self_attn.{each}_norm.weight"] = norm
        fused = {"qkv": layer.qkv, "o": layer.o, "gate_up": layer.gate_up, "down": layer.down}
        for group, modules in GROUPS.items():
            sizes = [module_shape(base.config, module)[0] for module in modules]
            parent = "self_attn" if group in ("qkv", "o") else "mlp"
            for module, values in zip(modules, fused[group].dequantize().split(sizes), strict=True):
                found[f"{place}.{parent}.{module}.weight"] = values
            if group == "qkv" and layer.qkv_bias is not None:
                for module, values in zip(modules, layer.qkv_bias.split(sizes), strict=True):
                    found[f"{place}.{parent}.{module}.bias"] = values
    return {name: values.to(dtype) for name, values in found.items()}


def transformers_tokenizer(base: Base) -> Any:
    """The base's tokenizer as transformers' class; a turn's end is its end-of-sequence token."""
    from transformers import PreTrainedTokenizerFast

    end = base.tokenizer.backend.id_to_token(base.chat.closing[0])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base.tokenizer.backend, eos_token=end, pad_token=end)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_for_transformers(base: Base, folder: Path) -> None:
    """The served values of a base and its tokenizer as a folder that transformers and vLLM load."""
    transformers_model(base).save_pretrained(folder)
    transformers_tokenizer(base).save_pretrained(folder)


def with_adapters(model: Any, skills: Sequence[Skill], folder: Path, *activations: str) -> Any:
    """A PEFT model with every skill as an adapter called `<activation>-<skill>`.

    Args:
        activations: "branch" makes aLoRAs of the skills, "full" plain LoRAs; the weights are the same.
    """
    from peft import PeftModel

    peft_model = None
    for activation in activations:
        for skill in skills:
            name = f"{activation}-{skill.card.name}"
            place = str(save_for_peft(skill, folder / name, activation))
            if peft_model is None:
                peft_model = PeftModel.from_pretrained(model, place, adapter_name=name)
            else:
                peft_model.load_adapter(place, adapter_name=name)
    if peft_model is None:
        raise ValueError("an episode needs at least one skill")
    return peft_model.eval()


def save_for_peft(skill: Skill, folder: Path, activation: str) -> Path:
    """A skill as a PEFT folder; "branch" makes an aLoRA of it, "full" a plain LoRA."""
    from loraloop.adapters.skill.skill import Skill as Made

    card = skill.card.model_copy(update={"activation": activation})
    return Made(card, skill.tensors).to_peft(folder)
