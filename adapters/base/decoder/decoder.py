"""The forward pass of a Llama-family decoder, for inference and training alike.

A forward takes rows: each has its own tokens, cache and slot. All rows' tokens stand one after another in
one `[N, H]` matrix, so nothing is padded; only attention goes row by row, through each row's own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.cache import STEP, Cache, KVCache
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.base.decoder.rope import RopeTable, rotate
from loraloop.adapters.payload.payload import PartsBeyond, Payload
from loraloop.kernels.quantized import Weight
from loraloop.kernels.reference import Segments

Plan = list[tuple[Cache, int, int]]


class Attached(Protocol):
    """Adapters attached to the base: adds their part to a fused projection's product, row by row."""

    def linear(self, layer: int, group: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor:
        """Adds to a projection's product what each row's slot contributes; slot 0 contributes nothing.

        Args:
            layer: Index of the layer, from 0.
            group: One of `sites.GROUPS`: the modules that are computed as one matrix.
            x: Inputs `[N, K]` of the projection, which the base's product was made of.
            y: The base's product `[N, O]`; it may be changed in place.
            segments: Start, end and slot of each row's tokens among the N.

        Returns:
            `[N, O]` in y's dtype, which may be y itself.
        """
        ...

    def beyond(self, segments: Segments) -> PartsBeyond | None:
        """What some rows' slots change besides sums of products; asked for once a forward, since few do."""
        ...

    def virtual(self, slot: int) -> Payload | None:
        """What a skill puts before a branch: keys and values, then input embeddings `[P, H]`."""
        ...


@dataclass(slots=True)
class Row:
    """One sequence's part in a forward: new tokens, the cache they extend, the slot that computes them.

    `before[P, H]` are input embeddings of P positions before the tokens (a prompt's virtual tokens); with them there
    may be no tokens, and the forward's states of this row are P more.

    Attributes:
        tokens: Ids of the new tokens.
        cache: What they stand on, and are appended to.
        slot: The skill's slot, 0 for the bare base.
    """

    tokens: Sequence[int] | Tensor
    cache: Cache | NativeCache
    slot: int = 0
    before: Tensor | None = None


class EmbeddingTable(Weight, Protocol):
    """A weight whose rows can be looked up: an embedding."""

    def rows(self, index: Tensor) -> Tensor:
        """Dense rows `[N, K]` at `index` `[N]`."""
        ...


class Forward(NamedTuple):
    """`hidden[N, H]` after the final norm, and the hidden states after each layer asked for (0: embeddings).

    Attributes:
        hidden: Final hidden states `[N, H]` of all rows' tokens, one row after the other.
        kept: Hidden states `[N, H]` after each layer asked for, by layer.
    """

    hidden: Tensor
    kept: dict[int, Tensor]


@dataclass(slots=True)
class Layer:
    """One decoder layer's weights; `qkv` and `gate_up` are fused.

    Where the base has them: `qkv_bias[q + k + v]`, and `q_norm[head_dim]` and `k_norm[head_dim]`, in the compute dtype.
    """

    attention_norm: Tensor
    qkv: Weight
    o: Weight
    mlp_norm: Tensor
    gate_up: Weight
    down: Weight
    qkv_bias: Tensor | None = None
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None


@dataclass(slots=True)
class Decoder:
    """Weights and forward pass. `embedding` serves the look-up and, when tied, the head."""

    config: ModelConfig
    embedding: EmbeddingTable
    layers: list[Layer]
    norm: Tensor
    head: Weight
    dtype: torch.dtype
    device: torch.device
    rope: RopeTable = field(init=False)

    def __post_init__(self) -> None:
        self.rope = RopeTable(self.config, self.device)

    def new_cache(self, capacity: int = STEP) -> KVCache:
        """An empty cache: fp32 on a CPU, where attention at decode is many times quicker than in bf16."""
        config = self.config
        dtype = torch.float32 if self.device.type == "cpu" else self.dtype
        shape = config.layers, config.kv_heads, config.head_dim
        return KVCache(*shape, dtype, self.device, capacity=capacity, window=config.sliding_window)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings `[N, H]` of token ids `[N]`."""
        rows = self.embedding.rows(tokens)
        return rows if self.config.scales.embedding == 1.0 else rows * self.config.scales.embedding

    def forward(self, rows: Sequence[Row], attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        """Runs all rows' tokens through the layers and appends them to their caches.

        Args:
            rows: at least one, each with at least one token or embedding.
            attached: adapters for the rows on slots other than 0; None runs the bare base.
            keep: layers whose output `[N, H]` the result keeps.
        """
        config = self.config
        flat, segments = _flatten(rows, self.device)
        beyond = None if attached is None else attached.beyond(segments)
        plan = [(_attending(row.cache), start, end) for row, (start, end, _) in zip(rows, segments, strict=True)]
        cos, sin = self._angles(plan)
        for cache, start, end in plan:
            cache.begin(end - start)
        eps, size, residual = config.rms_eps, (config.hidden_size,), config.scales.residual
        inner = config.intermediate_size
        attend = self.attention(plan)
        h = self.embed(flat)
        if any(row.before is not None for row in rows):
            h = self._with_embeddings(rows, h)
        kept = {0: h} if 0 in keep else {}

        def product(index: int, group: str, x: Tensor) -> Tensor:
            """The product of a group's matrix with x, and what the rows' slots make of both."""
            if beyond is not None:
                x = beyond.input(index, group, x)
            y: Tensor = getattr(self.layers[index], group)(x)
            if attached is not None:
                y = attached.linear(index, group, x, y, segments)
            return y if beyond is None else beyond.product(index, group, y)

        def added(h: Tensor, index: int, part: str, y: Tensor) -> Tensor:
            """The residual stream with a sub-layer's output added."""
            if beyond is not None:
                y = beyond.output(index, part, y)
            return h + y if residual == 1.0 else torch.add(h, y, alpha=residual)

        for index, layer in enumerate(self.layers):
            y = product(index, "qkv", rms_norm(h, size, layer.attention_norm, eps))
            x = attend(index, *self._heads(index, y, cos, sin))
            h = added(h, index, "attention", product(index, "o", x.to(h.dtype)))
            y = product(index, "gate_up", rms_norm(h, size, layer.mlp_norm, eps))
            h = added(h, index, "mlp", product(index, "down", silu(y[:, :inner]) * y[:, inner:]))
            if index + 1 in keep:
                kept[index + 1] = h
        for cache, _, _ in plan:
            cache.commit()
        return Forward(rms_norm(h, size, self.norm, eps), kept)

    def attention(self, plan: Plan) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
        """What appends the new keys and values of a layer and attends, for all rows of a forward: row by row here.

        Args:
            plan: each row's cache, and where its tokens start and end.

        Returns:
            From a layer's index, q `[N, heads, D]` and k and v `[N, kv_heads, D]` of all rows to `[N, heads * D]`.
        """
        if len(plan) == 1:
            return plan[0][0].attend
        return lambda layer, q, k, v: torch.cat([c.attend(layer, q[s:e], k[s:e], v[s:e]) for c, s, e in plan])

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[M, V]`, fp32, of final-normed states `[M, H]`."""
        logits = self.head(hidden).float()
        return logits if self.config.scales.logits == 1.0 else logits / self.config.scales.logits

    def _with_embeddings(self, rows: Sequence[Row], h: Tensor) -> Tensor:
        """Embeddings h of all rows' tokens, with those that rows bring themselves before them."""
        parts: list[Tensor] = []
        start = 0
        for row in rows:
            if row.before is not None:
                parts.append(row.before.to(h.device, h.dtype) * self.config.scales.embedding)
            parts.append(h[start : (start := start + len(row.tokens))])
        return torch.cat(parts)

    def _heads(self, index: int, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a layer, from `y[N, q + k + v]`, in fp32.

        Queries and keys are normalized where the base does so, and rotated unless the layer goes without.

        The bias joins in fp32 too: Qwen2's keys have biases so large that bf16 would lose the rest.
        """
        config, layer = self.config, self.layers[index]
        y = y.float()
        if layer.qkv_bias is not None:
            y = y + layer.qkv_bias
        y = y.view(y.shape[0], -1, config.head_dim)
        turned, v = y[:, : config.heads + config.kv_heads], y[:, config.heads + config.kv_heads :]
        if layer.q_norm is not None and layer.k_norm is not None:
            parts = ((turned[:, : config.heads], layer.q_norm), (turned[:, config.heads :], layer.k_norm))
            turned = torch.cat([rms_norm(x, (config.head_dim,), w.float(), config.rms_eps) for x, w in parts], dim=1)
        if index not in config.rope.skipped:
            turned = rotate(turned, cos, sin)
        q, k = turned[:, : config.heads], turned[:, config.heads :]
        if config.scales.attention is not None:  # caches attend with head_dim ** -0.5
            q = q * (config.scales.attention * config.head_dim**0.5)
        return q, k, v

    def _angles(self, plan: Plan) -> tuple[Tensor, Tensor]:
        parts = [self.rope.at(cache.length, end - start) for cache, start, end in plan]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([cos for cos, _ in parts]), torch.cat([sin for _, sin in parts])


def _attending(cache: Cache | NativeCache) -> Cache:
    if isinstance(cache, NativeCache):
        raise TypeError("the torch decoder cannot read a cache of the C decoder: use its own new_cache")
    return cache


def _flatten(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Segments]:
    """All rows' tokens in one vector, and where each row's stand."""
    segments, start, parts = [], 0, []
    for row in rows:
        tokens = torch.as_tensor(row.tokens, dtype=torch.long, device=device)
        count = tokens.numel() + (0 if row.before is None else row.before.shape[0])
        if count == 0:
            raise ValueError("a row of a forward needs at least one token")
        segments.append((start, start + count, row.slot))
        start += count
        parts.append(tokens)
    return (parts[0] if len(parts) == 1 else torch.cat(parts)), tuple(segments)
