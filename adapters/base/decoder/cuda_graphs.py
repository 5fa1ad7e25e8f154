"""Decoding on a GPU under CUDA graphs: one graph for each combination of payload kinds in use.

A step of one token a row is launched as a whole. Everything that differs between two steps (tokens, caches, lengths,
slots) is read from the device, so a graph is captured once for its `Kind` and never again for a swap, a longer
context or a cache that has grown. Rows all on slot 0 run the graph without adapters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import Cache, KVCache
from loraloop.adapters.base.decoder.decoder import Attached, Decoder, Forward, Layer, Plan, Row
from loraloop.adapters.base.decoder.flash_rows import flash_rows
from loraloop.adapters.base.decoder.step_cache import StepCache, StepInputs
from loraloop.adapters.payload.sites import GROUPS
from loraloop.kernels.device import on_device
from loraloop.kernels.rows import FEW, NONE, RowSlots

if TYPE_CHECKING:
    from loraloop.adapters.payload.attached_gpu import SegmentedAttached, Tables

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Rows of the steps that are captured at start."""


class Captured(NamedTuple):
    """A captured step: `replay` computes `output`, the states `[B, H]`, again from what the inputs hold then."""

    output: Tensor
    replay: Callable[[], None]


@dataclass(frozen=True, slots=True)
class GraphKind:
    """What a graph is captured for.

    Attributes:
        batch: rows, rounded up to a power of two.
        stacks: the rank buckets in use, by their place in the bank; empty for the bare base.
    """

    batch: int
    stacks: tuple[int, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], attached: SegmentedAttached | None) -> GraphKind:
        batch = _power_of_two(len(rows))
        used = attached.used({row.slot for row in rows}) if attached is not None else ()
        return cls(batch, tuple(place for place, wanted in enumerate(used) if wanted))


@dataclass(slots=True)
class _Step:
    """A captured step and all that its replay reads: the graph knows addresses alone, and keeps nothing alive.

    Attributes:
        run: what was captured. It holds the adapted weights, the tables of slots and the caches' addresses.
    """

    inputs: StepInputs
    run: Callable[[], Tensor]
    captured: Captured


class DecodeGraphs:
    """The graphs of one decoder with one bank's slots.

    Attributes:
        captures: how many graphs were captured.
    """

    def __init__(self, decoder: Decoder, attached: SegmentedAttached | None, stream: CudaStream) -> None:
        self.captures = 0
        self._decoder, self._attached, self._stream = decoder, attached, stream
        self._steps: dict[GraphKind, _Step] = {}
        self._idle = decoder.new_cache(1)

    def forward(self, rows: Sequence[Row]) -> Tensor:
        """`hidden[N, H]` of N rows of one token each, which are appended to their caches; see `served`."""
        kind = GraphKind.of(rows, self._attached)
        caches = [cast("KVCache", row.cache) for row in rows]
        for cache in caches:
            cache.begin(1)
        idle = kind.batch - len(rows)
        with self._stream.running(), reading(self._attached, rows):
            step = self._steps.get(kind)
            inputs = self._inputs(kind) if step is None else step.inputs
            inputs.fill(
                [int(row.tokens[0]) for row in rows] + [0] * idle,
                caches + [self._idle] * idle,
                [self._slots(stack, rows) for stack in kind.stacks],
            )
            step = step or self._captured(kind, inputs)
            step.captured.replay()
            hidden = self._stream.handed_over(step.captured.output[: len(rows)].clone())
        for cache in caches:
            cache.commit()
        return hidden

    def capture(self, kind: GraphKind) -> None:
        """Captures a kind of step before anybody needs it, with idle rows only."""
        with self._stream.running():
            if kind not in self._steps:
                inputs = self._inputs(kind)
                inputs.fill([0] * kind.batch, [self._idle] * kind.batch, [[] for _ in kind.stacks])
                self._captured(kind, inputs)

    def _captured(self, kind: GraphKind, inputs: StepInputs) -> _Step:
        run = self._step(kind, inputs)
        made = self._steps[kind] = _Step(inputs, run, self._stream.capture(run))
        self.captures += 1
        return made

    def _slots(self, stack: int, rows: Sequence[Row]) -> list[int]:
        assert self._attached is not None
        index = self._attached.index[stack]
        return [index.get(row.slot, NONE) for row in rows]

    def _inputs(self, kind: GraphKind) -> StepInputs:
        with torch.inference_mode(False):
            return StepInputs(kind.batch, len(kind.stacks), self._decoder.device)

    def _step(self, kind: GraphKind, inputs: StepInputs) -> Callable[[], Tensor]:
        """The step as a function of what the inputs hold."""
        decoder = self._decoder
        if kind.stacks:
            assert self._attached is not None
            tables: list[RowSlots | None] = [None] * len(self._attached.stacks)
            for place, stack in enumerate(kind.stacks):
                tables[stack] = RowSlots.all_tiles(inputs.slots[place])
            decoder = adapted(decoder, self._attached, tuple(tables))
        cache = StepCache(decoder.config, self._idle.keys[0].dtype, inputs.addresses, inputs.capacities, inputs.lengths)

        def run() -> Tensor:
            return Decoder.forward(decoder, [Row(inputs.tokens, cast("Cache", cache))]).hidden

        return run


