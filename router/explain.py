"""Why a route came out: stored training examples, and the ones nearest to a routing point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from loraloop.router.choice import Region
from loraloop.router.decision import Route, ScreenResult


@dataclass(frozen=True, slots=True)
class StoredExample:
    """A stored training example: what was right, what was said (empty where its licence keeps it out), and whence.

    Attributes:
        label: The right choice.
        text: The user's message.
        source: The data set.
        kind: The kind of state it was taken from.
    """

    label: str
    text: str
    source: str
    kind: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A route with all that led to it; `nearest` pairs examples with cosine similarities, best first.

    Attributes:
        route: What was chosen.
        screen: What the screen said.
        threshold: Probability below which the router falls back to none.
        distance: To the training data.
        distance_limit: Beyond which it falls back to none.
    """

    route: Route
    screen: ScreenResult
    threshold: float
    distance: float
    distance_limit: float
    nearest: tuple[tuple[StoredExample, float], ...]


@dataclass(frozen=True, slots=True)
class ExampleMemory:
    """Stored examples with their standardised features as 8-bit codes.

    Attributes:
        examples: N examples.
        codes: int8 `[N, F]`.
        scale: fp32 `[N]`; features are `codes * scale`.
    """

    examples: tuple[StoredExample, ...]
    codes: Tensor
    scale: Tensor

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(example.label for example in self.examples)

    @classmethod
    def store(cls, z: Tensor, examples: Sequence[StoredExample]) -> ExampleMemory:
        """Quantize standardised features `[N, F]`."""
        scale = z.abs().amax(1).clamp_min(1e-6) / 127.0
        return cls(tuple(examples), (z / scale[:, None]).round().to(torch.int8), scale)

    def features(self) -> Tensor:
        """Standardised features `[N, F]` in fp32."""
        return self.codes.float() * self.scale[:, None]

    def nearest(self, point: Tensor, region: Region, count: int) -> tuple[tuple[StoredExample, float], ...]:
        """The examples nearest to a whitened point `[D]`, by cosine."""
        known = torch.nn.functional.normalize(region.project(self.features()), dim=-1)
        similarity = known @ torch.nn.functional.normalize(point, dim=-1)
        best = similarity.topk(min(count, len(self.examples)))
        return tuple((self.examples[i], s) for i, s in zip(best.indices.tolist(), best.values.tolist(), strict=True))

    def extended(self, z: Tensor, label: str, texts: Sequence[str]) -> ExampleMemory:
        """The memory with the M examples of one more skill.

        Args:
            z: Their standardised features `[M, F]`.
            label: The skill.
            texts: Their user messages.
        """
        more = ExampleMemory.store(z, [StoredExample(label, text, "added", "first") for text in texts])
        return replace(
            self,
            examples=(*self.examples, *more.examples),
            codes=torch.cat([self.codes, more.codes]),
            scale=torch.cat([self.scale, more.scale]),
        )

    def to_json(self) -> list[list[str]]:
        return [[e.label, e.text, e.source, e.kind] for e in self.examples]

    @classmethod
    def from_json(cls, rows: Sequence[Sequence[Any]], codes: Tensor, scale: Tensor) -> ExampleMemory:
        """The memory of `to_json`'s rows, with `codes` int8 `[N, F]` and `scale` fp32 `[N]`."""
        return cls(tuple(StoredExample(*map(str, row)) for row in rows), codes, scale)
