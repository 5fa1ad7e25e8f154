"""Attention of mixed rows as a GPU does it, against row by row; plain torch stands in for the two kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from loraloop.adapters.base.decoder.cache import KVCache
from loraloop.adapters.base.decoder.flash_rows import FlashRows, flash_rows

HEADS, KV_HEADS, DIM, LAYERS = 4, 2, 16, 2


def varlen(
    q: Tensor, k: Tensor, v: Tensor, new: Tensor, seen: Tensor, *_: Any, window_size: Any, **options: Any
) -> Tensor:
    """`torch.nn.attention.varlen.varlen_attn` as its documentation says; causal from the end of each sequence."""
    assert options == {"enable_gqa": True, "num_splits": 1} and window_size[1] == 0
    out = []
    for at in range(len(new) - 1):
        queries = q[new[at] : new[at + 1]].float().transpose(0, 1)
        keys, values = (t[seen[at] : seen[at + 1]].float().transpose(0, 1).repeat_interleave(2, 0) for t in (k, v))
        distance = (
            torch.arange(keys.shape[1]) - (torch.arange(queries.shape[1]) + keys.shape[1] - queries.shape[1])[:, None]
        )
        masked = (distance > 0) | (distance < -window_size[0] if window_size[0] >= 0 else distance > keys.shape[1])
        scores = (queries @ keys.transpose(1, 2) * DIM**-0.5).masked_fill(masked, -torch.inf).softmax(-1)
        out.append((scores @ values).transpose(0, 1))
    return torch.cat(out).to(q.dtype)


@pytest.mark.parametrize("window", [None, 3, 40])
def test_mixed_rows_attend_as_each_does_alone(window: int | None) -> None:
    torch.manual_seed(0)
    kind, device = torch.bfloat16, torch.device("cpu")
    lengths, counts = (7, 0, 20, 0, 33, 5), (1, 6, 1, 9, 4, 1)  # decoding, beginning and continuing rows
    pairs = []
    for length in lengths:
        cache = KVCache(LAYERS, KV_HEADS, DIM, kind, device, 64, window)
        past = {
            layer: (torch.randn(length, KV_HEADS, DIM), torch.randn(length, KV_HEADS, DIM)) for layer in range(LAYERS)
        }
        if length:
            cache.extend(past)
        pairs.append((cache, cache.fork()))
    by_address = {cache.address: cache for cache, _ in pairs}

    def decode(q: Tensor, k: Tensor, v: Tensor, addresses: Tensor, *rest: Any, planes: Any, **_: Any) -> Tensor:
        caches = [by_address[address] for address in addresses.tolist()]
        assert rest[0].tolist() == [64] * len(caches) and rest[1].tolist() == [cache.length for cache in caches]
        return torch.cat([c.attend(planes[0], q[i : i + 1], k[i : i + 1], v[i : i + 1]) for i, c in enumerate(caches)])

    ends = [sum(counts[: at + 1]) for at in range(len(counts))]
    plans = [
        [(pair[which], end - count, end) for pair, end, count in zip(pairs, ends, counts, strict=True)]
        for which in (0, 1)
    ]
    for plan in plans:
        for cache, start, end in plan:
            cache.begin(end - start)
    together = FlashRows(plans[0], LAYERS, varlen, decode)
    for layer in range(LAYERS):
        q, k, v = (torch.randn(ends[-1], heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
        ours = together(layer, q, k, v)
        alone = torch.cat([c.attend(layer, q[s:e], k[s:e], v[s:e]) for c, s, e in plans[1]])
        assert (ours.float() - alone.float()).abs().max() < 2e-2
    for (ours_cache, start, end), (cache, _, _) in zip(*plans, strict=True):
        total = cache.length + end - start
        for layer in range(LAYERS):
            assert torch.equal(ours_cache.keys[layer][:, :, :total], cache.keys[layer][:, :, :total])
            assert torch.equal(ours_cache.values[layer][:, :, :total], cache.values[layer][:, :, :total])


def test_other_caches_are_attended_to_row_by_row() -> None:
    cache = KVCache(1, 1, 4, torch.float32, torch.device("cpu"))
    with torch.inference_mode():
        assert flash_rows([(cache, 0, 1)], 1) is None
