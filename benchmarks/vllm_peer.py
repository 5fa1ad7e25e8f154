"""loraloop against vLLM's server: one request at a time, the base and a LoRA, and the change from one LoRA to another.

    python benchmarks/vllm_peer.py --vllm-python PYTHON --json benchmarks/results/vllm_peer.json

vLLM serves the values of our base in bf16 with two random adapters of rank 16 on all linear modules; it is asked over
HTTP on this machine and timed as its tokens arrive, with its prefix cache on. loraloop runs in this process, in int4.
`decode` is the time between tokens, `prefill` that of a prompt that nobody has seen, to its first token.

`switch` is the time to the first token of a step on one skill after a step on the other (`same`: after one on the
same), as in `switch.py`: a context of 1 500 tokens, a step of 32 tokens, a tool's result of 24. vLLM's adapters belong
to every token that they read, so its cache serves only the adapter that filled it.

vLLM wants an environment of its own. Where there is none, this says so and ends without a result.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as loraloop sets it, which is imported after torch here
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from report import BenchmarkReport, finish, options
from speed_systems import Case, Ours, drawn
from switch import OWN, RESULT, first_token
from vllm_server import VllmServer, vllm_server

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

RANK, SWITCH_AT, TOKENS = 16, 1_500, 24
FIRST, OTHER = "tools", "retrieval"
CASES = [
    Case(kind, size, skill=skill)
    for kind, size in (("decode", 128), ("decode", 1_500), ("prefill", 1_024))
    for skill in (False, True)
]


class Switches:
    """Ours: a trunk of 1 500 tokens, and the steps over it."""

    def __init__(self, base: Base, skills: Sequence[Skill], rng: random.Random) -> None:
        from episode_ours import Untold

        from loraloop.adapters.bank.bank import Bank
        from loraloop.agent import Runtime

        bank = Bank(base, rank=RANK)
        for skill in skills:
            bank.slot(bank.add(skill))
        self._runtime = Runtime(base, bank, Untold())
        self._trunk = self._runtime.trunk()
        self._trunk.extend(drawn(rng, SWITCH_AT, base.config.vocab_size))
        self._trunk.flush()
        self._rng = rng

    def first(self, before: str, skill: str) -> float:
        """Seconds from a tool's result to the first token of a step on `skill`, after a step on `before`."""
        return first_token(self._runtime, self._trunk, before, skill, self._rng)


def vllm_case(server: VllmServer, case: Case, prompts: dict[str, list[int]], fresh: Sequence[int]) -> float:
    """Seconds of a case: between tokens after a prompt that its cache knows, or to the first token of a new prompt."""
    adapter = FIRST if case.skill else None
    if case.kind == "prefill":
        return server.stream(fresh, 2, adapter).first
    if case.name not in prompts:
        prompts[case.name] = list(fresh)
        server.stream(fresh, 2, adapter)
    return server.stream(prompts[case.name], TOKENS, adapter).between


def vllm_switch(server: VllmServer, rng: random.Random, vocabulary: int) -> tuple[float, float]:
    """Seconds to the first token after a tool's result, on the same adapter and on one new to the context."""
    context = drawn(rng, SWITCH_AT, vocabulary)
    server.stream(context, 2, FIRST)
    history = [*context, *drawn(rng, OWN + RESULT, vocabulary)]
    same = server.stream(history, 2, FIRST).first
    return same, server.stream([*context, *drawn(rng, OWN + RESULT, vocabulary)], 2, OTHER).first


def figures(samples: dict[str, list[float]]) -> dict[str, float]:
    """Metrics of one system."""
    out: dict[str, float] = {}
    for case in CASES:
        middle = median(samples[case.name])
        out[f"{case.name}_ms"] = 1e3 * middle
        out[f"{case.name}_tok_per_s"] = (case.context if case.kind == "prefill" else 1) / middle
    for name in ("same", "switch"):
        out[f"{name}_{SWITCH_AT}_ms"] = 1e3 * median(samples[name])
    return out


def grid(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """The page's table."""
    rows = {
        "decode after 128 tokens, base": "decode_128_ms",
        "decode after 128 tokens, LoRA": "decode_128_skill_ms",
        "decode after 1500 tokens, base": "decode_1500_ms",
        "decode after 1500 tokens, LoRA": "decode_1500_skill_ms",
        "prefill of 1024 tokens, base": "prefill_1024_ms",
        "prefill of 1024 tokens, LoRA": "prefill_1024_skill_ms",
        "first token after 1500 tokens, same LoRA": f"same_{SWITCH_AT}_ms",
        "first token after 1500 tokens, another LoRA": f"switch_{SWITCH_AT}_ms",
    }
    table: dict[str, float] = {}
    for row, key in rows.items():
        table |= {f"{row}/loraloop, ms": ours[key], f"{row}/vLLM, ms": theirs[key], f"{row}/×": theirs[key] / ours[key]}
    return {name: float(f"{value:.4g}") for name, value in table.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = options(__doc__.splitlines()[0], limit=5)
    parser.add_argument("--vllm-python", metavar="PYTHON", help="interpreter with vLLM")
    given = parser.parse_args(arguments)
    if not given.vllm_python:
        print("vLLM is left out: no --vllm-python PYTHON given", file=sys.stderr)
        return 0
    torch.set_num_threads(given.threads or torch.get_num_threads())

    from episode import random_skill
    from transformers_peer import save_for_peft, save_for_transformers

    from loraloop.adapters.base import Base

    base = Base.load(device="cpu")
    rng, vocabulary = random.Random(given.seed), base.config.vocab_size
    skills = [random_skill(base, name, given.seed + index, RANK) for index, name in enumerate((FIRST, OTHER))]
    ours, switches = Ours(base, skills[0]), Switches(base, skills, rng)
    mine: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    prompts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_for_transformers(base, folder / "model")
        adapters = {each.card.name: save_for_peft(each, folder / each.card.name, "full") for each in skills}
        threads = torch.get_num_threads()
        with vllm_server(given.vllm_python, folder / "model", adapters, RANK, threads, folder / "log") as server:
            version = server.version()
            for adapter in adapters:
                server.stream(drawn(rng, 64, vocabulary), 2, adapter)
            for number in range(given.limit):
                for case in CASES:
                    mine.setdefault(case.name, []).append(ours.measure(case))
                    fresh = drawn(rng, case.context, vocabulary)
                    theirs.setdefault(case.name, []).append(vllm_case(server, case, prompts, fresh))
                for kind, before in (("same", FIRST), ("switch", OTHER)):
                    mine.setdefault(kind, []).append(switches.first(before, FIRST))
                same, switch = vllm_switch(server, rng, vocabulary)
                theirs.setdefault("same", []).append(same)
                theirs.setdefault("switch", []).append(switch)
                print(f"round {number + 1} of {given.limit}", file=sys.stderr, flush=True)
    metrics, peer = figures(mine), figures(theirs)
    keys = [*(f"{case.name}_ms" for case in CASES), f"same_{SWITCH_AT}_ms", f"switch_{SWITCH_AT}_ms"]
    ratios = {key.removesuffix("_ms"): peer[key] / metrics[key] for key in keys}
    details: dict[str, Any] = {"vllm": grid(metrics, peer), "version": version}
    finish(BenchmarkReport("vllm_peer", given.limit, metrics, {"vllm": peer}, ratios, details), given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
