"""How a bank's slots meet a forward: the decoder hands over each product, the active slots add their part."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from loraloop.adapters.payload.payload import BEYOND, PartsBeyond, Payload
from loraloop.adapters.payload.sites import Site
from loraloop.adapters.payload.slots import HostPayload, Views
from loraloop.kernels.cpu.lora import add_blend, add_low_rank
from loraloop.kernels.reference import Blend, Choice, Segments
from loraloop.tool_schemas.errors import InputError


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
        """Lets a slot contribute; its tensors are in place."""
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

    def beyond(self, segments: Segments) -> PartsBeyond | None:
        """What the rows' slots change besides sums; None if all of them hold pairs only."""
        if not self.extras:
            return None
        found = [self._extra(choice) for _, _, choice in segments]
        return PartsBeyond(found, segments) if any(found) else None

    def sums(self, choices: Iterable[Choice]) -> bool:
        """Whether all that these slots do to a forward is adding low-rank products."""
        return not self.extras or all(self._extra(choice) is None for choice in choices)

    def virtual(self, slot: Choice) -> Payload | None:
        """What a slot puts before a branch (its prefix and prompt); None for the bare base, pairs and blends."""
        extra = self.extras.get(slot) if isinstance(slot, int) else None
        return extra if extra is not None and extra.virtual else None

    def _extra(self, choice: Choice) -> Payload | None:
        self.check(choice)
        extra = self.extras.get(choice) if isinstance(choice, int) else None
        return extra if extra is not None and extra.kinds & BEYOND else None

    def check(self, choice: Choice) -> None:
        """Verifies that a blend is one of slots that hold pairs only; there is no sum of the rest.

        Raises:
            InputError: it is not.
        """
        if not isinstance(choice, int) and any(slot in self.extras for slot, _ in choice):
            raise InputError(
                "a mixture is a weighted sum of low-rank updates, and one of its skills is of another kind (gains, "
                "biases, a prefix, a prompt, bottlenecks): use that skill alone, or mix LoRA skills only"
            )

    def _blend(self, site: Site, x: Tensor, y: Tensor, blend: Blend) -> None:
        """Adds the weighted sum of several slots; one that does not change this site adds nothing."""
        pairs = [(*self.views[slot][site], weight) for slot, weight in blend if site in self.views[slot]]
        if pairs:
            add_blend(x, y, pairs)
