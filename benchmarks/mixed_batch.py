"""Rows that decode together, each on a skill of its own, against a batch on one skill and against the base alone.

    python benchmarks/mixed_batch.py --json benchmarks/results/mixed_batch.json

B rows (1, 4, 8, 16), each with 256 tokens of context computed by the base, decode 32 tokens on the embedded base:
`base` on slot 0, `one` all on one skill, `each` every row on another skill. The skills are random LoRAs of rank 16 on
every linear module. The ways take turns; figures are medians of tokens a second over all rows, and `ratio` is `each`
over `one`: the goal is 0.8.

The peer is PEFT on transformers with the same adapters and the same values in bf16: `one` after `set_adapter`, `each`
with `adapter_names=` in the forward, which is PEFT's way to mix a batch (`base` with the adapters disabled).
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from episode import random_skill
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

BATCHES = (1, 4, 8, 16)
RANK, CONTEXT, TOKENS = 16, 256, 32


def turns(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median of each way's seconds; they take turns, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            seconds = way()
            if turn:
                times[name].append(seconds)
    return {name: median(values) for name, values in times.items()}


def ours(base: Base, skills: Sequence[Skill], repeats: int, seed: int) -> dict[str, float]:
    """Tokens a second of each batch size and way."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Row

    bank = Bank(base, slots=len(skills), rank=RANK)
    slots = [bank.slot(bank.add(skill)) for skill in skills]
    rng = random.Random(seed)
    found: dict[str, float] = {}
    for size in BATCHES:
        contexts = [[rng.randrange(100, 20_000) for _ in range(CONTEXT)] for _ in range(size)]
        caches = [base.new_cache(CONTEXT + TOKENS) for _ in contexts]
        for context, cache in zip(contexts, caches, strict=True):
            base.forward([Row(context, cache)])

        def decode(slots: Sequence[int], caches: Sequence[Any] = caches) -> float:
            start = perf_counter()
            for step in range(TOKENS):
                rows = [Row([100 + step], cache, slot) for cache, slot in zip(caches, slots, strict=True)]
                base.logits(base.forward(rows, attached=bank.attached).hidden)
            seconds = perf_counter() - start
            for cache in caches:
                cache.truncate(CONTEXT)
            return seconds

        ways = {"base": [0] * size, "one": [slots[0]] * size, "each": slots[:size]}
        times = turns({way: lambda own=own: decode(own) for way, own in ways.items()}, repeats)
        found |= rates(times, size)
    return found


def rates(times: dict[str, float], size: int) -> dict[str, float]:
    """Tokens a second, and the ratio of `each` over `one`."""
    found = {f"{way}/B={size}": size * TOKENS / seconds for way, seconds in times.items()}
    return found | {f"ratio/B={size}": times["one"] / times["each"]}


def peft(base: Base, skills: Sequence[Skill], repeats: int, seed: int) -> dict[str, float]:
    """Figures of PEFT."""
    from transformers import DynamicCache
    from transformers_peer import transformers_model, with_adapters

    rng = random.Random(seed)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model = with_adapters(transformers_model(base), skills, Path(folder), "full")
        names = [f"full-{skill.card.name}" for skill in skills]
        for size in BATCHES:
            cache = DynamicCache()
            context = torch.tensor([[rng.randrange(100, 20_000) for _ in range(CONTEXT)] for _ in range(size)])
            with model.disable_adapter():
                model(context, past_key_values=cache, use_cache=True, logits_to_keep=1)

            def decode(cache: Any = cache, size: int = size, **options: Any) -> float:
                start = perf_counter()
                for step in range(TOKENS):
                    tokens = torch.full((size, 1), 100 + step)
                    model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1, **options)
                seconds = perf_counter() - start
                cache.crop(-TOKENS)
                return seconds

            def alone(decode: Callable[..., float] = decode) -> float:
                with model.disable_adapter():
                    return decode()

            def one(decode: Callable[..., float] = decode) -> float:
                model.set_adapter(names[0])
                return decode()

            each = lambda decode=decode, size=size: decode(adapter_names=names[:size])  # noqa: E731
            found |= rates(turns({"base": alone, "one": one, "each": each}, repeats), size)
    return found


def main() -> None:
    from loraloop.adapters.base import Base

    parser = options(__doc__.splitlines()[0], limit=5)
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    base = Base.load()
    skills = [random_skill(base, f"skill-{i}", given.seed + i, RANK).to(torch.bfloat16) for i in range(max(BATCHES))]
    metrics = ours(base, skills, given.limit, given.seed)
    peers: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    if not given.no_peers:
        peers["peft"] = peft(base, skills, max(given.limit // 2, 1), given.seed)
        ratios = {f"each B={size}": metrics[f"each/B={size}"] / peers["peft"][f"each/B={size}"] for size in BATCHES}
    finish(BenchmarkReport("mixed_batch", given.limit, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
