"""Adds 5 to 30 skills to the shipped router, ten examples each: what the new ones get, and what the others keep.

    python benchmarks/router_skills.py --data DATA --json benchmarks/results/router_skills.json

Skills are intents and services of SNIPS and SGD, tools of Toolformer, and domains of the made tools, each with requests
of its own; ten are examples, three to ten others are the test (made ones are of other templates). The known states are
those of the router's own evaluation files and of other sources. No tools are listed round a new skill's requests, so
words alone tell it.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from loraloop.adapters.base import Base, Message
from loraloop.adapters.training.sources.typed import drawn, family_specs, fill, specs
from loraloop.adapters.training.sources.typed_shown import wrap
from loraloop.evals.router_run import sample
from loraloop.evals.router_scores import spread
from loraloop.router import Router, RouterFeatures, RouterState
from loraloop.router.extract import FeatureCache, extract, select
from loraloop.router.logistic import expected_calibration_error
from loraloop.router.states import State, build

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, finish, options

EXAMPLES = 10
TEST = 10
LEAST = 3  # tests of a skill that has few requests
STEPS = (5, 10, 15, 20, 25, 30)
TOOLFORMER = ("news", "wolfram", "shell", "request")
DOMAINS = 16


def families(data: Path, rng: random.Random) -> dict[str, list[str]]:
    """Requests of each new skill, in random order: ten examples, then the tests."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in ("snips", "sgd", "toolformer"):
        with (data / "tools" / f"{name}.train.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if len(record["messages"]) > 1 or len(record["calls"]) != 1:
                    continue
                called = record.get("canonical_call", {}).get("method", record["calls"][0]["name"])
                if name != "toolformer" or called in TOOLFORMER:
                    found[f"{name}_{called}"].append(record["messages"][0]["content"])
    domains: dict[str, list[str]] = defaultdict(list)
    for spec in (*specs(), *family_specs()):
        for request in spec.requests:
            values = drawn([a for a in spec.arguments if a.required], rng)
            domains[f"made_{spec.domain.replace(' ', '_')}"].append(wrap(fill(request, values), rng, True))
    wide = {name: texts for name, texts in domains.items() if len(set(texts)) >= EXAMPLES + LEAST}
    found |= {name: wide[name] for name in rng.sample(sorted(wide), k=min(DOMAINS, len(wide)))}
    kept = {}
    for name in sorted(found):
        texts = sorted(set(found[name]))
        if len(texts) >= EXAMPLES + LEAST:
            kept[name] = rng.sample(texts, k=min(len(texts), EXAMPLES + TEST))
    return kept


def share(hits: Sequence[bool], name: str) -> dict[str, float]:
    """A share with its 95 % bootstrap interval."""
    rows = [[float(hit), 1.0] for hit in hits]
    return spread(name, rows, lambda totals: totals[0] / max(1.0, totals[1]))


def read(router: Router, base: Base, texts: Sequence[str]) -> list[RouterFeatures]:
    """Features of bare requests."""
    x = extract(base, [(Message("user", text),) for text in texts], router.layers)
    return wrapped(router, x, router.layers)


def wrapped(router: Router, x: Tensor, layers: Sequence[int]) -> list[RouterFeatures]:
    """Rows `[N, P, H]` of `extract` as what the router reads."""
    parts = (router.choice.parts, router.screen_model.parts)
    return [
        RouterFeatures(*pair) for pair in zip(*(select(x, wanted, layers).unbind(0) for wanted in parts), strict=True)
    ]


def known(
    router: Router, features: Sequence[RouterFeatures], states: Sequence[State]
) -> tuple[list[bool], list[float]]:
    """Whether each known state keeps its outcome, and how sure the router is of what it thinks most probable."""
    routes = [router.choose(f, s.state) for f, s in zip(features, states, strict=True)]
    right = [route.skill == s.label for route, s in zip(routes, states, strict=True)]
    return right, [max(route.probabilities.values()) for route in routes]


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("New skills from ten examples each: accuracy before and after.", limit=300)
    parser.add_argument("--data", type=Path, required=True, help="folder with tools/, code/, retrieval/ …")
    parser.add_argument("--cache", type=Path, help="folder that keeps features of the known states between calls")
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads or 1)
    rng = random.Random(given.seed)
    base, router = Base.load(), Router.load()
    router.check(base)
    made = families(given.data, rng)
    names = rng.sample(sorted(made), k=min(STEPS[-1], len(made)))
    splits = [build(given.data, split, seed=given.seed) for split in ("eval", "cross")]
    states = sample([s for split in splits for s in split if s.label is not None], given.limit, given.seed)
    transcripts = [s.messages for s in states]
    store = FeatureCache(given.cache, base, router.layers) if given.cache else None
    x = store.features(transcripts) if store else extract(base, transcripts, router.layers)
    features = wrapped(router, x, router.layers)

    metrics: dict[str, float] = {}
    before, confidence = known(router, features, states)
    metrics |= {f"{key}/0": value for key, value in share(before, "known").items()}
    metrics["known_ece/0"] = expected_calibration_error(torch.tensor(confidence), torch.tensor(before))
    tests: list[tuple[str, RouterFeatures]] = []
    slowest = busiest = 0.0
    state = RouterState()
    for count, name in enumerate(names, 1):
        start, busy = time.perf_counter(), time.process_time()
        examples = read(router, base, made[name][:EXAMPLES])
        router = router.add_skill(name, examples, made[name][:EXAMPLES])
        slowest = max(slowest, time.perf_counter() - start)
        busiest = max(busiest, time.process_time() - busy)
        tests += [(name, f) for f in read(router, base, made[name][EXAMPLES:])]
        if count not in STEPS:
            continue
        after, confidence = known(router, features, states)
        hits = [router.choose(f, state).skill == wanted for wanted, f in tests]
        found = share(after, "known") | share(hits, "new")
        found |= {
            "known_lost": sum(b and not a for b, a in zip(before, after, strict=True)) / max(1, sum(before)),
            "known_ece": expected_calibration_error(torch.tensor(confidence), torch.tensor(after)),
            "seconds": slowest,
            "cpu_seconds": busiest,
        }
        metrics |= {f"{key}/{count}": value for key, value in found.items()}
    command = "python benchmarks/router_skills.py --data DATA" + (f" --limit {given.limit}" if given.limit else "")
    details = {"skills": names, "known_states": len(states), "examples": EXAMPLES, "tests": len(tests)}
    finish(Report("router_skills", len(tests) + len(states), metrics, {}, {}, details, command), given.json)


if __name__ == "__main__":
    main()
