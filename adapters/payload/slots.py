"""The device-resident tensors of a bank: every slot's matrices, at addresses that never change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from loraloop.adapters.payload.extras import bytes_of, laid_out, tensors_of, zeros_on
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import GROUPS, Dimensions, Site, group_shape
from loraloop.kernels.cpu.tiles import tile_expand_
from loraloop.tool_schemas.errors import SkillError

BUCKETS: tuple[int, ...] = (8, 16, 32, 64, 256)
"""Ranks that slots are made for; a skill's rank is rounded up, so that few shapes exist."""

LARGEST = 1e6
"""What a value of a served skill may be at most, and the product of the largest values of a low-rank pair."""

_ALIGN = 16
"""Elements; every matrix starts on a 64-byte boundary (fp32)."""


def bucket_of(rank: int) -> int | None:
    """The smallest bucket that holds a rank; None where none does."""
    return next((bucket for bucket in BUCKETS if bucket >= rank), None)


@dataclass(frozen=True, slots=True)
class HostPayload:
    """A payload on the host, laid out as a slot wants it, so that activating it is copying.

    Attributes:
        pairs: A [R, K] and the transposed B [R, O] of each site.
        bytes: size of all of them.
        blocks: of each site, what `LowRank.blocks` says of B.
        store: the block of memory in which all matrices lie, so that reading and forgetting many skills leaves no
            holes behind.
        extras: what the payload holds besides pairs; None if nothing.
    """

    pairs: Mapping[Site, tuple[Tensor, Tensor]]
    bytes: int
    blocks: Mapping[Site, tuple[tuple[int, int, int], ...]]
    store: Tensor
    extras: Payload | None = None

    @property
    def rank(self) -> int:
        """The rank that a slot needs to hold this payload."""
        return max((-(-A.shape[0] // len(GROUPS[group])) for (_, group), (A, _) in self.pairs.items()), default=0)

    @classmethod
    def of(
        cls, payload: Payload, dtype: torch.dtype | None = None, pinned: bool = False, tiled: bool = False
    ) -> HostPayload:
        """Lays a payload out.

        Args:
            payload: what a skill leaves in a slot.
            dtype: the slots'; the payload's own where None.
            pinned: in page-locked memory, from which a GPU copies while it computes.
            tiled: the transposed B in the order in which the C kernels read it; see `kernels.tiles`.
        """
        own = next((pair.A.dtype for pair in payload.pairs.values()), torch.float32)
        size = sum(pair.A.numel() + pair.B.numel() for pair in payload.pairs.values())
        store = torch.empty(size, dtype=dtype or own, pin_memory=pinned)
        pairs, offset = {}, 0
        with torch.no_grad():
            for site, pair in payload.pairs.items():
                middle = offset + pair.A.numel()
                end = middle + pair.B.numel()
                A, B = store[offset:middle].view(pair.A.shape), store[middle:end].view(pair.B.T.shape)
                A.copy_(pair.A)
                B.copy_(pair.B.T)
                pairs[site], offset = (A, B), end
        if tiled:
            alike: dict[tuple[object, ...], list[Tensor]] = {}
            for site, pair in payload.pairs.items():
                alike.setdefault((pair.B.shape, pair.blocks), []).append(pairs[site][1])
            for (_, blocks), matrices in alike.items():
                tile_expand_(matrices, cast("tuple[tuple[int, int, int], ...]", blocks))
        extras = laid_out(payload, dtype)
        blocks = {site: pair.blocks for site, pair in payload.pairs.items()}
        return cls(pairs, store.nbytes + bytes_of(extras), blocks, store, extras)


def check_size(made: HostPayload, where: str) -> None:
    """Verifies that a payload, scaled and in the dtype in which it is served, is of a size that can be computed with.

    Weights may be finite and still so large that a product with them is not: every row that they meet would be NaN.

    Raises:
        SkillError: a value, or the product of the largest values of a pair, is above `LARGEST` or not a number.
    """
    rest = [] if made.extras is None else tensors_of(made.extras)
    ends = [float(end) for tensor in (made.store, *rest) if tensor.numel() for end in torch.aminmax(tensor)]
    largest = max([abs(end) if math.isfinite(end) else math.inf for end in ends], default=0.0)
    if largest**2 > LARGEST:  # then each pair is looked at
        products = [math.prod(float(part.abs().max()) for part in pair) for pair in made.pairs.values()]
        largest = max([largest, *products])
    if not largest <= LARGEST:
        raise SkillError(
            f"{where} has updates as large as {largest:.3g} once they are scaled, and {LARGEST:.0e} is the most that "
            "can be computed with: its file is damaged or the alpha of its card is wrong; export or train it again"
        )


Views = dict[Site, tuple[Tensor, Tensor]]
"""The matrices of one slot, for each site in use: shrink [K, r] and expand [r, O], r the rank in use."""


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
        self._store = zeros_on(device, len(self.slots), slot_elements(config, rank), dtype)
        self.A: dict[Site, Tensor] = {}
        self.B: dict[Site, Tensor] = {}
        offset = 0
        for layer in range(config.layers):
            for group, parts in GROUPS.items():
                (outputs, inputs), wide = group_shape(config, group), rank * len(parts)
                self.A[layer, group] = self._block(offset, wide, inputs)
                offset += _aligned(wide * inputs)
                self.B[layer, group] = self._block(offset, wide, outputs).transpose(1, 2)
                offset += _aligned(wide * outputs)
        self._used: dict[int, dict[Site, int]] = {slot: {} for slot in self.slots}
        self._views: dict[tuple[int, Site, int], tuple[Tensor, Tensor]] = {}

    @property
    def bytes(self) -> int:
        """Bytes of all slots; on a CPU, pages that no skill has needed yet take no memory."""
        return self._store.nbytes

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return self._store.nbytes // len(self.slots)

    def _block(self, offset: int, rows: int, columns: int) -> Tensor:
        block = self._store[:, offset : offset + rows * columns]
        return block.view(len(self.slots), rows, columns)

    def load(self, slot: int, prepared: HostPayload) -> Views:
        """Copies a payload into a slot, in place, and clears what the previous one left.

        A slot that is being written must not be read; slots next to it may be.
        """
        row, used = self.slots.index(slot), self._used[slot]
        views: Views = {}
        targets: list[Tensor] = []
        sources: list[Tensor] = []
        with torch.inference_mode():
            for site in used.keys() - prepared.pairs.keys():
                self._clear(site, row, 0, used.pop(site))
            for site, (A, B) in prepared.pairs.items():
                rank = A.shape[0]
                self._clear(site, row, rank, used.get(site, 0))
                used[site] = rank
                shrink, expand = views[site] = self._view(row, site, rank)
                targets += (shrink.T, expand)
                sources += (A, B)
            if targets:
                torch._foreach_copy_(targets, sources, non_blocking=True)
        return views

    def _view(self, row: int, site: Site, rank: int) -> tuple[Tensor, Tensor]:
        """The shrink and expand matrices of one site, made once: a slot never moves."""
        known = self._views.get((row, site, rank))
        if known is None:
            known = self.A[site][row, :rank].T, self.B[site][row].T[:rank]
            self._views[row, site, rank] = known
        return known

    def _clear(self, site: Site, row: int, start: int, end: int) -> None:
        if end > start:
            self.A[site][row, start:end] = 0
            self.B[site][row, :, start:end] = 0


def slot_elements(config: Dimensions, rank: int) -> int:
    """Values of one slot of a rank: matrices of all sites, each of them aligned."""
    shapes = ((rank * len(parts), group_shape(config, group)) for group, parts in GROUPS.items())
    return config.layers * sum(_aligned(wide * outputs) + _aligned(wide * inputs) for wide, (outputs, inputs) in shapes)


def _aligned(count: int) -> int:
    return -(-count // _ALIGN) * _ALIGN
