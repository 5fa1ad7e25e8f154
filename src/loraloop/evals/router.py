"""Measures a router at its thresholds on labelled states."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.training.scoring.score import bootstrap
from loraloop.evals.harness import OutputCache
from loraloop.render.report import BenchmarkReport
from loraloop.router.decision import NONE
from loraloop.router.states import CHOICES

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.router import Router
    from loraloop.router.states import LabelledState

SPLITS = ("eval", "cross")
SYSTEM = "router"
CHUNK = 128  # states between two writes of what was said
HEAD = ("macro_f1", "macro_f1_low", "macro_f1_high", "ece", "ece_low", "ece_high")
ENOUGH = 20
"""States of an outcome below which its F1 says too little to be averaged."""
BINS = 10
DRAWS = 1000
KINDS = ("first", "follow_up", "tool_result", "dropped")


@dataclass(frozen=True, slots=True)
class RouterOutput:
    """A router's output for one state.

    Attributes:
        skill: The outcome it chose.
        probabilities: Probabilities of the outcomes that could be chosen.
        unsafe: Whether its screen was positive; None where it has none.
        call: How probable it finds a call; None where it cannot tell.
    """

    skill: str
    probabilities: Mapping[str, float]
    unsafe: bool | None = None
    call: float | None = None

    @property
    def best(self) -> tuple[str, float]:
        """The most probable outcome, before abstention, and its probability."""
        return max(self.probabilities.items(), key=lambda item: item[1])


@dataclass(slots=True)
class RouterEvaluation:
    """States by split, and what the router says to them.

    Attributes:
        states: States by split; the last split is the one that counts, its sources were never fitted on.
        outputs: Outputs by split, in the order of the states.
        times: Milliseconds of single decisions.
    """

    states: dict[str, list[LabelledState]]
    outputs: dict[str, list[RouterOutput]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)

    @property
    def main(self) -> str:
        """The split that counts."""
        return list(self.states)[-1]

    def report(self, name: str) -> BenchmarkReport:
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
        return BenchmarkReport(name, total, figures, details=details)

    def errors(self, count: int) -> list[tuple[LabelledState, RouterOutput]]:
        """The most confident wrong choices of the main split."""
        pairs = zip(self.states[self.main], self.outputs.get(self.main, ()), strict=True)
        wrong = [(s, a) for s, a in pairs if s.label is not None and a.skill != s.label]
        return sorted(wrong, key=lambda pair: -pair[1].probabilities.get(pair[1].skill, 0.0))[:count]


def states_of(data: Path, limit: int | None, seed: int, header: str = CALLS_HEADER) -> dict[str, list[LabelledState]]:
    """States of small assistants that no router learns from, and of the parts `eval` and `cross`; or of one file.

    Args:
        data: The file, or the folder of the frozen data.
        limit: States of each part at most; None for all.
        seed: Seed of the draw, where there are more.
        header: What the listing of tools begins with.
    """
    from loraloop.router.states import assistant_states, file_states, frozen_states

    if data.is_file():
        return {data.name.split(".")[0]: sample(file_states(data, header), limit, seed)}
    small = {"assistants": assistant_states("valid", header)}
    parts = small | {split: frozen_states(split, data, header) for split in SPLITS}
    return {split: sample(states, limit, seed) for split, states in parts.items()}


def sample(states: list[LabelledState], limit: int | None, seed: int) -> list[LabelledState]:
    """All states, or `limit` of them in their order."""
    if limit is None or len(states) <= limit:
        return states
    return [states[k] for k in sorted(random.Random(seed).sample(range(len(states)), k=limit))]


def ask_router(
    evaluation: RouterEvaluation,
    base: Base,
    router: Router,
    outputs: OutputCache,
    step: Callable[[], None],
    cache: Path | None = None,
) -> None:
    """Routes every state; what is kept already is not read again.

    Args:
        evaluation: The evaluation, to which the outputs are added.
        base: The base whose hidden states are read.
        router: At its thresholds.
        outputs: Outputs of earlier calls, which are not computed again; new ones are added.
        step: Called after each state.
        cache: Folder that keeps features between calls.
    """
    from loraloop.router.features import FeatureCache, extract

    layers = router.layers
    store = FeatureCache(cache, base, layers) if cache is not None else None
    for split, states in evaluation.states.items():
        names = [identity(s) for s in states]
        missing = [k for k, name in enumerate(names) if outputs.get(SYSTEM, name) is None]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            transcripts = [states[k].messages for k in chunk]
            x = store.features(transcripts) if store is not None else extract(base, transcripts, layers)
            for k, row in zip(chunk, x, strict=True):
                outputs.put(SYSTEM, names[k], **_routed(router, row, states[k]))
                step()
        rows = [outputs.get(SYSTEM, name) or {} for name in names]
        evaluation.outputs[split] = [
            RouterOutput(row["skill"], row["p"], row.get("unsafe"), row.get("call")) for row in rows
        ]


def _routed(router: Router, row: Any, state: LabelledState) -> dict[str, Any]:
    import torch

    from loraloop.router import RouterFeatures
    from loraloop.router.features import parts_of

    parts = parts_of(router.layers)
    choice, screen = (
        torch.cat([row[parts.index(part)].float() for part in wanted])
        for wanted in (router.choice.parts, router.screen_model.parts)
    )
    features = RouterFeatures(choice, screen)
    route, result = router.choose(features, state.state), router.screen(features)
    return {"skill": route.skill, "p": dict(route.probabilities), "unsafe": result.positive, "call": route.call}


def facts_of(base: Base, folder: Path | None, seed: int) -> dict[str, Any]:
    """What kept outputs depend on besides the states."""
    from loraloop.adapters.base.loading.download import file_sha256
    from loraloop.router.card import FILES, shipped_routers

    own = folder or shipped_routers()[base.name]
    return {"base": base.fingerprints.weights, "router": [file_sha256(own / name) for name in FILES], "seed": seed}


def identity(state: LabelledState) -> str:
    """The key of a state's output: a hash of all inputs of the router."""
    inputs = [[m.role, m.content] for m in state.messages], sorted(state.state.masked), state.state.after
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:24]


