"""PEFT's LoRA folders, in and out: `adapter_config.json` and `adapter_model.safetensors` (format of peft 0.21).

With `alora_invocation_tokens` an adapter is active from the invocation on (activated LoRA, arXiv 2504.12397): our
"branch". Without, it is active on the whole context: our "full".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from loraloop.adapters import store
from loraloop.adapters.card import Card
from loraloop.adapters.methods.sites import MODULES, tensor_name
from loraloop.adapters.skill import Skill, check_base
from loraloop.adapters.store import PairShape
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PARENT = {module: "self_attn" if module in MODULES[:4] else "mlp" for module in MODULES}
_TENSOR = re.compile(
    rf"base_model\.model\.model\.layers\.(\d{{1,5}})\.(?:self_attn|mlp)\.({'|'.join(MODULES)})\.lora_([AB])\.weight"
)

_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "alora_invocation_tokens"}
_HARMLESS = {
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "loftq_config",
    "eva_config", "velora_config", "runtime_config", "megatron_core", "qalora_group_size", "ensure_weight_tying",
    "init_lora_weights",
}  # fmt: skip
"""Fields that say how an adapter was trained or where its tensors are; the tensors tell the same."""

_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
"""Values by which a field says that it is not used."""

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that subtract the adapter's start from the base's weights."""


def from_peft(
    folder: str | Path,
    base: Base,
    *,
    name: str | None = None,
    description: str | None = None,
    contract: str = "text",
    **card: Any,
) -> Skill:
    """Reads a PEFT LoRA, rsLoRA or aLoRA folder as a skill for `base`.

    Ranks and scalings that differ between modules (`rank_pattern`, `alpha_pattern`) are folded into the tensors:
    narrower ones are padded with zeros, and B is rescaled, so that the product is the same.

    Args:
        folder: as PEFT's `save_pretrained` writes it, with safetensors.
        base: the base it was trained on; PEFT does not record fingerprints, so this base's are put on the card.
        name: of the skill; by default the folder's.
        description: for the card.
        contract: what the skill writes; see `Card`.
        card: further fields of the card.

    Raises:
        SkillError: files are missing or damaged, shapes do not fit the base, or the configuration uses a field that a
            skill cannot express (the message names it).
    """
    folder = Path(folder)
    config = _read_config(folder)
    path = folder / WEIGHTS
    header = store.read_header(path)
    names = {theirs: _our_name(theirs, path) for theirs in header.shapes}
    shapes = {ours: header.shapes[theirs] for theirs, ours in names.items()}
    pairs = store.pair_shapes(shapes, str(path))
    rslora, rank = config.get("use_rslora") is True, max(pair.rank for pair in pairs.values())
    alpha = _number(config, "lora_alpha", folder)
    invocation = config.get("alora_invocation_tokens") or ()
    targets = {module for _, module in pairs}
    made = Card.checked(
        {
            "name": name or re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_"),
            "description": description or f"Imported from PEFT ({folder.resolve().name}).",
            "method": "rslora" if rslora else "lora",
            "rank": rank,
            "alpha": alpha,
            "targets": tuple(module for module in MODULES if module in targets),
            "invocation": tuple(invocation),
            "activation": "branch" if invocation else "full",
            "contract": contract,
            "fingerprints": {
                "architecture": base.fingerprints.architecture,
                "weights": base.fingerprints.weights,
            },
            "base": base.name,
            **card,
        },
        f"card of {folder}",
    )
    check_base(made, shapes, base.config, base.fingerprints, base.name)
    tensors = {names[theirs]: tensor for theirs, tensor in store.read_tensors(path).items()}
    whole = _scaling(alpha, rank, rslora)
    for (layer, module), pair in pairs.items():
        key = f"model.layers.{layer}.{_PARENT[module]}.{module}"
        declared = _pattern(config, "rank_pattern", key, config.get("r", 8))
        if declared != pair.rank:
            raise SkillError(f"{path}: {key} has rank {pair.rank}, but {CONFIG} says {declared}; export it again")
        factor = _scaling(_pattern(config, "alpha_pattern", key, alpha), pair.rank, rslora) / whole
        _pad(tensors, layer, module, rank, factor)
    return Skill(made, tensors)


