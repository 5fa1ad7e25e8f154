"""How a bank's slots meet a forward: the decoder hands over each product, the active slots add their part."""

from __future__ import annotations

from torch import Tensor

from loraloop.adapters.methods.payload import Segments
from loraloop.adapters.slots import Views
from loraloop.kernels.lora import add_low_rank


class BankAttached:
    """The resident skills, as the decoder sees them.

    Attributes:
        views: matrices of each slot by site. A site that a skill does not change is absent, and costs a look-up.
            Slot 0 is empty.
    """

    __slots__ = ("views",)

    def __init__(self, slots: int) -> None:
        self.views: list[Views] = [{} for _ in range(slots)]

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds to the base product y[N, O] of x[N, K], in place, what each row's slot contributes.

        Rows are computed one after another, so that no row's bits depend on its neighbours' skills.
        """
        site = (layer, group)
        if len(segments) == 1:
            pair = self.views[segments[0][2]].get(site)
            return y if pair is None else add_low_rank(x, y, pair[0], pair[1])
        for start, end, slot in segments:
            pair = self.views[slot].get(site)
            if pair is not None:
                add_low_rank(x[start:end], y[start:end], pair[0], pair[1])
        return y
