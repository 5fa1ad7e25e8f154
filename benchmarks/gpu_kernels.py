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

BATCHES = (1, 2, 4, 8, 16, 32, 64)
RANKS = (8, 16, 32, 64)
COPIED = 1 << 30  # bytes


def main() -> None:
    parser = options("Times NF4, LoRA and attention kernels on a GPU.", limit=20)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="B")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, metavar="R")
    parser.add_argument("--bases", nargs="+", choices=("llama", "smollm2"), default=("llama", "smollm2"))
    parser.add_argument("--layers", type=int, default=8, help="of Llama-3-8B; SmolLM2 runs all of its 30")
    parser.add_argument("--no-steps", action="store_true", help="leave out whole decode steps of the default base")
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
    from gpu_layers import LLAMA_8B, SMOLLM2, Layers

    device = torch.device("cuda" if time is None else "cpu")
    time = time or microseconds
    copy = copy_bandwidth(device, time, given.limit)
    metrics: dict[str, float] = {"copy_gb_per_s": copy}
    peers: dict[str, dict[str, float]] = {"bitsandbytes": {}, "peft": {}}
    ratios: dict[str, float] = {}
    for short in given.bases:
        dimensions = LLAMA_8B if short == "llama" else SMOLLM2
        count = min(given.layers, dimensions.layers) if short == "llama" else dimensions.layers
        layers = Layers(dimensions, count, device)
        for batch in given.batches:
            of = f"{short}_b{batch}"
            base = time(layers.base(batch), given.limit)
            table = time(layers.base(batch, permute=False), given.limit)
            metrics |= {f"{of}_base_{n}_columns_us": time(layers.base(batch, columns=n), given.limit) for n in (16, 64)}
            theirs = time(layers.bitsandbytes(batch), given.limit)
            speed = layers.bytes / base / 1e3
            metrics |= {f"{of}_base_us": base, f"{of}_base_by_table_us": table}
            metrics |= {f"{of}_base_gb_per_s": speed, f"{of}_base_of_copy": speed / copy}
            idle = time(layers.ours(batch, 16, [0] * batch), given.limit)
            metrics[f"{of}_idle_rows_us"] = idle
            peers["bitsandbytes"][f"{of}_base_us"] = theirs
            ratios[f"{of}_base_bitsandbytes"] = theirs / base
            for rank in given.ranks:
                own = f"{of}_r{rank}"
                one = time(layers.ours(batch, rank, [1] * batch), given.limit)
                apart = time(layers.ours(batch, rank, [1] * batch, fused=False), given.limit)
                mixed = time(layers.ours(batch, rank, [row % 7 + 1 for row in range(batch)]), given.limit)
                blend = time(layers.ours(batch, rank, [((1, 0.7), (2, 0.3))] * batch), given.limit)
                metrics |= {f"{own}_us": one, f"{own}_apart_us": apart, f"{own}_mixed_us": mixed}
                metrics |= {f"{own}_blend_us": blend, f"{own}_overhead_percent": 100 * (one / base - 1)}
                peers["bitsandbytes"][f"{own}_us"] = time(layers.bitsandbytes(batch, rank), given.limit)
                peers["peft"][f"{own}_us"] = time(layers.peft(batch, rank), given.limit)
                for peer in peers:
                    ratios[f"{own}_{peer}"] = peers[peer][f"{own}_us"] / one
        del layers
    if not given.no_steps:
        metrics |= steps(given.limit)
    targets = {
        "lora_over_base_percent_at_most": 3, "nf4_gemv_of_copy_at_least": 0.8, "idle_overhead": 0, "device": "H100",
    }  # fmt: skip
    return BenchmarkReport("gpu_kernels", given.limit, metrics, peers, ratios, {"targets": targets})


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


def steps(repeats: int) -> dict[str, float]:
    """Whole decode steps of the default base in NF4 under its graphs: bare, with a bank idle, with skills in use."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base, Row
    from loraloop.tool_schemas.errors import BaseModelError

    try:
        base = Base.load(device="cuda")
    except BaseModelError as error:
        print(f"gpu_kernels.py: no decode steps: {error}", file=sys.stderr)
        return {}
    bank = Bank(base)
    library = Path(__file__).resolve().parent.parent / "adapters" / "library"
    names = [bank.add(folder) for folder in sorted(library.iterdir()) if folder.is_dir()]
    slots = [bank.slot(name) for name in names]

    def step_us(attached: object, choices: list[int]) -> float:
        rows = []
        for choice in choices:
            cache = base.new_cache(2048)
            base.forward([Row(list(range(100, 612)), cache)])
            rows.append(Row([5], cache, choice))
        times = []
        for _ in range(3 + repeats):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            base.forward(rows, attached=attached)  # type: ignore[arg-type]
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) * 1e3)
        return statistics.median(times[3:])

    bare = step_us(None, [0])
    idle = step_us(bank.attached, [0])
    found = {"step_bare_us": bare, "step_idle_us": idle, "step_idle_overhead_percent": 100 * (idle / bare - 1)}
    if slots:
        found["step_skill_us"] = step_us(bank.attached, slots[:1])
        for batch in (8, 32):
            one, mixed = [slots[0]] * batch, [slots[row % len(slots)] for row in range(batch)]
            found[f"step_b{batch}_bare_us"] = step_us(None, [0] * batch)
            found[f"step_b{batch}_one_skill_us"] = step_us(bank.attached, one)
            found[f"step_b{batch}_mixed_us"] = step_us(bank.attached, mixed)
        found["captures"] = sum(graphs.captures for _, graphs in base.decoder._graphs.values())  # type: ignore[union-attr]
    return found


if __name__ == "__main__":
    main()
