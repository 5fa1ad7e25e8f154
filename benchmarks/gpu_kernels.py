"""The GPU kernels at decode: bandwidth against a measured copy, and times against PEFT and bitsandbytes.

One step computes every projection of several layers, in NF4, under a CUDA graph for every system, so that neither
launches nor cached weights flatter anyone. Needs a CUDA device (Ampere or newer).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import BenchmarkReport, finish, options

BATCHES = (1, 8, 64)
RANKS = (16,)
COPIED = 1 << 30  # bytes


def main() -> None:
    parser = options("Times NF4, LoRA and attention kernels on a GPU.", limit=20)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="B")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, metavar="R")
    parser.add_argument("--layers", type=int, default=8, help="of Llama-3-8B")
    parser.add_argument("--steps", nargs="*", choices=("8b", "1.5b"), default=("8b", "1.5b"), help="whole decode steps")
    given = parser.parse_args()
    refusal = unfit()
    if refusal:
        parser.exit(2, f"gpu_kernels.py: {refusal}\n")
    torch.manual_seed(given.seed)
    finish(measure(given), given.json)


def unfit() -> str:
    """Why this machine cannot run it; empty if it can."""
    if not torch.cuda.is_available():
        return "needs a CUDA device, and torch sees none: run it on a machine with a GPU and torch's CUDA build"
    if torch.cuda.get_device_capability() < (8, 0):
        return f"needs compute capability 8.0 or newer; {torch.cuda.get_device_name()} is older"
    return ""


def measure(given: argparse.Namespace, time: Callable[..., float] | None = None) -> BenchmarkReport:
    """All figures; `time` replaces the clock of a GPU in tests."""
    from gpu_layers import LLAMA_8B, Layers

    device = torch.device("cuda" if time is None else "cpu")
    time = time or microseconds
    copy = copy_bandwidth(device, time, given.limit)
    metrics: dict[str, float] = {"copy_gb_per_s": copy}
    peers: dict[str, dict[str, float]] = {"bitsandbytes": {}, "peft": {}}
    ratios: dict[str, float] = {}
    layers = Layers(LLAMA_8B, min(given.layers, LLAMA_8B.layers), device)
    for batch in given.batches:
        of = f"b{batch}"
        base = time(layers.base(batch), given.limit)
        speed = layers.bytes / base / 1e3
        metrics |= {f"{of}_base_us": base, f"{of}_base_gb_per_s": speed, f"{of}_base_of_copy": speed / copy}
        metrics[f"{of}_idle_rows_us"] = time(layers.ours(batch, 16, [0] * batch), given.limit)
        theirs = peers["bitsandbytes"][f"{of}_base_us"] = time(layers.bitsandbytes(batch), given.limit)
        ratios[f"{of}_base_bitsandbytes"] = theirs / base
        for rank in given.ranks:
            own = f"{of}_r{rank}"
            one = time(layers.ours(batch, rank, [1] * batch), given.limit)
            apart = time(layers.ours(batch, rank, [1] * batch, fused=False), given.limit)
            mixed = time(layers.ours(batch, rank, [row % 8 for row in range(batch)]), given.limit)
            metrics |= {f"{own}_us": one, f"{own}_apart_us": apart, f"{own}_mixed_us": mixed}
            metrics[f"{own}_overhead_percent"] = 100 * (one / base - 1)
            floor = layers.floor(rank, min(batch, 7))
            metrics[f"{own}_mixed_of_floor"] = (mixed / base - 1) / floor
            peers["bitsandbytes"][f"{own}_us"] = time(layers.bitsandbytes(batch, rank), given.limit)
            peers["peft"][f"{own}_us"] = time(layers.peft(batch, rank), given.limit)
            for peer in peers:
                ratios[f"{own}_{peer}"] = peers[peer][f"{own}_us"] / one
    del layers
    if given.steps:
        from gpu_steps import steps, swaps

        for short in given.steps:
            metrics |= steps(short, given.limit, device) | swaps(short, device)
    return BenchmarkReport("gpu_kernels", given.limit, metrics, peers, ratios, {"gates": gates(metrics)})


GATES: dict[str, tuple[str, float]] = {
    "copy_gb_per_s": (">=", 2900), "b1_base_of_copy": (">=", 0.8), "b1_r16_overhead_percent": ("<=", 5),
    "b64_r16_mixed_of_floor": ("<=", 1.3), "8b_rows1_context1024_skills0_us": ("<=", 2600),
    "8b_rows64_context2048_skills64_us": ("<=", 11_000), "8b_swaps_captures": ("<=", 0),
    "8b_swaps_mismatches": ("<=", 0),
}  # fmt: skip
"""What an H100 has to reach before figures are published; overheads are multiples of the bytes that have to be read."""


def gates(metrics: dict[str, float]) -> dict[str, str]:
    """Each gate with what was measured, and whether it holds."""
    told = {}
    for name, (sign, limit) in GATES.items():
        if name in metrics:
            holds = metrics[name] >= limit if sign == ">=" else metrics[name] <= limit
            told[name] = f"{metrics[name]:g} {sign} {limit:g}: {'holds' if holds else 'FAILS'}"
    return told


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


if __name__ == "__main__":
    main()
