"""Where kernels run: on the device of their operands, or in Triton's interpreter on the CPU."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Decided when a process starts. The interpreter multiplies the bits of bfloat16 tiles as integers, so there they are
widened first."""


def on_device(tensor: Tensor) -> AbstractContextManager[None]:
    """Makes the GPU of a tensor (of any shape) the current one, on which Triton launches; nothing for a CPU's."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return guard
