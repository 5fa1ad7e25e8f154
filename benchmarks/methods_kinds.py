"""The rows of the comparison: what each method is given. Rates are each method's usual ones, not tuned to this task."""

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


_LOW_RANK = {"rank": 8, "alpha": 16}

ROWS: dict[str, Kind] = {
    "lora": Kind("lora", 2e-3, _LOW_RANK),
    "qlora": Kind(
        "lora", 2e-3, _LOW_RANK, {"optimizer": "paged_adamw8bit"},
        gpu="paging and the NF4 base; on a CPU the base is the int4 one that is served",
    ),
    "rslora": Kind("rslora", 1e-3, _LOW_RANK),
    "lora+": Kind("lora", 5e-4, _LOW_RANK, {"lr_ratio": 16.0}),
    "dora": Kind("dora", 2e-3, _LOW_RANK),
    "adalora": Kind("adalora", 4e-3, {"rank": 8, "alpha": 16}),
    "vera": Kind("vera", 2e-2, {"rank": 256}),
    "ia3": Kind("ia3", 2e-2),
    "prefix": Kind("prefix", 1e-2, {"tokens": 16}),
    "prompt": Kind("prompt", 3e-2, {"tokens": 16}),
    "bottleneck": Kind("bottleneck", 1e-3, {"size": 16}),
    "galore": Kind("galore", 1e-3, {"rank": 8}, {"optimizer": "galore"}),
}  # fmt: skip
