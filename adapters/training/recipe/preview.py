"""What a training would do, without doing it: examples as tokenized, and time and memory from a few steps."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base import Base
from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.recipe.run import Prepared, make_trainer
from loraloop.adapters.training.trainer.workers import Workers, current

STEPS = 3
"""Steps that are measured, after one that is not: the first one allocates."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated time and memory of a training.

    Attributes:
        steps: Steps of the schedule.
        step_seconds: One of them.
        validation_seconds: One pass over the validation records.
        seconds: All of it, validations included.
        memory_mb: Most memory of the process, or of the GPU, in the measured steps.
        tokens: Mean tokens of an example, and how many of them are learnt.
    """

    steps: int
    step_seconds: float
    validation_seconds: float
    seconds: float
    memory_mb: float
    tokens: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "step_seconds": round(self.step_seconds, 4),
            "validation_seconds": round(self.validation_seconds, 2),
            "seconds": round(self.seconds, 2),
            "memory_mb": round(self.memory_mb),
            "tokens_mean": round(self.tokens[0], 1),
            "learnt_mean": round(self.tokens[1], 1),
        }


def shown(base: Base, example: Encoded) -> dict[str, Any]:
    """An example exactly as it is trained on, as JSON data.

    Its `trunk` has `ids` and `text`. Each of its `branches` says how many of the trunk's tokens it stands on (`at`),
    what it begins with (`invocation`), what the loss covers (`learnt`), and whether it is wanted (`desirable`).
    """

    def text(ids: Sequence[int]) -> dict[str, Any]:
        return {"ids": list(ids), "text": "".join(pieces(base, ids))}

    branches = []
    for branch in example.branches:
        learnt = branch.tokens[branch.start :]
        branches.append(
            {
                "at": len(example.trunk) if branch.at is None else branch.at,
                "invocation": text(branch.tokens[: branch.start]),
                "learnt": {"ids": list(learnt), "pieces": pieces(base, learnt)},
                "desirable": branch.desirable,
            }
        )
    return {"trunk": text(example.trunk), "branches": branches}


def pieces(base: Base, ids: Sequence[int]) -> list[str]:
    """The text of each token; of a special one its name."""
    return [base.tokenizer.token_bytes(token).decode("utf-8", "replace") for token in ids]


def estimate(prepared: Prepared, seconds: float | None = None) -> Estimate:
    """Trains a few steps in a temporary folder and reckons up the schedule from them.

    Args:
        prepared: What would be trained.
        seconds: After so many no further step is begun, and each step has one example, from which a batch is reckoned;
            None for whole steps, however long they take.
    """
    config = prepared.config
    whole = config.batch
    config = config if seconds is None else replace(config, batch=1)
    together = current()
    count = together.count if together.shared else 1  # that go through these steps together
    valid = _spread(prepared.valid, config.batch * count)
    few = replace(config, validate_every=10**6, seconds=seconds, save_every=None)
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="loraloop-") as folder:
        trainer = make_trainer(
            prepared,
            Path(folder),
            config=few,
            valid=valid,
            progress=lambda at: took.append(at.seconds),
            workers=None if together.shared else Workers(),
        )
        begun = _memory_mb()
        trainer.advance(1 + STEPS)
        start = time.perf_counter()
        trainer.validate()
        check = time.perf_counter() - start
    ratio, rest = whole / config.batch, took[1:] or took
    step = ratio * sum(rest) / max(1, len(rest))  # of the first process, which alone is told
    validation = check * len(prepared.valid) / len(valid)
    total = step * config.steps + validation * math.ceil(config.steps / config.validate_every)
    lengths = [example.length for example in prepared.train]
    learnt = [example.counted for example in prepared.train]
    mean = sum(lengths) / len(lengths), sum(learnt) / len(learnt)
    return Estimate(
        steps=config.steps,
        step_seconds=step,
        validation_seconds=validation,
        seconds=min(total, config.seconds or math.inf),
        memory_mb=begun + ratio * (_memory_mb() - begun),
        tokens=mean,
    )


def _spread(examples: Sequence[Encoded], count: int) -> list[Encoded]:
    """Some examples of all lengths."""
    ordered = sorted(examples, key=lambda example: example.length)
    stride = max(1, len(ordered) // count)
    return ordered[::stride][:count]


def _memory_mb() -> float:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
