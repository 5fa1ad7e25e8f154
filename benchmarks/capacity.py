"""What `loraloop plan` predicts against what is measured: bytes of everything, seconds of tokens, prompts and switches.

    python benchmarks/capacity.py --json benchmarks/results/capacity.json
    python benchmarks/capacity.py --base qwen2.5-coder-1.5b --json benchmarks/results/capacity_qwen.json

In each of `--limit` rounds the rates of the machine are measured as the command measures them, then each case. Rates
come from forwards of one row after 64 and 512 tokens and a skill of rank 16; the cases are other lengths, more rows,
other ranks, and rows that share a beginning or run under skills. Figures are medians.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from episode import random_skill
from report import BenchmarkReport, finish, options

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.bank.host import HOST_BYTES
from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.decoder import Row
from loraloop.adapters.base.decoder.native_cache import distinct
from loraloop.scale.capacity import Capacity, Load, weight_bytes
from loraloop.scale.rates import measure, weights_of

if TYPE_CHECKING:
    from loraloop.adapters.base.decoder.native_cache import AnyCache

TIMES = 8
"""Tokens that are decoded in a case; the median counts."""


class Bench:
    """A base with some random skills in slots."""

    def __init__(self, base: Base, seed: int, folder: Path) -> None:
        self.base, self.rng = base, random.Random(seed)
        self.bank = Bank(base, slots=4)
        self.names = [
            self.bank.add(random_skill(base, f"s{at}", at, 16).to(torch.bfloat16).save(folder / str(at)))
            for at in range(8)
        ]

    def forward(self, caches: Sequence[AnyCache], count: int, slots: Sequence[int] = (0,)) -> float:
        """Seconds of a forward of `count` tokens on each cache, with the head where it is one token."""
        vocabulary = self.base.config.vocab_size
        ids = [[self.rng.randrange(vocabulary) for _ in range(count)] for _ in caches]
        rows = [Row(ids[at], cache, slots[at % len(slots)]) for at, cache in enumerate(caches)]
        start = time.perf_counter()
        hidden = self.base.forward(rows, attached=self.bank.attached).hidden
        if count == 1:
            self.base.logits(hidden)
        return time.perf_counter() - start

    def caches(self, load: Load) -> list[AnyCache]:
        """The caches of all agents before the last token of their context."""
        beginning = self.base.new_cache()
        if load.shared:
            self.forward([beginning], load.shared)
        caches = [beginning.fork() for _ in range(load.agents)]
        for cache in caches if load.context > load.shared else ():
            self.forward([cache], load.context - load.shared)
        return caches

    def token(self, load: Load) -> float:
        """Seconds of a token for all agents, each under another of the skills."""
        caches, slots = self.caches(load), [self.bank.slot(name) for name in self.names[: load.skills]] or [0]
        return median(self.forward(caches, 1, slots) for _ in range(TIMES))

    def prompt(self, tokens: int, past: int = 0) -> float:
        """Seconds to read a prompt."""
        cache = self.base.new_cache()
        if past:
            self.forward([cache], past)
        return self.forward([cache], tokens)

    def switch(self, rank: int) -> tuple[float, float]:
        """Seconds until a skill is in a slot that comes from memory, and from its file."""
        bank, rounds = Bank(self.base, slots=1, rank=rank, host_bytes=1 << 40), []
        with tempfile.TemporaryDirectory() as folder:
            for at in range(4):
                bank.add(random_skill(self.base, f"s{at}", at, rank).to(torch.bfloat16).save(Path(folder, str(at))))
            for _ in range(2):
                seconds = []
                for name in bank.names:
                    start = time.perf_counter()
                    bank.slot(name)
                    seconds.append(time.perf_counter() - start)
                rounds.append(median(seconds))
        return rounds[1], rounds[0]


LOADS = {
    "a token after 256": Load(1, 0, 256, 0),
    "a token after 1500": Load(1, 0, 1500, 0),
    "a token after 256 under a skill": Load(1, 1, 256, 0),
    "a token for 8 agents after 256": Load(8, 0, 256, 0),
    "a token for 8 agents after 256 under 4 skills": Load(8, 4, 256, 0, slots=4),
    "a token for 8 agents after 1500 that they share": Load(8, 0, 1500, 1500),
    "a token for 8 agents after 1500 of their own": Load(8, 0, 1500, 0),
    "a token for 16 agents after 256": Load(16, 0, 256, 0),
}
PROMPTS = {"a prompt of 256": (256, 0), "a prompt of 1024": (1024, 0), "a prompt of 256 after 1500": (256, 1500)}
SWITCHED = 32
"""Rank of the skills whose loading is timed."""


def seconds_of(bench: Bench, here: Capacity) -> dict[str, tuple[float, float]]:
    """Milliseconds, predicted and measured, of each case."""
    found = {name: (here.token_seconds(load), bench.token(load)) for name, load in LOADS.items()}
    found |= {name: (here.prompt_seconds(*case), bench.prompt(*case)) for name, case in PROMPTS.items()}
    wanted = here.switch_seconds(Load(rank=SWITCHED))
    for tier, measured in zip(("memory", "file"), bench.switch(SWITCHED), strict=True):
        found[f"a switch to a skill from {tier}"] = wanted[tier], measured
    return {f"{name}, ms": (1e3 * wanted, 1e3 * measured) for name, (wanted, measured) in found.items()}


def bytes_of(bench: Bench, here: Capacity) -> dict[str, tuple[float, float]]:
    """Megabytes, predicted and measured, of each kind."""
    base, bank = bench.base, bench.bank
    for name in bench.names:
        bank.slot(name)
    agents, load = 8, Load(8, context=1600, shared=1500)
    caches = bench.caches(load)
    held = min(len(bench.names), HOST_BYTES // here.slot_bytes(16))  # the memory for waiting skills is bounded
    found = {
        "weights": (weight_bytes(base.config, base.form), weights_of(base)[0]),
        f"caches of {agents} agents": (here.cache_bytes(load), distinct(caches)[1]),
        "a slot": (here.slot_bytes(16), bank.bytes.device / 4),
        "a skill in memory": (here.slot_bytes(16), bank.bytes.host / held),
    }
    return {f"{name}, MB": (wanted / 1e6, measured / 1e6) for name, (wanted, measured) in found.items()}


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--base", default="smollm2-135m")
    given = parser.parse_args()
    rounds: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Base.load(given.base, device="cpu"), given.seed, Path(folder))
        for _ in range(given.limit):
            here = measure(bench.base)
            rounds.append(seconds_of(bench, here))
        sizes = bytes_of(bench, here)
    metrics: dict[str, float] = {}
    for name in (*sizes, *rounds[0]):
        pairs = [sizes[name]] if name in sizes else [each[name] for each in rounds]
        metrics[f"{name}/predicted"] = median(wanted for wanted, _ in pairs)
        metrics[f"{name}/measured"] = median(measured for _, measured in pairs)
        metrics[f"{name}/ratio"] = median(wanted / measured for wanted, measured in pairs)
    details: dict[str, Any] = {"base": given.base}
    finish(BenchmarkReport("capacity", given.limit, metrics, details=details), given.json)


if __name__ == "__main__":
    main()
