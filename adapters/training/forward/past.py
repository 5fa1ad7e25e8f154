"""Keys and values of a batch's trunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Past:
    """Trunks side by side, padded on the right.

    Attributes:
        data: `[layers, 2, rows, kv_heads, T, D]`: keys and values; what lies after a row's length is finite.
        lengths: of each row, its positions.
    """

    data: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, trunks: Sequence[Tensor]) -> Past:
        """Makes it from trunks `[layers, 2, kv_heads, t, D]` of their own."""
        layers, two, heads, _, dim = trunks[0].shape
        lengths = tuple(trunk.shape[3] for trunk in trunks)
        data = trunks[0].new_zeros((layers, two, len(trunks), heads, max(lengths), dim))
        for row, trunk in enumerate(trunks):
            data[:, :, row, :, : lengths[row]] = trunk
        return cls(data, lengths)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[rows, kv_heads, T, D]`."""
        return self.data[index, 0], self.data[index, 1]

    def row(self, index: int) -> Tensor:
        """One trunk `[layers, 2, kv_heads, t, D]`, a view."""
        return self.data[:, :, index, :, : self.lengths[index]]

    def taken(self, rows: Sequence[int], lengths: Sequence[int]) -> Past:
        """The given rows, each up to a length: what the branches at these places stand on."""
        if list(rows) == list(range(len(self.lengths))):
            return Past(self.data, tuple(lengths))
        index = torch.tensor(rows, device=self.data.device)
        return Past(self.data.index_select(2, index), tuple(lengths))
