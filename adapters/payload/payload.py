"""The payload: the one form that every method reduces to, and how a payload joins a forward in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

from loraloop.adapters.payload.sites import GROUPS, Dimensions, Site, group_shape
from loraloop.kernels.reference import Segments
from loraloop.tool_schemas.errors import SkillError

Part = Literal["attention", "mlp"]
"""A sub-layer, on whose output a bottleneck sits."""
Activation = Literal["relu", "gelu", "silu"]

PARTS: tuple[Part, ...] = get_args(Part)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu, "silu": silu}
KINDS = ("pairs", "gains", "input_gains", "biases", "prefix", "prompt", "bottlenecks")
BEYOND = frozenset(("gains", "input_gains", "biases", "bottlenecks"))
"""What changes a forward in another way than by a low-rank sum or by what stands in the cache."""


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
class Bottleneck:
    """A serial module on a sub-layer's output (arXiv 1902.00751): h + up(act(down(h))).

    Attributes:
        down: [R, H].
        up: [H, R].
        down_bias: [R], or None.
        up_bias: [H], or None.
        activation: `gelu` is the exact one.
    """

    down: Tensor
    up: Tensor
    down_bias: Tensor | None = None
    up_bias: Tensor | None = None
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        (R, H), up = self.down.shape, tuple(self.up.shape)
        biases = [(b, size) for b, size in ((self.down_bias, R), (self.up_bias, H)) if b is not None]
        if up != (H, R) or any(tuple(b.shape) != (size,) for b, size in biases):
            raise ValueError(f"down[R, H], up[H, R] and their biases do not fit: {(R, H)}, {up}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}: use one of {', '.join(ACTIVATIONS)}")

    def __call__(self, h: Tensor) -> Tensor:
        """The module's output [N, H] for h [N, H]; differentiable."""
        middle = torch.nn.functional.linear(h, self.down, self.down_bias)
        return h + torch.nn.functional.linear(ACTIVATIONS[self.activation](middle), self.up, self.up_bias)

    def to(self, dtype: torch.dtype) -> Bottleneck:
        first, last = (None if b is None else b.to(dtype) for b in (self.down_bias, self.up_bias))
        return Bottleneck(self.down.to(dtype), self.up.to(dtype), first, last, self.activation)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a skill changes in a forward, as a slot holds it. A site that no part names is computed as in the bare base.

    Virtual tokens (`prefix`, `prompt`) take the positions after the trunk's, the invocation follows them; under full
    activation they stand before everything. They are no part of a transcript.

    Attributes:
        pairs: y += (x Aᵀ) Bᵀ.
        gains: [O], by which the site's product, pair included, is multiplied before the layer's own bias is added.
        input_gains: [K], by which the site's input is multiplied.
        biases: [O], added to the site's output, last.
        prefix: of every layer, keys and values [P, kv_heads, head_dim] as they stand in a cache (rotated already).
        prompt: [P, H], input embeddings.
        bottlenecks: on the output of a layer's attention or MLP, before the residual addition.
    """

    pairs: Mapping[Site, LowRank] = field(default_factory=dict)
    gains: Mapping[Site, Tensor] = field(default_factory=dict)
    input_gains: Mapping[Site, Tensor] = field(default_factory=dict)
    biases: Mapping[Site, Tensor] = field(default_factory=dict)
    prefix: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    prompt: Tensor | None = None
    bottlenecks: Mapping[tuple[int, str], Bottleneck] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of parts that this payload has; see `KINDS`."""
        return frozenset(kind for kind in KINDS if (part := getattr(self, kind)) is not None and len(part))

    @property
    def virtual(self) -> int:
        """Number of positions that the virtual tokens take."""
        prefix = next(iter(self.prefix.values()))[0].shape[0] if self.prefix else 0
        return prefix + (0 if self.prompt is None else self.prompt.shape[0])

    def to(self, dtype: torch.dtype) -> Payload:
        """Matrices in another dtype. Gains and biases stay: near 1, bf16 has too few steps."""
        return replace(
            self,
            pairs={site: pair.to(dtype) for site, pair in self.pairs.items()},
            bottlenecks={place: module.to(dtype) for place, module in self.bottlenecks.items()},
        )

    def mapped(self, made: Callable[[str, object, Tensor], Tensor]) -> Payload:
        """All parts but the pairs, each tensor replaced by what is made of it.

        Args:
            made: From a tensor's kind ("gains", "input_gains", "biases", "keys", "values", "prompt", "down", "up",
                "down_bias" or "up_bias"), its place and the tensor, of any shape. An `up` is transposed, `[R, H]`.
        """

        def module(place: tuple[int, str], m: Bottleneck) -> Bottleneck:
            first = None if m.down_bias is None else made("down_bias", place, m.down_bias)
            last = None if m.up_bias is None else made("up_bias", place, m.up_bias)
            return Bottleneck(made("down", place, m.down), made("up", place, m.up.T).T, first, last, m.activation)

        return replace(
            self,
            pairs={},
            gains={site: made("gains", site, v) for site, v in self.gains.items()},
            input_gains={site: made("input_gains", site, v) for site, v in self.input_gains.items()},
            biases={site: made("biases", site, v) for site, v in self.biases.items()},
            prefix={at: (made("keys", at, k), made("values", at, v)) for at, (k, v) in self.prefix.items()},
            prompt=None if self.prompt is None else made("prompt", 0, self.prompt),
            bottlenecks={place: module(place, m) for place, m in self.bottlenecks.items()},
        )

    def check(self, config: Dimensions, where: str) -> None:
        """Verifies that every part fits a base.

        Raises:
            SkillError: a layer, site or shape that the base does not have; a prefix that leaves a layer out.
        """
        keys = (config.kv_heads, config.head_dim)
        for kind, axis in (("gains", 0), ("input_gains", 1), ("biases", 0)):
            for (layer, group), vector in getattr(self, kind).items():
                _fits(where, kind, layer, config, group in GROUPS)
                if tuple(vector.shape) != (size := group_shape(config, group)[axis],):
                    raise SkillError(f"{where}: {kind} of layer {layer}, {group} is {list(vector.shape)}, not [{size}]")
        for (layer, group), pair in self.pairs.items():
            _fits(where, "pairs", layer, config, group in GROUPS)
            if (pair.B.shape[0], pair.A.shape[1]) != group_shape(config, group):
                raise SkillError(f"{where}: the pair of layer {layer}, {group} does not fit the base")
        for (layer, part), module in self.bottlenecks.items():
            _fits(where, "bottlenecks", layer, config, part in PARTS)
            if module.down.shape[1] != config.hidden_size:
                raise SkillError(f"{where}: a bottleneck is {module.down.shape[1]} wide, not {config.hidden_size}")
        if self.prefix:
            shapes = {tuple(t.shape) for pair in self.prefix.values() for t in pair}
            if set(self.prefix) != set(range(config.layers)) or len(shapes) != 1 or next(iter(shapes))[1:] != keys:
                raise SkillError(
                    f"{where}: a prefix holds keys and values [P, {keys[0]}, {keys[1]}] of all {config.layers} layers"
                )
        if self.prompt is not None and (self.prompt.ndim != 2 or self.prompt.shape[1] != config.hidden_size):
            raise SkillError(f"{where}: a prompt is [P, {config.hidden_size}], not {list(self.prompt.shape)}")


