"""The processes that train together, started by `accelerate launch`; or one alone.

The base is frozen: every process holds it, or all share it out (`accelerate launch --use_fsdp`). Only the adapters'
gradients are summed, once a step.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.shards import Shards
from loraloop.tool_schemas.errors import InputError, needing


class Workers:
    """One process's view of all; this one is alone.

    Attributes:
        rank: The process's number.
        count: How many there are.
        shared: Whether each holds only its part of the base's weights.
    """

    rank, count, shared = 0, 1, False

    def shards(self) -> Shards | None:
        """What a trainer's weights are put into, if they are shared out; all processes ask for it together."""
        return None

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each process's tensors, of any shapes that are the same in all, by their sum over all; in place."""

    def wait(self) -> None:
        """Until all have come here."""


class Accelerated(Workers):
    """The processes that accelerate has started, on one or more nodes.

    Raises:
        InputError: there is no accelerate, or FSDP is asked for in a way that is not ours.
    """

    def __init__(self) -> None:
        with needing("several processes need accelerate", "'loraloop[train]'"):
            from accelerate import PartialState
        self.shared = _sharing()
        self._state: Any = PartialState(cpu=not torch.cuda.is_available())
        if self._state.device.type == "cpu":
            atexit.register(_leave, self._state)
        self.rank = self._state.process_index
        self.count = self._state.num_processes
        self._shards: Shards | None = None

    def shards(self) -> Shards | None:
        if self.shared:
            self._shards = Shards(self._state.device)
        return self._shards

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces `tensors`, of any shape that is the same in all processes, by their sum over all; in place."""
        from accelerate.utils import reduce

        self._meet()
        exact = torch.float64 if all(tensor.dtype is torch.float64 for tensor in tensors) else torch.float32
        flat = torch.cat([tensor.reshape(-1).to(self._state.device, exact) for tensor in tensors])
        total: Tensor = reduce(flat, reduction="sum")
        start = 0
        for tensor in tensors:
            tensor.copy_(total[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def wait(self) -> None:
        self._meet()
        self._state.wait_for_everyone()

    def _meet(self) -> None:
        """Before all talk of something else, nobody must still be waiting for weights."""
        if self._shards is not None:
            self._shards.meet()


def _leave(state: Any) -> None:
    """Before the interpreter goes: gloo's threads drop tensors, and one that needs the GIL for it later aborts.

    A group that a device mesh still holds keeps its threads, so they are also given the GIL for a moment.
    """
    state.destroy_process_group()
    time.sleep(0.1)


def current() -> Workers:
    """The workers that this process belongs to, by the environment that a launcher sets.

    Raises:
        InputError: it asks for what cannot be done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Accelerated()
    if _sharing():
        raise InputError(
            "--use_fsdp shards the base over several processes, and there is only one: give accelerate launch "
            "--num_processes 2 or more, or leave --use_fsdp out"
        )
    return Workers()


_FSDP = {
    "FSDP_OFFLOAD_PARAMS": (("false",), "parts stay where they are computed with: leave --fsdp_offload_params out"),
    "FSDP_ACTIVATION_CHECKPOINTING": (("false",), "instead, give the schedule `checkpointing: true`"),
    "FSDP_SHARDING_STRATEGY": (("full_shard", "1"), "layers are always shared out among all: FULL_SHARD"),
    "FSDP_RESHARD_AFTER_FORWARD": (("true", "full_shard", "1"), "layers never stay whole: leave it `true`"),
}
"""What accelerate's options may be, and what to do else; the other ones say how to wrap modules, and have no effect."""


def _sharing() -> bool:
    """Whether the launcher asks to share the base out.

    Raises:
        InputError: with an option that would be ignored.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() not in ("1", "true", "yes"):
        return False
    for name, (known, advice) in _FSDP.items():
        value = os.environ.get(name, known[0])
        if value.lower() not in known:
            raise InputError(f"{name}={value} is not supported here: {advice}")
    return True
