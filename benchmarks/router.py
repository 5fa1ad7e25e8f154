"""Measures the router at its shipped thresholds, on its own sources' evaluation files and on sources it never saw.

    python benchmarks/router.py --data DATA --json benchmarks/results/router.json

Splits: `eval` (same sources as training, other records; held-out practice tools) and `cross` (BFCL, ClapNQ, XSTest,
HarmBench, self-instruct seeds). The peer is TF-IDF + logistic regression on the request's words, fitted on the same
training states with the same masks (needs scikit-learn: `pip install loraloop[bench]`).
"""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from loraloop.adapters.base import Base, Row
from loraloop.router import Router, RouterFeatures
from loraloop.router.extract import FeatureCache, extract, parts_of
from loraloop.router.labels import CHOICES
from loraloop.router.logistic import expected_calibration_error
from loraloop.router.states import State, build

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, finish, options

SPLITS = ("eval", "cross")
ENOUGH = 20  # states of an outcome below which its F1 says too little to be averaged


def scores(states: Sequence[State], predicted: Sequence[str]) -> dict[str, float]:
    """Precision, recall and F1 of each outcome that occurs, and accuracy; macro-F1 over those with `ENOUGH` states."""
    found: dict[str, float] = {}
    f1s = []
    for name in CHOICES:
        of = sum(s.label == name for s in states)
        said = sum(p == name for p in predicted)
        hit = sum(s.label == name == p for s, p in zip(states, predicted, strict=True))
        if of:
            found[f"{name}.n"], found[f"{name}.recall"] = of, hit / of
            found[f"{name}.precision"] = hit / said if said else 0.0
            found[f"{name}.f1"] = 2 * hit / (of + said)
            if of >= ENOUGH:
                f1s.append(found[f"{name}.f1"])
    found["macro_f1"] = sum(f1s) / max(1, len(f1s))
    found["accuracy"] = sum(s.label == p for s, p in zip(states, predicted, strict=True)) / max(1, len(states))
    found["n"] = len(states)
    return found


def measure(router: Router, states: Sequence[State], x: Tensor, layers: Sequence[int]) -> dict[str, float]:
    """All figures of one split: the choice whole and by kind, tools and source; calibration; the screen."""
    parts = parts_of(layers)

    def read(row: Tensor) -> RouterFeatures:
        return RouterFeatures(
            *(
                torch.cat([row[parts.index(p)].float() for p in wanted])
                for wanted in (router.choice.parts, router.screen_model.parts)
            )
        )

    features = [read(row) for row in x]
    metrics: dict[str, float] = {}
    judged = [k for k, s in enumerate(states) if s.label is not None]
    routes = {k: router.choose(features[k], states[k].state) for k in judged}
    cuts = {"": judged}
    for kind in ("first", "follow_up", "tool_result", "dropped"):
        cuts[f"{kind}."] = [k for k in judged if states[k].kind == kind]
    cuts["tools_present."] = [k for k in judged if states[k].state.tools]
    cuts["tools_absent."] = [k for k in judged if not states[k].state.tools]
    for prefix, rows in cuts.items():
        if rows:
            for name, value in scores([states[k] for k in rows], [routes[k].skill for k in rows]).items():
                metrics[prefix + name] = value
    for source in sorted({family(states[k]) for k in judged}):
        rows = [k for k in judged if family(states[k]) == source]
        for label in sorted({str(states[k].label) for k in rows}):
            cell = [k for k in rows if states[k].label == label]
            metrics[f"source.{source}.{label}.recall"] = sum(routes[k].skill == label for k in cell) / len(cell)
            metrics[f"source.{source}.{label}.n"] = len(cell)
    confidence = torch.tensor([max(routes[k].probabilities.values()) for k in judged])
    best = [max(routes[k].probabilities.items(), key=lambda item: item[1])[0] for k in judged]
    right = torch.tensor([b == states[k].label for b, k in zip(best, judged, strict=True)])
    metrics["ece"] = expected_calibration_error(confidence, right)
    metrics["abstained"] = sum(r.abstained for r in routes.values()) / max(1, len(routes))
    for name, unsafe in (("recall", True), ("false_positives", False)):
        rows = [k for k, s in enumerate(states) if s.unsafe is unsafe]
        hits = {k: router.screen(features[k]).positive for k in rows}
        if rows:
            metrics[f"screen.{name}"], metrics[f"screen.{name}.n"] = sum(hits.values()) / len(rows), len(rows)
        for source in sorted({family(states[k]) for k in rows}):
            cell = [k for k in rows if family(states[k]) == source]
            metrics[f"screen.{name}.{source}"] = sum(hits[k] for k in cell) / len(cell)
    return metrics


def family(state: State) -> str:
    return "practice" if state.source.startswith("practice_") else state.source


