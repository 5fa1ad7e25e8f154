"""Attention of a forward's rows on a GPU without dense masks: torch's varlen attention, and our decode kernel.

Rows of one token, whatever their contexts, are one launch. Rows that begin a context are one more, over the keys and
values that the forward has just made. A row that goes on with several tokens is a launch of its own over its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import KVCache

Plan = Sequence[tuple[KVCache, int, int]]
"""Each row's cache, and where its tokens start and end among the forward's."""

DTYPES = (torch.bfloat16, torch.float16)
"""Dtypes of caches that torch's kernels read."""


class FlashRows:
    """What attends for the rows of one forward, layer by layer.

    Args:
        plan: The rows; their caches have room for the tokens.
        layers: Number of the base's layers.
        varlen: `torch.nn.attention.varlen.varlen_attn`.
        decode: `kernels.gpu.triton_attention.decode_attention`, which gives `[B, heads * D]`.
    """

    def __init__(self, plan: Plan, layers: int, varlen: Callable[..., Any], decode: Callable[..., Tensor]) -> None:
        self._plan, self._layers, self._varlen, self._decode = plan, layers, varlen, decode
        self._window = plan[0][0].window
        self._singles = [row for row in plan if row[2] - row[1] == 1]
        self._begun = [row for row in plan if row[2] - row[1] > 1 and not row[0].length]
        self._rest = [row for row in plan if row[2] - row[1] > 1 and row[0].length]
        device = plan[0][0].keys[0].device
        self._table = torch.tensor(
            [[cache.address, cache.capacity, cache.length, start] for cache, start, _ in self._singles] or [[0] * 4],
            dtype=torch.int64,
        ).T.to(device)
        self._ends = [_ends([end - start for _, start, end in self._begun], device)]
        self._ends += [_ends([end - start], device) for _, start, end in self._rest]
        self._seen = [_ends([cache.length + end - start], device) for cache, start, end in self._rest]
        self._places = torch.cat(
            [torch.arange(start, end, device=device) for _, start, end in self._begun]
            or [torch.zeros(0, dtype=torch.int64, device=device)]
        )

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Appends k, v `[N, kv_heads, D]` to the rows' caches and attends q `[N, heads, D]` -> `[N, heads * D]`."""
        kind = self._plan[0][0].keys[0].dtype
        q, k, v = q.to(kind), k.to(kind), v.to(kind)
        out = torch.empty(len(q), q.shape[1] * q.shape[2], dtype=kind, device=q.device)
        if self._singles:
            addresses, capacities, lengths, places = self._table
            own = (q[places], k[places], v[places])
            planes = (layer, self._layers + layer)
            out[places] = self._decode(
                *own, addresses, capacities, lengths, dtype=kind, planes=planes, window=self._window
            ).to(kind)
        for cache, start, end in (*self._begun, *self._rest):
            here = slice(cache.length, cache.length + end - start)
            cache.keys[layer][0, :, here] = k[start:end].transpose(0, 1)
            cache.values[layer][0, :, here] = v[start:end].transpose(0, 1)
        if self._begun:
            at, most = self._places, max(end - start for _, start, end in self._begun)
            out[at] = self._flash((q[at], k[at], v[at]), (self._ends[0], self._ends[0]), (most, most))
        for (cache, start, end), new, seen in zip(self._rest, self._ends[1:], self._seen, strict=True):
            total = cache.length + end - start
            keys, values = (planes[layer][0, :, :total].transpose(0, 1) for planes in (cache.keys, cache.values))
            out[start:end] = self._flash((q[start:end], keys, values), (new, seen), (end - start, total))
        return out

    def _flash(self, qkv: tuple[Tensor, ...], ends: tuple[Tensor, ...], most: tuple[int, int]) -> Tensor:
        """Causal from the end: the last query sees all keys. One split, so that no row's bits depend on its mates."""
        left = -1 if self._window is None else self._window - 1
        found: Tensor = self._varlen(*qkv, *ends, *most, window_size=(left, 0), enable_gqa=True, num_splits=1)
        return found.flatten(1)


def flash_rows(plan: Sequence[tuple[Any, int, int]], layers: int) -> FlashRows | None:
    """For rows whose caches are on a GPU and in 16 bits, where no gradient is wanted; None for others."""
    fits = all(isinstance(cache, KVCache) and cache.keys[0].dtype in DTYPES for cache, _, _ in plan)
    if not fits or torch.is_grad_enabled() or not plan[0][0].keys[0].is_cuda:
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # an older torch
        return None

    from loraloop.kernels.gpu.triton_attention import decode_attention

    return FlashRows(plan, layers, varlen_attn, decode_attention)


def _ends(counts: Sequence[int], device: torch.device) -> Tensor:
    """Where runs of these lengths begin and end, as int32 `[len(counts) + 1]`."""
    return torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
