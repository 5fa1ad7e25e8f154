"""Convex fits with L-BFGS: masked multinomial logistic regression, and the scalings that calibrate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

CLAMP = 6.0


@dataclass(frozen=True, slots=True)
class Scaler:
    """Standardises features `[..., F]`: `(x - mean) / scale`, held within ±6.

    Attributes:
        mean: Mean of each feature `[F]`.
        scale: Standard deviation of each feature `[F]`, at least 1e-4.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, x: Tensor) -> Scaler:
        """The scaler of raw features `[N, F]`, N at least 2."""
        return cls(x.mean(0), x.std(0).clamp_min(1e-4))

    def __call__(self, x: Tensor) -> Tensor:
        """The standardised features, in the shape of x `[..., F]`, held within ±6."""
        return ((x - self.mean) / self.scale).clamp(-CLAMP, CLAMP)


def minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Run L-BFGS with a strong-Wolfe line search until it stops moving.

    Args:
        loss: Computes the loss `[]` of the parameters, with a graph.
        parameters: Leaves of any shapes that require gradients; changed in place.
    """
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=100, history_size=12, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]


def mean_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean `[]` over rows of a cross-entropy.

    Args:
        logits: `[N, C]`.
        target: Outcome of each row, int64 `[N]`.
        weights: Weight of each row `[N]`.
    """
    each = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return (each * weights).sum() / weights.sum()


def fit_softmax(x: Tensor, target: Tensor, blocked: Tensor, weights: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression in which some outcomes of a row are impossible.

    Args:
        x: Standardised features `[N, F]`.
        target: Outcome of each row `[N]`.
        blocked: `[N, C]`, True where an outcome is impossible; never the target.
        weights: Weight of each row `[N]`.
        l2: Penalty on the squared weights, for a mean loss.

    Returns:
        Weight `[C, F]` and bias `[C]`.
    """
    classes = blocked.shape[1]
    weight, bias = torch.zeros(classes, x.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)

    def loss() -> Tensor:
        logits = (x @ weight.T + bias).masked_fill(blocked, -1e9)
        return mean_cross_entropy(logits, target, weights) + l2 * weight.square().sum()

    minimise(loss, [weight, bias])
    return weight.detach(), bias.detach()


def fit_temperature(logits: Tensor, target: Tensor, weights: Tensor) -> float:
    """The temperature that minimises the cross-entropy of held-out logits.

    Args:
        logits: `[N, C]`, blocked ones at -1e9.
        target: Outcome of each row, int64 `[N]`.
        weights: Weight of each row `[N]`.
    """
    log_t = torch.zeros(1, requires_grad=True)

    def loss() -> Tensor:
        return mean_cross_entropy(logits / log_t.exp(), target, weights)

    minimise(loss, [log_t])
    return float(log_t.detach().exp().clamp(0.2, 20.0))


def fit_binary(x: Tensor, positive: Tensor, weights: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """Fit a logistic regression.

    Args:
        x: Standardised features `[N, F]`.
        positive: bool `[N]`, the label of each row.
        weights: Weight of each row `[N]`.
        l2: Penalty on the squared weights, for a mean loss.

    Returns:
        Weight `[F]` and bias `[]`.
    """
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
    label, total = positive.float(), weights.sum()

    def loss() -> Tensor:
        each = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, label, reduction="none")
        return (each * weights).sum() / total + l2 * weight.square().sum()

    minimise(loss, [weight, bias])
    return weight.detach(), bias.detach()


def fit_platt(logits: Tensor, positive: Tensor, weights: Tensor) -> tuple[float, float]:
    """Platt scaling: slope and offset under which held-out logits are probabilities.

    Args:
        logits: `[N]`.
        positive: bool `[N]`, the label of each row.
        weights: Weight of each row `[N]`.
    """
    slope, offset = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
    label, total = positive.float(), weights.sum()

    def loss() -> Tensor:
        each = torch.nn.functional.binary_cross_entropy_with_logits(slope * logits + offset, label, reduction="none")
        return (each * weights).sum() / total

    minimise(loss, [slope, offset])
    return max(float(slope.detach()), 0.02), float(offset.detach())


def auroc(positive: Any, negative: Any) -> float:
    """Area under the ROC curve of two arrays of scores: how often one of `positive` is the higher; ties count half."""
    ranked = np.sort(negative)
    below = np.searchsorted(ranked, positive, side="left") + np.searchsorted(ranked, positive, side="right")
    return float(below.mean() / (2 * len(ranked)))


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over equally wide bins (Naeini et al. 2015).

    Args:
        confidence: `[N]`, probability of the outcome that was taken, between 0 and 1.
        correct: bool `[N]`, whether it was the right one.
        bins: Number of bins; empty ones count nothing.
    """
    index = (confidence * bins).long().clamp(0, bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            gap += float(inside.float().mean()) * abs(
                float(confidence[inside].mean()) - float(correct[inside].float().mean())
            )
    return gap
