"""The training forward: a batch's branches on their trunks.

It computes what `Decoder.forward` computes over `BranchCache`s. Products run on flat `[N, H]` matrices without padding.
Attention takes the rows one by one on a CPU, and all at once, padded, elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.decoder import Decoder, Layer
from loraloop.adapters.payload.payload import PartsBeyond, PayloadAttached
from loraloop.adapters.training.forward.fused import (
    AdaptedLinear,
    Attend,
    Dense,
    Linear,
    RmsNorm,
    SwiGlu,
    apply,
    attend,
    keep_mask,
)
from loraloop.adapters.training.forward.past import Past
from loraloop.adapters.training.forward.plan import Plan, RowSpan
from loraloop.kernels.quantized import Weight


@dataclass(frozen=True, slots=True)
class Dropout:
    """Dropout on the adapters' input: each call's mask follows from the seed and the place."""

    rate: float
    seed: int

    def at(self, layer: int, group: str) -> int:
        return (self.seed * 1_000_003 + layer * 8 + ("qkv", "o", "gate_up", "down").index(group)) % (1 << 62)


@dataclass(slots=True)
class BranchForward:
    """One forward of branches over the layers.

    Attributes:
        decoder: over dense weights, or others with a gradient of their own.
        plan: where the rows' tokens stand, and which states are wanted.
        past: the trunks' keys and values; None: there are none.
        attached: the payload on all rows; None: the bare base.
        dropout: on the adapters' input.
        checkpointing: keep each layer's input alone and compute the layer again in the backward.
    """

    decoder: Decoder
    plan: Plan
    past: Past | None = None
    attached: PayloadAttached | None = None
    dropout: Dropout | None = None
    checkpointing: bool = False
    _cos: Tensor = field(init=False)
    _sin: Tensor = field(init=False)
    _spans: list[tuple[RowSpan, Tensor]] = field(init=False)
    _beyond: PartsBeyond = field(init=False)

    def __post_init__(self) -> None:
        self._cos, self._sin = self.plan.angles(self.decoder.rope)
        device, window = self.plan.tokens.device, self.decoder.config.sliding_window
        spans = self.plan.spans(1 if device.type == "cpu" and not self._alone else None)
        self._spans = [(span, span.bias(window, device)) for span in spans]
        whole = ((0, self.plan.total, 1),)
        beyond = None if self.attached is None else self.attached.beyond(whole)
        self._beyond = beyond or PartsBeyond([None], whole)

    @property
    def _alone(self) -> bool:
        """Whether rows see only themselves and no graph is kept: then attention goes in blocks."""
        prefix = self.attached is not None and self.attached.payload.prefix
        return self.past is None and not prefix and not torch.is_grad_enabled()

    def states(self) -> Tensor:
        """Final-normed states `[M, H]` of the places that the plan wants."""
        decoder = self.decoder
        h = self._embedded()
        last = decoder.config.layers - 1
        for index in range(last + 1):
            wanted = self.plan.wanted if index == last else None
            if self.checkpointing and torch.is_grad_enabled():
                from torch.utils.checkpoint import checkpoint

                h = checkpoint(self._layer, index, h, wanted, use_reentrant=False, preserve_rng_state=False)
            else:
                h = self._layer(index, h, wanted)
        return _norm(h, decoder.norm, decoder.config.rms_eps)

    def keys_values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Keys and values `[B, kv_heads, L, D]` of each layer, where the rows are trunks. The last is cut short."""
        h, (whole,) = self._embedded(), self.plan.spans()
        last = self.decoder.config.layers - 1
        for index in range(last + 1):
            q, k, v = self._projected(index, h)
            yield whole.padded(k), whole.padded(v)
            if index < last:
                h = self._rest(index, h, self._attended(index, q, k, v))

    def _embedded(self) -> Tensor:
        h = self.decoder.embed(self.plan.tokens)
        prompt = None if self.attached is None else self.attached.payload.prompt
        if prompt is None:
            return h
        embeddings = prompt.to(h.device, h.dtype) * self.decoder.config.scales.embedding
        parts = [part for row in torch.split(h, self.plan.lengths) for part in (embeddings, row)]
        return torch.cat(parts)

    def _layer(self, index: int, h: Tensor, wanted: Tensor | None) -> Tensor:
        x = self._attended(index, *self._projected(index, h))
        if wanted is not None:
            x, h = x.index_select(0, wanted), h.index_select(0, wanted)
        return self._rest(index, h, x)

    def _projected(self, index: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `[N, heads, D]`, rotated."""
        layer, config = self.decoder.layers[index], self.decoder.config
        x = self._beyond.input(index, "qkv", _norm(h, layer.attention_norm, config.rms_eps))
        y = self._product(index, layer, "qkv", x)
        dtype = torch.float32 if config.qkv_bias else self.decoder.dtype
        q, k, v = self.decoder._heads(index, y, self._cos, self._sin)
        if not self._alone:
            q, k = q.to(dtype), k.to(dtype)
        return q, k, v.to(dtype)

    def _attended(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What attention gives, `[N, heads · D]`."""
        prefix = () if self.attached is None else self.attached.payload.prefix.get(index, ())
        parts = []
        for span, bias in self._spans:
            rows_q, rows_k, rows_v = span.padded(q), span.padded(k), span.padded(v)
            batch, heads, length, dim = rows_q.shape
            kv_heads = rows_k.shape[1]
            if self._alone:
                grouped = rows_q.reshape(batch, kv_heads, heads // kv_heads, length, dim)
                x = attend(grouped, rows_k, rows_v, bias)
            else:
                if prefix:
                    rows_k, rows_v = (
                        torch.cat([part.to(own.dtype).transpose(0, 1).expand(batch, -1, -1, -1), own], dim=2)
                        for part, own in zip(prefix, (rows_k, rows_v), strict=True)
                    )
                own = rows_q.reshape(batch, kv_heads, heads // kv_heads * length, dim), rows_k, rows_v
                x = apply(Attend, *own, bias, *(() if self.past is None else self.past.layer(index, span.rows)))
            parts.append(span.flat(x.reshape(batch, heads, length, dim)))
        return torch.cat(parts).to(self.decoder.dtype)

    def _rest(self, index: int, h: Tensor, x: Tensor) -> Tensor:
        """From attention's result to the layer's output; both may be a choice of rows."""
        layer, config = self.decoder.layers[index], self.decoder.config
        y = self._product(index, layer, "o", self._beyond.input(index, "o", x))
        h = self._added(h, self._beyond.output(index, "attention", y))
        x = self._beyond.input(index, "gate_up", _norm(h, layer.mlp_norm, config.rms_eps))
        y = self._product(index, layer, "gate_up", x)
        x = self._beyond.input(index, "down", apply(SwiGlu, y))
        y = self._product(index, layer, "down", x)
        return self._added(h, self._beyond.output(index, "mlp", y))

    def _added(self, h: Tensor, y: Tensor) -> Tensor:
        scale = self.decoder.config.scales.residual
        return h + y if scale == 1.0 else torch.add(h, y, alpha=scale)

    def _product(self, index: int, layer: Layer, group: str, x: Tensor) -> Tensor:
        weight: Weight = getattr(layer, group)
        pair = None if self.attached is None else self.attached.payload.pairs.get((index, group))
        dense = weight if isinstance(weight, Dense) else None
        rate, seed = (self.dropout.rate, self.dropout.at(index, group)) if self.dropout else (0.0, 0)
        if pair is not None and dense is not None:
            y = apply(AdaptedLinear, x, pair.A, pair.B, (dense, rate, seed))
        else:
            y = weight(x) if dense is None else apply(Linear, x, dense)
            if pair is not None:
                dropped = x * keep_mask(x, rate, seed) if rate else x
                y = y + (dropped @ pair.A.T) @ pair.B.T
        return self._beyond.product(index, group, y)


def _norm(h: Tensor, weight: Tensor, eps: float) -> Tensor:
    return apply(RmsNorm, h, weight, eps)


def prefill(decoder: Decoder, trunks: Sequence[Sequence[int]], past: Past | None = None) -> Past:
    """Keys and values of trunks (or of what follows on `past`, which is not repeated), by the bare base."""
    plan = Plan.of(trunks, decoder.device, past.lengths if past else None)
    store: Tensor | None = None
    with torch.no_grad():
        for index, (k, v) in enumerate(BranchForward(decoder, plan, past).keys_values()):
            if store is None:
                store = v.new_empty(decoder.config.layers, 2, *v.shape)
            store[index, 0], store[index, 1] = k, v
    assert store is not None
    return Past(store, tuple(len(trunk) for trunk in trunks))
