"""Reads a safetensors file into one block of memory that suits kernels that stream it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import torch
from torch import Tensor

from loraloop.kernels.memory import block

_ALIGN = 64  # a cache line
_DTYPES = {
    "U8": torch.uint8, "I8": torch.int8, "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32,
}  # fmt: skip


def read_arena(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file that we wrote, and the file's sha256.

    The data begin on a cache line, in a block of memory of their own.
    """
    with path.open("rb") as file:
        prefix = file.read(8)
        header = file.read(int.from_bytes(prefix, "little"))
        digest = hashlib.sha256(prefix + header)
        size = path.stat().st_size - len(prefix) - len(header)
        memory = block(size)
        view = memoryview(memory)[:size]
        done = 0
        while done < size and (count := file.readinto(view[done:])):
            done += count
        digest.update(view)
    tensors: dict[str, Tensor] = {}
    for name, entry in json.loads(header).items():
        if name == "__metadata__":
            continue
        count, start = math.prod(entry["shape"]), entry["data_offsets"][0]
        flat = torch.frombuffer(memory, dtype=_DTYPES[entry["dtype"]], count=count, offset=start)
        tensors[name] = flat.view(entry["shape"])
    return tensors, digest.hexdigest()


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself if it begins on a cache line, else a copy that does."""
    return tensor if tensor.data_ptr() % _ALIGN == 0 else tensor.clone()
