"""The learning rate over a run."""

from __future__ import annotations

import math

from loraloop.adapters.training.trainer.train_config import TrainConfig


def factor(config: TrainConfig, step: int, elapsed: float = 0.0) -> float:
    """What the peak learning rate is multiplied by at a step (from 0), `elapsed` seconds into the run."""
    ramp = max(1, round(config.warmup * config.steps))
    if step < ramp:
        return (step + 1) / ramp
    done = step / config.steps
    if config.seconds is not None:
        done = max(done, elapsed / config.seconds)
    done = min(1.0, done)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return 1 - (1 - config.floor) * done
    return config.floor + (1 - config.floor) / 2 * (1 + math.cos(math.pi * done))
