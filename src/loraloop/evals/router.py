"""Measures a router at its thresholds on labelled states."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.kept import Kept
from loraloop.evals.router_scores import RouterOutput, by_source, median, scores
from loraloop.render.report import Report

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.router import Router
    from loraloop.router.states import State

SPLITS = ("eval", "cross")
SYSTEM = "router"
CHUNK = 128  # states between two writes of what was said
HEAD = ("macro_f1", "macro_f1_low", "macro_f1_high", "ece", "ece_low", "ece_high")


@dataclass(slots=True)
class RouterEvaluation:
    """States by split, and what the router says to them.

    Attributes:
        states: Of each split; the last split is the one that counts, its sources were never fitted on.
        outputs: By split, in the order of the states.
        times: Milliseconds of single decisions.
    """

    states: dict[str, list[State]]
    outputs: dict[str, list[RouterOutput]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)

    @property
    def main(self) -> str:
        """The split that counts."""
        return list(self.states)[-1]

    def report(self, name: str, command: str) -> Report:
        """The document: `macro_f1`, `ece` and `ms` of the main split, then every figure by split."""
        figures: dict[str, float] = {}
        details: dict[str, float] = {}
        for split, outputs in self.outputs.items():
            states = self.states[split]
            found = scores(states, outputs)
            place = f"/{split}" if len(self.states) > 1 else ""
            if split == self.main and place:
                figures = {key: found[key] for key in HEAD if key in found} | figures
            for key, value in found.items():
                if key.count(".") > 1 or (key.startswith("screen.") and key.endswith(".n")):
                    details[f"{key}/{split}"] = round(value, 4)
                else:
                    figures[f"{key}{place}"] = value
            details |= {f"{key}{place}": value for key, value in by_source(states, outputs).items()}
        if self.times:
            figures |= median("ms", self.times) | {"ms_p99": sorted(self.times)[int(0.99 * len(self.times))]}
        total = sum(len(states) for states in self.states.values())
        return Report(name, total, figures, details=details, command=command)

    def errors(self, count: int) -> list[tuple[State, RouterOutput]]:
        """The most confident wrong choices of the main split."""
        pairs = zip(self.states[self.main], self.outputs.get(self.main, ()), strict=True)
        wrong = [(s, a) for s, a in pairs if s.label is not None and a.skill != s.label]
        return sorted(wrong, key=lambda pair: -pair[1].probabilities.get(pair[1].skill, 0.0))[:count]


def states_of(data: Path, limit: int | None, seed: int) -> dict[str, list[State]]:
    """States of a folder's `eval` and `cross` splits, or of one file; `limit` of each, drawn by the seed."""
    from loraloop.router.labelled import file_states
    from loraloop.router.states import build

    if data.is_file():
        return {data.name.split(".")[0]: sample(file_states(data, seed), limit, seed)}
    return {split: sample(build(data, split, seed=seed), limit, seed) for split in SPLITS}


def sample(states: list[State], limit: int | None, seed: int) -> list[State]:
    """All states, or `limit` of them in their order."""
    if limit is None or len(states) <= limit:
        return states
    return [states[k] for k in sorted(random.Random(seed).sample(range(len(states)), k=limit))]


def ask_router(
    evaluation: RouterEvaluation,
    base: Base,
    router: Router,
    kept: Kept,
    step: Callable[[], None],
    cache: Path | None = None,
) -> None:
    """Routes every state; what is kept already is not read again.

    Args:
        evaluation: What is filled.
        base: Whose states are read.
        router: At its thresholds.
        kept: What was said before, and where what is said now goes.
        step: Called after each state.
        cache: Folder that keeps features between calls.
    """
    from loraloop.router.extract import FeatureCache, extract

    layers = router.layers
    store = FeatureCache(cache, base, layers) if cache is not None else None
    for split, states in evaluation.states.items():
        names = [identity(s) for s in states]
        missing = [k for k, name in enumerate(names) if kept.get(SYSTEM, name) is None]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            transcripts = [states[k].messages for k in chunk]
            x = store.features(transcripts) if store is not None else extract(base, transcripts, layers)
            for k, row in zip(chunk, x, strict=True):
                kept.put(SYSTEM, names[k], **_routed(router, row, states[k]))
                step()
        rows = [kept.get(SYSTEM, name) or {} for name in names]
        evaluation.outputs[split] = [RouterOutput(row["skill"], row["p"], row.get("unsafe")) for row in rows]


def _routed(router: Router, row: Any, state: State) -> dict[str, Any]:
    import torch

    from loraloop.router import RouterFeatures
    from loraloop.router.extract import parts_of

    parts = parts_of(router.layers)
    choice, screen = (
        torch.cat([row[parts.index(part)].float() for part in wanted])
        for wanted in (router.choice.parts, router.screen_model.parts)
    )
    features = RouterFeatures(choice, screen)
    route, result = router.choose(features, state.state), router.screen(features)
    return {"skill": route.skill, "p": dict(route.probabilities), "unsafe": result.positive}


def facts_of(base: Base, folder: Path | None, seed: int) -> dict[str, Any]:
    """What kept outputs depend on besides the states."""
    from loraloop.adapters.base.loading.convert import file_sha256
    from loraloop.router.router import WEIGHTS

    digest = file_sha256((folder or WEIGHTS) / "router.safetensors")
    return {"base": base.fingerprints.weights, "router": digest, "seed": seed}


def identity(state: State) -> str:
    """What a state is kept under: a hash of all that a router is told."""
    told = [[m.role, m.content] for m in state.messages], sorted(state.state.masked), state.state.after
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def timed(evaluation: RouterEvaluation, router: Router, base: Base, rounds: int = 200) -> None:
    """Milliseconds that routing adds to a step whose prefill is done anyway: pooling, screen and choice."""
    from loraloop.adapters.base import Row

    state = next(iter(evaluation.states.values()))[0]
    ids = [base.chat.message(m.role, m.content) for m in base.chat.complete(list(state.messages))]
    whole = [token for message in ids for token in message]
    kept = base.forward([Row(whole, base.new_cache())], keep=router.layers).kept
    last = {layer: states[-len(ids[-1]) :] for layer, states in kept.items()}
    for _ in range(rounds):
        start = time.perf_counter()
        features = router.features(last)
        router.screen(features)
        router.choose(features, state.state)
        evaluation.times.append(1e3 * (time.perf_counter() - start))
