"""The key-value cache of the C decoder: bf16, in pages that several caches may share (csrc/attention.h).

A fork shares all pages of the cache that it is made of. A page that was shared is *frozen*: nobody writes to it any
more. Whoever goes on from the middle of one takes a copy of it first, so a fork copies at most its last page. A page's
memory is used again when no cache holds it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import KVCache, Prefix
from loraloop.kernels.cpu.memory import block

LANES = 16  # positions that stand together
PAGE = 128  # positions of a page; csrc/attention.h says the same
_SLAB = 8  # pages that are allocated together, so that huge pages serve them


class PagePlace(NamedTuple):
    """Where a page is: its numbers, the memory that they are in, and from which byte."""

    data: Tensor
    memory: mmap.mmap
    start: int


class PagePool:
    """Where the caches of one decoder get their pages from. Thread-safe.

    What pages hold goes back to the system once nobody holds them, but for some; on Linux only, elsewhere it is kept.

    Attributes:
        SPARE: Free pages whose memory is kept.
        bytes: Bytes of one page.
    """

    SPARE = 16

    def __init__(self, layers: int, kv_heads: int, head_dim: int) -> None:
        self.layers, self.kv_heads, self.head_dim = layers, kv_heads, head_dim
        self.bytes = layers * 2 * kv_heads * PAGE * head_dim * 2
        self._fresh: list[PagePlace] = []
        self._used: list[PagePlace] = []
        self._lock = Lock()
        whole = sys.platform == "linux" and self.bytes % mmap.PAGESIZE == 0
        self._forget = mmap.MADV_DONTNEED if whole else None  # held here for pages that outlive this module

    def page(self) -> Page:
        """A page of zeros: masked positions are multiplied by zero, which must not meet a NaN."""
        if self._used:
            try:
                place = self._used.pop()
            except IndexError:  # another thread took it
                return self.page()
            with torch.inference_mode():
                place.data.zero_()
            return Page(self, place)
        with self._lock:
            if not self._fresh:
                memory, shape = block(_SLAB * self.bytes), (self.layers, 2, self.kv_heads, PAGE // LANES, -1)
                for at in range(_SLAB):
                    flat = torch.frombuffer(memory, dtype=torch.bfloat16, count=self.bytes // 2, offset=at * self.bytes)
                    self._fresh.append(PagePlace(flat.view(shape), memory, at * self.bytes))
            return Page(self, self._fresh.pop())

    def give_back(self, place: PagePlace) -> None:
        """Takes a page that nobody holds, in whatever thread, also while the interpreter ends and modules are empty."""
        if self._forget is None or len(self._used) < self.SPARE:
            self._used.append(place)
        else:
            place.memory.madvise(self._forget, place.start, self.bytes)  # reads as zeros from now on
            self._fresh.append(place)


class Page:
    """PAGE positions of all layers.

    Attributes:
        data: bf16 `[layers, 2, kv_heads, blocks, 16 * head_dim]`: keys and values in blocks of 16 positions.
        frozen: Whether nobody may write to it.
    """

    __slots__ = ("_place", "_pool", "data", "frozen")

    def __init__(self, pool: PagePool, place: PagePlace) -> None:
        self._pool, self._place, self.data, self.frozen = pool, place, place.data, False

    def __del__(self) -> None:
        self._pool.give_back(self._place)

    def keys(self) -> Tensor:
        """`[layers, kv_heads, blocks, head_dim / 2, 16, 2]`."""
        pool = self._pool
        return self.data[:, 0].view((pool.layers, pool.kv_heads, -1, pool.head_dim // 2, LANES, 2))

    def values(self) -> Tensor:
        """`[layers, kv_heads, blocks, 8, head_dim, 2]`."""
        pool = self._pool
        return self.data[:, 1].view((pool.layers, pool.kv_heads, -1, LANES // 2, pool.head_dim, 2))

    def clear(self, start: int, end: int = PAGE) -> None:
        """Writes zeros from position `start` on; from `end` on there are zeros already."""
        with torch.inference_mode():
            at, lane, last = start // LANES, start % LANES, -(-end // LANES)
            if lane:
                self.keys()[:, :, at, :, lane:] = 0
                values = self.values()[:, :, at]
                values[:, :, lane // 2, :, lane % 2 :] = 0
                values[:, :, lane // 2 + 1 :] = 0
                at += 1
            if at < last:
                self.data[:, :, :, at:last] = 0

    def copy(self, count: int) -> Page:
        """A page of its own that begins with the same `count` positions."""
        other, blocks = self._pool.page(), -(-count // LANES)
        with torch.inference_mode():
            other.data[:, :, :, :blocks] = self.data[:, :, :, :blocks]
        if count % LANES:
            other.clear(count)
        return other


class NativeCache:
    """A cache of one row; truncating it is forgetting pages, forking it is sharing them.

    Args:
        pool: Gives the pages.
        capacity: Positions to make room for at once.

    Attributes:
        pages: In their order; what stands beyond `length` in the last one is zero, or it is frozen.
        length: Positions that are held.
    """

    __slots__ = ("_pending", "_pool", "_table", "length", "pages")

    def __init__(self, pool: PagePool, capacity: int = 0) -> None:
        self._pool = pool
        self.pages: list[Page] = []
        self.length = self._pending = 0
        self._table: ctypes.Array[ctypes.c_void_p] | None = None
        self._grow(capacity)

    @property
    def capacity(self) -> int:
        return len(self.pages) * PAGE

    @property
    def nbytes(self) -> int:
        """Bytes of all its pages, shared ones included."""
        return len(self.pages) * self._pool.bytes

    @property
    def table(self) -> int:
        """Address of the pages' addresses."""
        if self._table is None:
            self._table = (ctypes.c_void_p * len(self.pages))(*(page.data.data_ptr() for page in self.pages))
        return ctypes.addressof(self._table)

    def begin(self, count: int) -> None:
        """Makes room for `count` more tokens, on pages that are its own."""
        at, used = self.length // PAGE, self.length % PAGE
        if used and self.pages[at].frozen:
            self.pages[at], self._table = self.pages[at].copy(used), None
        self._grow(self.length + count)
        self._pending = count

    def commit(self) -> None:
        """Keeps what the last forward appended."""
        self.length += self._pending
        self._pending = 0

    def extend(self, prefix: Prefix) -> None:
        """Appends P positions whose keys and values are given, without a graph; see `cache.Prefix`."""
        keys, values = (torch.stack([pair[i] for _, pair in sorted(prefix.items())]) for i in (0, 1))
        layers, count, heads, dim = keys.shape
        self.begin(count)
        at = torch.arange(self.length, self.length + count)
        with torch.inference_mode():
            for number in range(self.length // PAGE, (self.length + count - 1) // PAGE + 1):
                here = at // PAGE == number
                block, lane = at[here] % PAGE // LANES, at[here] % LANES
                part = keys[:, here].bfloat16().view(layers, -1, heads, dim // 2, 2)
                self.pages[number].keys()[:, :, block, :, lane] = part.transpose(0, 1)
                part = values[:, here].bfloat16()
                self.pages[number].values()[:, :, block, lane // 2, :, lane % 2] = part.transpose(0, 1)
        self.commit()

    def truncate(self, length: int) -> None:
        """Forgets everything after `length` tokens. No page moves."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        if length == self.length:
            return
        before, self.length = self.length, length
        self.trim()
        if length % PAGE and not self.pages[-1].frozen:
            self.pages[-1].clear(length % PAGE, min(before - length // PAGE * PAGE, PAGE))

    def trim(self) -> None:
        """Gives back pages that hold nothing."""
        count = -(-self.length // PAGE)
        if count < len(self.pages):
            del self.pages[count:]
            self._table = None

    def fork(self, length: int | None = None) -> NativeCache:
        """A cache that shares the pages of the first `length` tokens, or of all, and grows apart from this one."""
        other = NativeCache(self._pool)
        other.length = self.length if length is None else length
        other.pages = self.pages[: -(-other.length // PAGE)]
        for page in other.pages:
            page.frozen = True
        return other

    def saved(self) -> Tensor:
        """What its pages hold, bf16 `[pages, layers, 2, kv_heads, blocks, 16 * head_dim]`; zeros after its length."""
        last = self.length % PAGE
        pages = [page if (at + 1) * PAGE <= self.length else page.copy(last) for at, page in enumerate(self.pages)]
        return torch.stack([page.data for page in pages[: -(-self.length // PAGE)]])

    def restore(self, pages: Tensor, length: int) -> None:
        """Takes what `saved` gave of a cache of this length, in the place of what it holds.

        Args:
            pages: bf16 `[pages, layers, 2, kv_heads, blocks, 16 * head_dim]`, as `saved` gives them.
            length: Positions that count in them; their number decides how many pages there have to be.

        Raises:
            ValueError: The pages are not of this shape.
        """
        pool = self._pool
        shape = (-(-length // PAGE), pool.layers, 2, pool.kv_heads, PAGE // LANES, LANES * pool.head_dim)
        if tuple(pages.shape) != shape or pages.dtype != torch.bfloat16:
            raise ValueError(f"wanted bf16 {list(shape)}, not {pages.dtype} {list(pages.shape)}")
        self.truncate(0)
        self._grow(length)
        with torch.inference_mode():
            for page, data in zip(self.pages, pages, strict=True):
                page.data.copy_(data)
        self.length = length

    def planes(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[kv_heads, length, head_dim]` of a layer, in fp32."""
        heads, dim = self._pool.kv_heads, self._pool.head_dim
        keys = torch.cat([page.keys()[layer] for page in self.pages], dim=1).float()
        values = torch.cat([page.values()[layer] for page in self.pages], dim=1).float()
        keys = keys.permute(0, 1, 3, 2, 4).reshape(heads, -1, dim)
        values = values.transpose(3, 4).reshape(heads, -1, dim)
        return keys[:, : self.length], values[:, : self.length]

    def _grow(self, capacity: int) -> None:
        while len(self.pages) * PAGE < capacity:
            self.pages.append(self._pool.page())
            self._table = None


AnyCache = KVCache | NativeCache


def distinct(caches: Iterable[AnyCache]) -> tuple[int, int]:
    """Positions and bytes that caches take; a page that several of them share counts once."""
    pages: dict[int, int] = {}
    positions = size = 0
    for cache in caches:
        if isinstance(cache, NativeCache):
            pages.update((id(page), cache._pool.bytes) for page in cache.pages)
        else:
            positions, size = positions + cache.capacity, size + cache.nbytes
    return positions + len(pages) * PAGE, size + sum(pages.values())
