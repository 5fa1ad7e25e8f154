"""Decoding on a GPU under CUDA graphs: one graph for each combination of payload kinds in use.

A step of one token a row is launched as a whole. Everything that differs between two steps (tokens, caches, lengths,
slots, weights) is read from the device, so a graph is captured once for its `Kind` and never again for a swap, a longer
context or a cache that has grown. Rows all on slot 0 run the graph without adapters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import Cache, KVCache
from loraloop.adapters.base.decoder.decoder import Attached, Decoder, Forward, Layer, Row
from loraloop.adapters.base.decoder.step_cache import StepCache, StepInputs
from loraloop.adapters.payload.sites import Site
from loraloop.kernels.quantized import Weight
from loraloop.kernels.reference import members
from loraloop.kernels.rows import FEW, RowSlots

if TYPE_CHECKING:
    from loraloop.adapters.payload.attached_gpu import SegmentedAttached, Tables


class Captured(Protocol):
    """A captured step: `replay` computes `output` again from what the inputs hold then."""

    output: Tensor

    def replay(self) -> None: ...


Capture = Callable[[Callable[[], Tensor]], Captured]
"""Captures a step, given as a function that can be called any number of times."""


@dataclass(frozen=True, slots=True)
class GraphKind:
    """What a graph is captured for.

    Attributes:
        batch: rows, rounded up to a power of two.
        stacks: the rank buckets in use, by their place in the bank; empty for the bare base.
        width: slots a row uses at most, rounded up to a power of two.
    """

    batch: int
    stacks: tuple[int, ...] = ()
    width: int = 1

    @classmethod
    def of(cls, rows: Sequence[Row], attached: SegmentedAttached | None) -> GraphKind:
        batch = _power_of_two(len(rows))
        used = attached.used([row.slot for row in rows]) if attached is not None else ()
        stacks = tuple(place for place, wanted in enumerate(used) if wanted)
        if not stacks:
            return cls(batch)
        return cls(batch, stacks, _power_of_two(max(len(members(row.slot)) for row in rows)))


@dataclass(slots=True)
class _Step:
    inputs: StepInputs
    captured: Captured


class DecodeGraphs:
    """The graphs of one decoder with one bank's slots.

    Attributes:
        captures: how many graphs were captured.
    """

    def __init__(self, decoder: Decoder, attached: SegmentedAttached | None = None, capture: Capture | None = None):
        self.captures = 0
        self._decoder, self._attached = decoder, attached
        self._capture = capture or CudaCapture(decoder.device)
        self._steps: dict[GraphKind, _Step] = {}
        self._idle = decoder.new_cache(1)
        self._lock = threading.Lock()

    def forward(self, rows: Sequence[Row]) -> Tensor:
        """`hidden[N, H]` of N rows of one token each, which are appended to their caches; see `served`."""
        kind = GraphKind.of(rows, self._attached)
        caches = [cast("KVCache", row.cache) for row in rows]
        for cache in caches:
            cache.begin(1)
        idle = kind.batch - len(rows)
        with self._lock:
            step = self._steps.get(kind)
            inputs = self._inputs(kind) if step is None else step.inputs
            inputs.fill(
                [int(row.tokens[0]) for row in rows] + [0] * idle,
                caches + [self._idle] * idle,
                [self._choices(stack, rows) for stack in kind.stacks],
            )
            if step is None:
                step = self._steps[kind] = _Step(inputs, self._capture(self._step(kind, inputs)))
                self.captures += 1
            step.captured.replay()
            hidden = step.captured.output[: len(rows)].clone()
        for cache in caches:
            cache.commit()
        return hidden

    def _choices(self, stack: int, rows: Sequence[Row]) -> list[list[tuple[int, float]]]:
        assert self._attached is not None
        index = self._attached.index[stack]
        return [[(index[slot], weight) for slot, weight in members(row.slot) if slot in index] for row in rows]

    def _inputs(self, kind: GraphKind) -> StepInputs:
        with torch.inference_mode(False):
            return StepInputs(kind.batch, len(kind.stacks), kind.width, self._decoder.device)

    def _step(self, kind: GraphKind, inputs: StepInputs) -> Callable[[], Tensor]:
        """The step as a function of what the inputs hold."""
        decoder = self._decoder
        if kind.stacks:
            assert self._attached is not None
            tables: list[RowSlots | None] = [None] * len(self._attached.stacks)
            for place, stack in enumerate(kind.stacks):
                tables[stack] = RowSlots.all_tiles(inputs.slots[place], inputs.weights[place])
            decoder = adapted(decoder, self._attached, tuple(tables))
        cache = StepCache(decoder.config, self._idle.keys[0].dtype, inputs.addresses, inputs.capacities, inputs.lengths)

        def run() -> Tensor:
            return Decoder.forward(decoder, [Row(inputs.tokens, cast("Cache", cache))]).hidden

        return run


@dataclass(slots=True)
class AdaptedWeight:
    """A fused projection together with what the slots in `tables` add to it, in one launch where there is one."""

    site: Site
    weight: Weight
    attached: SegmentedAttached
    tables: Tables

    @property
    def out_features(self) -> int:
        return self.weight.out_features

    @property
    def in_features(self) -> int:
        return self.weight.in_features

    def __call__(self, x: Tensor) -> Tensor:
        return self.attached.product(self.site, self.weight, x, self.tables)

    def dequantize(self) -> Tensor:
        return self.weight.dequantize()

    def state(self) -> dict[str, Tensor]:
        return self.weight.state()


def adapted(decoder: Decoder, attached: SegmentedAttached, tables: Tables) -> Decoder:
    """A decoder over the same tensors whose projections hold the slots' part."""

    def layer(index: int, own: Layer) -> Layer:
        def with_slots(group: str, weight: Weight) -> AdaptedWeight:
            return AdaptedWeight((index, group), weight, attached, tables)

        return replace(
            own,
            qkv=with_slots("qkv", own.qkv),
            o=with_slots("o", own.o),
            gate_up=with_slots("gate_up", own.gate_up),
            down=with_slots("down", own.down),
        )

    layers = [layer(index, own) for index, own in enumerate(decoder.layers)]
    return replace(decoder, layers=layers)


