"""A bank's slots as the C decoder reads them: a table of pointers a slot."""

from __future__ import annotations

import ctypes

from loraloop.adapters.attached import BankAttached
from loraloop.adapters.methods.sites import GROUPS
from loraloop.adapters.slots import Prepared, Views
from loraloop.kernels.native_types import Pair


class NativeAttached(BankAttached):
    """The resident skills for `NativeDecoder`; for the torch decoder it is a `BankAttached`.

    Args:
        slots: how many there are, slot 0 counted.
        layers: of the base.
    """

    __slots__ = ("_pairs", "_tables")

    def __init__(self, slots: int, layers: int) -> None:
        super().__init__(slots)
        sites = layers * len(GROUPS)
        self._pairs = [(Pair * sites)() for _ in range(slots)]
        self._tables = [(ctypes.c_void_p * sites)() for _ in range(slots)]

    def put(self, slot: int, views: Views, prepared: Prepared) -> None:
        self.clear(slot)
        super().put(slot, views, prepared)
        pairs, table = self._pairs[slot], self._tables[slot]
        for (layer, group), (shrink, expand) in views.items():
            at = layer * len(GROUPS) + _ORDER[group]
            pairs[at] = Pair.of(shrink.T, expand, prepared.blocks[layer, group])
            table[at] = ctypes.addressof(pairs[at])

    def clear(self, slot: int) -> None:
        super().clear(slot)
        table = self._tables[slot]
        ctypes.memset(table, 0, ctypes.sizeof(table))

    def table(self, slot: int) -> int:
        """Address of a slot's table: for each layer and group, a `Pair` or nothing."""
        return ctypes.addressof(self._tables[slot])


_ORDER = {group: index for index, group in enumerate(GROUPS)}
