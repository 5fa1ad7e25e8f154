"""Decode, few-row forwards and prefill of a base, with and without a skill, against llama.cpp and transformers.

    python benchmarks/decode.py --llama-python PYTHON --json benchmarks/results/decode.json
    python benchmarks/decode.py --base model.gguf --llama-python PYTHON --json benchmarks/results/decode_model.json

All systems run the same weights with the same number of threads: loraloop in int4, llama.cpp the GGUF file that was
converted, transformers the values behind the int4 codes in bf16. The skill is a random LoRA of rank 16 on all linear
modules; PEFT applies it around transformers, llama.cpp reads it as GGUF. In each of `--limit` rounds every case is
measured on every system, one right after the other, so that a drift of the machine meets all alike; figures are
medians, ratios and overheads medians of what they are in each round. Where a system can be set in two ways (flash
attention, the implementation of attention), both are measured each time and the faster one counts.

With `--isa "-mavx2 -mfma -mf16c"` the C kernels are compiled for less than this processor has, and the limit counts no
more than that; llama.cpp has to be
built alike: `CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" pip install llama-cpp-python`.

`limit` is the time that the same run's reading speed and fastest products (8 bits or bf16) allow: a forward reads the
weights, the cache and the skill once and multiplies every token with them; the longer of the two counts, which is the
reading for one token and the products for a prompt. `of_limit_pct` says how much of it a system reaches; llama.cpp's is
by its own bytes.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from limits import Limits, measure, restrict
from llama_peer import interpreter, llama, write_lora
from report import BenchmarkReport, finish, options
from speed_bytes import flops, ggml_bytes, served_bytes
from speed_figures import allowed_ms, figures, grids, tokens_of
from speed_systems import Case, LlamaCpp, Ours, System, Transformers

CONTEXTS, COUNTS, FEW_AT, PROMPT, RANK = (128, 1_500, 4_000), (4, 8, 16), 1_500, 1_024, 16
REST = 0.02
"""Seconds between two systems, in which threads that wait for work go to sleep."""


def cases(contexts: Sequence[int], prompt: int) -> list[Case]:
    """Everything that is timed, each without and with a skill."""
    plain = [
        *(Case("decode", context) for context in contexts),
        *(Case("rows", FEW_AT if FEW_AT in contexts else contexts[-1], count) for count in COUNTS),
        Case("prefill", prompt),
    ]
    return [Case(each.kind, each.context, each.count, skill) for each in plain for skill in (False, True)]


def rounds(systems: Sequence[System], wanted: Sequence[Case], count: int, model: int) -> tuple[
    dict[str, dict[str, list[float]]], Limits
]:  # fmt: skip
    """Seconds by system and case, and the limits seen meanwhile.

    Args:
        count: rounds.
        model: bytes of the model.
    """
    found: dict[str, dict[str, list[float]]] = {each.name: {} for each in systems}
    limits = measure(model)
    for number in range(count):
        start = time.perf_counter()
        for case in wanted:
            turn = number % len(systems)
            for system in (*systems[turn:], *systems[:turn]):
                seconds = system.measure(case)
                found[system.name].setdefault(case.name, []).append(seconds)
                time.sleep(REST)
        limits = limits.best(measure(model, repeats=1))
        print(f"round {number + 1} of {count}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return found, limits


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = options(__doc__.splitlines()[0], limit=10)
    parser.add_argument("--base", default="smollm2-135m", help="a base of the catalog, or a GGUF file")
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS, metavar="N", help="tokens of context")
    parser.add_argument("--prompt", type=int, default=PROMPT, metavar="N", help="tokens of the prefill")
    parser.add_argument("--steps", type=int, default=16, help="tokens of a decoding (transformers: a quarter)")
    parser.add_argument("--no-transformers", action="store_true", help="leave transformers and PEFT out")
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    parser.add_argument("--llama-python", metavar="PYTHON", help="interpreter with llama-cpp-python")
    parser.add_argument("--isa", metavar="FLAGS", help="compile the C kernels with these flags, not -march=native")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)

    from episode import random_skill

    from loraloop.adapters.base import Base
    from loraloop.adapters.base.loading.fetch import gguf_file
    from loraloop.kernels.cpu import native

    if given.isa:
        native.ISA = (given.isa.split(),)
        restrict(given.isa)
    base, gguf = Base.load(given.base, device="cpu"), gguf_file(given.base)
    skill = random_skill(base, "tools", given.seed, RANK)
    python = None if given.no_peers else interpreter(given.llama_python)
    wanted = cases(sorted(given.contexts), given.prompt)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        systems: list[System] = [Ours(base, skill, given.steps)]
        loras = [write_lora(base, skill, folder / "lora.gguf")] if python else []
        process = stack.enter_context(llama(python, gguf, torch.get_num_threads(), *loras))
        systems += [LlamaCpp(process, given.steps)] if process else []
        if not (given.no_transformers or given.no_peers):
            systems.append(Transformers(base, skill, folder, max(given.steps // 4, 1)))
        sizes = {"loraloop": served_bytes(base, skill), "llama.cpp": ggml_bytes(base, gguf, skill)}
        samples, limits = rounds(systems, wanted, given.limit, sizes["loraloop"].weights)
        facts: dict[str, Any] = process.facts if process else {}
    operations = {case.name: flops(base, tokens_of(case), case.past, skill if case.skill else None) for case in wanted}
    allowed = allowed_ms(wanted, limits, sizes["loraloop"], operations)
    mine = samples.pop("loraloop")
    metrics = figures(mine, wanted, allowed) | limits.metrics()
    # transformers reads bf16 weights: no limit of its own is drawn up for it.
    own = {"llama.cpp": allowed_ms(wanted, limits, sizes["llama.cpp"], operations)}
    peers = {name: figures(seen, wanted, own.get(name, {})) for name, seen in samples.items()}
    ratios = {
        f"{case.name} {name}": median(a / b for a, b in zip(seen[case.name], mine[case.name], strict=True))
        for name, seen in samples.items()
        for case in wanted
    }
    bound = {f"{case.name}_ms": allowed[case.name] for case in wanted}
    bound |= {f"{case.name}_tok_per_s": 1e3 * tokens_of(case) / allowed[case.name] for case in wanted}
    peers["limit"] = bound
    details: dict[str, Any] = grids(wanted, metrics, peers, ratios)
    details["bytes"] = {name: asdict(size) for name, size in sizes.items()}
    details["base"] = base.name
    if facts:
        details["llama.cpp"] = facts
    finish(BenchmarkReport("decode", given.limit, metrics, peers, ratios, details), given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
