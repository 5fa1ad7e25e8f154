"""Low-rank updates of single modules: put together for the groups that are computed as one, folded, padded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from loraloop.adapters.payload.payload import LowRank
from loraloop.adapters.payload.sites import GROUPS, MODULE_PATHS, Dimensions, Site, module_shape, tensor_name
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.schema.formats import REPEATS, too_many_repeats
from loraloop.tool_schemas.schema.validation import pattern_found

Factors = tuple[Tensor, Tensor]
"""A [r, K] and B [O, r] of one module, the scaling inside B."""


def grouped(factors: Mapping[tuple[int, str], Factors], config: Dimensions) -> dict[Site, LowRank]:
    """The pairs of all sites from those of their modules, differentiably; absent modules stay absent."""
    pairs: dict[Site, LowRank] = {}
    for layer in range(config.layers):
        for group, parts in GROUPS.items():
            if pair := _together([factors.get((layer, part)) for part in parts], parts, config):
                pairs[layer, group] = pair
    return pairs


def _together(found: list[Factors | None], parts: tuple[str, ...], config: Dimensions) -> LowRank | None:
    present = [pair for pair in found if pair is not None]
    if not present:
        return None
    if len(parts) == 1:
        return LowRank(*present[0])
    rank = sum(A.shape[0] for A, _ in present)
    expands, blocks, row, column = [], [], 0, 0
    for part, pair in zip(parts, found, strict=True):
        height = module_shape(config, part)[0]
        if pair is not None:
            width = pair[1].shape[1]
            expands.append(pad(pair[1], (column, rank - column - width)))
            blocks.append((width, row, row + height))
            column += width
        else:
            expands.append(present[0][0].new_zeros(height, rank))
        row += height
    return LowRank(torch.cat([A for A, _ in present]), torch.cat(expands), tuple(blocks))


def uniform(factors: Mapping[tuple[int, str], Factors]) -> dict[str, Tensor]:
    """Tensors of a skill whose modules all have one rank, the largest: narrower ones are padded with zeros.

    Args:
        factors: A `[r, K]` and the scaled B `[O, r]` of each module, by layer and module; r may differ between modules.

    Returns:
        Detached tensors "lora_A" `[R, K]` and "lora_B" `[O, R]` by name, R the largest r.
    """
    rank = max(A.shape[0] for A, _ in factors.values())
    tensors = {}
    for (layer, module), (A, B) in factors.items():
        missing = rank - A.shape[0]
        tensors[tensor_name(layer, module, "lora_A")] = pad(A.detach(), (0, 0, 0, missing)).contiguous()
        tensors[tensor_name(layer, module, "lora_B")] = pad(B.detach(), (0, missing)).contiguous()
    return tensors


def of_module(parameters: Mapping[str, Tensor], factor: str) -> dict[tuple[int, str], Tensor]:
    """The `parameters` "layers.<i>.<module>.<factor>", of any shape, by (layer, module)."""
    found = {}
    for name, tensor in parameters.items():
        parts = name.split(".")
        if len(parts) == 4 and parts[3] == factor:
            found[int(parts[1]), parts[2]] = tensor
    return found


def matching(patterns: Mapping[str, float], layer: int, module: str, default: float) -> float:
    """A module's own value where a pattern's regular expression matches the end of its name, as PEFT reads it.

    Args:
        patterns: Values by regular expression; the first that matches counts.
        layer: Index of the module's layer, from 0.
        module: Its name, such as `q_proj`; what is matched is its whole name, such as
            `model.layers.0.self_attn.q_proj`.
        default: The value of a module that no pattern matches.

    Raises:
        InputError: A pattern is no regular expression, asks for too many repeats, or takes too long.
    """
    import regex

    key = f"model.layers.{layer}.{MODULE_PATHS[module]}"
    for pattern, value in patterns.items():
        if too_many_repeats(pattern):
            raise InputError(f"the pattern {pattern!r} asks for more than {REPEATS} repeats: ask for fewer")
        try:
            found = pattern_found(rf"^(.*\.)?({pattern})$", key)
        except (regex.error, OverflowError, RecursionError, MemoryError) as error:
            raise InputError(f"the pattern {pattern!r} is not a regular expression ({error}): correct it") from None
        if found is None:
            raise InputError(f"the pattern {pattern!r} takes too long: simplify it")
        if found:
            return value
    return default


def low_rank_of(matrix: Tensor, rank: int) -> Factors:
    """The best rank-r approximation of a matrix [O, K] by its singular values, shared evenly by both factors."""
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    root = S[:rank].sqrt()
    return root[:, None] * Vh[:rank], U[:, :rank] * root


def spread(rows: Mapping[tuple[int, str], Tensor], config: Dimensions, fill: float) -> dict[Site, Tensor]:
    """Tensors [O, …] of modules as those of their sites, `fill` where a site's module has none; differentiably."""
    found: dict[Site, Tensor] = {}
    for layer in range(config.layers):
        for group, parts in GROUPS.items():
            own = [rows.get((layer, part)) for part in parts]
            like = next((tensor for tensor in own if tensor is not None), None)
            if like is not None:
                whole = [
                    like.new_full((module_shape(config, part)[0], *like.shape[1:]), fill) if tensor is None else tensor
                    for part, tensor in zip(parts, own, strict=True)
                ]
                found[layer, group] = whole[0] if len(whole) == 1 else torch.cat(whole)
    return found
