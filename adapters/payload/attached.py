"""How a bank's slots meet a forward: the decoder hands over each product, the active slots add their part."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from loraloop.adapters.payload.payload import BEYOND, PartsBeyond, Payload
from loraloop.adapters.payload.slots import HostPayload, Views
from loraloop.kernels.cpu.lora import add_low_rank
from loraloop.kernels.reference import Segments


class BankAttached:
    """The resident skills, as the decoder sees them.

    Attributes:
        views: matrices of each slot by site. A site that a skill does not change is absent, and costs a look-up.
            Slot 0 is empty.
        extras: what slots hold besides pairs, virtual tokens included; slots that hold pairs only are absent.
    """

    __slots__ = ("extras", "views")

    def __init__(self, slots: int) -> None:
        self.views: list[Views] = [{} for _ in range(slots)]
        self.extras: dict[int, Payload] = {}

    def put(self, slot: int, views: Views, prepared: HostPayload, extras: Payload | None = None) -> None:
        """Lets a slot contribute; its tensors are in place.

        Args:
            slot: The slot, not 0.
            views: Its matrices by site.
            prepared: The payload that was copied into them.
            extras: What it holds besides pairs; None for nothing.
        """
        self.views[slot] = views
        if extras is None:
            self.extras.pop(slot, None)
        else:
            self.extras[slot] = extras

    def writing(self, slot: int) -> AbstractContextManager[object]:
        """The block writes a slot's tensors."""
        return nullcontext()

    def clear(self, slot: int) -> None:
        """Lets a slot contribute nothing."""
        self.views[slot] = {}
        self.extras.pop(slot, None)

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds to the base's product, in place, what each row's slot contributes.

        Rows are computed one after another, so that no row's bits depend on its neighbours' skills.

        Args:
            layer: Index of the layer, from 0.
            group: One of `sites.GROUPS`.
            x: Inputs `[N, K]`.
            y: The base's product `[N, O]`; changed in place.
            segments: Start, end and slot of each row's tokens.

        Returns:
            y `[N, O]` itself.
        """
        site = (layer, group)
        for start, end, slot in segments:
            pair = self.views[slot].get(site)
            if pair is not None:
                own, out = (x, y) if len(segments) == 1 else (x[start:end], y[start:end])
                add_low_rank(own, out, pair[0], pair[1])
        return y

    def beyond(self, segments: Segments) -> PartsBeyond | None:
        """What the rows' slots change besides sums; None if all of them hold pairs only."""
        if not self.extras:
            return None
        found = [self._extra(slot) for _, _, slot in segments]
        return PartsBeyond(found, segments) if any(found) else None

    def sums(self, slots: Iterable[int]) -> bool:
        """Whether all that these slots do to a forward is adding low-rank products."""
        return not self.extras or all(self._extra(slot) is None for slot in slots)

    def virtual(self, slot: int) -> Payload | None:
        """What a slot puts before a branch (its prefix and prompt); None for the bare base and slots of pairs only."""
        extra = self.extras.get(slot)
        return extra if extra is not None and extra.virtual else None

    def _extra(self, slot: int) -> Payload | None:
        extra = self.extras.get(slot)
        return extra if extra is not None and extra.kinds & BEYOND else None
