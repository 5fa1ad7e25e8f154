"""What a user feels when the skill changes: time to first token after a switch, against the same skill again.

    python benchmarks/switch.py --json benchmarks/results/switch.json

A transcript of 100 to 4 000 tokens; a step writes 32 tokens, a tool's result of 24 tokens follows, and the next step's
first token is timed, from the result's arrival: `same` where the step before ran on the same skill, `switch` where it
ran on another. `switch_cost` is the median of their paired differences. `own_tokens` is what a step on any skill costs
the next one: the base reads the tokens that the step wrote (a step on the bare base leaves them cached).

The peer is the usual way, PEFT with plain LoRA: on the same adapter its cache is kept, after `set_adapter` the context
must be read again, since its keys and values belong to the adapter that computed them.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from episode import shipped_skills
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent import Runtime
    from loraloop.agent.engine.trunk import Trunk

CONTEXTS = (100, 500, 1500, 4000)
OWN, RESULT = 32, 24
FIRST, OTHER = "tools", "retrieval"


def tokens(rng: random.Random, base: Base, count: int) -> list[int]:
    """Ordinary token ids."""
    return [rng.randrange(100, base.tokenizer.vocab_size - 100) for _ in range(count)]


def first_token(runtime: Runtime, trunk: Trunk, before: str, skill: str, rng: random.Random) -> float:
    """Seconds from a tool result's arrival to the first token of a step on `skill`, after a step on `before`."""
    base = runtime.base
    length = len(trunk.ids)
    invocation = list(base.chat.generation_prompt)
    own = [*invocation, *tokens(rng, base, OWN)]
    with runtime.engine.activate(before) as active:
        branch = trunk.branch(active.author)
        branch.feed(own)
        branch.close([*own, *base.chat.closing])
    result = tokens(rng, base, RESULT)
    start = perf_counter()
    trunk.extend(result)
    trunk.flush()
    with runtime.engine.activate(skill) as active:
        branch = trunk.branch(active.author)
        int(branch.feed(invocation).argmax())
        seconds = perf_counter() - start
        branch.close()
    trunk.cut(length)
    return seconds


def ours(base: Base, skills: Sequence[Skill], repeats: int, seed: int) -> dict[str, float]:
    """All of our figures."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.agent import Runtime
    from loraloop.router import Router

    bank = Bank(base)
    for skill in skills:
        bank.slot(bank.add(skill))
    runtime = Runtime(base, bank, Router.load())
    rng = random.Random(seed)
    metrics: dict[str, float] = {}
    for context in CONTEXTS:
        trunk = runtime.trunk()
        trunk.extend(tokens(rng, base, context))
        trunk.flush()
        cases = {"same": FIRST, "switch": OTHER, "bare": "none"}
        for before in cases.values():
            first_token(runtime, trunk, before, FIRST, rng)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name in rng.sample(sorted(cases), len(cases)):
                times[name].append(1e3 * first_token(runtime, trunk, cases[name], FIRST, rng))
        metrics[f"same_{context}_ms"] = median(times["same"])
        metrics[f"switch_{context}_ms"] = median(times["switch"])
        metrics[f"switch_cost_{context}_ms"] = paired(times["switch"], times["same"])
        metrics[f"own_tokens_{context}_ms"] = paired(times["same"], times["bare"])
    return metrics


def paired(left: Sequence[float], right: Sequence[float]) -> float:
    """The median of the differences."""
    return median(a - b for a, b in zip(left, right, strict=True))


def peft(base: Base, skills: Sequence[Skill], repeats: int, seed: int) -> dict[str, float]:
    """Figures of PEFT with plain LoRA on transformers."""
    from transformers_peer import transformers_model, with_adapters

    rng = random.Random(seed)
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model = with_adapters(transformers_model(base), skills, Path(folder), "full")
        first, other = f"full-{FIRST}", f"full-{OTHER}"
        for context in CONTEXTS:
            step = [*base.chat.generation_prompt, *tokens(rng, base, OWN), *base.chat.closing]
            history = [*tokens(rng, base, context), *step]
            news = [*tokens(rng, base, RESULT), *base.chat.generation_prompt]
            kept = reader(model, first, history)
            same = [kept(news, first) for _ in range(repeats)]
            switch = [reader(model, other, [])([*history, *news], first) for _ in range(repeats)]
            metrics[f"same_{context}_ms"] = 1e3 * median(same)
            metrics[f"switch_{context}_ms"] = 1e3 * median(switch)
            metrics[f"switch_cost_{context}_ms"] = 1e3 * (median(switch) - median(same))
    return metrics


def reader(model: Any, adapter: str, history: Sequence[int]) -> Callable[[Sequence[int], str], float]:
    """Reads `history` under `adapter`; what is returned times the first token after more tokens under an adapter."""
    from transformers import DynamicCache

    model.set_adapter(adapter)
    cache = DynamicCache()
    if history:
        model(torch.tensor([list(history)]), past_key_values=cache, use_cache=True, logits_to_keep=1)

    def first(ids: Sequence[int], skill: str) -> float:
        start = perf_counter()
        if model.active_adapter != skill:
            model.set_adapter(skill)
        out = model(torch.tensor([list(ids)]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        int(out.logits[0, -1].argmax())
        seconds = perf_counter() - start
        cache.crop(-len(ids))
        return seconds

    return first


def main() -> None:
    from loraloop.adapters.base import Base

    parser = options(__doc__.splitlines()[0], limit=20)
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args()
    base = Base.load()
    skills = shipped_skills(base, (FIRST, OTHER), given.seed)
    metrics = ours(base, skills, given.limit, given.seed)
    peers: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    if not given.no_peers:
        peers["peft"] = peft(base, skills, max(given.limit // 5, 1), given.seed)
        ratios = {f"switch_{n}": peers["peft"][f"switch_{n}_ms"] / metrics[f"switch_{n}_ms"] for n in CONTEXTS}
    finish(BenchmarkReport("switch", given.limit, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