def timed(evaluation: RouterEvaluation, router: Router, base: Base, rounds: int = 200) -> None:
    """Milliseconds that routing adds to a step whose prefill is done anyway: pooling, screen and choice.

    Args:
        evaluation: Gives the state that is routed, the first of its first split, and gets the times, in milliseconds.
        router: The router.
        base: The base that the router was fitted on; it reads the state once, which is not measured.
        rounds: How often the state is routed.
    """
    from loraloop.adapters.base import Row

    state = next(iter(evaluation.states.values()))[0]
    complete = base.chat.complete(list(state.messages))
    ids = [base.chat.message(m.role, m.content, not place) for place, m in enumerate(complete)]
    whole = [token for message in ids for token in message]
    kept = base.forward([Row(whole, base.new_cache())], keep=router.layers).kept
    last = {layer: states[-len(ids[-1]) :] for layer, states in kept.items()}
    for _ in range(rounds):
        start = time.perf_counter()
        features = router.features(last)
        router.screen(features)
        router.choose(features, state.state)
        evaluation.times.append(1e3 * (time.perf_counter() - start))


def scores(states: Sequence[LabelledState], outputs: Sequence[RouterOutput]) -> dict[str, float]:
    """All figures of one split: the choice whole, by kind, by tools present or absent; calibration; screen; calls."""
    judged = [(s, a) for s, a in zip(states, outputs, strict=True) if s.label is not None]
    metrics: dict[str, float] = {}
    cuts = {"": judged}
    cuts |= {f"{kind}.": [pair for pair in judged if pair[0].kind == kind] for kind in KINDS}
    cuts["tools_present."] = [pair for pair in judged if pair[0].state.tools]
    cuts["tools_absent."] = [pair for pair in judged if not pair[0].state.tools]
    for prefix, pairs in cuts.items():
        if pairs:
            metrics |= {f"{prefix}{name}": value for name, value in _choice(pairs).items()}
    if judged:
        metrics |= _calibration(judged)
        metrics["abstained"] = sum(a.skill != a.best[0] for _, a in judged) / len(judged)
    for name, unsafe in (("recall", True), ("false_positives", False)):
        flags = [a.unsafe for s, a in zip(states, outputs, strict=True) if s.unsafe is unsafe and a.unsafe is not None]
        if flags:
            metrics[f"screen.{name}"], metrics[f"screen.{name}.n"] = sum(flags) / len(flags), float(len(flags))
    for name, label in (("recall", "tools"), ("false_positives", NONE)):
        found = [a.call >= 0.5 for s, a in judged if s.label == label and a.call is not None]
        if found:
            metrics[f"call.{name}"] = sum(found) / len(found)
    return metrics


