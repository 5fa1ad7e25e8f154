"""A token mask applied to logits in place, without branches, without allocation and without threads."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_EIGHT = np.dtype((np.void, 32))  # eight float32 values that are moved together


@functools.cache
def _penalties() -> NDArray[Any]:
    """For each byte of a mask its eight penalties, [256] times eight float32: 0 where the bit is set, else -inf."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    table = np.where(bits, np.float32(0), np.float32(-np.inf))
    return np.ascontiguousarray(table, dtype=np.float32).view(_EIGHT).reshape(256)


class Masker:
    """The buffers for one mask of a vocabulary.

    Adding penalties from a table takes a tenth of the time of `masked_fill_` on a dense mask (measured: 10 against
    110 microseconds at 49 152 tokens). numpy does it on a CPU: torch would share so little work among its threads,
    which on busy cores wait for each other (measured: 10 against 570 microseconds on average).

    Args:
        vocab_size: Number of tokens.

    Attributes:
        address: Where the mask has to be written: bit t of the little-endian words is set if token t may follow.
        size: Its size in bytes.
    """

    __slots__ = ("_bytes", "_eights", "_penalty", "_vocab_size", "address", "size")

    def __init__(self, vocab_size: int) -> None:
        words = np.zeros((vocab_size + 31) // 32, dtype=np.int32)
        self._vocab_size = vocab_size
        self._bytes = words.view(np.uint8)
        self._eights = np.empty(self._bytes.size, dtype=_EIGHT)
        self._penalty = self._eights.view(np.float32)[:vocab_size]
        self.address: int = words.ctypes.data
        self.size = words.nbytes

    def apply_(self, logits: torch.Tensor) -> None:
        """Sets the logits of tokens that may not follow to minus infinity.

        Args:
            logits: [V] or longer, finite or minus infinity; what lies beyond the vocabulary is masked as well.
        """
        import torch

        np.take(_penalties(), self._bytes, out=self._eights, mode="clip")
        if logits.shape[0] > self._vocab_size:
            logits[self._vocab_size :] = float("-inf")
            logits = logits[: self._vocab_size]
        if logits.device.type == "cpu" and logits.dtype == torch.float32:
            values = logits.detach().numpy()
            np.add(values, self._penalty, out=values)
        else:
            logits.add_(torch.from_numpy(self._penalty).to(logits))
