"""A bank's slots as the C decoder reads them: a table of pointers a slot."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from loraloop.adapters.attached import BankAttached
from loraloop.adapters.methods.sites import GROUPS
from loraloop.adapters.slots import Prepared, Views
from loraloop.kernels.native_types import Pair


class Table:
    """A slot's pointers: for each layer and group, a `Pair` or nothing. Never changed, so that a forward on another
    thread sees one skill or none, whatever is loaded meanwhile.

    Attributes:
        address: of the array of pointers.
    """

    __slots__ = ("_pairs", "_places", "address")

    def __init__(self, sites: int, pairs: Mapping[int, Pair]) -> None:
        self._pairs = (Pair * len(pairs))(*pairs.values())
        self._places = (ctypes.c_void_p * sites)()
        for index, site in enumerate(pairs):
            self._places[site] = ctypes.addressof(self._pairs) + index * ctypes.sizeof(Pair)
        self.address = ctypes.addressof(self._places)


class NativeAttached(BankAttached):
    """The resident skills for `NativeDecoder`; for the torch decoder it is a `BankAttached`.

    Args:
        slots: how many there are, slot 0 counted.
        layers: of the base.

    Attributes:
        tables: of each slot.
    """

    __slots__ = ("_empty", "_sites", "tables")

    def __init__(self, slots: int, layers: int) -> None:
        super().__init__(slots)
        self._sites = layers * len(GROUPS)
        self._empty = Table(self._sites, {})
        self.tables = [self._empty] * slots

    def put(self, slot: int, views: Views, prepared: Prepared) -> None:
        super().put(slot, views, prepared)
        pairs = {
            layer * len(GROUPS) + _ORDER[group]: Pair.of(shrink.T, expand, prepared.blocks[layer, group])
            for (layer, group), (shrink, expand) in views.items()
        }
        self.tables[slot] = Table(self._sites, pairs)

    def clear(self, slot: int) -> None:
        super().clear(slot)
        self.tables[slot] = self._empty


_ORDER = {group: index for index, group in enumerate(GROUPS)}
