"""The key-value cache of the C decoder: bf16, in the layout of csrc/attention.h."""

from __future__ import annotations

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import Prefix
from loraloop.kernels.cpu.memory import zeros

BLOCK = 16  # positions that stand together
STEP = 256  # positions a cache grows by, at least


class NativeCache:
    """A cache of one row, grown in steps; truncating it is setting a number.

    Attributes:
        data: bf16 `[layers, 2, kv_heads, blocks, 16 * head_dim]`: keys and values in blocks of 16 positions. What was
            never written is zero: masked positions are multiplied by zero, which must not meet a NaN.
    """

    __slots__ = ("_pending", "data", "length")

    def __init__(self, layers: int, kv_heads: int, head_dim: int, capacity: int = STEP) -> None:
        blocks = -(-capacity // BLOCK)
        self.data = zeros(layers, 2, kv_heads, blocks, BLOCK * head_dim, dtype=torch.bfloat16)
        self.length = 0
        self._pending = 0

    @property
    def capacity(self) -> int:
        return self.data.shape[3] * BLOCK

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def begin(self, count: int) -> None:
        """Makes room for `count` more tokens."""
        need = self.length + count
        if need > self.capacity:
            grown = max(need, self.capacity + self.capacity // 2)
            blocks, used = -(-grown // STEP) * STEP // BLOCK, -(-self.length // BLOCK)
            layers, halves, heads, _, width = self.data.shape
            data = zeros(layers, halves, heads, blocks, width, dtype=torch.bfloat16)
            data[:, :, :, :used] = self.data[:, :, :, :used]
            self.data = data
        self._pending = count

    def commit(self) -> None:
        """Keeps what the last forward appended."""
        self.length += self._pending
        self._pending = 0

    def extend(self, prefix: Prefix) -> None:
        """Appends P positions whose keys and values are given, without a graph; see `cache.Prefix`."""
        with torch.inference_mode() if self.data.is_inference() else torch.no_grad():
            keys, values = (torch.stack([pair[i] for _, pair in sorted(prefix.items())]) for i in (0, 1))
            layers, count, heads, dim = keys.shape
            self.begin(count)
            at = torch.arange(self.length, self.length + count)
            block, lane = at // BLOCK, at % BLOCK
            whole = self.data.view(layers, 2, heads, -1, BLOCK * dim)
            theirs = whole[:, 0].view(layers, heads, -1, dim // 2, BLOCK, 2)
            theirs[:, :, block, :, lane] = keys.bfloat16().view(layers, count, heads, dim // 2, 2).transpose(0, 1)
            ours = whole[:, 1].view(layers, heads, -1, BLOCK // 2, dim, 2)
            ours[:, :, block, lane // 2, :, lane % 2] = values.bfloat16().transpose(0, 1)
        self.commit()

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens, and writes zeros there. Nothing else moves."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        if length < self.length:
            self._clear(length)
        self.length = length

    def _clear(self, start: int) -> None:
        """Zeros from `start` to the end of what is held: masked positions must not meet what is not finite."""
        with torch.inference_mode() if self.data.is_inference() else torch.no_grad():
            block, lane, end = start // BLOCK, start % BLOCK, -(-self.length // BLOCK)
            if lane:
                layers, _, heads, _, width = self.data.shape
                edge = self.data[:, :, :, block]
                edge[:, 0].view(layers, heads, -1, BLOCK, 2)[:, :, :, lane:] = 0
                values = edge[:, 1].view(layers, heads, BLOCK // 2, width // BLOCK, 2)
                values[:, :, lane // 2, :, lane % 2 :] = 0
                values[:, :, lane // 2 + 1 :] = 0
                block += 1
            self.data[:, :, :, block:end] = 0

    def trim(self) -> None:
        """Gives memory back where more than half of it holds nothing; for a cache that rests."""
        used = max(-(-self.length // BLOCK), 1)
        if 2 * used < self.data.shape[3]:
            layers, halves, heads, _, width = self.data.shape
            data = zeros(layers, halves, heads, used, width, dtype=torch.bfloat16)
            data.copy_(self.data[:, :, :, :used])
            self.data = data

    def fork(self) -> NativeCache:
        """A copy that grows apart from this one."""
        other = object.__new__(NativeCache)
        other.data, other.length, other._pending = zeros(*self.data.shape, dtype=self.data.dtype), self.length, 0
        used = -(-self.length // BLOCK)
        other.data[:, :, :, :used] = self.data[:, :, :, :used]
        return other

    def follow(self, other: NativeCache, start: int) -> None:
        """Becomes equal to `other`, with which it shares the first `start` tokens: only what follows is copied."""
        with torch.inference_mode():
            if self.length > other.length:
                self.truncate(other.length)
            if self.capacity < other.length:
                self.length = min(start, self.length)
                self.begin(other.length - self.length)
            first, end = start // BLOCK, -(-other.length // BLOCK)
            self.data[:, :, :, first:end] = other.data[:, :, :, first:end]
            self.length, self._pending = other.length, 0

    def planes(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[kv_heads, length, head_dim]` of a layer, in fp32."""
        keys, values = self.data[layer].float()
        heads, blocks, width = keys.shape
        dim = width // BLOCK
        keys = keys.view(heads, blocks, dim // 2, BLOCK, 2).permute(0, 1, 3, 2, 4).reshape(heads, -1, dim)
        values = values.view(heads, blocks, BLOCK // 2, dim, 2).transpose(3, 4).reshape(heads, -1, dim)
        return keys[:, : self.length], values[:, : self.length]
