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
        data: `[layers, 2, trunks, kv_heads, T, D]`: keys and values; what lies after a row's length is finite.
        lengths: of each row, its positions.
        places: of each row, the trunk that it stands on; None: each on its own.
    """

    data: Tensor
    lengths: tuple[int, ...]
    places: tuple[int, ...] | None = None

    @classmethod
    def of(cls, trunks: Sequence[Tensor]) -> Past:
        """Makes it from trunks `[layers, 2, kv_heads, t, D]` of their own."""
        layers, two, heads, _, dim = trunks[0].shape
        lengths = tuple(trunk.shape[3] for trunk in trunks)
        data = trunks[0].new_zeros((layers, two, len(trunks), heads, max(lengths), dim))
        for row, trunk in enumerate(trunks):
            data[:, :, row, :, : lengths[row]] = trunk
        return cls(data, lengths)

    def layer(self, index: int, rows: slice) -> tuple[Tensor, Tensor]:
        """Keys and values `[rows, kv_heads, T, D]` of some rows, up to the longest of them; a view where one can be."""
        places = self.places[rows] if self.places else range(*rows.indices(len(self.lengths)))
        data, first = self.data[index, ..., : max(self.lengths[rows]), :], places[0]
        if list(places) == list(range(first, first + len(places))):
            data = data[:, first : first + len(places)]
        else:
            data = data.index_select(1, torch.tensor(places, device=data.device))
        return data[0], data[1]

    def row(self, index: int) -> Tensor:
        """One row's trunk `[layers, 2, kv_heads, t, D]`, a view."""
        place = self.places[index] if self.places else index
        return self.data[:, :, place, :, : self.lengths[index]]

    def taken(self, rows: Sequence[int], lengths: Sequence[int]) -> Past:
        """The given trunks, each up to a length: what the branches at these places stand on. Nothing is copied."""
        return Past(self.data, tuple(lengths), tuple(self.places[row] if self.places else row for row in rows))
