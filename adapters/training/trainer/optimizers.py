"""Optimizers by name, with what each needs of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.training.trainer.train_config import TrainConfig
from loraloop.tool_schemas.errors import InputError, needing

BETAS = (0.9, 0.99)


def make(config: TrainConfig, parameters: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """The optimizer of a run; each group holds its own `ratio` to the learning rate (LoRA+).

    Args:
        config: of the run.
        parameters: those that train, by name, such as `lora_A` `[r, K]`.

    Raises:
        InputError: for an optimizer that cannot run here, with the cure.
    """
    groups = _groups(config, parameters)
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
        "betas": BETAS,
    }
    if config.optimizer.name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **settings)
    if config.optimizer.name == "galore":
        from loraloop.adapters.training.trainer.galore_optimizer import GaLoreAdamW

        return GaLoreAdamW(
            groups,
            rank=config.optimizer.galore_rank,
            every=config.optimizer.galore_every,
            scale=config.optimizer.galore_scale,
            **settings,
        )
    return _eight_bit(config.optimizer.name, groups, settings, next(iter(parameters.values())).device)


def _groups(config: TrainConfig, parameters: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    if config.optimizer.lr_ratio == 1.0:
        return [{"params": list(parameters.values()), "ratio": 1.0}]
    second = [tensor for name, tensor in parameters.items() if name.endswith("lora_B")]
    if not second:
        raise InputError("lr_ratio (LoRA+) is for methods with a B: leave it at 1 for this one")
    first = [tensor for name, tensor in parameters.items() if not name.endswith("lora_B")]
    return [{"params": first, "ratio": 1.0}, {"params": second, "ratio": config.optimizer.lr_ratio}]


def _eight_bit(
    name: str, groups: list[dict[str, Any]], settings: dict[str, Any], device: torch.device
) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW with 8-bit state (arXiv 2110.02861), paged or not (arXiv 2305.14314)."""
    with needing(f"{name} needs bitsandbytes", "bitsandbytes, or use optimizer: adamw"):
        import bitsandbytes
    if name == "paged_adamw8bit" and device.type != "cuda":
        raise InputError(
            f"{name} pages its state between CPU and GPU, and this base is on {device.type}: use adamw8bit or adamw"
        )
    kind = bitsandbytes.optim.PagedAdamW8bit if name == "paged_adamw8bit" else bitsandbytes.optim.AdamW8bit
    made: torch.optim.Optimizer = kind(groups, **settings)
    return made
