"""Plain LoRA files for vLLM, and what it will refuse (its checks, as of version 0.32)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loraloop.adapters.payload.sites import Dimensions
from loraloop.adapters.peft.export import low_rank, write
from loraloop.adapters.peft.format import CONFIG
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import SkillError

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be; 16 by default."""

_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of `init_lora_weights` after which an adapter is a plain LoRA still."""


def to_vllm(skill: Skill, folder: str | Path, config: Dimensions | None = None, base: str = "") -> list[str]:
    """Writes a skill as the plain LoRA file that vLLM serves; returns what differs and what to start vLLM with.

    Raises:
        SkillError: as `lint` says, vLLM serves nothing of the kind.
    """
    refused, notes = lint(skill)
    if refused:
        raise SkillError(f"skill {skill.card.name!r} cannot be served by vLLM: {'; '.join(refused)}")
    write(skill.card, folder, *low_rank(skill.card, skill.tensors, config), base=base)
    return notes


def lint(skill: Skill) -> tuple[list[str], list[str]]:
    """What vLLM 0.32 refuses of a skill, and what it does differently."""
    card, refused, notes = skill.card, list[str](), list[str]()
    reasons = {
        "dora": "vLLM refuses DoRA (use_dora): merge the skill into its base",
        "ia3": "vLLM serves low-rank updates alone, not IA3: merge the skill into its base",
        "prefix": "vLLM serves low-rank updates alone, not prefixes",
        "prompt": "vLLM serves low-rank updates alone, not prompts",
        "bottleneck": "vLLM serves low-rank updates alone, not bottlenecks",
    }
    if card.method in reasons:
        refused.append(reasons[card.method])
    problem, note = _rank(card.width)
    refused, notes = refused + problem, notes + note
    if card.activation == "branch":
        notes.append(
            "vLLM refuses aLoRA, so this is a plain LoRA: it acts on the whole context, where the skill was trained to "
            "act from the invocation on. Measure it there; its scores on the card are not those of this file"
        )
    if card.method in ("adalora", "vera", "galore"):
        notes.append(f"{card.method} is written as the LoRA pairs that it amounts to")
    return refused, notes


def lint_peft(folder: str | Path) -> tuple[list[str], list[str]]:
    """What vLLM refuses of a PEFT folder, and what to start it with; from the configuration alone.

    Raises:
        SkillError: there is no configuration, or it is no JSON object.
    """
    path = Path(folder) / CONFIG
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SkillError(
            f"{path} cannot be read ({error}): give a folder as PEFT's save_pretrained writes it"
        ) from None
    if not isinstance(config, dict):
        raise SkillError(f"{path} is no JSON object: save the adapter again")
    kind, refused, notes = config.get("peft_type"), list[str](), list[str]()
    if kind != "LORA":
        return [f"peft_type {kind!r}: vLLM serves LORA alone; fold or merge it"], []
    reasons = {
        "use_dora": "it has no DoRA: merge the adapter into its base",
        "lora_bias": "it has no bias: merge the adapter, or train it without",
        "alora_invocation_tokens": "it has no aLoRA: export a plain LoRA, which acts on the whole context",
        "layer_replication": "it does not repeat layers: merge the adapter",
        "use_bdlora": "it has no block-diagonal LoRA: merge the adapter",
        "use_qalora": "it has no QALoRA: merge the adapter",
    }
    refused += [f"{field}: {reason}" for field, reason in reasons.items() if config.get(field)]
    if config.get("bias", "none") != "none":
        refused.append(f"bias = {config['bias']!r}: it has no bias: merge the adapter, or train it with bias 'none'")
    saved = [module for module in config.get("modules_to_save") or [] if module not in ("classifier", "score")]
    if saved:
        refused.append(f"modules_to_save = {saved}: it loads low-rank updates alone: merge the adapter")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _STARTS:
        refused.append(
            f"init_lora_weights = {start!r} changed the base's weights: save the adapter with "
            "path_initial_model_for_weight_conversion"
        )
    rank = max([config.get("r", 8), *(config.get("rank_pattern") or {}).values()])
    problem, note = _rank(rank)
    return refused + problem, notes + note


def _rank(rank: int) -> tuple[list[str], list[str]]:
    """What a rank means to vLLM."""
    if rank > VLLM_RANKS[-1]:
        return [f"rank {rank} is above vLLM's largest, {VLLM_RANKS[-1]}: train it narrower"], []
    fits = next(limit for limit in VLLM_RANKS if limit >= rank)
    return [], [f"rank {rank}: start vLLM with --max-lora-rank {fits} (16 by default)"] if fits > 16 else []
