"""Key-value caches: what a row of a forward attends to.

A forward calls `begin(T)` once, `attend` once a layer, then `commit()`. Keys and values are kept in fp32 on a
CPU, where attention at decode is many times quicker than in bf16, and in the compute dtype on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

STEP = 256  # positions a cache grows by, at least

Prefix = Mapping[int, tuple[Tensor, Tensor]]
"""The rotated keys and values [P, kv_heads, head_dim] of every layer."""


class Cache(Protocol):
    """The interface of a cache, as the decoder uses it."""

    length: int

    def begin(self, count: int) -> None: ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Appends the keys and values of T new tokens to a layer, and attends to all that it holds then.

        Args:
            layer: Index of the layer, from 0.
            q: Queries `[T, heads, D]` of the new tokens, rotated already.
            k: Their keys `[T, kv_heads, D]`, rotated already.
            v: Their values `[T, kv_heads, D]`.

        Returns:
            What attention gives, `[T, heads * D]`.
        """
        ...

    def commit(self) -> None: ...


def grouped_mask(past: int, count: int, group: int, device: torch.device, window: int | None = None) -> Tensor:
    """Which of `past + count` positions each of `count` new tokens sees, repeated for `group` query heads.

    Args:
        past: Positions before the new tokens.
        count: New tokens.
        group: Query heads that share a key head.
        device: Where the mask is made.
        window: Positions that a token sees at most: itself and the `window - 1` before it. None for all.

    Returns:
        bool `[group * count, past + count]`, True where a position is seen.
    """
    seen = torch.ones(count, past + count, dtype=torch.bool, device=device).tril_(past)
    if window is not None:
        seen.triu_(past - window + 1)
    return seen.repeat(group, 1)


