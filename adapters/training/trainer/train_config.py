"""How long, how fast and how a skill is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from loraloop.adapters.training.forward.view import Precision
from loraloop.tool_schemas.errors import InputError, unknown

Optimizer = Literal["adamw", "adamw8bit", "paged_adamw8bit", "galore"]
Schedule = Literal["cosine", "linear", "constant"]
Mode = Literal["branch", "full", "mixed"]
Trunks = Literal["trained", "served"]
_CHOICES = {"optimizer": Optimizer, "schedule": Schedule, "mode": Mode, "precision": Precision, "trunks": Trunks}
_MAY_CHANGE = frozenset(("steps", "seconds", "patience", "trunk_cache_gb", "checkpointing", "save_every"))


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long, how fast and how to train.

    Attributes:
        steps: optimizer steps.
        batch: examples of one forward.
        learning_rate: peak, after a linear warm-up.
        warmup: fraction of the steps that warm up.
        validate_every: steps between measurements of the validation loss (also checkpoints).
        seconds: stop after this much time, at a completed schedule position (None: no limit). The schedule then
            follows the larger of the two fractions done, so a run cut by time still anneals.
        accumulation: forwards a step; their gradients are those of one forward of all their examples.
        optimizer: `adamw`; `adamw8bit` and `paged_adamw8bit` of bitsandbytes; or `galore`.
        lr_ratio: learning rate of B over that of A (LoRA+, arXiv 2402.12354).
        schedule: after the warm-up: a cosine or a line down to `floor` of the peak, or the peak itself.
        patience: stop after so many validations in a row without a lower loss (None: never).
        dropout: of the adapters' input, in training.
        mode: `branch` (the skill computes branches, as it will be served here), `full` (it computes the whole
            context, as a server without branches will use it), or `mixed`: one forward so, the next so.
        checkpointing: compute each layer again in the backward instead of keeping its states.
        precision: what the base computes in while training; see `view.training_view`.
        trunks: who computes them: `trained`, the decoder that also trains; or `served`, the C decoder, so that a
            skill learns on the very states that it will stand on. Which is faster depends on the processor.
        trunk_cache_gb: keep trunks on disk across epochs, up to so many GB (0: not at all).
        save_every: steps between checkpoints without a validation (None: only with one).
        galore_rank, galore_every, galore_scale: of the projection; see `galore_optimizer`.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: float = 0.04
    weight_decay: float = 0.0
    clip: float = 1.0
    validate_every: int = 200
    seed: int = 0
    seconds: float | None = None
    accumulation: int = 1
    optimizer: Optimizer = "adamw"
    lr_ratio: float = 1.0
    schedule: Schedule = "cosine"
    floor: float = 0.1
    patience: int | None = None
    dropout: float = 0.0
    mode: Mode = "branch"
    checkpointing: bool = False
    precision: Precision = "base"
    trunks: Trunks = "trained"
    trunk_cache_gb: float = 0.0
    save_every: int | None = None
    galore_rank: int = 128
    galore_every: int = 200
    galore_scale: float = 0.25

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch, self.validate_every, self.accumulation, self.galore_rank, self.galore_every)
        if min(counts) < 1:
            raise InputError("steps, batch, validate_every, accumulation and galore_* must be at least 1")
        if any(count is not None and count < 1 for count in (self.patience, self.save_every)):
            raise InputError("patience and save_every must be at least 1, or left out")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")
        if not (self.lr_ratio > 0 and self.galore_scale > 0 and self.clip > 0):
            raise InputError("lr_ratio, galore_scale and clip must be positive")
        if not (0 <= self.warmup <= 1 and 0 <= self.floor <= 1 and 0 <= self.dropout < 1):
            raise InputError("warmup and floor lie in 0..1, dropout in 0..1 without 1")
        if self.trunk_cache_gb < 0:
            raise InputError(f"trunk_cache_gb must not be negative, as {self.trunk_cache_gb} is")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise unknown(name, str(getattr(self, name)), get_args(kind))


def lasting(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run must share, of a config as a dictionary; an older one lacks later fields.

    It may be given more steps or time, and what changes no value.
    """
    return {**_DEFAULTS, **{name: value for name, value in config.items() if name not in _MAY_CHANGE}}


_DEFAULTS = {
    name: TrainConfig.__dataclass_fields__[name].default
    for name in TrainConfig.__dataclass_fields__
    if name not in _MAY_CHANGE
}
