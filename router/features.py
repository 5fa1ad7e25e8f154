"""Features of a routing point: pooled hidden states of the trunk over the last message.

The trunk's prefill computes these states anyway; pooling them is a handful of additions. A `Part` names a layer and
a pooling, and a router reads a fixed tuple of parts, one after another, as one vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("close", "end", "tail", "mean")
TAIL = 32
HEAD = 3
ALONE = 30_000  # elements below which torch reduces on the calling thread


@dataclass(frozen=True, slots=True, order=True)
class FeaturePart:
    """One pooled state.

    Attributes:
        layer: Layer whose output is read; 0 stands for the embeddings.
        pooling: `close`: at the message's first closing token; `end`: at its last token; `tail`: the mean of the
            last 32 tokens of the content; `mean`: the mean of the whole content.
    """

    layer: int
    pooling: str

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {self.pooling!r}: use one of {', '.join(POOLINGS)}")
        if self.layer < 0:
            raise ValueError(f"layer {self.layer} is negative: count from 0, the embeddings")

    def __str__(self) -> str:
        return f"{self.pooling}@{self.layer}"


@dataclass(frozen=True, slots=True)
class RouterFeatures:
    """What the router reads of one routing point: a vector `[F]` (fp32) for the choice and one for the screen.

    Attributes:
        choice: For the choice.
        screen: For the screen.
    """

    choice: Tensor
    screen: Tensor


def pool(hidden: Tensor, pooling: str, closing: int) -> Tensor:
    """Pool one layer's states over a message.

    Args:
        hidden: States `[T, H]` of the whole message, from its opening to its closing tokens.
        pooling: One of `POOLINGS`.
        closing: How many tokens close a message in the base's chat format.

    Returns:
        A vector `[H]` in fp32.

    Raises:
        ValueError: If the message is shorter than its closing tokens.
    """
    total = hidden.shape[0]
    if total <= closing:
        raise ValueError(
            f"a message of {total} tokens cannot end with {closing} closing tokens: pass the whole message's states"
        )
    if pooling == "close":
        return hidden[total - closing].float()
    if pooling == "end":
        return hidden[total - 1].float()
    stop = total - closing
    start = min(HEAD, stop - 1)
    if pooling == "tail":
        start = max(start, stop - TAIL)
    return _mean(hidden[start:stop])


def _mean(rows: Tensor) -> Tensor:
    """Mean over `[T, H]` in fp32, in pieces too small for torch to wake its threads: that costs more than the sum."""
    step = max(1, ALONE // rows.shape[1])
    total: Tensor = rows[:step].float().sum(0)
    for start in range(step, len(rows), step):
        total += rows[start : start + step].float().sum(0)
    return total / len(rows)


def read(kept: Mapping[int, Tensor], parts: Sequence[FeaturePart], closing: int) -> Tensor:
    """Concatenate the parts of a message's kept states `{layer: [T, H]}` into one vector `[F]`.

    Raises:
        ValueError: If a layer was not kept.
    """
    import torch

    missing = sorted({part.layer for part in parts} - set(kept))
    if missing:
        raise ValueError(f"layers {missing} were not kept: pass keep=router.layers to the forward")
    return torch.cat([pool(kept[part.layer], part.pooling, closing) for part in parts])
