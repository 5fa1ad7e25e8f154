"""Adapters as GGUF files for llama.cpp, which acts on an aLoRA from its invocation tokens on, as a skill does here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.adapters.base.loading.gguf_source import FILE_NAMES, MODULES, PERMUTED
from loraloop.adapters.peft.plain_lora import plain, served_notes

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base.config import ModelConfig
    from loraloop.adapters.skill.skill import Skill

TOKENS = "adapter.alora.invocation_tokens"


def to_llama(skill: Skill, file: str | Path, config: ModelConfig) -> list[str]:
    """Writes a skill as the GGUF adapter that llama.cpp loads: an aLoRA where it is active in its branch only.

    Values are fp32, as llama.cpp's own converter writes them by default.

    Args:
        skill: The skill.
        file: Where to.
        config: The base's dimensions and architecture.

    Returns:
        What to start llama.cpp with.

    Raises:
        SkillError: llama.cpp serves nothing of the kind.
    """
    import gguf

    notes, (fields, tensors) = served_notes(skill, "llama.cpp"), plain(skill, config)
    architecture = FILE_NAMES.get(config.architecture, config.architecture)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", fields["lora_alpha"])
    if skill.card.activation == "branch":
        writer.add_array(TOKENS, list(skill.card.invocation))
    heads = {"q_proj": config.heads, "k_proj": config.kv_heads}
    permuted = config.architecture in PERMUTED or architecture in PERMUTED
    for name, tensor in sorted(tensors.items()):  # base_model.model.model.layers.<i>.<path>.<factor>.weight
        *_, layer, block, module, factor, _ = name.split(".")
        values = tensor.float()
        if factor == "lora_B" and module in heads and permuted:
            values = _interleaved(values, heads[module])
        place = f"blk.{layer}.{MODULES[f'{block}.{module}']}.weight.{factor.lower()}"
        writer.add_tensor(place, values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return notes


def _interleaved(rows: Tensor, heads: int) -> Tensor:
    """Rows [heads * D, r] from halves to pairs: llama.cpp rotates neighbours, transformers rotates halves."""
    out, inner = rows.shape
    return rows.view(heads, 2, out // heads // 2, inner).transpose(1, 2).reshape(out, inner)
