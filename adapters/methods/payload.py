"""What every method reduces to, and how it attaches to a forward while it is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.sites import Site
from loraloop.kernels.reference import Segments


@dataclass(frozen=True, slots=True)
class LowRank:
    """A low-rank update x -> (x @ A.T) @ B.T of one site, the scaling already inside B.

    Attributes:
        A: [R, K] shrink; R sums the ranks of the group's parts.
        B: [O, R] expand, block-diagonal over the group's parts.
        blocks: B's blocks as (ranks, first row, one past the last row), in the order of the ranks; empty if B is dense.
    """

    A: Tensor
    B: Tensor
    blocks: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.A.ndim != 2 or self.B.ndim != 2 or self.A.shape[0] != self.B.shape[1]:
            raise ValueError(f"A[R, K] and B[O, R] do not fit: {tuple(self.A.shape)}, {tuple(self.B.shape)}")

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.A.to(dtype), self.B.to(dtype), self.blocks)


@dataclass(frozen=True, slots=True)
class Payload:
    """The parts that a method leaves in a slot; a site that is not named is untouched."""

    pairs: Mapping[Site, LowRank]

    def to(self, dtype: torch.dtype) -> Payload:
        return Payload({site: pair.to(dtype) for site, pair in self.pairs.items()})


class PayloadAttached:
    """Applies one payload to every row whose slot is not 0. Differentiable, so the trainer runs on it.

    Args:
        payload: built afresh after each optimizer step.
        dtype: the activations' dtype; parameters are cast here, once, not at every call.
    """

    __slots__ = ("pairs",)

    def __init__(self, payload: Payload, dtype: torch.dtype | None = None) -> None:
        self.pairs = dict((payload if dtype is None else payload.to(dtype)).pairs)

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds the adapter's part to the base product y[N, O] of x[N, K]; out of place."""
        pair = self.pairs.get((layer, group))
        if pair is None:
            return y
        if not all(isinstance(slot, int) for _, _, slot in segments):
            raise ValueError("one payload is attached, so a row is on it or on slot 0; a blend needs a bank")
        if all(slot for _, _, slot in segments):
            return y + (x @ pair.A.T) @ pair.B.T
        runs = []
        for start, end, slot in segments:
            part = y[start:end]
            runs.append(part + (x[start:end] @ pair.A.T) @ pair.B.T if slot else part)
        return torch.cat(runs)
