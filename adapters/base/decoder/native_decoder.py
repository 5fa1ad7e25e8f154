"""The decoder's forward pass in C, for a CPU: one call a forward, whatever its rows."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.decoder import Attached, Forward, Layer, Row
from loraloop.adapters.base.decoder.native_cache import NativeCache, PagePool
from loraloop.adapters.base.decoder.rope import RopeTable
from loraloop.kernels.cpu import native_types as c
from loraloop.kernels.cpu.tiles import GROUP, LANES, TiledWeight
from loraloop.kernels.quantized import Weight

if TYPE_CHECKING:
    from loraloop.adapters.payload.attached_native import SlotTable
    from loraloop.kernels.cpu.native import Native

_MOST_HEAD = 256  # of head_dim


def serves(config: ModelConfig) -> bool:
    """Whether the kernels' tiles fit a base's dimensions; others are served by torch."""
    widths = (config.hidden_size, config.intermediate_size, config.heads * config.head_dim)
    return (
        all(width % GROUP == 0 for width in widths)
        and config.kv_heads * config.head_dim % LANES == 0
        and config.head_dim % GROUP == 0
        and config.head_dim <= _MOST_HEAD
        and config.heads // config.kv_heads <= 64
    )


@dataclass(slots=True)
class NativeDecoder:
    """Weights in tiles and the forward pass over them; the counterpart of `Decoder`.

    The residual stream and the norms are fp32; activations enter products in 8 bits, in groups of 32
    (quantized weights), or in bf16; keys and values are kept in bf16.
    """

    config: ModelConfig
    embedding: TiledWeight
    layers: list[Layer]
    norm: Tensor
    head: Weight
    native: Native
    dtype: torch.dtype = torch.bfloat16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rope: RopeTable = field(init=False)
    _model: c.CModel = field(init=False)
    _pages: PagePool = field(init=False)
    _alive: list[Any] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        config = self.config
        self.rope = RopeTable(config, self.device)
        self._pages = PagePool(config.layers, config.kv_heads, config.head_dim)
        layers = (c.CLayer * config.layers)()
        for index, (made, layer) in enumerate(zip(layers, self.layers, strict=True)):
            made.rotated = index not in config.rope.skipped
            bias = None if layer.qkv_bias is None else self._vector(layer.qkv_bias)
            weights = (layer.qkv, layer.o, layer.gate_up, layer.down)
            made.groups[:] = [c.CLinear.of(w, bias if w is layer.qkv else None) for w in weights]
            for name in ("attention_norm", "mlp_norm", "q_norm", "k_norm"):
                values = getattr(layer, name)
                setattr(made, name, None if values is None else self._vector(values).data_ptr())
        shape = c.CShape(config.heads, config.kv_heads, config.head_dim, config.sliding_window or 0)
        shape.scale = config.head_dim**-0.5 if config.scales.attention is None else config.scales.attention
        self._model = c.CModel(
            attention=shape,
            hidden=config.hidden_size,
            inner=config.intermediate_size,
            layers=config.layers,
            eps=config.rms_eps,
            residual_scale=config.scales.residual,
            embedding_scale=config.scales.embedding,
            layer=ctypes.cast(layers, ctypes.POINTER(c.CLayer)),
            norm=self._vector(self.norm).data_ptr(),
            head=c.CLinear.of(self.head),
            embedding=c.CLinear.of(self.embedding),
        )
        self._alive.append(layers)

    def _vector(self, values: Tensor) -> Tensor:
        """A tensor in fp32 that stays alive."""
        wide = values.float().contiguous()
        self._alive.append(wide)
        return wide

    def new_cache(self, capacity: int = 0) -> NativeCache:
        """An empty cache."""
        return NativeCache(self._pages, capacity)

    def forward(self, rows: Sequence[Row], attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        """Runs all rows' tokens through the layers and appends them to their caches; see `Decoder.forward`.

        Args:
            rows: at least one, each with at least one token or embedding and a `NativeCache` of its own.
            attached: a bank's `NativeAttached` for the rows on slots other than 0; None runs the bare base.
            keep: layers whose output `[N, H]` (fp32) the result keeps.

        Raises:
            TypeError: caches or adapters of the torch decoder.
            ValueError: no tokens, unknown ones, or one cache twice.
        """
        if len({id(row.cache) for row in rows}) < len(rows):
            raise ValueError("two rows of a forward cannot extend one cache: give each its own, or a fork")
        made = (c.CRow * len(rows))()
        alive: list[object] = []  # what the request points to
        tokens: list[int] = []
        prompts: list[Tensor] = []  # embeddings that rows bring themselves
        count = furthest = 0
        for place, row in zip(made, rows, strict=True):
            cache = row.cache
            if not isinstance(cache, NativeCache):
                raise TypeError(f"the C decoder needs caches from Base.new_cache, not {type(cache).__name__}")
            ids = row.tokens.tolist() if isinstance(row.tokens, Tensor) else row.tokens
            if ids and not 0 <= min(ids) <= max(ids) < self.config.vocab_size:
                raise ValueError(f"token ids lie in 0..{self.config.vocab_size - 1}, not {min(ids)}..{max(ids)}")
            if row.before is not None:
                ids = [*range(-1 - count, -1 - (count := count + len(row.before)), -1), *ids]
                prompts.append(row.before)
            if not ids:
                raise ValueError("a row of a forward needs at least one token")
            cache.begin(len(ids))
            place.cache = c.CCache(cache.table, cache.length)
            place.tokens = len(ids)
            if attached is not None and row.slot:
                alive.append(_point(place, attached, row.slot))
            tokens.extend(ids)
            furthest = max(furthest, cache.length + len(ids))
        cos, sin = self.rope.at(0, furthest)
        shape = (len(tokens), self.config.hidden_size)
        hidden = torch.empty(shape)
        kept = {layer: torch.empty(shape) for layer in sorted(set(keep))}
        ids_ = (ctypes.c_int64 * len(tokens))(*tokens)
        numbers = (ctypes.c_int64 * len(kept))(*kept)
        places = (ctypes.c_void_p * len(kept))(*(states.data_ptr() for states in kept.values()))
        alive += ids_, numbers, places
        request = c.CRequest(
            model=ctypes.pointer(self._model),
            rows=made,
            count=len(rows),
            tokens=ctypes.addressof(ids_),
            cos=cos.data_ptr(),
            sin=sin.data_ptr(),
            hidden=hidden.data_ptr(),
            kept=len(kept),
            keep=ctypes.addressof(numbers),
            kept_to=ctypes.addressof(places),
        )
        if prompts:
            embeddings = torch.cat(prompts).float().contiguous()
            if embeddings.shape != (count, self.config.hidden_size):
                raise ValueError(f"embeddings are [P, {self.config.hidden_size}], not {list(embeddings.shape)}")
            request.embeddings = embeddings.data_ptr()
        self.native.forward(request)
        del alive
        for row in rows:
            row.cache.commit()
        return Forward(hidden, kept)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[M, V]`, fp32, of final-normed states `[M, H]`."""
        return self.native.product(self._model.head, hidden, 1 / self.config.scales.logits)


def _point(place: c.CRow, attached: Attached, slot: int) -> SlotTable:
    """Lets a row use a slot; returns what must live as long as the row."""
    from loraloop.adapters.payload.attached_native import NativeAttached

    if not isinstance(attached, NativeAttached):
        raise TypeError(f"the C decoder reads a bank's slots, not {type(attached).__name__}")
    table = attached.tables[slot]
    place.pairs, place.beyond = table.address, table.beyond
    return table
