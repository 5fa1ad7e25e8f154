"""Measures a router at its thresholds on labelled states, beside words, sentence embeddings and the base alone."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.kept import Kept
from loraloop.evals.router_peers import minilm, tfidf, zero_shot
from loraloop.evals.router_scores import Said, by_source, counts, median, scores
from loraloop.report import Report

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.router import Router
    from loraloop.router.states import State

SPLITS = ("eval", "cross")
CHUNK = 128  # states between two writes of what was said
PRINTED = ("none", "tools", "code", "retrieval")
OURS = "loraloop"


@dataclass(slots=True)
class Evaluation:
    """States by split, and what each system said to them.

    Attributes:
        states: Of each split.
        said: By system and split; a system that was asked about a sample has its own states in `asked`.
        asked: States of each system and split.
        times: Milliseconds of single decisions.
    """

    states: dict[str, list[State]]
    said: dict[tuple[str, str], list[Said]] = field(default_factory=dict)
    asked: dict[tuple[str, str], list[State]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)

    @property
    def main(self) -> str:
        """The split that counts: the last, sources never fitted on."""
        return list(self.states)[-1]

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(system for system, _ in self.said))

    def put(self, system: str, split: str, states: list[State], said: list[Said]) -> None:
        """Notes what a system said to states of a split."""
        self.asked[system, split], self.said[system, split] = states, said

    def report(self, name: str, command: str) -> Report:
        """The document: `macro_f1`, `ece`, `ms` of the main split, then every figure by split."""
        figures: dict[str, dict[str, float]] = {system: {} for system in self.systems}
        details: dict[str, float] = {}
        for (system, split), said in self.said.items():
            states = self.asked[system, split]
            found = scores(states, said)
            place = f"/{split}" if len(self.states) > 1 else ""
            if split == self.main and place:
                head = ("macro_f1", "macro_f1_low", "macro_f1_high", "ece", "ece_low", "ece_high")
                figures[system] = {key: found[key] for key in head if key in found} | figures[system]
            for key, value in found.items():
                fine = key.count(".") > 1 or (key.startswith("screen.") and key.endswith(".n"))
                if fine and system == OURS:
                    details[f"{key}/{split}"] = round(value, 4)
                elif not fine:
                    figures[system][f"{key}{place}"] = value
            if system == OURS:
                details |= {f"{key}{place}": value for key, value in by_source(states, said).items()}
        ours = figures.pop(OURS)
        if self.times:
            ours |= median("ms", self.times) | {"ms_p99": sorted(self.times)[int(0.99 * len(self.times))]}
        ratios = {
            f"macro_f1_vs_{system}": ours["macro_f1"] / found["macro_f1"]
            for system, found in figures.items()
            if found.get("macro_f1") and "macro_f1" in ours
        }
        total = sum(len(states) for states in self.states.values())
        return Report(name, total, ours, figures, ratios, details, command)

    def plots(self, folder: Path) -> list[Path]:
        """Draws confusion, reliability and risk against coverage of the main split."""
        from loraloop.evals import pictures

        split, drawn = self.main, []
        pairs = self._judged(OURS, split)
        title = f"router, {split} (n = {len(pairs)})"
        table = counts([s for s, _ in pairs], [a for _, a in pairs])
        drawn.append(pictures.confusion(folder / "router_confusion.png", PRINTED, table, title))
        best = [(a.best[1], a.best[0] == s.label) for s, a in pairs]
        drawn.append(
            pictures.reliability(folder / "router_reliability.png", [c for c, _ in best], [h for _, h in best], title)
        )
        curves = {}
        for system in self.systems:
            said = [(a.best[1], a.best[0] == s.label) for s, a in self._judged(system, split)]
            curves[system] = [c for c, _ in said], [h for _, h in said]
        drawn.append(pictures.risk_coverage(folder / "router_risk_coverage.png", curves, title))
        return drawn

    def errors(self, count: int) -> list[tuple[State, Said]]:
        """The most confident wrong choices of the main split."""
        wrong = [(s, a) for s, a in self._judged(OURS, self.main) if a.skill != s.label]
        return sorted(wrong, key=lambda pair: -pair[1].probabilities.get(pair[1].skill, 0.0))[:count]

    def _judged(self, system: str, split: str) -> list[tuple[State, Said]]:
        if (system, split) not in self.said:
            return []
        pairs = zip(self.asked[system, split], self.said[system, split], strict=True)
        return [(s, a) for s, a in pairs if s.label is not None]


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
    evaluation: Evaluation, base: Base, router: Router, kept: Kept, step: Callable[[], None], cache: Path | None = None
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
        missing = [k for k, name in enumerate(names) if kept.get(OURS, name) is None]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            transcripts = [states[k].messages for k in chunk]
            x = store.features(transcripts) if store is not None else extract(base, transcripts, layers)
            for k, row in zip(chunk, x, strict=True):
                kept.put(OURS, names[k], **_routed(router, row, states[k]))
                step()
        said = [_said(kept.get(OURS, name) or {}) for name in names]
        evaluation.put(OURS, split, states, said)


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


def _said(row: dict[str, Any]) -> Said:
    return Said(row["skill"], row["p"], row.get("unsafe"))


def identity(state: State) -> str:
    """What a state is kept under: a hash of all that a router is told."""
    told = [[m.role, m.content] for m in state.messages], sorted(state.state.masked), state.state.after
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def ask_fitted(evaluation: Evaluation, name: str, train: Sequence[State]) -> None:
    """Fits a peer of words (`tfidf`) or sentence embeddings (`minilm`) on the router's training states, and asks it."""
    peer = {"tfidf": tfidf, "minilm": minilm}[name](train)
    for split, states in evaluation.states.items():
        evaluation.put(name, split, states, peer.says(states))


def ask_base(evaluation: Evaluation, base: Base, count: int, seed: int, kept: Kept, step: Callable[[], None]) -> None:
    """Asks the base itself about a sample of the main split: it costs a prefill each."""
    split = evaluation.main
    judged = [s for s in evaluation.states[split] if s.label is not None]
    states = sample(judged, count, seed)
    for state in states:
        name = identity(state)
        if kept.get("zero_shot", name) is None:
            said = zero_shot(base, state)
            kept.put("zero_shot", name, skill=said.skill, p=dict(said.probabilities))
        step()
    evaluation.put("zero_shot", split, states, [_said(kept.get("zero_shot", identity(s)) or {}) for s in states])


def timed(evaluation: Evaluation, router: Router, base: Base, rounds: int = 200) -> None:
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
