"""A bank's slots on a GPU: every product goes through the op table, for all rows at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraloop.adapters.payload.attached import BankAttached
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import Site
from loraloop.adapters.payload.slot_events import SlotEvents
from loraloop.adapters.payload.slots import HostPayload, SlotStack, Views
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.quantized import Weight
from loraloop.kernels.reference import Segments
from loraloop.kernels.rows import RowSlots

Tables = tuple[RowSlots | None, ...]
"""For each stack the slots of a forward's rows; None where no row uses the stack."""


class SegmentedAttached(BankAttached):
    """The resident skills for a GPU: one shrink and one expand launch for all rows whose slots share a rank bucket.

    Attributes:
        stacks: the slots by rank.
        index: of each stack, where a slot lies in it.
        spans: of each stack, by site, int32 [S, R, 2]: the columns of B that each rank of a slot reaches. Ranks that a
            skill does not use, and sites that it does not change, have empty spans and cost nothing.
    """

    __slots__ = ("_events", "_latest", "_reach", "index", "spans", "stacks")

    def __init__(self, slots: int, stacks: Sequence[SlotStack]) -> None:
        super().__init__(slots)
        self.stacks = tuple(stacks)
        self.index = [{slot: row for row, slot in enumerate(stack.slots)} for stack in self.stacks]
        self._reach = [_reach(stack) for stack in self.stacks]
        self.spans = [_by_site(stack, reach) for stack, reach in zip(self.stacks, self._reach, strict=True)]
        self._latest: tuple[Segments, Tables] | None = None
        device = next(iter(self.stacks[0].A.values())).device
        self._events = SlotEvents.of(device) if device.type == "cuda" else None

    def put(self, slot: int, views: Views, prepared: HostPayload, extras: Payload | None = None) -> None:
        """Lets a slot contribute; its tensors are in place. The spans are written in place too."""
        for stack, index, reach in zip(self.stacks, self.index, self._reach, strict=True):
            if slot in index:
                with torch.inference_mode():
                    reach[index[slot]].copy_(torch.from_numpy(_spans(stack, prepared)))
        super().put(slot, views, prepared, extras)

    def writing(self, slot: int) -> AbstractContextManager[object]:
        return nullcontext() if self._events is None else self._events.writing(slot)

    def reading(self, slots: Collection[int]) -> AbstractContextManager[object]:
        """The block's work reads slots: it follows their last writes, and whoever writes them next follows it."""
        return nullcontext() if self._events is None or not slots else self._events.reading(slots)

    def used(self, slots: Collection[int]) -> tuple[bool, ...]:
        """Which stacks any of these slots lies in."""
        return tuple(any(slot in index for slot in slots) for index in self.index)

    def tables(self, segments: Segments, device: torch.device) -> Tables:
        """The tables of a forward, made once: all of its layers pass the same segments."""
        latest = self._latest
        if latest is None or latest[0] is not segments:
            used = self.used({slot for _, _, slot in segments})
            made = tuple(
                RowSlots.of(segments, device, index) if wanted else None
                for wanted, index in zip(used, self.index, strict=True)
            )
            latest = self._latest = (segments, made)
        return latest[1]

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds to the base product y[N, O] of x[N, K], in place, what each row's slots contribute."""
        site = (layer, group)
        if not any(site in self.views[slot] for _, _, slot in segments):
            return y
        return self.add(site, x, y, self.tables(segments, x.device))

    def add(self, site: Site, x: Tensor, y: Tensor, tables: Tables) -> Tensor:
        """`linear` for tables that are already made.

        Args:
            site: Layer and group of the product.
            x: Inputs `[N, K]`.
            y: The base's product `[N, O]`; changed in place.
            tables: For each stack the slots of the N rows; see `tables`.

        Returns:
            y `[N, O]` itself.
        """
        from loraloop.kernels import ops

        for stack, spans, rows in zip(self.stacks, self.spans, tables, strict=True):
            if rows is not None:
                A, B = stack.A[site], stack.B[site]
                ops.lora_linear_(x, y, A=A, B=B, slots=rows.slots, tiles=rows.tiles, spans=spans[site])
        return y

    def product(self, site: Site, weight: Weight, x: Tensor, tables: Tables) -> Tensor:
        """The base's product and what the slots add: one launch where the weight is NF4 and the rows are few.

        Args:
            site: Layer and group of the product.
            weight: The base's matrix `[O, K]`.
            x: Inputs `[N, K]`.
            tables: For each stack the slots of the N rows; see `SegmentedAttached.tables`.

        Returns:
            `[N, O]` in x's dtype.
        """
        from loraloop.kernels import ops

        first = next((at for at, rows in enumerate(tables) if rows is not None), None)
        rows = None if first is None else tables[first]
        if first is None or rows is None or not isinstance(weight, Nf4Weight):
            return self.add(site, x, weight(x), tables)
        stack = self.stacks[first]
        y: Tensor = ops.nf4_lora_linear(
            x,
            *weight.tensors,
            weight.out_features,
            A=stack.A[site],
            B=stack.B[site],
            slots=rows.slots,
            tiles=rows.tiles,
            counters=rows.counters,
            spans=self.spans[first][site],
        )
        return self.add(site, x, y, tuple(None if at == first else other for at, other in enumerate(tables)))


def _reach(stack: SlotStack) -> Tensor:
    """Empty spans [S, R of all sites, 2] on the stack's device."""
    ranks = sum(A.shape[1] for A in stack.A.values())
    device = next(iter(stack.A.values())).device
    return torch.zeros(len(stack.slots), ranks, 2, dtype=torch.int32, device=device)


def _spans(stack: SlotStack, prepared: HostPayload) -> np.ndarray[Any, np.dtype[np.int32]]:
    """One slot's spans [R of all sites, 2]."""
    host = np.zeros((sum(A.shape[1] for A in stack.A.values()), 2), dtype=np.int32)
    start = 0
    for site, whole in stack.A.items():
        if site in prepared.pairs:
            A, B = prepared.pairs[site]
            at = start
            for ranks, first, last in prepared.blocks[site] or ((A.shape[0], 0, B.shape[1]),):
                host[at : at + ranks] = first, last
                at += ranks
        start += whole.shape[1]
    return host


def _by_site(stack: SlotStack, reach: Tensor) -> dict[Site, Tensor]:
    """Views [S, R, 2] of each site."""
    views, start = {}, 0
    for site, A in stack.A.items():
        views[site] = reach[:, start : start + A.shape[1]]
        start += A.shape[1]
    return views