def adapted(decoder: Decoder, attached: SegmentedAttached, tables: Tables) -> Decoder:
    """A decoder over the same tensors whose projections hold the slots' part, in one launch where there is one.

    Its projections can be called, and nothing else.
    """

    def layer(index: int, own: Layer) -> Layer:
        products = {
            group: partial(attached.product, (index, group), getattr(own, group), tables=tables) for group in GROUPS
        }
        return replace(own, **cast("dict[str, Any]", products))

    made = Decoder(
        decoder.config,
        decoder.embedding,
        [layer(index, own) for index, own in enumerate(decoder.layers)],
        decoder.norm,
        decoder.head,
        dtype=decoder.dtype,
        device=decoder.device,
    )
    made.rope = decoder.rope
    return made


def reading(attached: Attached | None, rows: Sequence[Row]) -> AbstractContextManager[object]:
    """The block reads the rows' slots: it follows their last writes, and whoever writes them next follows it."""
    from loraloop.adapters.payload.attached_gpu import SegmentedAttached

    if not isinstance(attached, SegmentedAttached):
        return nullcontext()
    return attached.reading({row.slot for row in rows if row.slot})


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
    """The decoder of a CUDA device: decode steps run under graphs, everything else as in `Decoder`.

    All steps, those of every bank and of the bare base, run on one stream of the decoder's own.
    """

    _graphs: dict[int, tuple[Attached | None, DecodeGraphs]] = field(init=False, repr=False, default_factory=dict)
    _stream: CudaStream | None = field(init=False, repr=False, default=None)

    def graphs(self, attached: Attached | None = None) -> DecodeGraphs:
        """The graphs of a bank's slots, or of the bare base."""
        if id(attached) not in self._graphs:
            self._stream = self._stream or CudaStream(self.device)
            graphs = DecodeGraphs(self, cast("SegmentedAttached | None", attached), self._stream)
            self._graphs[id(attached)] = (attached, graphs)
        return self._graphs[id(attached)][1]

    def capture(self, attached: Attached | None = None) -> int:
        """Captures at start what serving needs, so that no step waits for it; returns how many graphs there are.

        Steps of the bare base, and of a bank whose slots are of one rank or of all its ranks at once. Other kinds
        (some of several ranks) are captured when they first come.
        """
        from loraloop.adapters.payload.attached_gpu import SegmentedAttached

        stacks = range(len(attached.stacks)) if isinstance(attached, SegmentedAttached) else ()
        wanted = {(), tuple(stacks), *((stack,) for stack in stacks)}
        for batch in BATCHES:
            self.graphs().capture(GraphKind(batch))
            for used in wanted - {()}:
                self.graphs(attached).capture(GraphKind(batch, used))
        return sum(graphs.captures for _, graphs in self._graphs.values())

    def forward(self, rows: Sequence[Row], attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        with on_device(self.norm):
            if not served(rows, attached, keep):
                with reading(attached, rows):
                    return Decoder.forward(self, rows, attached, keep)
            if not any(row.slot for row in rows):
                attached = None
            return Forward(self.graphs(attached).forward(rows), {})

    def attention(self, plan: Plan) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
        """As in `Decoder`, for all rows at once where torch's varlen attention can serve them.

        Returns:
            From a layer's index, q `[N, heads, D]` and k and v `[N, kv_heads, D]` of all rows to `[N, heads * D]`.
        """
        return flash_rows(plan, self.config.layers) or Decoder.attention(self, plan)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[M, V]`, fp32, of final-normed states `hidden` `[M, H]`."""
        with on_device(self.norm):
            return Decoder.logits(self, hidden)


class CudaStream:
    """One stream of a GPU, on which steps are captured as CUDA graphs and replayed, and nothing else happens.

    The graphs share one memory pool: they run one at a time, and their output is copied before the next one runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._lock = threading.Lock()
        self._caller = self._stream

    @contextmanager
    def running(self) -> Iterator[None]:
        """One thread at a time: the block's work follows that of the caller, whose further work follows the block's."""
        with self._lock, torch.cuda.device(self._device):
            self._caller = torch.cuda.current_stream()
            self._stream.wait_stream(self._caller)
            with torch.cuda.stream(self._stream):
                yield
            self._caller.wait_stream(self._stream)

    def capture(self, run: Callable[[], Tensor]) -> Captured:
        """Captures a step after two runs that compile and allocate.

        Args:
            run: The step: a function that can be called any number of times and gives the states `[B, H]`.
        """
        for _ in range(2):  # compiles kernels and makes buffers, neither of which can be captured
            run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            output = run()
        return Captured(output, graph.replay)

    def handed_over(self, made: Tensor) -> Tensor:
        """The tensor `made`, of any shape, whose memory is not used again before the caller's stream has read it."""
        made.record_stream(self._caller)
        return made


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
