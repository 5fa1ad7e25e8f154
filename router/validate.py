"""Validation by leaving whole sources out: within a source, a router is measured on layout and not on intent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from loraloop.router.calibration import Scaler, fit_binary, fit_softmax
from loraloop.router.states import CHOICES, State
from loraloop.tool_schemas.errors import InputError

# Each fold leaves out at least one source of most outcomes; practice tools are split by tool.
FOLDS: tuple[tuple[str, ...], ...] = (
    (
        "snips",
        "thealgorithms",
        "nq_open",
        "gsm8k",
        "composed_chat",
        "composed_text",
        "composed_reason",
        "safety_advbench",
        "composed_benign",
        "practice_0",
    ),
    (
        "sealtools",
        "codegen_instruct",
        "entailmentbank",
        "roleplay",
        "safety_jailbreak",
        "safety_cyber_benign_borderline",
        "practice_1",
    ),
    (
        "toolformer",
        "mbpp",
        "composed_creative",
        "composed_advice",
        "composed_explain",
        "composed_follow",
        "safety_code_interpreter_abuse",
        "functions",
        "practice_2",
    ),
    (
        "composed_code",
        "composed_other_code",
        "composed_about_code",
        "typed",
        "safety_prompt_injection",
        "safety_benign_document",
        "practice_3",
    ),
    ("sgd", "composed_about_tools", "composed_about_passages", "composed_unsafe", "safety_airt", "practice_4"),
)


def group(state: State) -> str:
    """The source that validation leaves out together with this state."""
    source = state.source
    if source.startswith("practice_"):
        tool = source.removeprefix("practice_")
        return f"practice_{sum(tool.encode()) % len(FOLDS)}"
    for prefix in ("safety_airt", "safety_prompt_injection"):
        if source.startswith(prefix):
            return prefix
    return (
        source.removesuffix("_bare")
        if source.endswith("_bare")
        else "codegen_instruct"
        if source.startswith("codegen")
        else source
    )


def folds(states: Sequence[State]) -> Tensor:
    """The fold `[N]` in which each state is held out; a source that no fold names goes into one by its name."""
    home = {name: k for k, names in enumerate(FOLDS) for name in names}
    return torch.tensor([home.get(name := group(s), crc32(name.encode()) % len(FOLDS)) for s in states])


def text_folds(states: Sequence[State]) -> Tensor:
    """Folds `[N]` by request: all states of one request are held out together, sources are not."""
    return torch.tensor([crc32(s.text.encode()) % len(FOLDS) for s in states])


def balance(keys: Sequence[str], power: float = 0.5) -> Tensor:
    """Weights `[N]` that give a kind of state of size n a total weight of n ** (1 - power), with mean 1."""
    sizes: dict[str, int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
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

    states: tuple[State, ...]
    target: Tensor
    blocked: Tensor
    weights: Tensor
    fold: Tensor


def choice_problem(states: Sequence[State]) -> tuple[Problem, Tensor]:
    """The states judged for the choice, and their positions among `states`.

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


def screen_problem(states: Sequence[State]) -> tuple[Problem, Tensor]:
    """The states judged for the screen, and their positions among `states`.

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
        fit: From (features of the training rows, their positions) to a predictor of raw features.
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
    """Held-out logits `[N, C]`, blocked outcomes at -1e9."""

    def fit(rows: Tensor, index: Tensor) -> Callable[[Tensor], Tensor]:
        scaler = Scaler.fit(rows)
        weight, bias = fit_softmax(
            scaler(rows), problem.target[index], problem.blocked[index], problem.weights[index], l2
        )
        return lambda other: scaler(other) @ weight.T + bias

    return held_out(problem, x, fit).masked_fill(problem.blocked, -1e9)


def screen_logits(problem: Problem, x: Tensor, l2: float) -> Tensor:
    """Held-out logits `[N]`."""

    def fit(rows: Tensor, index: Tensor) -> Callable[[Tensor], Tensor]:
        scaler = Scaler.fit(rows)
        weight, bias = fit_binary(scaler(rows), problem.target[index], problem.weights[index], l2)
        return lambda other: scaler(other) @ weight + bias

    return held_out(problem, x, fit)


def macro_f1(target: Tensor, predicted: Tensor, weights: Tensor, classes: int) -> float:
    """Mean over outcomes of the weighted F1."""
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
