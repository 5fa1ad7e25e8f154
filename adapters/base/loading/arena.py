"""Reads a safetensors file into one block of memory that suits kernels that stream it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import torch
from torch import Tensor

from loraloop.kernels.cpu.memory import block

_ALIGN = 64  # a cache line
_DTYPES = {
    "U8": torch.uint8, "I8": torch.int8, "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32,
}  # fmt: skip


def read_arena(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file that we wrote, by name; their data begin on a cache line, in a memory block of their own.

    Returns:
        Tensors of any shape, in the file's dtypes.

    Raises:
        ValueError: the file is not the one with this sha256. Nothing of it is looked at before.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        start = 8 + int.from_bytes(file.read(8), "little")  # of the data, where the file is what it should be
        file.seek(0)
        shift = -start % _ALIGN
        memory = block(shift + size)
        view = memoryview(memory)[shift : shift + size]
        done = 0
        while done < size and (count := file.readinto(view[done:])):
            done += count
    if hashlib.sha256(view).hexdigest() != sha256:
        raise ValueError(f"{path} does not have the sha256 {sha256}")
    tensors: dict[str, Tensor] = {}
    for name, entry in json.loads(bytes(view[8:start])).items():
        if name == "__metadata__":
            continue
        at = shift + start + entry["data_offsets"][0]
        flat = torch.frombuffer(memory, dtype=_DTYPES[entry["dtype"]], count=math.prod(entry["shape"]), offset=at)
        tensors[name] = flat.view(entry["shape"])
    return tensors


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself, of any shape, if it begins on a cache line, else a copy that does."""
    return tensor if tensor.data_ptr() % _ALIGN == 0 else tensor.clone()
