"""Writing a skill for another program, under a name that tells its content."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from loraloop.adapters.peft.llama_format import to_llama
from loraloop.adapters.peft.plain_lora import to_plain_lora

if TYPE_CHECKING:
    from loraloop.adapters.base.config import ModelConfig
    from loraloop.adapters.skill.skill import Skill

Target = Literal["peft", "vllm", "sglang", "llama.cpp"]


class Exported(NamedTuple):
    """A skill as another program reads it.

    Attributes:
        path: A folder, or for llama.cpp a file; its name ends with a hash of the content.
        notes: What the program will do differently, and what to start it with.
    """

    path: Path
    notes: list[str]


def export(skill: Skill, target: Target, out: Path, config: ModelConfig, base: str = "") -> Exported:
    """Writes a skill into a folder, as `NAME-HASH`. What is there already is left as it is.

    Servers keep what they computed by an adapter's name, so another content has to have another name.

    Args:
        skill: The skill.
        target: The program.
        out: The folder.
        config: The base's dimensions.
        base: The base as transformers finds it; see `to_peft`.

    Raises:
        SkillError: The program serves nothing of the kind.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as passing:
        made = Path(passing) / skill.card.name
        if target == "peft":
            skill.to_peft(made, config, base)
            notes = _peft_notes(skill)
        elif target == "llama.cpp":
            notes = to_llama(skill, made, config)
        else:
            notes = to_plain_lora(skill, made, config, base, target)
        final = out / f"{skill.card.name}-{_digest(made)}{'.gguf' if made.is_file() else ''}"
        if not final.exists():
            made.rename(final)
    return Exported(final, notes)


def _digest(made: Path) -> str:
    """Twelve hexadecimal digits of what a file or the files of a folder hold."""
    found = hashlib.sha256()
    for file in sorted(made.iterdir()) if made.is_dir() else [made]:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:12]


def _peft_notes(skill: Skill) -> list[str]:
    card, notes = skill.card, list[str]()
    if card.activation == "branch":
        notes.append("it is an aLoRA: PEFT needs its invocation tokens in the prompt; vLLM refuses it (--for vllm)")
    if card.method in ("adalora", "galore") or (card.method == "vera" and card.activation == "branch"):
        notes.append(f"{card.method} is written as the LoRA pairs that it amounts to")
    return notes
