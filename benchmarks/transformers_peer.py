"""transformers and PEFT as peers: the very values that our base serves, as their model, tokenizer and adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.peft.merge import merge_payload

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill


def save_for_transformers(base: Base, folder: Path) -> None:
    """The served values of a base in bf16 and its tokenizer, as a new folder that transformers and vLLM load."""
    merge_payload(base, Payload(), folder)


def transformers_model(base: Base) -> Any:
    """The base as transformers' own model of its architecture, in bf16 and in eval mode."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_for_transformers(base, Path(folder) / "model")
        model = AutoModelForCausalLM.from_pretrained(Path(folder) / "model", dtype=torch.bfloat16)
    model.generation_config.do_sample = False
    return model.eval().requires_grad_(False)


def transformers_tokenizer(base: Base) -> Any:
    """The base's tokenizer as transformers' class; a turn's end is its end-of-sequence token."""
    from transformers import PreTrainedTokenizerFast

    end = base.tokenizer.backend.id_to_token(base.chat.closing[0])
    return PreTrainedTokenizerFast(tokenizer_object=base.tokenizer.backend, eos_token=end, pad_token=end)


def with_adapters(model: Any, skills: Sequence[Skill], folder: Path, *activations: str) -> Any:
    """A PEFT model with every skill as an adapter called `<activation>-<skill>`.

    Args:
        activations: "branch" makes aLoRAs of the skills, "full" plain LoRAs; the weights are the same.
    """
    from peft import PeftModel

    names = [(activation, skill, f"{activation}-{skill.card.name}") for activation in activations for skill in skills]
    places = {name: str(save_for_peft(skill, folder / name, activation)) for activation, skill, name in names}
    first, *others = places
    peft_model = PeftModel.from_pretrained(model, places[first], adapter_name=first)
    for name in others:
        peft_model.load_adapter(places[name], adapter_name=name)
    return peft_model.eval()


def save_for_peft(skill: Skill, folder: Path, activation: str) -> Path:
    """A skill as a PEFT folder; "branch" makes an aLoRA of it, "full" a plain LoRA."""
    from loraloop.adapters.skill.skill import Skill as Made

    card = skill.card.model_copy(update={"activation": activation})
    return Made(card, skill.tensors).to_peft(folder)
