"""Decoding on a GPU: kernels against a measured copy and bitsandbytes, whole decode steps, and swaps of skills.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json

The kernels compute every projection of some layers of Llama-3-8B in NF4, under a CUDA graph for both systems, so that
neither launches nor cached weights flatter anyone. Steps and swaps run on random bases of the 8B's and the 1.5B's
shapes. Needs a CUDA device (Ampere or newer).
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from episode import random_skill
from report import BenchmarkReport, finish, options

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, ModelConfig, Row
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder
from loraloop.adapters.base.decoder.decoder import Layer
from loraloop.adapters.base.loading.convert import BaseFingerprints, Converted
from loraloop.adapters.base.random_weights import random_base
from loraloop.adapters.payload.sites import GROUPS, group_shape, module_shape
from loraloop.adapters.skill.skill import Skill
from loraloop.kernels import ops
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.quantized import DenseWeight
from loraloop.kernels.rows import RowSlots

BATCHES, RANK, SLOTS, LAYERS = (1, 8, 64), 16, 8, 8
COPIED = 1 << 30  # bytes
ROWS, CONTEXTS, SKILLS = (1, 8, 64), (1024, 2048), (0, 1, 8, 64)
SHAPES: dict[str, dict[str, int]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "layers": 28, "heads": 12, "kv_heads": 2, "head_dim": 128},
}
LLAMA_8B = ModelConfig(**SHAPES["8b"], vocab_size=128256, max_positions=8192)
GATES: dict[str, tuple[str, float]] = {
    "copy_gb_per_s": (">=", 2900), "b1_base_of_copy": (">=", 0.8), "b1_lora_overhead_percent": ("<=", 5),
    "b64_mixed_of_floor": ("<=", 1.3), "8b_rows1_context1024_skills0_us": ("<=", 2600),
    "8b_rows64_context2048_skills64_us": ("<=", 11_000), "8b_swaps_captures": ("<=", 0),
    "8b_swaps_mismatches": ("<=", 0),
}  # fmt: skip
"""What an H100 has to reach before figures are published; overheads are multiples of the bytes that have to be read."""

Clock = Callable[[Callable[[], object], int], float]


def main() -> None:
    parser = options("Times NF4 and LoRA kernels, decode steps and swaps of skills on a GPU.", limit=20)
    parser.add_argument("--steps", nargs="*", choices=tuple(SHAPES), default=tuple(SHAPES), help="whole decode steps")
    given = parser.parse_args()
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        parser.exit(2, "gpu.py: needs a CUDA device of compute capability 8.0 or newer, and torch's CUDA build\n")
    torch.manual_seed(given.seed)
    finish(measure(given.limit, given.steps), given.json)


def measure(repeats: int, short: tuple[str, ...], clock: Clock | None = None) -> BenchmarkReport:
    """All figures: kernels, and steps and swaps of the named shapes; `clock` replaces that of a GPU in tests."""
    device = torch.device("cuda" if clock is None else "cpu")
    metrics, peer = kernels(Layers(LLAMA_8B, min(LAYERS, LLAMA_8B.layers), device), repeats, clock or microseconds)
    ratios = {name.removesuffix("_us"): theirs / metrics[name] for name, theirs in peer.items()}
    for name in short:
        metrics |= steps(name, repeats, device) | swaps(name, device)
    return BenchmarkReport("gpu", repeats, metrics, {"bitsandbytes": peer}, ratios, {"gates": gates(metrics)})


def kernels(layers: Layers, repeats: int, clock: Clock) -> tuple[dict[str, float], dict[str, float]]:
    """Our figures and bitsandbytes', by rows of a forward: the base alone, one skill, and eight skills mixed."""
    copy = copy_bandwidth(layers.device, clock, repeats)
    ours, theirs = {"copy_gb_per_s": copy}, {}
    for batch in BATCHES:
        base = clock(layers.ours(batch, [0] * batch, lora=False), repeats)
        idle = clock(layers.ours(batch, [0] * batch), repeats)
        one = clock(layers.ours(batch, [1] * batch), repeats)
        mixed = clock(layers.ours(batch, [row % SLOTS for row in range(batch)]), repeats)
        speed = layers.bytes / base / 1e3
        figures = {
            "base_us": base, "idle_rows_us": idle, "lora_us": one, "mixed_us": mixed,
            "base_gb_per_s": speed, "base_of_copy": speed / copy, "lora_overhead_percent": 100 * (one / base - 1),
            "mixed_of_floor": (mixed / base - 1) / layers.floor(min(batch, SLOTS - 1)),
        }  # fmt: skip
        ours |= {f"b{batch}_{name}": value for name, value in figures.items()}
        theirs[f"b{batch}_base_us"] = clock(layers.bitsandbytes(batch), repeats)
        theirs[f"b{batch}_lora_us"] = clock(layers.bitsandbytes(batch, RANK), repeats)
    return ours, theirs


