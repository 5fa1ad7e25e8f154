"""Which slots each row of a forward uses, as tensors: what the operations of the op table take instead of segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.kernels.reference import Segments, members

NONE = -1
"""In a table of slots: nothing here."""

FEW = 64
"""Rows up to which a quantized product reads its weights through the fused kernel; beyond, through a dense buffer."""


def tile_rows(count: int) -> int:
    """Rows that one program works on. It depends on a forward's shape alone, so that no row's bits depend on slots.

    One: plain multiply and sum. The others: tensor cores, whose tiles begin at 16.

    Args:
        count: Rows of the forward.
    """
    if count == 1:
        return 1
    return 16 if count <= FEW else 64


@dataclass(frozen=True, slots=True)
class RowSlots:
    """The slots of a forward's rows; the same for all of its layers.

    Attributes:
        slots: int32 [N, k], indices into A and B; NONE where a row uses fewer than k.
        weights: fp32 [N, k]; 0 beside NONE.
        tiles: int32 [T], the row tiles (of `tile_rows(N)` rows) in which any row uses a slot; they make the grid.
        counters: int32 [2], zeros: through them the programs of one launch wait for each other. Launches that share
            them run one after another, because a forward, or a captured graph, has tables of its own.
    """

    slots: Tensor
    weights: Tensor
    tiles: Tensor
    counters: Tensor

    @classmethod
    def of(
        cls, segments: Segments, device: torch.device | str = "cpu", index: Mapping[int, int] | None = None
    ) -> RowSlots:
        """The tables of a forward's segments.

        Args:
            segments: as `reference.lora_linear` takes them.
            index: where each slot lies in A and B; slots that are absent contribute nothing. By default slot s lies
                at index s.
        """
        runs = [
            (start, end, [(at, weight) for slot, weight in members(choice) if (at := _at(slot, index)) != NONE])
            for start, end, choice in segments
        ]
        count = runs[-1][1] if runs else 0
        width = max((len(pairs) for _, _, pairs in runs), default=1) or 1
        slots = torch.full((count, width), NONE, dtype=torch.int32)
        weights = torch.zeros(count, width)
        tile, active = tile_rows(count), set[int]()
        for start, end, pairs in runs:
            for column, (slot, weight) in enumerate(pairs):
                slots[start:end, column] = slot
                weights[start:end, column] = weight
            if pairs and end > start:
                active.update(range(start // tile, (end - 1) // tile + 1))
        tiles = torch.tensor(sorted(active), dtype=torch.int32)
        tables = (slots, weights, tiles, torch.zeros(2, dtype=torch.int32))
        return cls(*(table.to(device, non_blocking=True) for table in tables))

    @classmethod
    def all_tiles(cls, slots: Tensor, weights: Tensor) -> RowSlots:
        """Tables whose contents may change later, as a captured graph reads them: every tile is in the grid."""
        count = slots.shape[0]
        tiles = torch.arange(-(-count // tile_rows(count)), dtype=torch.int32, device=slots.device)
        return cls(slots, weights, tiles, torch.zeros(2, dtype=torch.int32, device=slots.device))


def _at(slot: int, index: Mapping[int, int] | None) -> int:
    return slot if index is None else index.get(slot, NONE)
