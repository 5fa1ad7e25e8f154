"""Fits the router that ships: states, features, sweep, fit, calibration, thresholds, card.

    python -m loraloop.router.fit --data DATA --out router/weights --cache ~/.cache/loraloop/router

Every choice (layers, pooling, penalty, temperature, thresholds) is made on training files with whole sources left
out; evaluation files are opened only to count n-gram overlaps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.router.choice import fit_choice, taken
from loraloop.router.explain import ExampleMemory, StoredExample
from loraloop.router.extract import FeatureCache, parts_of, select
from loraloop.router.features import FeaturePart
from loraloop.router.labels import CHOICES
from loraloop.router.logistic import expected_calibration_error, fit_platt, fit_temperature
from loraloop.router.router import Router
from loraloop.router.screen import ScreenModel, fit_screen
from loraloop.router.states import State, build
from loraloop.router.validate import (
    Problem,
    choice_logits,
    choice_problem,
    even,
    group,
    macro_f1,
    ridge_logits,
    screen_logits,
    screen_problem,
    text_folds,
)

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

LAYERS = (6, 10, 14, 17, 20)
RECALL = 0.97
STORED = 640
QUOTABLE = ("MIT", "Apache-2.0", "CC0-1.0")
NGRAM = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """What validation decides: the parts to read and the penalty."""

    parts: tuple[FeaturePart, ...]
    l2: float


CHOICE = Setting(
    (FeaturePart(14, "end"), FeaturePart(14, "close"), FeaturePart(20, "end"), FeaturePart(20, "tail")), 3e-3
)
SCREEN = Setting((FeaturePart(14, "tail"), FeaturePart(14, "mean")), 1e-2)


def auroc(logits: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve of scores `[N]`."""
    ranks = torch.empty(len(logits))
    ranks[logits.argsort()] = torch.arange(1, len(logits) + 1, dtype=torch.float32)
    n = int(positive.sum())
    return (float(ranks[positive].sum()) - n * (n + 1) / 2) / max(1, n * (len(logits) - n))


def best_threshold(p: Tensor, problem: Problem, weights: Tensor) -> float:
    """The abstention threshold with the best macro-F1 on held-out probabilities `[N, C]`."""
    scored = []
    for percent in range(0, 91, 2):
        said = taken(p, percent / 100)
        scored.append((round(macro_f1(problem.target, said, weights, len(CHOICES)), 4), -percent))
    return -max(scored)[1] / 100


def recall_threshold(p: Tensor, unsafe: Tensor, weights: Tensor, recall: float) -> float:
    """The largest threshold that keeps the weighted recall on held-out probabilities `[N]`."""
    positive, mass = p[unsafe], weights[unsafe]
    order = positive.argsort(descending=True)
    covered = mass[order].cumsum(0) / mass.sum()
    return float(positive[order][int((covered < recall).sum().clamp(max=len(order) - 1))])


def fit_router(
    base: Base,
    states: Sequence[State],
    features: Tensor,
    choice: Setting,
    screen: Setting | Router,
    recall: float = RECALL,
) -> Router:
    """Fit, calibrate and set thresholds.

    Args:
        base: Whose states the features are.
        states: N labelled states.
        features: fp16 `[N, P, H]` from `extract` with `LAYERS`.
        choice: Parts and penalty of the choice.
        screen: Parts and penalty of the screen, or the router whose screen stays.
        recall: Recall on held-out unsafe texts at which the screen's threshold is set.
    """
    problem, rows = choice_problem(states)
    x, weights = select(features[rows], choice.parts, LAYERS), even(problem)
    held = choice_logits(problem, x, choice.l2)
    temperature = fit_temperature(held, problem.target, weights)
    p = (held / temperature).softmax(1)
    threshold = best_threshold(p, problem, weights)
    fitted = fit_choice(
        CHOICES, choice.parts, x, problem.target, problem.blocked, problem.weights, choice.l2, temperature, threshold
    )

    said = taken(p, threshold)
    scores = {
        "held_out_macro_f1": macro_f1(problem.target, said, weights, len(CHOICES)),
        "held_out_ece": expected_calibration_error(p.max(1).values, p.max(1).indices == problem.target),
    }
    if isinstance(screen, Router):
        fitted_screen = screen.screen_model
        scores |= {name: value for name, value in screen.card["scores"].items() if "screen" in name}
    else:
        fitted_screen, found = _screen(states, features, screen, recall)
        scores |= found
    memory = remember(problem, fitted.scaler(x))
    card = describe(base, states, scores)
    if isinstance(screen, Router):
        card["data"] = sorted(card["data"] + screened(screen.card["data"]), key=lambda source: source["name"])
    return Router(fitted, fitted_screen, memory, card)