def gates(metrics: dict[str, float]) -> dict[str, str]:
    """Each gate with what was measured, and whether it holds."""
    found = {}
    for name, (sign, limit) in GATES.items():
        if name in metrics:
            holds = metrics[name] >= limit if sign == ">=" else metrics[name] <= limit
            found[name] = f"{metrics[name]:g} {sign} {limit:g}: {'holds' if holds else 'FAILS'}"
    return found


def microseconds(run: Callable[[], object], repeats: int) -> float:
    """Median time of one call under a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.inference_mode():
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            run()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for _ in range(3):
        graph.replay()
    for start, end in events:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) * 1e3 for start, end in events)


def copy_bandwidth(device: torch.device, time: Callable[..., float], repeats: int) -> float:
    """Bytes read and written a second by a large copy, in GB/s."""
    size = COPIED if device.type == "cuda" else 1 << 10
    source, target = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / time(lambda: target.copy_(source), repeats) / 1e3


class Layers:
    """NF4 weights of `count` layers, one group of projections after another, so that none is cached.

    A system is a function that computes every projection of every layer once.
    """

    def __init__(self, shape: ModelConfig, count: int, device: torch.device) -> None:
        self.shape, self.count, self.device = shape, count, device
        self.groups = [
            {group: Nf4Weight.quantize(self._random(*group_shape(shape, group))) for group in GROUPS}
            for _ in range(count)
        ]

    @property
    def bytes(self) -> int:
        """Read by one step of the base: codes, absmaxes and their scales."""
        codes = [weight.tensors for layer in self.groups for weight in layer.values()]
        return sum(tensor.nbytes for tensors in codes for tensor in (tensors[0], tensors[1], tensors[3]))

    def floor(self, skills: int) -> float:
        """Bytes of distinct skills on all projections over the base's: what their least extra time is a share of."""
        per_layer = sum(sum(module_shape(self.shape, part)) for parts in GROUPS.values() for part in parts)
        return 2 * RANK * per_layer * self.count * skills / self.bytes

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Random inputs of each group."""
        return {group: self._random(batch, weight.in_features) for group, weight in self.groups[0].items()}

    def ours(self, batch: int, chosen: list[int], lora: bool = True) -> Callable[[], None]:
        """NF4 and what the rows' slots add, in one launch a group; without `lora` the base alone."""
        x, rows = self.inputs(batch), RowSlots.of(tuple((i, i + 1, slot) for i, slot in enumerate(chosen)), self.device)
        rows = RowSlots.all_tiles(rows.slots)
        banks = [{group: self._bank(group, weight) for group, weight in layer.items()} for layer in self.groups]

        def run() -> None:
            for layer, bank in zip(self.groups, banks, strict=True):
                for group, weight in layer.items():
                    if not lora:
                        ops.nf4_linear(x[group], *weight.tensors, weight.out_features)
                        continue
                    A, B, spans = bank[group]
                    ops.nf4_lora_linear(
                        x[group], *weight.tensors, weight.out_features, A, B, rows.slots, rows.tiles, rows.counters,
                        spans,
                    )  # fmt: skip

        return run

    def bitsandbytes(self, batch: int, rank: int = 0) -> Callable[[], None]:
        """bitsandbytes' product of each fused group; with a rank, and two products of one adapter (addmm)."""
        from bitsandbytes import matmul_4bit

        x = self.inputs(batch)
        pairs = [
            {
                group: (self._random(weight.in_features, rank), self._random(rank, weight.out_features))
                for group, weight in layer.items()
            }
            for layer in self.groups
        ]

        def run() -> None:
            for layer, pair in zip(self.groups, pairs, strict=True):
                for group, weight in layer.items():
                    y = matmul_4bit(x[group], weight.codes.t(), quant_state=weight.quant_state)
                    if rank:
                        torch.addmm(y, x[group] @ pair[group][0], pair[group][1])

        return run

    def _bank(self, group: str, weight: Nf4Weight) -> tuple[Tensor, Tensor, Tensor]:
        """A, B (block-diagonal over the group's parts) and spans of the slots."""
        widths = [module_shape(self.shape, part)[0] for part in GROUPS[group]]
        wide, start = RANK * len(widths), 0
        A = self._random(SLOTS, wide, weight.in_features)
        B = torch.zeros(SLOTS, wide, weight.out_features, dtype=torch.bfloat16, device=self.device)
        spans = torch.zeros(SLOTS, wide, 2, dtype=torch.int32, device=self.device)
        for part, width in enumerate(widths):
            ranks = slice(part * RANK, (part + 1) * RANK)
            B[:, ranks, start : start + width] = self._random(SLOTS, RANK, width)
            spans[:, ranks] = torch.tensor([start, start + width], dtype=torch.int32, device=self.device)
            start += width
        return A, B.transpose(1, 2), spans

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device).to(torch.bfloat16) / max(1, shape[-1]) ** 0.5


