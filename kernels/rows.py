"""Which slot each row of a forward uses, as tensors: what the operations of the op table take instead of segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.kernels.reference import Segments

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
        slots: int32 [N], indices into A and B; NONE where a row uses no slot.
        tiles: int32 [T], the row tiles (of `tile_rows(N)` rows) in which any row uses a slot; they make the grid.
        counters: int32 [2], zeros: through them the programs of one launch wait for each other. Launches that share
            them run one after another, because a forward, or a captured graph, has tables of its own.
    """

    slots: Tensor
    tiles: Tensor
    counters: Tensor

    @classmethod
    def of(
        cls, segments: Segments, device: torch.device | str = "cpu", index: Mapping[int, int] | None = None
    ) -> RowSlots:
        """The tables of a forward's segments.

        Args:
            segments: (start, end, slot) of the rows; those on slot 0 use none.
            index: where each slot lies in A and B; slots that are absent contribute nothing. By default slot s lies
                at index s.
        """
        count = segments[-1][1] if segments else 0
        slots = torch.full((count,), NONE, dtype=torch.int32)
        tile, active = tile_rows(count), set[int]()
        for start, end, slot in segments:
            at = NONE if not slot else slot if index is None else index.get(slot, NONE)
            if at != NONE and end > start:
                slots[start:end] = at
                active.update(range(start // tile, (end - 1) // tile + 1))
        tables = (slots, torch.tensor(sorted(active), dtype=torch.int32), torch.zeros(2, dtype=torch.int32))
        return cls(*(table.to(device, non_blocking=True) for table in tables))

    @classmethod
    def all_tiles(cls, slots: Tensor) -> RowSlots:
        """Tables whose contents may change later, as a captured graph reads them: every tile is in the grid.

        Args:
            slots: int32 `[N]`, the slot of each row; NONE where a row uses none.
        """
        count = slots.shape[0]
        tiles = torch.arange(-(-count // tile_rows(count)), dtype=torch.int32, device=slots.device)
        return cls(slots, tiles, torch.zeros(2, dtype=torch.int32, device=slots.device))
