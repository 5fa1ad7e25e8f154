"""The processes that train together, started by `accelerate launch`; or one alone.

The base is frozen and every process holds it, so only the adapters' gradients travel: one sum of them a step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from loraloop.tool_schemas.errors import InputError


class Workers(Protocol):
    """One process's view of all."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each process's tensors by their sum over all."""
        ...

    def wait(self) -> None:
        """Until all have come here."""
        ...


class Alone:
    """A single process."""

    rank, count = 0, 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        return None

    def wait(self) -> None:
        return None


class Accelerated:
    """The processes that accelerate has started, on one or more nodes."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise InputError("several processes need accelerate: pip install 'loraloop[train]'") from error
        self._accelerator: Any = Accelerator(cpu=not torch.cuda.is_available())
        self.rank: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        exact = torch.float64 if all(tensor.dtype is torch.float64 for tensor in tensors) else torch.float32
        flat = torch.cat([tensor.reshape(-1).to(self._accelerator.device, exact) for tensor in tensors])
        total = self._accelerator.reduce(flat, reduction="sum")
        start = 0
        for tensor in tensors:
            tensor.copy_(total[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def current() -> Workers:
    """Those of this process, by the environment that a launcher sets."""
    return Accelerated() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone()
