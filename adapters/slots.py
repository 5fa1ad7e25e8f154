"""The device-resident tensors of a bank: every slot's matrices, at addresses that never change."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.payload import Payload
from loraloop.adapters.methods.sites import GROUPS, Dimensions, Site, group_shape
from loraloop.kernels.native import spans

BUCKETS: tuple[int, ...] = (8, 16, 32, 64, 256)
"""Ranks that slots are made for; a skill's rank is rounded up, so that few shapes exist."""

_ALIGN = 16
"""Elements; every matrix starts on a 64-byte boundary (fp32)."""


def bucket_of(rank: int) -> int | None:
    """The smallest bucket that holds a rank; None where none does."""
    return next((bucket for bucket in BUCKETS if bucket >= rank), None)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A payload on the host, laid out as a slot wants it, so that activating it is copying.

    Attributes:
        pairs: A [R, K] and the transposed B [R, O] of each site.
        bytes: size of all of them.
        spans: int32 [R, 2] of each site: the columns between which a row of the transposed B may differ from zero.
    """

    pairs: Mapping[Site, tuple[Tensor, Tensor]]
    bytes: int
    spans: Mapping[Site, Tensor]

    @classmethod
    def of(cls, payload: Payload) -> Prepared:
        with torch.no_grad():
            pairs = {
                site: (pair.A.detach().contiguous(), pair.B.detach().T.contiguous())
                for site, pair in payload.pairs.items()
            }
        columns = {site: spans(pair.A.shape[0], pair.B.shape[0], pair.blocks) for site, pair in payload.pairs.items()}
        return cls(pairs, sum(A.nbytes + B.nbytes for A, B in pairs.values()), columns)


Views = dict[Site, tuple[Tensor, Tensor]]
"""Of one slot, for each site in use: shrink [K, r] and expand [r, O], r the rank in use; see `kernels.lora`."""


class SlotStack:
    """The slots of one rank bucket. A slot's matrices lie one after another in the order a forward reads them.

    Attributes:
        slots: the numbers of its slots.
        rank: what a module's update may have at most.
        A: [S, R, K] of each site (R sums the group's parts); row 0 belongs to the first of `slots`.
        B: [S, O, R] of each site, a transposed view.
    """

    def __init__(
        self, config: Dimensions, slots: Iterable[int], rank: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.slots = tuple(slots)
        self.rank = rank
        places: list[tuple[Site, int, int, int]] = []
        width = 0
        for layer in range(config.layers):
            for group, parts in GROUPS.items():
                outputs, inputs = group_shape(config, group)
                wide = rank * len(parts)
                places.append(((layer, group), wide, inputs, outputs))
                width += _aligned(wide * inputs) + _aligned(wide * outputs)
        self._store = _zeros(len(self.slots), width, dtype, device)
        self.A: dict[Site, Tensor] = {}
        self.B: dict[Site, Tensor] = {}
        offset = 0
        for site, wide, inputs, outputs in places:
            self.A[site] = self._block(offset, wide, inputs)
            offset += _aligned(wide * inputs)
            self.B[site] = self._block(offset, wide, outputs).transpose(1, 2)
            offset += _aligned(wide * outputs)
        self._used: dict[int, dict[Site, int]] = {slot: {} for slot in self.slots}

    @property
    def bytes(self) -> int:
        """What its tensors occupy at most; on a CPU, pages that no skill has needed are not there yet."""
        return self._store.nbytes

    def _block(self, offset: int, rows: int, columns: int) -> Tensor:
        block = self._store[:, offset : offset + rows * columns]
        return block.view(len(self.slots), rows, columns)

    def load(self, slot: int, prepared: Prepared) -> Views:
        """Copies a payload into a slot, in place, and clears what the previous one left."""
        row, used = self.slots.index(slot), self._used[slot]
        views: Views = {}
        with torch.inference_mode():
            for site in used.keys() - prepared.pairs.keys():
                self._clear(site, row, 0, used.pop(site))
            for site, (A, B) in prepared.pairs.items():
                rank = A.shape[0]
                self._clear(site, row, rank, used.get(site, 0))
                used[site] = rank
                shrink, expand = self.A[site][row, :rank], self.B[site][row].T[:rank]
                shrink.copy_(A, non_blocking=True)
                expand.copy_(B, non_blocking=True)
        for site, rank in used.items():
            views[site] = (self.A[site][row, :rank].T, self.B[site][row].T[:rank])
        return views

    def _clear(self, site: Site, row: int, start: int, end: int) -> None:
        if end > start:
            self.A[site][row, start:end] = 0
            self.B[site][row, :, start:end] = 0


def _aligned(count: int) -> int:
    return -(-count // _ALIGN) * _ALIGN


def _zeros(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros [rows, width]; on a CPU from anonymous memory, of which only touched pages become resident."""
    if device.type != "cpu":
        return torch.zeros(rows, width, dtype=dtype, device=device)
    memory = mmap.mmap(-1, rows * width * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(rows, width)
