"""A bank's slots as the C decoder reads them: a table of pointers a slot."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from loraloop.adapters.payload.attached import BankAttached
from loraloop.adapters.payload.payload import BEYOND, Payload
from loraloop.adapters.payload.sites import GROUPS
from loraloop.adapters.payload.slots import HostPayload, Views
from loraloop.kernels.cpu.native_types import AFTER, CBottleneck, CExtra, CPair, vector


class SlotTable:
    """A slot's pointers: for each layer and group, a `Pair` or nothing. Never changed, so that a forward on another
    thread sees one skill or none, whatever is loaded meanwhile.

    Attributes:
        address: of the array of pointers.
        beyond: of the layers' `Extra`, or None where the slot holds nothing of the kind.
    """

    __slots__ = ("_extras", "_pairs", "_places", "address", "beyond")

    def __init__(self, sites: int, pairs: Mapping[int, CPair], extras: Payload | None = None) -> None:
        self._pairs = (CPair * len(pairs))(*pairs.values())
        self._places = (ctypes.c_void_p * sites)()
        for index, site in enumerate(pairs):
            self._places[site] = ctypes.addressof(self._pairs) + index * ctypes.sizeof(CPair)
        self.address = ctypes.addressof(self._places)
        self._extras = None
        self.beyond: int | None = None
        if extras is not None and extras.kinds & BEYOND:
            self._extras = (CExtra * (sites // len(GROUPS)))()
            self.beyond = ctypes.addressof(self._extras)
            vectors = {"gain": extras.gains, "bias": extras.biases, "input_gain": extras.input_gains}
            for name, changed in vectors.items():
                for (layer, group), values in changed.items():
                    getattr(self._extras[layer], name)[_ORDER[group]] = vector(values)
            for (layer, part), m in extras.bottlenecks.items():
                made = CBottleneck.of(m.down, m.up.T, m.down_bias, m.up_bias, m.activation)
                self._extras[layer].after[AFTER.index(part)] = made


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
        self._empty = SlotTable(self._sites, {})
        self.tables = [self._empty] * slots

    def put(self, slot: int, views: Views, prepared: HostPayload, extras: Payload | None = None) -> None:
        super().put(slot, views, prepared, extras)
        pairs = {
            layer * len(GROUPS) + _ORDER[group]: CPair.of(shrink.T, expand, prepared.blocks[layer, group])
            for (layer, group), (shrink, expand) in views.items()
        }
        self.tables[slot] = SlotTable(self._sites, pairs, extras)

    def clear(self, slot: int) -> None:
        super().clear(slot)
        self.tables[slot] = self._empty


_ORDER = {group: index for index, group in enumerate(GROUPS)}
