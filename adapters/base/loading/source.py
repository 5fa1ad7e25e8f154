"""What a base is read from: one shape for Hugging Face folders and GGUF files.

A source gives the config, the tokenizer, the chat template, and each projection as dense values or, from a GGUF file
with 4-bit blocks, as its own codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from loraloop.adapters.base.config import ModelConfig
from loraloop.tool_schemas.errors import BaseModelError, LoraloopError

CHUNK = 1 << 20  # values that are worked on at a time: few enough for a cache of the processor


@dataclass(frozen=True, slots=True)
class Codes4:
    """A matrix as the file's own 4-bit codes `[O, K]`, scales and zeros `[O, K/32]`: `(code-8)*scale + zero`."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def dense(self) -> Tensor:
        """The values `[O, K]` in fp32."""
        rows, columns = self.codes.shape
        values = torch.empty(rows, columns // 32, 32)
        step = max(1, CHUNK // columns)
        for start in range(0, rows, step):  # bounds what the intermediate results take
            here = slice(start, start + step)
            groups = self.codes[here].view(-1, columns // 32, 32).float().sub_(8)
            torch.add(groups.mul_(self.scales[here, :, None]), self.zeros[here, :, None], out=values[here])
        return values.view(rows, columns)


@dataclass(frozen=True, slots=True)
class Fine:
    """A matrix `[O, K]` in fp32 whose file spends other than four bits on a value: the int4 form serves it in int8."""

    values: Tensor

    def dense(self) -> Tensor:
        """The values `[O, K]` in fp32."""
        return self.values


SourcePart = Tensor | Codes4 | Fine
"""One tensor of a source."""


class BaseSource(Protocol):
    """Where a base's parts come from. Names are Hugging Face's, such as `model.layers.0.mlp.up_proj.weight`."""

    config: ModelConfig
    tokenizer_json: str
    eos_ids: tuple[int, ...]
    chat_template: str
    bos: str
    eos: str

    def tensor(self, name: str) -> SourcePart:
        """Reads one tensor.

        Args:
            name: The tensor's name.

        Returns:
            The values `[O, K]` of a matrix or `[N]` of a norm or a bias, in the dtype of the file or dequantized; or a
            matrix as its own 4-bit codes.

        Raises:
            BaseModelError: The source has no such tensor.
        """
        ...


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes its readers raise becomes an error that says so.

    Raises:
        BaseModelError: The block raised something that is neither of this library, nor about memory or the system.
    """
    try:
        yield
    except (LoraloopError, OSError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # a panic of Rust's
            raise
        why = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise BaseModelError(f"{path} is damaged, or no base ({why}): download it again") from error
