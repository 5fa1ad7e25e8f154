"""A calibrated yes or no about the last message: is it unsafe (the screen), does it need a call?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.router.calibration import Scaler, fit_binary
from loraloop.router.features import FeaturePart


@dataclass(frozen=True, slots=True)
class BinaryModel:
    """A logistic regression with Platt scaling.

    Attributes:
        parts: What the features are made of.
        scaler: Standardises them.
        weight: `[F]`.
        bias: `[]`.
        slope, offset: Platt's scaling of the logit.
        threshold: Probability from which the answer is yes.
    """

    parts: tuple[FeaturePart, ...]
    scaler: Scaler
    weight: Tensor
    bias: Tensor
    slope: float
    offset: float
    threshold: float = 0.5

    def raw(self, x: Tensor) -> Tensor:
        """Uncalibrated logits `[...]` of raw features `[..., F]`."""
        return self.scaler(x) @ self.weight + self.bias

    def probability(self, x: Tensor) -> Tensor:
        """Calibrated probabilities `[...]` of raw features `[..., F]`."""
        return torch.sigmoid(self.slope * self.raw(x) + self.offset)


def fit_model(
    parts: tuple[FeaturePart, ...],
    x: Tensor,
    target: Tensor,
    weights: Tensor,
    l2: float,
    slope: float = 1.0,
    offset: float = 0.0,
    threshold: float = 0.5,
) -> BinaryModel:
    """Fits a model to raw features and labels.

    Args:
        parts: What the features are made of.
        x: Raw features `[N, F]`, which are standardised here.
        target: bool `[N]`, True where the answer is yes.
        weights: Weight of each row `[N]`.
        l2: Penalty on the squared weights, for a mean loss.
        slope: Platt's factor of the logit; fitted on held-out ones.
        offset: What Platt's scaling adds to the logit.
        threshold: Probability from which the answer is yes.
    """
    scaler = Scaler.fit(x)
    weight, bias = fit_binary(scaler(x), target, weights, l2)
    return BinaryModel(
        parts=parts, scaler=scaler, weight=weight, bias=bias, slope=slope, offset=offset, threshold=threshold
    )
