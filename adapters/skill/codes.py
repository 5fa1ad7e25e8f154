"""Low-rank matrices in a byte a value: a quarter of float32's file, half of bfloat16's.

Each row of A [r, in] and each column of B [out, r] has a scale of its own, the largest magnitude in it over 127
(symmetric absmax rounding, as in arXiv 2208.07339): one scale a matrix for each of the r directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCALE = ".scale"
"""Ending of the name of the scales [r, 1] or [1, r], float32, of the int8 matrix before it."""
AXIS = {"lora_A": 1, "lora_B": 0}
"""The axis along which the values of a matrix share a scale."""


def encode(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the low-rank matrices among them as int8 codes and scales; the others, of any shape, as they are.

    Args:
        tensors: By name; `lora_A` `[r, K]` and `lora_B` `[O, r]` are the low-rank matrices.

    Returns:
        int8 codes of the matrices' shapes, with float32 scales `[r, 1]` of A and `[1, r]` of B, and the others.
    """
    import torch

    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        axis = AXIS.get(name.rpartition(".")[2])
        if axis is None:
            found[name] = tensor
            continue
        values = tensor.detach().float()
        scale = (values.abs().amax(axis, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        found[name], found[name + SCALE] = torch.round(values / scale).clamp(-127, 127).to(torch.int8), scale
    return found


def decode(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with int8 codes as bfloat16 values, without the scales; the others, of any shape, as they are.

    Args:
        tensors: By name; beside int8 codes `[r, K]` or `[O, r]` stand their scales `[r, 1]` or `[1, r]`.
    """
    import torch

    scales = {name + SCALE for name, tensor in tensors.items() if tensor.dtype == torch.int8}
    return {
        name: (tensor * tensors[name + SCALE]).to(torch.bfloat16) if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
        if name not in scales
    }