def to_peft(skill: Skill, folder: str | Path) -> Path:
    """Writes a skill as a PEFT folder, which `PeftModel.from_pretrained` loads; returns the folder.

    A "branch" skill becomes an aLoRA, whose invocation tokens PEFT looks for in the prompt; a "full" one a plain LoRA.
    """
    from safetensors.torch import save

    card = skill.card
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": card.base,
        "inference_mode": True,
        "r": card.rank,
        "lora_alpha": int(card.alpha) if card.alpha.is_integer() else card.alpha,
        "lora_dropout": 0.0,
        "use_rslora": card.method == "rslora",
        "target_modules": _target_modules(skill.pairs),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    if card.activation == "branch":
        config["alora_invocation_tokens"] = list(card.invocation)
    store.check_finite(skill.tensors, f"skill {card.name!r}")
    tensors = {}
    for ours, tensor in skill.tensors.items():
        _, layer, module, factor = ours.split(".")
        theirs = f"base_model.model.model.layers.{layer}.{_PARENT[module]}.{module}.{factor}.weight"
        tensors[theirs] = tensor.detach().cpu().contiguous()
    folder = Path(folder)
    text = json.dumps(config, indent=2) + "\n"
    store.write_folder(folder, {WEIGHTS: save(tensors, metadata={"format": "pt"}), CONFIG: text.encode()})
    return folder


def _read_config(folder: Path) -> Mapping[str, Any]:
    """A configuration that a skill can express; SkillError names the first field that it cannot."""
    if not (folder / CONFIG).is_file():
        raise SkillError(f"{folder} lacks {CONFIG}: give a folder as PEFT's save_pretrained writes it")
    if not (folder / WEIGHTS).is_file():
        legacy = (folder / "adapter_model.bin").is_file()
        cure = "save it again with safe_serialization=True; pickled weights are not read" if legacy else "save it again"
        raise SkillError(f"{folder} lacks {WEIGHTS}: {cure}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SkillError(f"{folder / CONFIG} is not JSON ({error}): save the adapter again") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise SkillError(f"{folder / CONFIG}: peft_type is {kind!r}; only LORA (with rsLoRA and aLoRA) can be imported")
    for field, value in config.items():
        if field not in _READ | _HARMLESS and value not in _NEUTRAL:
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
    return config


def _our_name(theirs: str, path: Path) -> str:
    match = _TENSOR.fullmatch(theirs)
    if match is None:
        raise SkillError(
            f"{path}: the tensor {theirs!r} is not a low-rank update of a decoder layer's linear module; a skill can "
            f"change {', '.join(MODULES)} only"
        )
    return tensor_name(int(match[1]), match[2], f"lora_{match[3]}")


def _number(config: Mapping[str, Any], field: str, folder: Path) -> float:
    value = config.get(field, 8)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SkillError(f"{folder / CONFIG}: {field} = {value!r} is not a positive number; save the adapter again")
    return float(value)


def _pattern(config: Mapping[str, Any], field: str, key: str, default: float) -> float:
    """A module's own value where a pattern's regular expression matches the end of its name, as PEFT reads it."""
    patterns: Mapping[str, float] = config.get(field) or {}
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", key):
            return value
    return default


def _scaling(alpha: float, rank: int, rslora: bool) -> float:
    return alpha / (math.sqrt(rank) if rslora else rank)


def _pad(tensors: dict[str, Tensor], layer: int, module: str, rank: int, factor: float) -> None:
    """Widens a pair to `rank` with zeros and multiplies B by `factor`."""
    from torch.nn.functional import pad

    a, b = tensor_name(layer, module, "lora_A"), tensor_name(layer, module, "lora_B")
    missing = rank - tensors[a].shape[0]
    if missing:
        tensors[a], tensors[b] = pad(tensors[a], (0, 0, 0, missing)), pad(tensors[b], (0, missing))
    if factor != 1:
        tensors[b] = tensors[b].float() * factor


def _target_modules(pairs: Mapping[tuple[int, str], PairShape]) -> list[str]:
    """Module names; with their layers where not every layer up to the last has all of them."""
    modules = [module for module in MODULES if any(module == other for _, other in pairs)]
    layers = 1 + max(layer for layer, _ in pairs)
    if len(pairs) == layers * len(modules):
        return modules
    return [f"layers.{layer}.{_PARENT[module]}.{module}" for layer, module in sorted(pairs)]
