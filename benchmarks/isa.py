"""What the CPU decoder loses without wide instructions: the same library built for older processors, and torch alone.

    python benchmarks/isa.py --json benchmarks/results/isa.json

`native` is this processor, `avx512` has neither bf16 nor VNNI products, `avx2` is x86-64-v3; `torch` is what runs where
no C compiler is found. All take turns in each of `--limit` rounds; figures are medians.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from report import Report, finish, options

from loraloop.adapters.base import Base, Row
from loraloop.kernels.cpu import native

BUILDS = {"native": ["-march=native"], "avx512": ["-march=x86-64-v4"], "avx2": ["-march=x86-64-v3"]}
CONTEXT, STEPS, PROMPT = 500, 16, 512


def plain_base() -> Base:
    """The default base without the C library."""
    os.environ["LORALOOP_NATIVE"] = "0"
    try:
        return Base.load()
    finally:
        del os.environ["LORALOOP_NATIVE"]


def timed(base: Base) -> dict[str, float]:
    """Milliseconds of one round."""
    cache, tokens = base.new_cache(), [7] * PROMPT
    start = perf_counter()
    base.forward([Row(tokens, cache)])
    found = {"prefill_512_ms": (perf_counter() - start) * 1e3}
    cache.truncate(CONTEXT)
    for name, count in (("decode_500_ms", 1), ("rows_8_ms", 8)):
        seconds = 0.0
        for _ in range(STEPS):
            start = perf_counter()
            out = base.forward([Row(tokens[:count], cache)])
            base.logits(out.hidden[-1:])
            seconds += perf_counter() - start
            cache.truncate(CONTEXT)
        found[name] = seconds / STEPS * 1e3
    return found


def main() -> None:
    """Prints the table."""
    arguments = options(__doc__.splitlines()[0], limit=9).parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    served, alone = Base.load(), plain_base()
    systems: dict[str, Callable[[], Base]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in BUILDS.items():
            if name != "native" and name.upper() > torch.backends.cpu.get_cpu_capability():
                continue
            path = native.build(Path(folder), flags)
            if path is None:
                raise SystemExit("this benchmark compares builds of the C library, and no C compiler was found")
            library = native.Native(path)

            def with_library(library: native.Native = library) -> Base:
                served.decoder.native = library  # type: ignore[union-attr]
                return served

            systems[name] = with_library
        systems["torch"] = lambda: alone
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        for number in range(arguments.limit + 1):
            for name, base in systems.items():
                found = timed(base())
                if number:  # the first warms up
                    rounds[name].append(found)
    medians = {
        name: {metric: median(one[metric] for one in found) for metric in found[0]} for name, found in rounds.items()
    }
    ours = medians.pop("native")
    ratios = {f"{name} {metric.removesuffix('_ms')}": figures[metric] / ours[metric]
              for name, figures in medians.items() for metric in ours}  # fmt: skip
    finish(Report("isa", arguments.limit, ours, medians, ratios), arguments.json)


if __name__ == "__main__":
    main()