class KVCache:
    """A contiguous cache of one row, grown in steps; truncating it is setting a number.

    Shapes: keys and values are `[layers][1, kv_heads, capacity, head_dim]`. With a `window`, a token sees itself and
    the `window - 1` positions before it; all positions are kept, so that truncating works as ever.

    Args:
        layers: The base's layers.
        kv_heads: Heads of keys and values.
        head_dim: Size of a head.
        dtype: Dtype of keys and values.
        device: Where they lie.
        capacity: Tokens for which there is room at first.
        window: Positions that a token sees at most; None for all.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        capacity: int = STEP,
        window: int | None = None,
    ) -> None:
        self.length = 0
        self.window = window
        self._shape = (kv_heads, head_dim)
        self._store = torch.empty(2 * layers, 1, kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self._bind()
        self._pending = 0
        self._mask: Tensor | None = None

    def _bind(self) -> None:
        planes = self._store.unbind(0)
        half = len(planes) // 2
        self.keys, self.values = planes[:half], planes[half:]

    @property
    def capacity(self) -> int:
        return self._store.shape[3]

    @property
    def nbytes(self) -> int:
        return self._store.nbytes

    @property
    def address(self) -> int:
        """Where its store `[2 * layers, kv_heads, capacity, head_dim]` lies: all layers' keys, then their values."""
        return self._store.data_ptr()

    def begin(self, count: int) -> None:
        """Makes room for `count` more tokens."""
        need = self.length + count
        if need > self.capacity:
            grown = max(need, self.capacity + self.capacity // 2)
            grown = (grown + STEP - 1) // STEP * STEP
            planes, batch, heads, _, dim = self._store.shape
            store = torch.empty(planes, batch, heads, grown, dim, dtype=self._store.dtype, device=self._store.device)
            store[:, :, :, : self.length] = self._store[:, :, :, : self.length]
            self._store = store
            self._bind()
        self._pending = count
        self._mask = None

    def trim(self) -> None:
        """Gives memory back where more than half of it holds nothing; for a cache that rests."""
        used = max(self.length, 1)
        if 2 * used < self.capacity:
            self._store = self._store[:, :, :, :used].clone()
            self._bind()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Appends `k`, `v` `[T, kv_heads, D]` and attends `q[T, heads, D]` -> `[T, heads * D]`."""
        count, heads, dim = q.shape
        kv_heads = self._shape[0]
        past, end = self.length, self.length + count
        keys, values = self.keys[layer], self.values[layer]
        keys[0, :, past:end] = k.transpose(0, 1)
        values[0, :, past:end] = v.transpose(0, 1)
        q = q.to(keys.dtype)
        group = heads // kv_heads
        hidden = self.window is not None and end > self.window
        if count == 1:
            start = end - self.window if hidden and self.window else 0
            out = sdpa(q.view(1, kv_heads, group, dim), keys[:, :, start:end], values[:, :, start:end])
            return out.view(1, heads * dim)
        if past == 0 and not hidden:
            out = sdpa(
                q.transpose(0, 1)[None], keys[:, :, :end], values[:, :, :end], is_causal=True, enable_gqa=group > 1
            )
            return out[0].transpose(0, 1).reshape(count, heads * dim)
        if self._mask is None:
            self._mask = grouped_mask(past, count, group, q.device, self.window)
        return _grouped(q, keys[:, :, :end], values[:, :, :end], self._mask)

    def commit(self) -> None:
        """Keeps what the last forward appended."""
        self.length += self._pending
        self._pending = 0
        self._mask = None

    def extend(self, prefix: Prefix) -> None:
        """Appends P positions whose keys and values are given, without a graph."""
        with torch.inference_mode() if self._store.is_inference() else torch.no_grad():
            self.begin(next(iter(prefix.values()))[0].shape[0])
            past, end = self.length, self.length + self._pending
            for layer, (keys, values) in prefix.items():
                self.keys[layer][0, :, past:end] = keys.transpose(0, 1)
                self.values[layer][0, :, past:end] = values.transpose(0, 1)
        self.commit()

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens. No tensor moves."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        self.length = length

    def fork(self, length: int | None = None) -> KVCache:
        """A copy of the first `length` tokens, or of all, that grows apart from this one."""
        other = object.__new__(KVCache)
        other.length = count = self.length if length is None else length
        other._shape, other.window = self._shape, self.window
        other._store = torch.empty_like(self._store)
        other._store[:, :, :, :count] = self._store[:, :, :, :count]
        other._bind()
        other._pending, other._mask = 0, None
        return other


class BranchCache:
    """One differentiable forward on top of a trunk's cache, which it reads and never writes.

    Used for training: the trunk's keys and values carry no graph, the branch's do.

    Args:
        trunk: may be empty.
        prefix: keys and values that stand after the trunk's; they carry a graph.
    """

    def __init__(self, trunk: KVCache, prefix: Prefix | None = None) -> None:
        self._prefix = prefix or {}
        self.length = trunk.length + (next(iter(prefix.values()))[0].shape[0] if prefix else 0)
        self._trunk = trunk
        self._mask: Tensor | None = None

    def begin(self, count: int) -> None:
        self._mask = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attends q `[T, heads, D]` to the trunk, the prefix and k and v `[T, kv_heads, D]` -> `[T, heads * D]`."""
        past, before = self.length, self._trunk.length
        keys, values = k.transpose(0, 1)[None], v.transpose(0, 1)[None]
        if self._prefix:
            own, theirs = self._prefix[layer]
            keys = torch.cat([own.to(k.dtype).transpose(0, 1)[None], keys], dim=2)
            values = torch.cat([theirs.to(v.dtype).transpose(0, 1)[None], values], dim=2)
        if before:
            keys = torch.cat([self._trunk.keys[layer][:, :, :before].to(k.dtype), keys], dim=2)
            values = torch.cat([self._trunk.values[layer][:, :, :before].to(v.dtype), values], dim=2)
        if self._mask is None:
            self._mask = grouped_mask(past, q.shape[0], q.shape[1] // k.shape[1], q.device, self._trunk.window)
        return _grouped(q, keys, values, self._mask)

    def commit(self) -> None:
        """Nothing to keep: a branch is dropped after its forward."""


def _grouped(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Query heads that share a key head are laid out as more query positions of it: no key is copied."""
    count, heads, dim = q.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    rows = q.transpose(0, 1).reshape(1, kv_heads, group * count, dim)
    out = sdpa(rows, keys, values, attn_mask=mask)
    return out.view(heads, count, dim).transpose(0, 1).reshape(count, heads * dim)
