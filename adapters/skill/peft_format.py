"""PEFT's folders: `adapter_config.json` and `adapter_model.safetensors`, their names and fields (format of peft 0.21).

With `alora_invocation_tokens` a LoRA is active from the invocation on (activated LoRA, arXiv 2504.12397): our
"branch". All else in PEFT is active on the whole context: our "full".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloop.adapters.payload.sites import MODULE_PATHS, MODULES
from loraloop.tool_schemas.errors import SkillError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
EMBEDDINGS = "prompt_embeddings"
"""The one tensor of a prefix or a prompt."""

FACTORS: dict[str, dict[str, str]] = {
    "LORA": {"lora_A.weight": "lora_A", "lora_B.weight": "lora_B", "lora_magnitude_vector": "magnitude"},
    "ADALORA": {"lora_A": "lora_A", "lora_B": "lora_B", "lora_E": "lora_E"},
    "VERA": {"vera_lambda_d": "vera_d", "vera_lambda_b": "vera_b"},
    "IA3": {"ia3_l": "ia3_l"},
    "LOHA": {name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    "LOKR": {
        name: name
        for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
    },
    "PREFIX_TUNING": {},
    "PROMPT_TUNING": {},
    "P_TUNING": {},
}  # fmt: skip
"""What stands behind a module's name in PEFT's tensors, and what we call it; the types that can be imported."""

_ANY_TYPE = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
}  # fmt: skip
_LORA = {
    "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "alora_invocation_tokens",
    "lora_dropout", "loftq_config", "eva_config", "velora_config", "runtime_config", "megatron_core",
    "qalora_group_size", "ensure_weight_tying", "init_lora_weights",
}  # fmt: skip
_VIRTUAL = {
    "num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules",
    "encoder_hidden_size", "init_weights",
}  # fmt: skip
_LYCORIS = {
    "r", "alpha", "rank_pattern", "alpha_pattern", "rank_dropout", "module_dropout", "init_weights",
}  # fmt: skip
_FIELDS: dict[str, set[str]] = {
    "LORA": _LORA,
    "ADALORA": (_LORA - {"use_dora", "use_rslora", "alora_invocation_tokens"})
    | {"init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"},
    "VERA": {"r", "projection_prng_key", "save_projection", "d_initial", "vera_dropout", "init_weights"},
    "IA3": {"feedforward_modules", "init_ia3_weights"},
    "LOHA": _LYCORIS,
    "LOKR": _LYCORIS | {"decompose_both", "decompose_factor", "rank_dropout_scale"},
    "PREFIX_TUNING": _VIRTUAL | {"prefix_projection"},
    "PROMPT_TUNING": _VIRTUAL
    | {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_kwargs", "tokenizer_name_or_path"},
    "P_TUNING": _VIRTUAL | {"encoder_reparameterization_type", "encoder_num_layers", "encoder_dropout"},
}  # fmt: skip
"""Fields that are read, or that say how an adapter was trained or where its tensors are; the tensors tell the same."""

_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
"""Values by which a field says that it is not used."""

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that subtract the adapter's start from the base's weights."""


def read_config(folder: Path) -> Mapping[str, Any]:
    """A configuration that a skill can express.

    Raises:
        SkillError: files are missing, or a type or field (named in the message) that a skill cannot express.
    """
    if not (folder / CONFIG).is_file():
        raise SkillError(f"{folder} lacks {CONFIG}: give a folder as PEFT's save_pretrained writes it")
    if not (folder / WEIGHTS).is_file():
        legacy = (folder / "adapter_model.bin").is_file()
        cure = "save it again with safe_serialization=True; pickled weights are not read" if legacy else "save it again"
        raise SkillError(f"{folder} lacks {WEIGHTS}: {cure}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SkillError(f"{folder / CONFIG} is not JSON ({error}): save the adapter again") from None
    kind = config.get("peft_type") if isinstance(config, dict) else config
    if not isinstance(config, dict) or not isinstance(kind, str) or kind not in FACTORS:
        raise SkillError(
            f"{folder / CONFIG}: peft_type {kind!r} cannot be imported; merge it into the base with PEFT, or "
            f"use one of {', '.join(FACTORS)}"
        )
    for field, value in config.items():
        if field not in _ANY_TYPE | _FIELDS[kind] and value not in _NEUTRAL:
            raise SkillError(
                f"{folder / CONFIG}: {field} = {json.dumps(value)} cannot be expressed by a skill; merge the adapter "
                "into the base, or train it without this field"
            )
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_CHANGES_BASE):
        raise SkillError(
            f"{folder / CONFIG}: init_lora_weights = {start!r} changed the base's own weights; save the adapter with "
            "path_initial_model_for_weight_conversion, which turns it into a plain LoRA"
        )
    if config.get("alora_invocation_tokens") and config.get("use_dora"):
        raise SkillError(f"{folder / CONFIG}: PEFT has no aLoRA with DoRA; train it with one of them")
    return config


def our_names(theirs: Mapping[str, tuple[int, ...]], kind: str, path: Path) -> dict[str, tuple[int, str, str]]:
    """(layer, module, our factor) of each tensor of a module.

    Raises:
        SkillError: a tensor of something else than a decoder layer's linear modules.
    """
    factors = FACTORS[kind]
    pattern = re.compile(
        rf"base_model\.model\.model\.layers\.(\d{{1,5}})\.(?:self_attn|mlp)\.({'|'.join(MODULES)})\."
        rf"({'|'.join(map(re.escape, factors))})"
    )
    found = {}
    for name in theirs:
        match = pattern.fullmatch(name)
        if match is None:
            raise SkillError(
                f"{path}: the tensor {name!r} is not an update of a decoder layer's linear module; a skill can "
                f"change {', '.join(MODULES)} only"
            )
        found[name] = (int(match[1]), match[2], factors[match[3]])
    if not found:
        raise SkillError(f"{path} holds no tensors; save the adapter again")
    return found


def their_name(layer: int, module: str, factor: str) -> str:
    """PEFT's name of a module's tensor."""
    return f"base_model.model.model.layers.{layer}.{MODULE_PATHS[module]}.{factor}"


def number(config: Mapping[str, Any], field: str, default: float, folder: Path) -> float:
    """A positive number of a configuration.

    Args:
        config: The configuration.
        field: The field that holds it.
        default: Its value where there is no such field.
        folder: The adapter's folder, for the message.

    Raises:
        SkillError: It is not a positive number.
    """
    value = config.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SkillError(f"{folder / CONFIG}: {field} = {value!r} is not a positive number; save the adapter again")
    return float(value)


def patterns(config: Mapping[str, Any], field: str, folder: Path) -> Mapping[str, float]:
    """The positive numbers that a configuration has for the modules that regular expressions match."""
    value = config.get(field) or {}
    if not isinstance(value, dict):
        raise SkillError(f"{folder / CONFIG}: {field} = {value!r} is not a mapping; save the adapter again")
    return {pattern: number(value, pattern, 0, folder) for pattern in value}
