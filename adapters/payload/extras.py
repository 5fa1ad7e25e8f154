"""The parts of slots besides low-rank pairs: gains, biases, bottlenecks and virtual tokens, at fixed addresses."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

from loraloop.adapters.payload.payload import Payload
from loraloop.kernels.cpu.memory import zeros
from loraloop.tool_schemas.errors import SkillError

SIZES: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Widths of modules and numbers of virtual tokens that places are made for; a skill's is rounded up."""

_MATRICES = ("keys", "values", "down", "up")
"""Kinds of parts that slots hold in their own dtype; vectors and prompts are fp32."""
_COUNTED = {
    **dict.fromkeys(("keys", "values", "prompt"), "virtual tokens"),
    **dict.fromkeys(("down", "up", "down_bias"), "neurons of a bottleneck"),
}
"""What the first dimension of a kind counts, where a skill chooses it."""
_ALIGN = 16
"""Elements; every tensor starts on a 64-byte boundary (fp32)."""


def size_of(count: int, what: str) -> int:
    """The smallest size that holds a count; SkillError where none does."""
    found = next((size for size in SIZES if size >= count), None)
    if found is None:
        raise SkillError(f"{count} {what} are more than {SIZES[-1]}, which is what a slot holds: train a smaller skill")
    return found


def laid_out(payload: Payload, dtype: torch.dtype | None = None) -> Payload | None:
    """All of a payload but its pairs, on the host, in the types that slots hold; None where there is nothing.

    Args:
        payload: what a skill leaves in a slot.
        dtype: of matrices and of a prefix; their own where None. Vectors and prompts are fp32.
    """
    if not payload.kinds - {"pairs"}:
        return None

    def own(kind: str, place: object, tensor: Tensor) -> Tensor:
        wanted = (dtype or tensor.dtype) if kind in _MATRICES else torch.float32
        return tensor.detach().to("cpu", wanted, memory_format=torch.contiguous_format, copy=True)

    return payload.mapped(own)


def bytes_of(extras: Payload | None) -> int:
    """Memory of what `laid_out` made."""
    return 0 if extras is None else sum(tensor.nbytes for tensor in tensors_of(extras))


class ExtraSlots:
    """The places of all slots of a bank, made for a kind and size when the first skill needs it, and never moved.

    Args:
        slots: how many there are, slot 0 counted.
        device: where they lie; on a CPU, pages that no skill has needed are not there yet.
    """

    def __init__(self, slots: int, device: torch.device) -> None:
        self._slots, self._device = slots, device
        self._blocks: dict[tuple[str, object, tuple[int, ...], torch.dtype], Tensor] = {}
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes of all places that were made."""
        return sum(block.nbytes for block in self._blocks.values())

    def used(self, slot: int) -> int:
        """Bytes that the parts of a slot take."""
        return self._used.get(slot, 0)

    def load(self, slot: int, extras: Payload | None) -> Payload | None:
        """Copies what `laid_out` made into a slot; returns the same parts as they lie there, None for nothing.

        A slot that is being written must not be read; slots next to it may be.
        """
        self._used[slot] = bytes_of(extras)
        if extras is None:
            return None
        with torch.inference_mode():
            return extras.mapped(lambda kind, place, tensor: self._put(slot, kind, place, tensor))

    def _put(self, slot: int, kind: str, at: object, tensor: Tensor) -> Tensor:
        """One tensor at its place; its first dimension is rounded up where it is counted in something."""
        counted = _COUNTED.get(kind)
        shape = (size_of(len(tensor), counted) if counted else len(tensor), *tensor.shape[1:])
        key = (kind, at, shape, tensor.dtype)
        with self._lock:
            block = self._blocks.get(key)
            if block is None:
                width = -(-math.prod(shape) // _ALIGN) * _ALIGN
                block = self._blocks[key] = zeros_on(self._device, self._slots, width, tensor.dtype)
        place = block[slot, : tensor.numel()].view(tensor.shape)
        place.copy_(tensor, non_blocking=True)
        return place


def zeros_on(device: torch.device, rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """Zeros [rows, width]; on a CPU from anonymous memory, of which only touched pages become resident.

    Args:
        device: Where they are.
        rows: First dimension, one row a slot.
        width: Second dimension, in elements.
        dtype: Type of the elements.
    """
    if device.type != "cpu":
        return torch.zeros(rows, width, dtype=dtype, device=device)
    return zeros(rows, width, dtype=dtype)


def tensors_of(extras: Payload) -> list[Tensor]:
    """All tensors of a payload but those of its pairs: vectors `[O]` and `[K]`, prefixes `[P, kv_heads, head_dim]`,
    bottlenecks `[R, H]` with their biases, and a prompt `[P, H]`.
    """
    found: list[Tensor] = []

    def keep(kind: str, place: object, tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    extras.mapped(keep)
    return found