def screened(data: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a card's sources those that the screen alone was fitted on."""
    return [source for source in data if source["name"].startswith("safety_")]


def _screen(
    states: Sequence[State], features: Tensor, setting: Setting, recall: float
) -> tuple[ScreenModel, dict[str, float]]:
    """A fitted screen and its scores: on requests left out, and on whole sources left out."""
    asked, asked_rows = screen_problem(states)
    sx = select(features[asked_rows], setting.parts, LAYERS)
    far = screen_logits(asked, sx, setting.l2)
    near = screen_logits(replace(asked, fold=text_folds(asked.states)), sx, setting.l2)
    slope, offset = fit_platt(near, asked.target, asked.weights)
    q, q_far = torch.sigmoid(slope * near + offset), torch.sigmoid(slope * far + offset)
    floor = recall_threshold(q, asked.target, even(asked), recall)
    fitted = fit_screen(setting.parts, sx, asked.target, asked.weights, setting.l2, slope, offset, floor)
    return fitted, {
        "screen_auroc": auroc(near, asked.target),
        "screen_recall": float((q[asked.target] >= floor).float().mean()),
        "screen_false_positives": float((q[~asked.target] >= floor).float().mean()),
        "held_out_screen_auroc": auroc(far, asked.target),
        "held_out_screen_recall": float((q_far[asked.target] >= floor).float().mean()),
        "held_out_screen_false_positives": float((q_far[~asked.target] >= floor).float().mean()),
    }


def share_of(base: Base, states: Sequence[State], share: float) -> list[State]:
    """The states under a share of all system messages, drawn by their hash: states that share one stay together."""

    def place(state: State) -> float:
        head = base.chat.complete(list(state.messages))[0].content
        return int(hashlib.sha256(json.dumps("s" + head).encode()).hexdigest()[:8], 16) / 2**32

    return [state for state in states if share >= 1 or place(state) < share]


def remember(problem: Problem, z: Tensor, count: int = STORED, seed: int = 0) -> ExampleMemory:
    """Store examples evenly over sources and outcomes; texts only where their licence allows it."""
    rng = random.Random(seed)
    cells: dict[str, list[int]] = {}
    for k, state in enumerate(problem.states):
        cells.setdefault(f"{group(state)}-{state.label}-{state.kind}", []).append(k)
    for rows in cells.values():
        rng.shuffle(rows)
    chosen: list[int] = []
    while len(chosen) < min(count, len(problem.states)):
        for rows in cells.values():
            if rows and len(chosen) < count:
                chosen.append(rows.pop())
    examples = []
    for k in chosen:
        state = problem.states[k]
        text = re.sub(r"\s+", " ", state.text)[:80] if state.licence in QUOTABLE else ""
        examples.append(StoredExample(str(state.label), text, state.source, state.kind))
    return ExampleMemory.store(z[chosen], examples)


def describe(base: Base, states: Sequence[State], scores: dict[str, float]) -> dict[str, Any]:
    """The router's card."""
    counts = Counter(
        (s.source.split("_")[0] if s.source.startswith(("composed", "practice")) else s.source, s.licence)
        for s in states
    )
    return {
        "base": base.name,
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
        "closing": len(base.chat.closing),
        "extracted_layers": list(LAYERS),
        "data": [{"name": name, "license": licence, "n": n} for (name, licence), n in sorted(counts.items())],
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "limits": "English; tool results and passages of up to a few hundred tokens; the screen is not a verdict.",
        "command": "python -m loraloop.router.fit --data DATA --out router/weights",
    }


def sweep(states: Sequence[State], features: Tensor) -> dict[str, list[tuple[float, str]]]:
    """Held-out scores of every single part, best first: macro-F1 for the choice, AUROC for the screen (ridge)."""
    problem, rows = choice_problem(states)
    asked, asked_rows = screen_problem(states)
    weights = even(problem)
    wanted = torch.nn.functional.one_hot(problem.target, len(CHOICES)).float() * 2 - 1
    flags = (asked.target.float() * 2 - 1)[:, None]
    found: dict[str, list[tuple[float, str]]] = {"choice": [], "screen": []}
    for part in parts_of(LAYERS):
        logits = ridge_logits(problem, select(features[rows], [part], LAYERS), wanted, 0.03)
        logits = logits.masked_fill(problem.blocked, -1e9)
        found["choice"].append((macro_f1(problem.target, logits.argmax(1), weights, len(CHOICES)), str(part)))
        unsafe = ridge_logits(asked, select(features[asked_rows], [part], LAYERS), flags, 0.3)[:, 0]
        found["screen"].append((auroc(unsafe, asked.target), str(part)))
    return {name: sorted(scores, reverse=True) for name, scores in found.items()}


def overlaps(train: Iterable[State], held: Iterable[State], n: int = NGRAM) -> int:
    """How many evaluation requests share an n-gram of words with a training request (or are one, if shorter)."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[k : k + n]) for k in range(max(1, len(words) - n + 1))}

    known = {gram for s in train for gram in grams(s.text)}
    return sum(bool(grams(text) & known) for text in {s.text for s in held})


def _command(given: argparse.Namespace) -> str:
    """What fits the same router again, without this machine's folders."""
    words = "python -m loraloop.router.fit --data DATA --out router/weights --cache CACHE"
    words += f" --share {given.share}" if given.share < 1 else ""
    return words + (" --keep-screen router/weights" if given.keep_screen else "")


def _part(text: str) -> FeaturePart:
    pooling, _, layer = text.partition("@")
    return FeaturePart(int(layer), pooling)


def main(argv: Sequence[str] | None = None) -> None:
    """The fitting command."""
    from rich.console import Console

    from loraloop.adapters.base import Base

    parser = argparse.ArgumentParser(description="Fits the router.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with tools/, code/, retrieval/, safety/, general/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write the router to")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps features between calls")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--sweep", action="store_true", help="only print the held-out score of every part")
    parser.add_argument("--choice", nargs="+", type=_part, default=CHOICE.parts, help="parts like tail@20")
    parser.add_argument("--choice-l2", type=float, default=CHOICE.l2)
    parser.add_argument("--screen", nargs="+", type=_part, default=SCREEN.parts)
    parser.add_argument("--screen-l2", type=float, default=SCREEN.l2)
    parser.add_argument("--recall", type=float, default=RECALL, help="of the screen on held-out texts")
    parser.add_argument("--keep-screen", type=Path, help="folder of a router whose screen stays as it is")
    parser.add_argument("--share", type=float, default=1.0, help="of the system messages to use; fewer are faster")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    console = Console(stderr=True)
    base = Base.load(given.base)
    every = share_of(base, build(given.data, "train", seed=given.seed), given.share)
    old = Router.load(given.keep_screen) if given.keep_screen else None
    states = every if old is None else [s for s in every if s.label is not None]
    with console.status("reading states") as status:
        features = FeatureCache(given.cache, base, LAYERS).features(
            [s.messages for s in states], lambda done, total: status.update(f"reading states: {done} of {total}")
        )
    if given.sweep:
        console.print(sweep(states, features))
        return
    choice, screen = Setting(tuple(given.choice), given.choice_l2), Setting(tuple(given.screen), given.screen_l2)
    router = fit_router(base, states, features, choice, old or screen, given.recall)
    shared = {split: overlaps(every, build(given.data, split, seed=given.seed)) for split in ("eval", "cross")}
    router = replace(router, card={**router.card, "command": _command(given), "overlaps": {"ngram": NGRAM, **shared}})
    router.save(given.out)
    console.print(router.card)


if __name__ == "__main__":
    main()