class TfIdf:
    """The peer: words of the last message and of the request, one to two word n-grams, logistic regression."""

    def __init__(self, train: Sequence[State]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self._words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=60_000)
        used = [s for s in train if s.label is not None]
        x = self._words.fit_transform([self.text(s) for s in train])
        rows = [k for k, s in enumerate(train) if s.label is not None]
        self._choice = LogisticRegression(C=10, max_iter=400, class_weight="balanced").fit(
            x[rows], [s.label for s in used]
        )
        rows = [k for k, s in enumerate(train) if s.unsafe is not None]
        self._screen = LogisticRegression(C=10, max_iter=400, class_weight="balanced").fit(
            x[rows], [bool(train[k].unsafe) for k in rows]
        )

    @staticmethod
    def text(state: State) -> str:
        return f"after_{state.state.after} {state.text} {state.messages[-1].content[-600:]}"

    def measure(self, states: Sequence[State]) -> dict[str, float]:
        x = self._words.transform([self.text(s) for s in states])
        names = list(self._choice.classes_)
        p = self._choice.predict_proba(x)
        for row, s in zip(p, states, strict=True):
            row[[k for k, name in enumerate(names) if s.state.blocked(name)]] = 0.0
        p = p / p.sum(1, keepdims=True)
        judged = [k for k, s in enumerate(states) if s.label is not None]
        said = [names[int(p[k].argmax())] for k in judged]
        metrics = scores([states[k] for k in judged], said)
        right = torch.tensor([states[k].label == name for k, name in zip(judged, said, strict=True)])
        metrics["ece"] = expected_calibration_error(torch.tensor([float(p[k].max()) for k in judged]), right)
        flagged = self._screen.predict_proba(x)[:, 1] >= 0.5
        for name, unsafe in (("recall", True), ("false_positives", False)):
            rows = [k for k, s in enumerate(states) if s.unsafe is unsafe]
            if rows:
                metrics[f"screen.{name}"] = float(flagged[rows].mean())
        return metrics


def timing(router: Router, base: Base, states: Sequence[State], rounds: int = 200) -> dict[str, float]:
    """Milliseconds that routing adds to a step whose prefill is done anyway."""
    messages = states[0].messages
    ids = base.chat.render(messages)
    kept = base.forward([Row(ids, base.new_cache())], keep=router.layers).kept
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        features = router.features(kept)
        router.screen(features)
        router.choose(features, states[0].state)
        spent.append(1e3 * (time.perf_counter() - start))
    spent.sort()
    return {"route_ms": spent[len(spent) // 2], "route_p99_ms": spent[int(len(spent) * 0.99)]}


def take(states: list[State], limit: int | None, seed: int) -> list[State]:
    if limit is None or len(states) <= limit:
        return states
    return [states[k] for k in sorted(random.Random(seed).sample(range(len(states)), k=limit))]


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("The router at its shipped thresholds, on its own sources and on sources it never saw.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with tools/, code/, retrieval/, safety/, general/"
    )
    parser.add_argument("--router", type=Path, help="folder of a router; by default the shipped one")
    parser.add_argument("--cache", type=Path, help="folder that keeps features between calls")
    parser.add_argument("--no-peer", action="store_true", help="leave out TF-IDF + logistic regression")
    given = parser.parse_args(argv)
    if given.threads:
        torch.set_num_threads(given.threads)
    base = Base.load()
    router = Router.load(given.router) if given.router else Router.load()
    router.check(base)
    peer = None
    if not given.no_peer:
        if importlib.util.find_spec("sklearn") is None:
            parser.error("the peer needs scikit-learn: pip install 'loraloop[bench]', or pass --no-peer")
        peer = TfIdf(build(given.data, "train", seed=given.seed))
    metrics: dict[str, float] = {}
    peers: dict[str, float] = {}
    details: dict[str, float] = {}
    total = 0
    layers = tuple(router.card["extracted_layers"]) if given.cache else router.layers
    for split in SPLITS:
        states = take(build(given.data, split, seed=given.seed), given.limit, given.seed)
        transcripts = [s.messages for s in states]
        with Console(stderr=True).status(f"{split}: reading {len(states)} states"):
            x = (
                FeatureCache(given.cache, base, layers).features(transcripts)
                if given.cache
                else extract(base, transcripts, layers)
            )
        for name, value in measure(router, states, x, layers).items():
            fine = (
                name.startswith("source.")
                or name.count(".") > 1
                or name in ("screen.recall.n", "screen.false_positives.n")
            )
            (details if fine else metrics)[f"{name}/{split}"] = value
        if peer is not None:
            peers |= {f"{name}/{split}": value for name, value in peer.measure(states).items()}
        if split == SPLITS[0]:
            metrics |= timing(router, base, states)
        total += len(states)
    ratios = {k: metrics[k] / peers[k] for k in ("macro_f1/eval", "macro_f1/cross") if peers.get(k)}
    command = "python benchmarks/router.py --data DATA" + (f" --limit {given.limit}" if given.limit else "")
    rounded = {name: round(value, 4) for name, value in details.items()}
    finish(
        Report("router", total, metrics, {"tfidf_logistic": peers} if peers else {}, ratios, rounded, command),
        given.json,
    )


if __name__ == "__main__":
    main()
