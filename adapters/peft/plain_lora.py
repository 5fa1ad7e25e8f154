"""Plain LoRA files for vLLM and SGLang, and what they will refuse (the checks of vLLM 0.32 and SGLang 0.5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from loraloop.adapters.payload.sites import Dimensions
from loraloop.adapters.skill.peft_export import Files, low_rank, write
from loraloop.adapters.skill.peft_format import CONFIG
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import SkillError

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be; 16 by default."""
NAMES = {"vllm": "vLLM", "sglang": "SGLang", "llama.cpp": "llama.cpp"}
Served = Literal["vllm", "sglang", "llama.cpp"]
_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of `init_lora_weights` after which an adapter is a plain LoRA still."""
_NO_LORA = {
    "dora": "DoRA (use_dora)",
    "ia3": "IA3, which is no low-rank update",
    "prefix": "prefixes, which are no low-rank update",
    "prompt": "prompts, which are no low-rank update",
    "bottleneck": "bottlenecks, which are no low-rank update",
}


def to_plain_lora(
    skill: Skill, folder: str | Path, config: Dimensions | None = None, base: str = "", engine: Served = "vllm"
) -> list[str]:
    """Writes a skill as the plain LoRA folder that vLLM and SGLang serve.

    Args:
        skill: The skill; of a method that amounts to low-rank pairs.
        folder: Where to; files of the same names are replaced.
        config: Dimensions of the base, which VeRA needs; None is enough for other methods.
        base: Name of the base as the engine finds it; where empty, the hub's name, else the card's.
        engine: The program that will serve it, which decides what is refused and what is noted.

    Returns:
        What the engine does differently, and what to start it with.

    Raises:
        SkillError: The engine serves nothing of the kind; see `lint`.
    """
    notes = served_notes(skill, engine)
    write(skill.card, folder, *plain(skill, config), base=base)
    return notes


def plain(skill: Skill, config: Dimensions | None) -> Files:
    """The configuration and tensors of a skill as LoRA pairs that are scaled by alpha / r, which every engine knows.

    SGLang takes no notice of `use_rslora`, so a scale of alpha / sqrt(r) is written as another alpha.
    """
    fields, tensors = low_rank(skill.card, skill.tensors, config)
    if fields["use_rslora"]:
        fields |= {"use_rslora": False, "lora_alpha": fields["lora_alpha"] * math.sqrt(fields["r"])}
    return fields, tensors


def served_notes(skill: Skill, engine: Served) -> list[str]:
    """The notes of `lint`.

    Raises:
        SkillError: The engine refuses the skill.
    """
    refused, notes = lint(skill, engine)
    if refused:
        raise SkillError(f"skill {skill.card.name!r} cannot be served by {NAMES[engine]}: {'; '.join(refused)}")
    return notes


def lint(skill: Skill, engine: Served = "vllm") -> tuple[list[str], list[str]]:
    """What an engine refuses of a skill, and what it does differently."""
    card, refused, notes, name = skill.card, list[str](), list[str](), NAMES[engine]
    if card.method in _NO_LORA:
        remedy = "" if card.method in ("prefix", "prompt", "bottleneck") else ": merge the skill into its base"
        refused.append(f"{name} refuses {_NO_LORA[card.method]}{remedy}")
    elif engine == "vllm":
        refused, notes = _rank(card.width)
    elif engine == "sglang":
        modules = " ".join(card.targets)
        notes.append(f"start SGLang with --enable-lora --max-lora-rank {card.width} --lora-target-modules {modules}")
    if card.activation == "branch" and engine == "llama.cpp":
        notes.append(
            "it is an aLoRA: llama.cpp applies it from its invocation tokens on, with which the prompt has to end; "
            "start llama-server with --lora FILE, and choose by `lora` in the request where there are several"
        )
    elif card.activation == "branch":
        notes.append(
            f"{name} serves no aLoRA, so this is a plain LoRA: it acts on the whole context, where the skill was "
            "trained to act from the invocation on. Measure it there; its scores on the card are not those of this file"
        )
    if card.method in ("adalora", "vera", "galore"):
        notes.append(f"{card.method} is written as the LoRA pairs that it amounts to")
    return refused, notes


def lint_peft(folder: str | Path, engine: Literal["vllm", "sglang"] = "vllm") -> tuple[list[str], list[str]]:
    """What an engine refuses of a PEFT folder, and what to start it with; from the configuration alone.

    SGLang loads an aLoRA as a plain LoRA without a word, and takes no notice of biases: that counts as refused too.

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
        return [f"peft_type {kind!r}: {NAMES[engine]} serves LORA alone; fold or merge it"], []
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
    if engine == "sglang":
        scales = [field for field in ("use_rslora", "rank_pattern", "alpha_pattern") if config.get(field)]
        return refused + [f"{field}: it scales by lora_alpha / r alone: export the skill here" for field in scales], []
    rank = max([config.get("r", 8), *(config.get("rank_pattern") or {}).values()])
    problem, note = _rank(rank)
    return refused + problem, notes + note


def _rank(rank: int) -> tuple[list[str], list[str]]:
    """What a rank means to vLLM."""
    if rank > VLLM_RANKS[-1]:
        return [f"rank {rank} is above vLLM's largest, {VLLM_RANKS[-1]}: train it narrower"], []
    fits = next(limit for limit in VLLM_RANKS if limit >= rank)
    return [], [f"rank {rank}: start vLLM with --max-lora-rank {fits} (16 by default)"] if fits > 16 else []
