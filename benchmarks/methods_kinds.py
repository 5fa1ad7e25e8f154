"""The rows of the comparison: what each method is given. Rates come from trials of 16 steps of one to three values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.adapters.methods.method import Method


@dataclass(frozen=True, slots=True)
class Kind:
    """One row.

    Attributes:
        method: Name in `loraloop.adapters.methods.METHODS`.
        options: Of the method.
        rate: Peak learning rate.
        settings: Of `TrainConfig`, besides those that all rows share.
        gpu: What of it needs a GPU, and what is done on a CPU instead.
    """

    method: str
    rate: float
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    gpu: str = ""

    def made(self) -> Method:
        from loraloop.adapters.methods import make_method

        return make_method(self.method, self.options)


TEXT = "The guest's message as a booking record: intent, room, guests, date, urgent."
"""What virtual tokens begin as."""
_LOW_RANK = {"rank": 8, "alpha": 16}

ROWS: dict[str, Kind] = {
    "lora": Kind("lora", 2e-3, _LOW_RANK),
    "qlora": Kind(
        "lora", 2e-3, _LOW_RANK, {"optimizer": "adamw8bit"},
        gpu="a paged optimizer and an NF4 base; on a CPU: 8-bit AdamW, and the int4 base that is served",
    ),
    "rslora": Kind("rslora", 1e-3, _LOW_RANK),
    "lora+": Kind("lora", 2e-4, _LOW_RANK, {"lr_ratio": 16.0}),
    "dora": Kind("dora", 2e-3, _LOW_RANK),
    "adalora": Kind("adalora", 1e-2, {"rank": 12, "alpha": 24, "target_rank": 8}),
    "vera": Kind("vera", 5e-2, {"rank": 256}),
    "ia3": Kind("ia3", 2e-2),
    "prefix": Kind("prefix", 3e-2, {"tokens": 16, "text": TEXT}),
    "prompt": Kind("prompt", 3e-2, {"tokens": 16, "text": TEXT}),
    "bottleneck": Kind("bottleneck", 1e-3, {"reduction": 16}),
    "galore": Kind("galore", 1e-3, {"rank": 32}, {"optimizer": "galore", "galore_rank": 32, "galore_every": 50}),
}  # fmt: skip
