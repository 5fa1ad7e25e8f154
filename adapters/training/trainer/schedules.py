"""The learning rate over a run."""

from __future__ import annotations

import math

from loraloop.adapters.training.trainer.train_config import TrainConfig


def factor(config: TrainConfig, step: int, elapsed: float = 0.0) -> float:
    """What the peak learning rate is multiplied by at a step (from 0), `elapsed` seconds into the run."""
    ramp = max(1, round(config.warmup * config.steps))
    clock = 0.0 if config.seconds is None else elapsed / config.seconds
    if step < ramp and clock < config.warmup:
        return max((step + 1) / ramp, clock / config.warmup)
    done = min(1.0, max(step / config.steps, clock))
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return 1 - (1 - config.floor) * done
    return config.floor + (1 - config.floor) / 2 * (1 + math.cos(math.pi * done))
