"""From a source's tensors to the decoder's weights in one of the served forms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.base.loading.source import BaseSource, Codes4, Fine, SourcePart
from loraloop.adapters.payload.sites import GROUPS, MODULE_PATHS, group_shape
from loraloop.kernels.cpu.tiles import TiledWeight
from loraloop.kernels.quantized import GROUP, DenseWeight, Int4Weight, Int8Weight, Nf4Weight, StackedWeight, Weight
from loraloop.tool_schemas.errors import BaseModelError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base.config import ModelConfig

FORMS = ("int4", "int8", "bf16", "fp32", "nf4")
TILED = ("int4", "int8", "bf16")  # what the C decoder serves on a CPU


def default_form(device: torch.device) -> str:
    """`int4` on a CPU, `nf4` on a GPU."""
    return "int4" if device.type == "cpu" else "nf4"


def check_form(form: str, config: ModelConfig, device: torch.device) -> None:
    """Raises where `form` is unknown, or cannot serve this base on this device."""
    if form not in FORMS:
        raise unknown("quantization", form, FORMS)
    if form in ("int4", "int8") and device.type != "cpu":
        raise BaseModelError(f"{form} runs on a CPU only; on {device.type} use quantize='nf4' or 'bf16'")
    sizes = {group_shape(config, group)[1] for group in GROUPS}
    if form == "int4" and any(size % GROUP for size in sizes):
        raise BaseModelError(
            f"int4 needs input sizes that are multiples of {GROUP}; this base has {sorted(sizes)}: use bf16"
        )


def compute_dtype(form: str) -> torch.dtype:
    """What activations are computed in."""
    return torch.float32 if form == "fp32" else torch.bfloat16


def group_parts(source: BaseSource, layer: int, group: str) -> list[SourcePart]:
    """What the source has of each module of a fused projection."""
    return [source.tensor(f"model.layers.{layer}.{MODULE_PATHS[module]}.weight") for module in GROUPS[group]]


def fused(parts: Sequence[SourcePart], form: str, copies: bool = False, tiled: bool = False) -> Weight:
    """The parts' rows one after another in `form`.

    In the int4 form each part keeps at least the precision of its file, and neighbours of one kind are one matrix: a
    Q4_K_M file's queries and keys are int4 and its values, in some layers, int8.

    Args:
        parts: What the source has of each module `[O, K]`, all with the same K.
        form: The form in which they are served; see `FORMS`.
        copies: Whether int4 weights get a dense copy, which serves products of many rows; tiled ones get none.
        tiled: Whether the weights are laid out in the tiles that the C decoder reads, instead of in torch's layout.

    Returns:
        One weight `[sum of O, K]`.
    """
    if form != "int4":
        return _together(parts, form, copies, tiled)
    runs = [
        (kind, list(run)) for kind, run in groupby(parts, lambda part: "int8" if isinstance(part, Fine) else "int4")
    ]
    weights = tuple(_together(run, kind, copies, tiled) for kind, run in runs)
    return weights[0] if len(weights) == 1 else StackedWeight(weights)


def _together(parts: Sequence[SourcePart], form: str, copies: bool, tiled: bool) -> Weight:
    if form == "int4":
        own = [part if isinstance(part, Codes4) else affine(dense(part)) for part in parts]
        codes, scales, zeros = (torch.cat([getattr(part, n) for part in own]) for n in ("codes", "scales", "zeros"))
        return TiledWeight.int4(codes, scales, zeros) if tiled else Int4Weight.pack(codes, scales, zeros, copies)
    values = torch.cat([dense(part) for part in parts])
    return Nf4Weight.quantize(values) if form == "nf4" else embedding_weight(values, form, tiled)


def affine(values: Tensor) -> Codes4:
    """Rounds `values[O, K]` to 4-bit codes between each group's minimum and maximum."""
    groups = values.float().view(values.shape[0], -1, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    scales = ((high - low) / 15).clamp_min(1e-8).to(torch.bfloat16).float()
    zeros = (low + 8 * scales).to(torch.bfloat16).float()
    codes = torch.round((groups - zeros[..., None]) / scales[..., None] + 8).clamp_(0, 15)
    return Codes4(codes.view_as(values).to(torch.uint8), scales, zeros)


def embedding_weight(values: Tensor, form: str, tiled: bool = False) -> Int8Weight | DenseWeight | TiledWeight:
    """A whole matrix, such as the embedding or head: int8 by rows where the layers are int4 or int8, else dense.

    Args:
        values: The matrix `[V, H]`, one row a token, in fp32.
        form: The form in which the layers are served.
        tiled: Whether it is laid out in the tiles that the C decoder reads.
    """
    if form in ("int4", "int8"):
        weight = Int8Weight.quantize(values)
        return TiledWeight.int8(weight.codes, weight.scales) if tiled else weight
    if tiled:
        return TiledWeight.bf16(values)
    return DenseWeight(values.to(compute_dtype(form)).contiguous())


def dense(part: SourcePart) -> Tensor:
    """The values `[O, K]` in fp32."""
    return part.float() if isinstance(part, Tensor) else part.dense()