def _fits(where: str, kind: str, layer: int, config: Dimensions, known: bool) -> None:
    if not known or not 0 <= layer < config.layers:
        raise SkillError(f"{where}: {kind} of layer {layer} name a place that the base does not have")


class PayloadAttached:
    """Applies one payload to every row whose slot is not 0. Differentiable, so the trainer runs on it.

    Its virtual tokens are not applied here: a prefix goes into the row's cache (`BranchCache(trunk, payload.prefix)`),
    a prompt before the row's tokens (`Row(…, before=payload.prompt)`).

    Args:
        payload: built afresh after each optimizer step.
        dtype: the activations' dtype; parameters are cast here, once, not at every call.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: Payload, dtype: torch.dtype | None = None) -> None:
        self.payload = payload if dtype is None else payload.to(dtype)

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds the pair's part to the base product y[N, O] of x[N, K]; out of place."""
        pair = self.payload.pairs.get((layer, group))
        if pair is None:
            return y
        if all(slot for _, _, slot in segments):
            return y + (x @ pair.A.T) @ pair.B.T
        runs = []
        for start, end, slot in segments:
            part = y[start:end]
            runs.append(part + (x[start:end] @ pair.A.T) @ pair.B.T if slot else part)
        return torch.cat(runs)

    def beyond(self, segments: Segments) -> PartsBeyond | None:
        """What changes more than sums; None if the payload has nothing of it."""
        if not self.payload.kinds & BEYOND:
            return None
        return PartsBeyond([self.payload if slot else None for _, _, slot in segments], segments)

    def virtual(self, slot: int) -> Payload | None:
        """The payload, if it has virtual tokens and the slot is not 0."""
        return self.payload if slot and self.payload.virtual else None


class PartsBeyond:
    """What rows' payloads change in a forward besides low-rank sums. Out of place and differentiable.

    Args:
        payloads: of each row; None where the row has none.
        segments: the forward's.
    """

    __slots__ = ("_payloads", "_segments")

    def __init__(self, payloads: Sequence[Payload | None], segments: Segments) -> None:
        alike = all(payload is payloads[0] for payload in payloads)
        self._payloads, self._segments = payloads[:1] if alike else payloads, segments

    def input(self, layer: int, group: str, x: Tensor) -> Tensor:
        """A site's input x[N, K], times input gains."""
        return self._each(x, lambda payload, x: _times(x, payload.input_gains.get((layer, group))))

    def product(self, layer: int, group: str, y: Tensor) -> Tensor:
        """A site's product y[N, O], its pair's part included, times gains, plus biases."""
        site = (layer, group)
        return self._each(y, lambda payload, y: _plus(_times(y, payload.gains.get(site)), payload.biases.get(site)))

    def output(self, layer: int, part: str, y: Tensor) -> Tensor:
        """A sub-layer's output y[N, H], through bottlenecks."""

        def through(payload: Payload, y: Tensor) -> Tensor:
            module = payload.bottlenecks.get((layer, part))
            return y if module is None else module(y.to(module.down.dtype)).to(y.dtype)

        return self._each(y, through)

    def _each(self, plain: Tensor, changed: Callable[[Payload, Tensor], Tensor]) -> Tensor:
        payloads = self._payloads
        if len(payloads) == 1:
            return plain if payloads[0] is None else changed(payloads[0], plain)
        rows = zip(payloads, self._segments, strict=True)
        parts = [(payload, plain[start:end]) for payload, (start, end, _) in rows]
        return torch.cat([part if payload is None else changed(payload, part) for payload, part in parts])


def _times(x: Tensor, gain: Tensor | None) -> Tensor:
    return x if gain is None else (x.float() * gain).to(x.dtype)


def _plus(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else (y.float() + bias).to(y.dtype)
