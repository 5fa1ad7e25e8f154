"""Fits the router of a base from labelled transcripts, as a recipe says: `loraloop train recipes/BASE/router.yaml`.

Every choice (temperature, thresholds) is made with whole sources left out; evaluation files are never read here.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zlib import crc32

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from loraloop.adapters.training.recipe.recipe_file import BaseChoice
from loraloop.adapters.training.recipe.recipe_lines import Lines, explain, read_yaml
from loraloop.router.binary import BinaryModel, fit_model
from loraloop.router.calibration import (
    Scaler,
    auroc,
    expected_calibration_error,
    fit_platt,
    fit_softmax,
    fit_temperature,
)
from loraloop.router.choice import fit_choice, taken
from loraloop.router.explain import ExampleMemory, StoredExample
from loraloop.router.features import FeatureCache, FeaturePart, select
from loraloop.router.router import Router
from loraloop.router.states import CHOICES, LabelledState, call_states, frozen_states
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

# Each fold leaves out at least one source of most outcomes; practice tools are split by tool.
FOLDS: tuple[tuple[str, ...], ...] = (
    ("snips", "thealgorithms", "nq_open", "gsm8k", "composed_chat", "composed_text", "composed_reason",
     "safety_advbench", "composed_benign", "practice_0"),
    ("sealtools", "codegen_instruct", "entailmentbank", "roleplay", "safety_jailbreak",
     "safety_cyber_benign_borderline", "practice_1"),
    ("toolformer", "mbpp", "composed_creative", "composed_advice", "composed_explain", "composed_follow",
     "safety_code_interpreter_abuse", "functions", "practice_2"),
    ("composed_code", "composed_other_code", "composed_about_code", "typed", "safety_prompt_injection",
     "safety_benign_document", "practice_3"),
    ("sgd", "composed_about_tools", "composed_about_passages", "composed_unsafe", "safety_airt", "practice_4"),
)  # fmt: skip


def group(state: LabelledState) -> str:
    """The source that validation leaves out together with this state."""
    source = state.source
    if source.startswith("practice_"):
        tool = source.removeprefix("practice_")
        return f"practice_{sum(tool.encode()) % len(FOLDS)}"
    for prefix in ("safety_airt", "safety_prompt_injection"):
        if source.startswith(prefix):
            return prefix
    if source.endswith("_bare"):
        return source.removesuffix("_bare")
    return "codegen_instruct" if source.startswith("codegen") else source


def folds(states: Sequence[LabelledState]) -> Tensor:
    """The fold `[N]` in which each state is held out; a source that no fold names goes into one by its name."""
    home = {name: k for k, names in enumerate(FOLDS) for name in names}
    return torch.tensor([home.get(name := group(s), crc32(name.encode()) % len(FOLDS)) for s in states])


def text_folds(states: Sequence[LabelledState]) -> Tensor:
    """Folds `[N]` by request: all states of one request are held out together, sources are not."""
    return torch.tensor([crc32(s.text.encode()) % len(FOLDS) for s in states])


def world_folds(states: Sequence[LabelledState]) -> Tensor:
    """Folds `[N]` by assistant: those whose instructions begin alike are held out together."""
    return torch.tensor([crc32(s.messages[0].content[:40].encode()) % len(FOLDS) for s in states])


def balance(keys: Sequence[str], power: float = 0.5) -> Tensor:
    """Weights `[N]` that give a kind of state of size n a total weight of n ** (1 - power), with mean 1."""
    sizes = Counter(keys)
    weights = torch.tensor([sizes[key] ** -power for key in keys])
    return weights / weights.mean()


@dataclass(frozen=True, slots=True)
class Problem:
    """What the choice (or the screen) is fitted on.

    Attributes:
        states: N states.
        target: Their outcomes `[N]` (positions in `CHOICES`), or the unsafe flag.
        blocked: `[N, C]`, True where an outcome is impossible; empty for the screen.
        weights: `[N]`.
        fold: `[N]`.
    """

    states: tuple[LabelledState, ...]
    target: Tensor
    blocked: Tensor
    weights: Tensor
    fold: Tensor


def choice_problem(states: Sequence[LabelledState]) -> tuple[Problem, Tensor]:
    """The states judged for the choice, and their positions among `states`, int64 `[N]`.

    Raises:
        InputError: An outcome has no states.
    """
    rows = torch.tensor([k for k, s in enumerate(states) if s.label is not None])
    if missing := set(CHOICES) - {s.label for s in states}:
        raise InputError(f"no state is labelled {', '.join(sorted(missing))}: a router is fitted on all outcomes")
    used = tuple(states[k] for k in rows.tolist())
    blocked = torch.tensor([[s.state.blocked(name) for name in CHOICES] for s in used])
    target = torch.tensor([CHOICES.index(str(s.label)) for s in used])
    weights = balance([f"{group(s)}-{s.label}-{s.kind}" for s in used])
    for name in range(len(CHOICES)):
        weights[target == name] *= len(used) / (len(CHOICES) * weights[target == name].sum())
    return Problem(used, target, blocked, weights, folds(used)), rows


def screen_problem(states: Sequence[LabelledState]) -> tuple[Problem, Tensor]:
    """The states judged for the screen, and their positions among `states`, int64 `[N]`.

    Raises:
        InputError: No state is labelled unsafe, or none safe.
    """
    rows = torch.tensor([k for k, s in enumerate(states) if s.unsafe is not None])
    if len({s.unsafe for s in states} - {None}) < 2:
        raise InputError("a screen is fitted on states labelled unsafe and on states labelled safe")
    used = tuple(states[k] for k in rows.tolist())
    target = torch.tensor([bool(s.unsafe) for s in used])
    weights = balance([f"{group(s)}-{s.unsafe}" for s in used])
    for side in (target, ~target):
        weights[side] *= len(used) / (2 * weights[side].sum())
    return Problem(used, target, torch.empty(0), weights, folds(used)), rows


def held_out(problem: Problem, x: Tensor, fit: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]) -> Tensor:
    """Logits of every state from a model that saw none of its sources.

    Args:
        problem: What is fitted.
        x: Raw features `[N, F]`.
        fit: From features `[n, F]` of the training rows and their positions, int64 `[n]`, to a predictor of logits
            `[m]` or `[m, C]` from raw features `[m, F]`.

    Returns:
        `[N]` or `[N, C]`, as the predictor gives them.
    """
    out: Tensor | None = None
    for k in range(len(FOLDS)):
        test = (problem.fold == k).nonzero().squeeze(1)
        train = (problem.fold != k).nonzero().squeeze(1)
        if len(test) == 0:
            continue
        predicted = fit(x[train], train)(x[test])
        if out is None:
            out = torch.zeros(len(x), *predicted.shape[1:])
        out[test] = predicted
    assert out is not None
    return out


def choice_logits(problem: Problem, x: Tensor, l2: float) -> Tensor:
    """Held-out logits `[N, C]` from raw features x `[N, F]`, blocked outcomes at -1e9."""

    def fit(rows: Tensor, index: Tensor) -> Callable[[Tensor], Tensor]:
        scaler = Scaler.fit(rows)
        weight, bias = fit_softmax(
            scaler(rows), problem.target[index], problem.blocked[index], problem.weights[index], l2
        )
        return lambda other: scaler(other) @ weight.T + bias

    return held_out(problem, x, fit).masked_fill(problem.blocked, -1e9)


def binary_logits(problem: Problem, x: Tensor, l2: float) -> Tensor:
    """Held-out logits `[N]` from raw features x `[N, F]`."""

    def fit(rows: Tensor, index: Tensor) -> Callable[[Tensor], Tensor]:
        return fit_model((), rows, problem.target[index], problem.weights[index], l2).raw

    return held_out(problem, x, fit)


def macro_f1(target: Tensor, predicted: Tensor, weights: Tensor, classes: int) -> float:
    """Mean over outcomes of the weighted F1.

    Args:
        target: int64 `[N]`, the right outcome of each row.
        predicted: int64 `[N]`, the outcome that was taken.
        weights: Weight of each row `[N]`.
        classes: Number of outcomes; those that are no row's target do not count.
    """
    scores = []
    for c in range(classes):
        hit = float(weights[(target == c) & (predicted == c)].sum())
        wrong = float(weights[(target == c) ^ (predicted == c)].sum())
        if float(weights[target == c].sum()) > 0:
            scores.append(2 * hit / (2 * hit + wrong))
    return sum(scores) / len(scores)


def even(problem: Problem) -> Tensor:
    """Weights `[N]` under which each (source, label, kind) counts alike."""
    return balance([f"{group(s)}-{s.label}-{s.kind}-{s.unsafe}" for s in problem.states], power=1.0)


STORED = 640
QUOTABLE = ("MIT", "Apache-2.0", "CC0-1.0")
MIDDLE, UPPER = 7 / 15, 2 / 3
"""The depths of a base, as fractions of its layers, that are read where a recipe names no parts."""


class Setting(BaseModel):
    """What one of the two models reads, and how it is fitted.

    Attributes:
        parts: Such as `tail@20`: a pooling and the layer whose output is pooled. If none, those of the shipped routers
            at the same relative depth.
        l2: Penalty on the squared weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    parts: tuple[str, ...] = ()
    l2: Annotated[float, Field(gt=0)] = 3e-3


