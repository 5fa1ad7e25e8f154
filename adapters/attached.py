"""How a bank's slots meet a forward: the decoder hands over each product, the active slots add their part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from loraloop.adapters.methods.sites import Site
from loraloop.adapters.slots import Prepared, SlotStack, Views
from loraloop.kernels.lora import add_blend, add_low_rank
from loraloop.kernels.reference import Blend, Choice, Segments

if TYPE_CHECKING:
    from loraloop.kernels.native import Native, NativePair
    from loraloop.kernels.triton_lora import Plan

FEW = 16
"""Rows up to which the C kernel reads the matrices anew for each row; beyond, torch's matrix products are faster."""


class BankAttached:
    """The resident skills, as the decoder sees them.

    Attributes:
        views: matrices of each slot by site. A site that a skill does not change is absent, and costs a look-up.
            Slot 0 is empty.
    """

    __slots__ = ("views",)

    def __init__(self, slots: int) -> None:
        self.views: list[Views] = [{} for _ in range(slots)]

    def put(self, slot: int, views: Views, prepared: Prepared) -> None:
        """Lets a slot contribute; its tensors are in place."""
        self.views[slot] = views

    def clear(self, slot: int) -> None:
        """Lets a slot contribute nothing."""
        self.views[slot] = {}

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds to the base product y[N, O] of x[N, K], in place, what each row's slot or blend contributes.

        Rows are computed one after another, so that no row's bits depend on its neighbours' skills.
        """
        site = (layer, group)
        for start, end, choice in segments:
            own, out = (x, y) if len(segments) == 1 else (x[start:end], y[start:end])
            if isinstance(choice, int):
                pair = self.views[choice].get(site)
                if pair is not None:
                    add_low_rank(own, out, pair[0], pair[1])
            else:
                self._blend(site, own, out, choice)
        return y

    def _blend(self, site: Site, x: Tensor, y: Tensor, blend: Blend) -> None:
        """Adds the weighted sum of several slots; one that does not change this site adds nothing."""
        pairs = [(*self.views[slot][site], weight) for slot, weight in blend if site in self.views[slot]]
        if pairs:
            add_blend(x, y, pairs)


class NativeAttached(BankAttached):
    """The same on a CPU in bf16 with the C kernel, which wins while a row has few tokens."""

    __slots__ = ("_native", "_pairs")

    def __init__(self, slots: int, native: Native) -> None:
        super().__init__(slots)
        self._native = native
        self._pairs: list[dict[Site, NativePair]] = [{} for _ in range(slots)]

    def put(self, slot: int, views: Views, prepared: Prepared) -> None:
        self._pairs[slot] = {
            site: self._native.pair(shrink.T, expand, prepared.spans[site]) for site, (shrink, expand) in views.items()
        }
        super().put(slot, views, prepared)

    def clear(self, slot: int) -> None:
        self._pairs[slot] = {}
        super().clear(slot)

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        site = (layer, group)
        if x.shape[0] == 1:
            only = segments[0][2]
            if not isinstance(only, int):
                self._blend(site, x, y, only)
                return y
            alone = self._pairs[only].get(site)
            if alone is not None:
                alone(x, y)
            return y
        x = x.contiguous()
        for start, end, slot in segments:
            if not isinstance(slot, int):
                self._blend(site, x[start:end], y[start:end], slot)
                continue
            pair = self._pairs[slot].get(site)
            if pair is None:
                continue
            if end - start <= FEW:
                pair(x[start:end], y[start:end])
            else:
                shrink, expand = self.views[slot][site]
                add_low_rank(x[start:end], y[start:end], shrink, expand)
        return y


class SegmentedAttached(BankAttached):
    """The same on a GPU: one shrink and one expand launch for all rows whose slots share a rank bucket."""

    __slots__ = ("_latest", "_stacks")

    def __init__(self, slots: int, stacks: Sequence[SlotStack]) -> None:
        super().__init__(slots)
        self._stacks = tuple(stacks)
        self._latest: tuple[Segments, tuple[Plan, ...]] | None = None

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        from loraloop.kernels import triton_lora

        if not all(isinstance(choice, int) for _, _, choice in segments):
            return super().linear(layer, group, x, y, segments)  # the launches do not take blends
        site = (layer, group)
        if not any(site in self.views[slot] for _, _, slot in segments if isinstance(slot, int)):
            return y
        for stack, work in zip(self._stacks, self._plans(segments, x), strict=True):
            y = triton_lora.lora_linear(x, y, stack.A[site], stack.B[site], work)
        return y

    def _plans(self, segments: Segments, x: Tensor) -> tuple[Plan, ...]:
        """One for each stack, made once a forward: all of a forward's layers pass the same segments."""
        from loraloop.kernels import triton_lora

        latest = self._latest
        if latest is None or latest[0] is not segments:
            rows: list[dict[Choice, int]] = [
                {slot: row + 1 for row, slot in enumerate(stack.slots)} for stack in self._stacks
            ]
            plans = tuple(
                triton_lora.plan(tuple((start, end, row.get(slot, 0)) for start, end, slot in segments), x.device, -1)
                for row in rows
            )
            latest = self._latest = (segments, plans)
        return latest[1]
