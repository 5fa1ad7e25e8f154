"""The base's weights shared out: each process holds a part of every layer, and one layer is whole at a time.

torch's FSDP2 (`fully_shard`) cuts the weights and gathers them. What it expects is that all processes go through
the same layers in the same order; ours need not. One may find its trunks on a disk where another computes them, or
have no more part of a validation set while others do. So before anything is gathered, all processes say what they want,
and all help to gather it; a process with nothing left to do helps the others until all have come to the same place
(`meet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

_NOTHING = -1
BLOCK = 1 << 24
"""Bytes of a table that are gathered at a time: gathering takes two or three times what is gathered."""


class Shards:
    """One process's parts of the weights, and what is whole now: the layer in use and the one that comes next.

    Weights are added in the order in which a forward uses them, each time for a *place* of it: 0 is the embedding, then
    come the layers, and the head is last.

    Args:
        device: where parts and whole layers are.
    """

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist
        from torch.distributed.device_mesh import init_device_mesh

        self.device, self.count = device, dist.get_world_size()
        self.part = 0  # bytes of this process's parts
        self._mesh = init_device_mesh(device.type, (self.count,))
        self._wishes = dist.group.WORLD if device.type == "cpu" else dist.new_group(backend="gloo")
        self._units: list[Any] = []  # modules that are gathered as one
        self._places: list[tuple[int, ...]] = []  # of each place, its units; a table has several, blocks of rows
        self._whole = self._coming = _NOTHING  # units
        self._arrival: Any = None
        self._tables: dict[tuple[int, ...], tuple[str, torch.Size, torch.dtype]] = {}  # of several units
        self._table: tuple[tuple[int, ...], Any] | None = None  # units, and what they are together
        self._last = _NOTHING  # place

    def add(self, weights: Mapping[str, Tensor]) -> dict[str, ShardedWeight]:
        """Cuts the weights `[O, K]` of the next place, given alike by all processes, and keeps this one's part."""
        units: list[Mapping[str, Tensor]] = [weights]
        if len(weights) == 1:
            ((name, values),) = weights.items()
            units = [{name: block} for block in torch.split(values, max(1, BLOCK // values[:1].nbytes))]
        cut = tuple(self._cut(unit) for unit in units)
        if len(cut) > 1:
            self._tables[cut] = name, values.shape, values.dtype
        self._places.append(cut)
        place = len(self._places) - 1
        return {name: ShardedWeight(self, place, name, *values.shape) for name, values in weights.items()}

    def repeat(self, weight: ShardedWeight) -> ShardedWeight:
        """The next place uses a weight again: a head that is tied to the embedding."""
        self._places.append(self._places[weight.place])
        return ShardedWeight(self, len(self._places) - 1, weight.name, weight.out_features, weight.in_features)

    def use(self, place: int) -> Any:
        """The whole weights of a place, as attributes; they go when another place is used.

        The layer that comes next, in the direction of the walk, is asked for at the same time.
        """
        units = self._places[place]
        found = self._assembled(units) if len(units) > 1 else self._gathered(units[0])
        if place == self._last:
            return found
        step, self._last = place - self._last, place
        ahead = place + 1 if place == 0 else place + step
        if (place == 0 or abs(step) == 1) and 0 < ahead < len(self._places) - 1:
            self._cancel()
            self._turn(self._places[ahead][0])
        return found

    def meet(self) -> None:
        """Until all processes have come here: helps those that still gather. Nothing is whole afterwards."""
        self._drop()
        self._last = _NOTHING
        while self._turn(_NOTHING):
            pass

    @property
    def whole(self) -> int:
        """Bytes of the weights that are whole now."""
        held = [] if self._whole == _NOTHING else [*self._units[self._whole].parameters()]
        return _bytes([*held, *(vars(self._table[1]).values() if self._table else ())])

    def _cut(self, weights: Mapping[str, Tensor]) -> int:
        """A new unit."""
        from torch.distributed.fsdp import fully_shard

        module = torch.nn.Module()
        for name, values in weights.items():
            module.register_parameter(name, torch.nn.Parameter(values.to(self.device), requires_grad=False))
        fully_shard(module, mesh=self._mesh)
        parameters: Any = module.parameters()
        self.part += _bytes(parameter.to_local() for parameter in parameters)
        self._units.append(module)
        return len(self._units) - 1

    def _gathered(self, unit: int) -> Any:
        """A unit, which takes the place of all that was whole."""
        if unit != self._whole:
            if unit != self._coming:
                self._drop()
                self._turn(unit)
            self._arrived()
        return self._units[unit]

    def _assembled(self, units: tuple[int, ...]) -> Any:
        """A table of several units, which takes the place of all that was whole."""
        if self._table is None or self._table[0] != units:
            self._drop()
            name, shape, dtype = self._tables[units]
            table, start = torch.empty(shape, dtype=dtype, device=self.device), 0
            for unit in units:
                block: Tensor = getattr(self._gathered(unit), name)
                table[start : start + len(block)] = block
                start += len(block)
            self._drop()
            self._table = units, SimpleNamespace(**{name: table})
        return self._table[1]

    def _turn(self, wish: int) -> bool:
        """All say which unit they want, and gather what anyone wants; whether there was any."""
        wanted = sorted({unit for unit in self._exchanged(wish) if unit != _NOTHING})
        for unit in wanted:
            module, kept = self._units[unit], unit == self._whole
            if kept:
                module.reshard()  # a whole one takes no part in gathering
            if unit == wish:
                self._coming, self._arrival = unit, module.unshard(async_op=True)
                continue
            module.unshard()
            if not kept:
                module.reshard()
        return bool(wanted)

    def _exchanged(self, wish: int) -> list[int]:
        import torch.distributed as dist

        found = [torch.empty(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(found, torch.tensor([wish]), group=self._wishes)
        return [int(each) for each in found]

    def _arrived(self) -> None:
        """What was coming takes the place of what was whole."""
        if self._whole != _NOTHING:
            self._units[self._whole].reshard()
        self._table = None
        self._arrival.wait()
        self._whole, self._coming, self._arrival = self._coming, _NOTHING, None

    def _cancel(self) -> None:
        """Lets go of what is coming."""
        if self._coming != _NOTHING:
            self._arrival.wait()
            self._units[self._coming].reshard()
            self._coming, self._arrival = _NOTHING, None

    def _drop(self) -> None:
        """Lets go of everything."""
        self._cancel()
        self._table = None
        if self._whole != _NOTHING:
            self._units[self._whole].reshard()
            self._whole = _NOTHING


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@dataclass(frozen=True, slots=True)
class ShardedWeight:
    """A dense weight `[O, K]` of which this process holds a part.

    A graph keeps this and no values, so a backward gathers them again.

    Attributes:
        shards: of the whole base.
        place: see `Shards`.
        name: within the place.
    """

    shards: Shards
    place: int
    name: str
    out_features: int
    in_features: int

    @property
    def values(self) -> Tensor:
        """All values `[O, K]`, valid until those of another place are asked for."""
        found: Tensor = getattr(self.shards.use(self.place), self.name)
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, which has the dtype of the values."""
        return torch.nn.functional.linear(x, self.values)

    def rows(self, index: Tensor) -> Tensor:
        """Rows `[N, K]` at `index` `[N]` (an embedding lookup)."""
        return self.values[index]

    def dequantize(self) -> Tensor:
        """A copy of the values `[O, K]`, which stays."""
        return self.values.clone()

    def state(self) -> dict[str, Tensor]:
        """A copy of the values `[O, K]`."""
        return {"values": self.dequantize()}