def served(rows: Sequence[Row], attached: Attached | None, keep: Sequence[int]) -> bool:
    """Whether a forward is a decode step that graphs run: one token a row, few rows, no gradient, nothing kept.

    Graphs hold low-rank pairs only; rows with gains, biases or bottlenecks run without one.
    """
    from loraloop.adapters.payload.attached_gpu import SegmentedAttached

    return (
        not keep
        and not torch.is_grad_enabled()
        and len(rows) <= FEW
        and (attached is None or (isinstance(attached, SegmentedAttached) and attached.sums(row.slot for row in rows)))
        and all(len(row.tokens) == 1 and row.before is None and isinstance(row.cache, KVCache) for row in rows)
        and len({id(row.cache) for row in rows}) == len(rows)
    )


@dataclass(slots=True)
class GraphedDecoder(Decoder):
    """The decoder of a CUDA device: decode steps run under graphs, everything else as in `Decoder`."""

    _graphs: dict[int, tuple[Attached | None, DecodeGraphs]] = field(init=False, repr=False, default_factory=dict)

    def graphs(self, attached: Attached | None = None) -> DecodeGraphs:
        """The graphs of a bank's slots, or of the bare base."""
        if id(attached) not in self._graphs:
            graphs = DecodeGraphs(self, cast("SegmentedAttached | None", attached))
            self._graphs[id(attached)] = (attached, graphs)
        return self._graphs[id(attached)][1]

    def forward(self, rows: Sequence[Row], attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        if not served(rows, attached, keep):
            return Decoder.forward(self, rows, attached, keep)
        if not any(row.slot for row in rows):
            attached = None
        return Forward(self.graphs(attached).forward(rows), {})


class CudaCapture:
    """Captures steps as CUDA graphs that share one memory pool: they run one at a time, and their output is copied."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> Captured:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(2):  # compiles kernels and makes buffers, neither of which can be captured
                run()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            output = run()
        return _Graph(graph, output)


@dataclass(slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    output: Tensor

    def replay(self) -> None:
        self.graph.replay()


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
