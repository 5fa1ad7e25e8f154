"""Trunks as they are served: computed by the base's own decoder and read out of its cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.training.forward.heads import Heads, Ids
from loraloop.adapters.training.forward.past import Past


@torch.no_grad()
def served(base: Base, trunks: Sequence[tuple[Ids, Ids]], dtype: torch.dtype, kept: Heads[NativeCache]) -> Past:
    """Keys and values of trunks by the C decoder: to the bit what a skill will stand on when it is served.

    Args:
        base: one that the C decoder serves.
        trunks: of each the system message, which is computed once for all that share it (or nothing), and the rest;
            not both empty.
        dtype: of the result.
        kept: caches of earlier batches' system messages, which are not computed again.
    """

    def computed(new: Sequence[Ids]) -> list[NativeCache]:
        made = [_cache(base) for _ in new]
        base.forward([Row(head, cache) for head, cache in zip(new, made, strict=True)])
        return made

    heads = kept.of([head for head, _ in trunks if head], computed)
    caches = [heads[head].fork() if head else _cache(base) for head, _ in trunks]
    rows = [Row(rest, cache) for (_, rest), cache in zip(trunks, caches, strict=True) if rest]
    if rows:
        base.forward(rows)
    config, lengths = base.config, tuple(cache.length for cache in caches)
    shape = (config.layers, 2, len(trunks), config.kv_heads, max(lengths), config.head_dim)
    data = torch.zeros(shape, dtype=dtype)
    for row, cache in enumerate(caches):
        for layer in range(config.layers):
            keys, values = cache.planes(layer)
            data[layer, 0, row, :, : lengths[row]], data[layer, 1, row, :, : lengths[row]] = keys, values
    return Past(data, lengths)


def _cache(base: Base) -> NativeCache:
    cache = base.new_cache()
    assert isinstance(cache, NativeCache)
    return cache
