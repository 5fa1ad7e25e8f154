"""From a source's tensors to the decoder's weights in one of the served forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.base.source import MODULE_PATHS, Codes4, Source
from loraloop.adapters.methods.sites import GROUPS
from loraloop.kernels.quantized import GROUP, DenseWeight, Int4Weight, Int8Weight, Nf4Weight, Weight
from loraloop.tool_schemas.errors import BaseModelError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base.config import ModelConfig

FORMS = ("int4", "int8", "bf16", "fp32", "nf4")


def default_form(device: torch.device) -> str:
    """`int4` on a CPU, `nf4` on a GPU."""
    return "int4" if device.type == "cpu" else "nf4"


def check_form(form: str, config: ModelConfig, device: torch.device) -> None:
    """Raises where `form` is unknown, or cannot serve this base on this device."""
    if form not in FORMS:
        raise unknown("quantization", form, FORMS)
    if form in ("int4", "int8") and device.type != "cpu":
        raise BaseModelError(f"{form} runs on a CPU only; on {device.type} use quantize='nf4' or 'bf16'")
    sizes = {columns for _, columns in config.module_shapes().values()}
    if form == "int4" and any(size % GROUP for size in sizes):
        raise BaseModelError(
            f"int4 needs input sizes that are multiples of {GROUP}; this base has {sorted(sizes)}: use bf16"
        )


def compute_dtype(form: str) -> torch.dtype:
    """What activations are computed in."""
    return torch.float32 if form == "fp32" else torch.bfloat16


def group_weight(source: Source, layer: int, group: str, form: str) -> Weight:
    """One fused projection of a layer, its parts' rows one after another."""
    parts = [source.tensor(f"model.layers.{layer}.{MODULE_PATHS[module]}.weight") for module in GROUPS[group]]
    codes = [part for part in parts if isinstance(part, Codes4)]
    if form == "int4" and len(codes) == len(parts):
        return Int4Weight.pack(
            torch.cat([part.codes for part in codes]),
            torch.cat([part.scales for part in codes]),
            torch.cat([part.zeros for part in codes]),
        )
    values = torch.cat([dense(part) for part in parts])
    if form == "int4":
        return Int4Weight.quantize(values)
    if form == "int8":
        return Int8Weight.quantize(values)
    if form == "nf4":
        return Nf4Weight.quantize(values)
    return DenseWeight(values.to(compute_dtype(form)).contiguous())


def embedding_weight(source: Source, name: str, form: str) -> Int8Weight | DenseWeight:
    """The embedding or head: int8 by rows where the layers are int4 or int8, else dense."""
    values = dense(source.tensor(name))
    if form in ("int4", "int8"):
        return Int8Weight.quantize(values)
    return DenseWeight(values.to(compute_dtype(form)).contiguous())


def dense(part: Tensor | Codes4) -> Tensor:
    """The values `[O, K]` in fp32."""
    return part.dense() if isinstance(part, Codes4) else part.float()
