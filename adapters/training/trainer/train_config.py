"""How long, how fast and how a skill is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from loraloop.adapters.base.training_view import Precision
from loraloop.tool_schemas.errors import InputError, unknown

OptimizerName = Literal["adamw", "adamw8bit", "paged_adamw8bit", "galore"]
Schedule = Literal["cosine", "linear", "constant"]
Mode = Literal["branch", "full"]
Trunks = Literal["trained", "served"]
_MAY_CHANGE = frozenset(("steps", "seconds", "patience", "save_every", "trunk_cache_gb", "checkpointing"))


def _check_choice(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise unknown(name, value, get_args(kind))


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Settings of the optimizer.

    Attributes:
        name: `adamw`; `adamw8bit` and `paged_adamw8bit` of bitsandbytes; or `galore`.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        lr_ratio: learning rate of B over that of A (LoRA+, arXiv 2402.12354).
        galore_rank, galore_every, galore_scale: of the projection; see `galore_optimizer`.
    """

    name: OptimizerName = "adamw"
    weight_decay: float = 0.0
    clip: float = 1.0
    lr_ratio: float = 1.0
    galore_rank: int = 128
    galore_every: int = 200
    galore_scale: float = 0.25

    def __post_init__(self) -> None:
        _check_choice("optimizer", self.name, OptimizerName)
        if min(self.galore_rank, self.galore_every) < 1:
            raise InputError("galore_rank and galore_every must be at least 1")
        if not (self.lr_ratio > 0 and self.galore_scale > 0 and self.clip > 0):
            raise InputError("lr_ratio, galore_scale and clip must be positive")


@dataclass(frozen=True, slots=True)
class ComputeConfig:
    """What a step computes with; none of it is meant to change what is learnt.

    Attributes:
        precision: what the base computes in while training; see `view.training_view`.
        trunks: who computes them: `trained`, the decoder that also trains; or `served`, the C decoder, so that a
            skill learns on the very states that it will stand on. Which is faster depends on the processor.
        trunk_cache_gb: keep trunks on disk across epochs, up to so many GB (0: not at all).
        checkpointing: compute each layer again in the backward instead of keeping its states.
    """

    precision: Precision = "base"
    trunks: Trunks = "trained"
    trunk_cache_gb: float = 0.0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, Precision)
        _check_choice("trunks", self.trunks, Trunks)
        if self.trunk_cache_gb < 0:
            raise InputError(f"trunk_cache_gb must not be negative, as {self.trunk_cache_gb} is")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long, how fast and how to train. `TrainConfig.of` takes all settings by name, those of the groups too.

    Attributes:
        steps: optimizer steps.
        batch: examples of one forward.
        learning_rate: peak, after a linear warm-up.
        warmup: fraction of the steps that warm up.
        validate_every: steps between measurements of the validation loss (also checkpoints).
        seed: of the order of examples and of new parameters.
        seconds: stop after this much time, at a completed schedule position (None: no limit). The schedule then
            follows the larger of the two fractions done, so a run cut by time still anneals.
        accumulation: forwards a step; their gradients are those of one forward of all their examples.
        schedule: after the warm-up: a cosine or a line down to `floor` of the peak, or the peak itself.
        floor: see `schedule`.
        patience: stop after so many validations in a row without a lower loss (None: never).
        dropout: of the adapters' input, in training.
        mode: `branch` (the skill computes branches, as it will be served here) or `full` (it computes the whole
            context, as a server without branches will use it).
        save_every: steps between checkpoints without a validation; a process that trains alone writes one a minute
            besides.
        optimizer: how parameters are changed.
        compute: what a step computes with.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: float = 0.04
    validate_every: int = 200
    seed: int = 0
    seconds: float | None = None
    accumulation: int = 1
    schedule: Schedule = "cosine"
    floor: float = 0.1
    patience: int | None = None
    dropout: float = 0.0
    mode: Mode = "branch"
    save_every: int | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        _check_choice("schedule", self.schedule, Schedule)
        _check_choice("mode", self.mode, Mode)
        if min(self.steps, self.batch, self.validate_every, self.accumulation) < 1:
            raise InputError("steps, batch, validate_every and accumulation must be at least 1")
        if any(count is not None and count < 1 for count in (self.patience, self.save_every)):
            raise InputError("patience and save_every must be at least 1, or left out")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds must be positive, or left out, not {self.seconds}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")
        if not (0 <= self.warmup <= 1 and 0 <= self.floor <= 1 and 0 <= self.dropout < 1):
            raise InputError("warmup and floor lie in 0..1, dropout in 0..1 without 1")

    @classmethod
    def of(cls, **settings: Any) -> TrainConfig:
        """A config from settings that are all given by their own names; `optimizer` is the optimizer's name."""
        return cls(**grouped(settings))

    def settings(self) -> dict[str, Any]:
        """The settings by their own names, as `of` takes them."""
        found = asdict(self)
        optimizer, compute = found.pop("optimizer"), found.pop("compute")
        return {**found, "optimizer": optimizer.pop("name"), **optimizer, **compute}


GROUPS = {"optimizer": OptimizerConfig, "compute": ComputeConfig}


def setting_names() -> tuple[str, ...]:
    """The names of all settings, as a recipe gives them."""
    return tuple(TrainConfig(steps=1).settings())


def grouped(
    settings: Mapping[str, Any], made: Callable[[Any, dict[str, Any]], Any] = lambda kind, inner: kind(**inner)
) -> dict[str, Any]:
    """Settings by their own names, with those of a group made into that group."""
    rest = {("name" if name == "optimizer" else name): value for name, value in settings.items()}
    for group, kind in GROUPS.items():
        rest[group] = made(kind, {f.name: rest.pop(f.name) for f in fields(kind) if f.name in rest})
    return rest


def lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run must share; it may be given more steps or time, and what changes no value."""
    return {name: value for name, value in config.items() if name not in _MAY_CHANGE}