def by_source(states: Sequence[LabelledState], outputs: Sequence[RouterOutput]) -> dict[str, float]:
    """Recall of each outcome of each source, with n, and the screen's share of positives."""
    cells: dict[str, list[bool]] = {}
    for s, a in zip(states, outputs, strict=True):
        source = "practice" if s.source.startswith("practice_") else s.source
        if s.label is not None:
            cells.setdefault(f"source.{source}.{s.label}.recall", []).append(a.skill == s.label)
        if s.unsafe is not None and a.unsafe is not None:
            name = "recall" if s.unsafe else "false_positives"
            cells.setdefault(f"screen.{name}.{source}", []).append(a.unsafe)
    found: dict[str, float] = {}
    for name, hits in sorted(cells.items()):
        found[name], found[f"{name}.n"] = round(sum(hits) / len(hits), 4), float(len(hits))
    return found


def _choice(pairs: Sequence[tuple[LabelledState, RouterOutput]]) -> dict[str, float]:
    """Precision, recall, F1 of each outcome; macro-F1 over those with `ENOUGH` states (all if none has)."""
    table = Counter((str(s.label), a.skill) for s, a in pairs)
    names = [*CHOICES, *sorted({a.skill for _, a in pairs} - set(CHOICES))]
    found: dict[str, float] = {}
    for name in CHOICES:
        of = sum(table[name, other] for other in names)
        chosen = sum(table[other, name] for other in names)
        if of:
            hit = table[name, name]
            found |= {f"{name}.n": of, f"{name}.recall": hit / of, f"{name}.precision": hit / chosen if chosen else 0.0}
            found[f"{name}.f1"] = 2 * hit / (of + chosen)
    seen = [name for name in CHOICES if f"{name}.n" in found]
    counted = tuple(name for name in seen if found[f"{name}.n"] >= ENOUGH) or tuple(seen)
    found |= interval("macro_f1", [(s.text, (str(s.label), a.skill)) for s, a in pairs], counted)
    found["accuracy"] = sum(table[name, name] for name in CHOICES) / len(pairs)
    found["n"] = len(pairs)
    return found


def macro_f1(table: Mapping[tuple[str, str], float], counted: Sequence[str]) -> float:
    """Mean F1 over some outcomes of counts by (right, chosen); one that does not occur there is left out."""
    sizes: dict[str, float] = {}
    for pair, n in table.items():
        for name in pair:
            sizes[name] = sizes.get(name, 0.0) + n
    f1 = [2 * table.get((c, c), 0) / sizes[c] for c in counted if sizes.get(c)]
    return sum(f1) / max(1, len(f1))


def interval(name: str, cells: Sequence[tuple[str, tuple[str, str]]], counted: Sequence[str]) -> dict[str, float]:
    """Macro-F1 and its 95 % interval by a bootstrap over requests: states of one request stand or fall together.

    Args:
        name: Name of the figure.
        cells: For each state, its request and its (right, chosen).
        counted: Outcomes that enter the mean.
    """
    groups: dict[str, Counter[tuple[str, str]]] = {}
    for key, pair in cells:
        groups.setdefault(key, Counter())[pair] += 1
    kinds = sorted({pair for table in groups.values() for pair in table})
    rows = [[float(table[kind]) for kind in kinds] for table in groups.values()]

    def value(table: Any) -> float:
        return macro_f1(dict(zip(kinds, table.sum(0).tolist(), strict=True)), counted)

    return _named(name, bootstrap(rows, value, DRAWS))


def _named(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _calibration(pairs: Sequence[tuple[LabelledState, RouterOutput]]) -> dict[str, float]:
    """Expected calibration error over equally wide bins (Naeini et al. 2015), with its interval."""
    rows = [(confidence, best == s.label) for s, a in pairs for best, confidence in [a.best]]

    def value(table: Any) -> float:
        places = np.minimum((table[:, 0] * BINS).astype(int), BINS - 1)
        gaps = np.bincount(places, weights=table[:, 0] - table[:, 1])
        return float(np.abs(gaps).sum() / len(table))

    return _named("ece", bootstrap(rows, value, DRAWS))


def median(name: str, values: Sequence[float]) -> dict[str, float]:
    """A median with its 95 % bootstrap interval."""
    return _named(name, bootstrap(values, lambda drawn: float(np.median(drawn)), DRAWS))