class RouterRecipe(BaseModel):
    """The recipe of a router.

    Attributes:
        base: The base whose hidden states are read.
        folder: Folder of the public sets that some states stand on; without it the states written for this project are
            used.
        share: Share of all system messages that are read, beside those of unsafe messages; fewer are faster.
        choice: Settings of the model that picks the skill.
        screen: Settings of the model that finds unsafe messages.
        call: Penalty of the model that finds messages that need a call; None for a router without one.
        recall: Recall of the screen on unsafe messages of sources that were left out; it sets its threshold.
        output: The folder to write to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    base: BaseChoice = BaseChoice()
    folder: str = ""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    choice: Setting = Setting()
    screen: Setting = Setting(l2=1e-2)
    call: Annotated[float, Field(gt=0)] | None = None
    recall: Annotated[float, Field(gt=0, lt=1)] = 0.97
    output: str = "build/router"


def read_router_recipe(source: str | Path | Mapping[str, Any]) -> RouterRecipe:
    """Reads the recipe of a router from a YAML file, or takes it as a mapping.

    Raises:
        InputError: It cannot be read, a key is unknown, or a value is wrong; with its line.
    """
    document, lines = (source, Lines("recipe", {})) if isinstance(source, Mapping) else read_yaml(Path(source))
    try:
        return RouterRecipe.model_validate(document)
    except ValidationError as error:
        told = explain(error, RouterRecipe, lines)
        raise InputError(f"{told}; a recipe without `skill` is one of a router") from None


def fit_recipe(recipe: RouterRecipe, base: Base, cache: Path) -> Router:
    """The router that a recipe describes.

    Args:
        recipe: How it is fitted.
        base: The recipe's base.
        cache: A folder that keeps the features of states, so that a fit that was killed goes on.
    """
    folder = Path(recipe.folder).expanduser() if recipe.folder else None
    states = share_of(base, frozen_states("train", folder, base.prompting.tools_header), recipe.share)
    router = fit_router(base, states, recipe, cache)
    return router if recipe.call is None else with_calls(router, base, recipe.call, cache)


def with_calls(router: Router, base: Base, l2: float, cache: Path) -> Router:
    """The router with a model that finds messages that need a call, fitted on what users say to assistants.

    Args:
        router: Its choice says what the model reads.
        base: The router's base.
        l2: Penalty on the squared weights.
        cache: A folder that keeps the features of states.
    """
    states, parts = call_states(base.prompting.tools_header), router.choice.parts
    layers = tuple(sorted({part.layer for part in parts}))
    x = select(FeatureCache(cache, base, layers).features([s.messages for s in states]), parts, layers)
    target = torch.tensor([s.label == "tools" for s in states])
    weights = balance([f"{s.source.partition('_')[0]} {s.label}" for s in states], power=1.0)
    problem = Problem(tuple(states), target, torch.empty(0), weights, world_folds(states))
    held = binary_logits(problem, x, l2)
    slope, offset = fit_platt(held, target, weights)
    scores = {**router.card["scores"], "call_auroc": round(auroc(held[target], held[~target]), 4)}
    fitted = fit_model(parts, x, target, weights, l2, slope=slope, offset=offset)
    return replace(router, call_model=fitted, card={**router.card, "scores": scores})


def fit_router(base: Base, states: Sequence[LabelledState], recipe: RouterRecipe, cache: Path) -> Router:
    """A router for a base, fitted on labelled states: read, fit, calibrate, set thresholds.

    Args:
        base: The base whose hidden states are read.
        states: What the choice and the screen are fitted on; each state has a label for one of them or for both.
        recipe: Layers and poolings of the features, penalties, and the recall that the screen has to keep.
        cache: A folder that keeps the features of states, so that a fit that was killed goes on.

    Raises:
        InputError: Some outcome, or one side of the screen, has no states.
    """
    parts = _parts(recipe.choice, base, (("end", MIDDLE), ("close", MIDDLE), ("end", UPPER), ("tail", UPPER)))
    screen_parts = _parts(recipe.screen, base, (("tail", MIDDLE), ("mean", MIDDLE)))
    layers = tuple(sorted({part.layer for part in (*parts, *screen_parts)}))
    features = FeatureCache(cache, base, layers).features([s.messages for s in states])
    problem, rows = choice_problem(states)
    x, weights = select(features[rows], parts, layers), even(problem)
    held = choice_logits(problem, x, recipe.choice.l2)
    temperature = fit_temperature(held, problem.target, weights)
    p = (held / temperature).softmax(1)
    threshold = best_threshold(p, problem, weights)
    fitted = fit_choice(
        CHOICES,
        parts,
        x=x,
        target=problem.target,
        blocked=problem.blocked,
        weights=problem.weights,
        l2=recipe.choice.l2,
        temperature=temperature,
        threshold=threshold,
    )
    predicted = taken(p, threshold)
    scores = {
        "held_out_macro_f1": macro_f1(problem.target, predicted, weights, len(CHOICES)),
        "held_out_ece": expected_calibration_error(p.max(1).values, p.max(1).indices == problem.target),
    }
    asked, asked_rows = screen_problem(states)
    screen, found = _screen(asked, select(features[asked_rows], screen_parts, layers), screen_parts, recipe)
    memory = remember(problem, fitted.scaler(x))
    return Router(fitted, screen, memory, describe(base, states, scores | found))


def _parts(setting: Setting, base: Base, usual: Sequence[tuple[str, float]]) -> tuple[FeaturePart, ...]:
    if not setting.parts:
        return tuple(FeaturePart(max(1, round(depth * base.config.layers)), pooling) for pooling, depth in usual)
    found = []
    for text in setting.parts:
        pooling, _, layer = text.partition("@")
        if not layer.isdigit() or int(layer) > base.config.layers:
            raise InputError(f"a part is a pooling and a layer up to {base.config.layers}, such as tail@4, not {text}")
        found.append(FeaturePart(int(layer), pooling))
    return tuple(found)


def _screen(
    asked: Problem, x: Tensor, parts: tuple[FeaturePart, ...], recipe: RouterRecipe
) -> tuple[BinaryModel, dict[str, float]]:
    """A fitted screen and its scores: on requests left out, and on whole sources left out."""
    l2 = recipe.screen.l2
    far = binary_logits(asked, x, l2)
    near = binary_logits(replace(asked, fold=text_folds(asked.states)), x, l2)
    slope, offset = fit_platt(near, asked.target, asked.weights)
    q, q_far = torch.sigmoid(slope * near + offset), torch.sigmoid(slope * far + offset)
    floor = recall_threshold(q_far, asked.target, even(asked), recipe.recall)
    fitted = fit_model(parts, x, asked.target, asked.weights, l2=l2, slope=slope, offset=offset, threshold=floor)
    return fitted, {
        "screen_auroc": auroc(near[asked.target], near[~asked.target]),
        "screen_recall": float((q[asked.target] >= floor).float().mean()),
        "screen_false_positives": float((q[~asked.target] >= floor).float().mean()),
        "held_out_screen_auroc": auroc(far[asked.target], far[~asked.target]),
        "held_out_screen_recall": float((q_far[asked.target] >= floor).float().mean()),
        "held_out_screen_false_positives": float((q_far[~asked.target] >= floor).float().mean()),
    }


def best_threshold(p: Tensor, problem: Problem, weights: Tensor) -> float:
    """The abstention threshold with the best macro-F1.

    Args:
        p: Held-out probabilities `[N, C]`.
        problem: What is fitted, with the right outcomes.
        weights: Weight of each row `[N]`.
    """
    scored = []
    for percent in range(0, 91, 2):
        predicted = taken(p, percent / 100)
        scored.append((round(macro_f1(problem.target, predicted, weights, len(CHOICES)), 4), -percent))
    return -max(scored)[1] / 100


def recall_threshold(p: Tensor, unsafe: Tensor, weights: Tensor, recall: float) -> float:
    """The largest threshold that keeps the weighted recall on held-out probabilities.

    Args:
        p: Held-out probabilities `[N]` that a message is unsafe.
        unsafe: bool `[N]`, True where it is; at least one is.
        weights: Weight of each row `[N]`; only those of unsafe rows count.
        recall: Share of their weight that has to lie at or above the threshold, between 0 and 1.
    """
    positive, mass = p[unsafe], weights[unsafe]
    order = positive.argsort(descending=True)
    covered = mass[order].cumsum(0) / mass.sum()
    return float(positive[order][int((covered < recall).sum().clamp(max=len(order) - 1))])


def share_of(base: Base, states: Sequence[LabelledState], share: float) -> list[LabelledState]:
    """The states under a share of all system messages, drawn by their hash, and under those of unsafe messages.

    States that share a system message stay together: a screen that read unsafe messages without the safe ones of the
    same system message would learn the system message.
    """

    def head(state: LabelledState) -> str:
        return base.chat.complete(list(state.messages))[0].content

    def drawn(text: str) -> bool:
        return int(hashlib.sha256(json.dumps("s" + text).encode()).hexdigest()[:8], 16) / 2**32 < share

    unsafe = {head(state) for state in states if state.unsafe}
    return [state for state in states if share >= 1 or (text := head(state)) in unsafe or drawn(text)]


def remember(problem: Problem, z: Tensor) -> ExampleMemory:
    """Store examples evenly over sources and outcomes; texts only where their licence allows it.

    Args:
        problem: The examples, N of them.
        z: Their standardised features `[N, F]`.
    """
    rng = random.Random(0)
    cells: dict[str, list[int]] = {}
    for k, state in enumerate(problem.states):
        cells.setdefault(f"{group(state)}-{state.label}-{state.kind}", []).append(k)
    for rows in cells.values():
        rng.shuffle(rows)
    chosen: list[int] = []
    while len(chosen) < min(STORED, len(problem.states)):
        for rows in cells.values():
            if rows and len(chosen) < STORED:
                chosen.append(rows.pop())
    examples = []
    for k in chosen:
        state = problem.states[k]
        text = re.sub(r"\s+", " ", state.text)[:80] if state.licence in QUOTABLE else ""
        examples.append(StoredExample(str(state.label), text, state.source, state.kind))
    return ExampleMemory.store(z[chosen], examples)


def describe(base: Base, states: Sequence[LabelledState], scores: dict[str, float]) -> dict[str, Any]:
    """The router's card."""
    counts = Counter(
        (s.source.split("_")[0] if s.source.startswith(("composed", "practice")) else s.source, s.licence)
        for s in states
    )
    return {
        "base": base.name,
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
        "closing": len(base.chat.closing),
        "data": [{"name": name, "license": licence, "n": n} for (name, licence), n in sorted(counts.items())],
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "limits": "English; tool results and passages of up to a few hundred tokens; the screen is not a verdict.",
        "command": f"loraloop train recipes/{base.name}/router.yaml --data DATA",
    }
