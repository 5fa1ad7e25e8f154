"""rsLoRA (arXiv 2312.03732): LoRA scaled by alpha / sqrt(r), so that wide updates learn as fast as narrow ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loraloop.adapters.methods.lora import Lora


@dataclass(frozen=True, slots=True)
class RsLora(Lora):
    """Fields as in `Lora`, whose scaling is alpha / r."""

    name = "rslora"

    def _divisor(self, rank: int) -> float:
        return math.sqrt(rank)