def made_base(shape: dict[str, int], device: torch.device, nf4: bool = True) -> Base:
    """A random base on the device, its layers in NF4 or bf16; its tokenizer knows bytes only."""
    small = random_base(layers=1)
    config = ModelConfig(**shape, vocab_size=small.config.vocab_size, max_positions=8192)

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=torch.bfloat16) * 0.02

    def matrix(group: str) -> Nf4Weight | DenseWeight:
        values = drawn(*group_shape(config, group))
        return Nf4Weight.quantize(values) if nf4 else DenseWeight(values)

    layers = [
        Layer(
            attention_norm=1 + drawn(config.hidden_size),
            mlp_norm=1 + drawn(config.hidden_size),
            **{group: matrix(group) for group in GROUPS},
        )
        for _ in range(config.layers)
    ]
    embedding = DenseWeight(drawn(config.vocab_size, config.hidden_size))
    norm = 1 + drawn(config.hidden_size)
    decoder = GraphedDecoder(config, embedding, layers, norm, embedding, dtype=torch.bfloat16, device=device)
    card = Converted(
        name="random", form="nf4", config=config, chat=small.chat.format, eos_ids=(0,),
        fingerprints=BaseFingerprints(f"random-{sorted(shape.items())}", "random"), sha256="",
    )  # fmt: skip
    return Base(card, decoder, small.tokenizer)


def made_bank(base: Base, slots: int, skills: int) -> tuple[Bank, list[str]]:
    """A bank and the names of random skills of rank 16 on all modules; from the 17th on their weights come again."""
    drawn = [random_skill(base, "random", seed, RANK).to(torch.bfloat16) for seed in range(min(skills, 16))]
    bank, names = Bank(base, slots=slots, rank=RANK, host_bytes=16 << 30), []
    for number in range(skills):
        given = drawn[number % len(drawn)]
        card = given.card.model_copy(update={"name": f"skill-{number}", "activation": "full"})
        names.append(bank.add(Skill(card, given.tensors)))
    return bank, names


def steps(short: str, repeats: int, device: torch.device, shape: dict[str, int] | None = None) -> dict[str, float]:
    """Median times of a step, by rows, context and number of distinct skills."""
    base = made_base(shape or SHAPES[short], device)
    bank, names = made_bank(base, slots=64, skills=64)
    slots = [bank.slot(name) for name in names]
    base.warm_up(bank.attached)
    found: dict[str, float] = {}
    for context in CONTEXTS:
        caches = [filled(base, context + repeats + 8) for _ in range(ROWS[-1])]
        for count in ROWS:
            for skills in (number for number in SKILLS if number <= max(count, 1)):
                choices = [slots[row % skills] if skills else 0 for row in range(count)]
                rows = [Row([5], cache, choice) for cache, choice in zip(caches, choices, strict=False)]
                for cache in caches:
                    cache.truncate(context)
                times = [timed(base, bank, rows) for _ in range(3 + repeats)][3:]
                found[f"{short}_rows{count}_context{context}_skills{skills}_us"] = statistics.median(times)
        del caches
    return found


def swaps(short: str, device: torch.device, count: int = 1000, shape: dict[str, int] | None = None) -> dict[str, float]:
    """Steps that swap skills in and out: new captures and states that differ from the skill's first ones."""
    base = made_base(shape or SHAPES[short], device)
    bank, names = made_bank(base, slots=4, skills=12)
    base.warm_up(bank.attached)
    assert isinstance(base.decoder, GraphedDecoder)
    before = base.decoder.capture(bank.attached)
    cache, drawn, first, wrong = filled(base, 64), random.Random(0), dict[str, Tensor](), 0
    for _ in range(count):
        name = drawn.choice(names)
        cache.truncate(40)
        with bank.using(name) as slot:
            states = base.forward([Row([5], cache, slot)], attached=bank.attached).hidden.cpu()
        wrong += not torch.equal(first.setdefault(name, states), states)
    later = base.decoder.capture(bank.attached) - before
    return {f"{short}_swaps": count, f"{short}_swaps_captures": later, f"{short}_swaps_mismatches": wrong}


def filled(base: Base, positions: int) -> Any:
    """A cache that holds random keys and values."""
    cache = base.new_cache(positions)
    cache.begin(positions - 1)
    cache.commit()
    for planes in (cache.keys, cache.values):  # type: ignore[union-attr]
        for plane in planes:
            plane.normal_()
    return cache


def timed(base: Base, bank: Bank, rows: list[Row]) -> float:
    """Microseconds of a step on the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    base.forward(rows, attached=bank.attached)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e3


if __name__ == "__main__":
    main()
