"""What a training tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a training.

    Attributes:
        step: optimizer steps done.
        steps: of how many.
        loss: of this step, before it.
        lr: the learning rate that it used.
        seconds: that it took.
        tokens_per_s: tokens read and learnt a second: trunks and branches.
        eta_s: seconds to the end, at the pace so far.
        valid_loss: the newest measurement; None before the first.
    """

    step: int
    steps: int
    loss: float
    lr: float
    seconds: float
    tokens_per_s: float
    eta_s: float
    valid_loss: float | None = None


ProgressCallback = Callable[[Progress], None]
