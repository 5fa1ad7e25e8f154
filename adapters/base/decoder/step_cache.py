"""The caches of a decode step on a GPU: named by address, so that one captured graph serves them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.cache import KVCache


class StepCache:
    """One new token of each of B rows, each with a `KVCache` of its own.

    To the decoder it is the cache of one row of B tokens. Where the caches lie, how large they are and how much of them
    counts is read from the device at every step; a cache may grow, or be another one, between two steps.

    Attributes:
        length: the `lengths`, int64 [B] on the device, tokens that each cache holds: the positions of the new tokens.
        addresses: int64 [B] of the caches' stores.
        capacities: int64 [B].
    """

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, addresses: Tensor, capacities: Tensor, lengths: Tensor
    ) -> None:
        self.addresses, self.capacities, self.length = addresses, capacities, lengths
        self._layers, self._window, self._dtype = config.layers, config.sliding_window, dtype

    def begin(self, count: int) -> None:
        """The rows' own caches have made room already."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Appends `k`, `v` `[B, kv_heads, D]`, each to its row's cache, and attends `q[B, heads, D]`."""
        from loraloop.kernels.gpu.triton_attention import decode_attention

        return decode_attention(
            q,
            k,
            v,
            addresses=self.addresses,
            capacities=self.capacities,
            lengths=self.length,
            dtype=self._dtype,
            planes=(layer, self._layers + layer),
            window=self._window,
        )

    def commit(self) -> None:
        """The rows' own caches count the tokens."""


class StepInputs:
    """What a step reads, in one block of memory: filled on the host, copied to the device in one piece.

    Args:
        batch: rows, idle ones counted.
        tables: how many tables of slots (one a rank bucket in use).

    Attributes:
        tokens, addresses, capacities, lengths: int64 [batch] on the device.
        slots: int32 [batch] of each table.
    """

    def __init__(self, batch: int, tables: int, device: torch.device) -> None:
        size = batch * (4 * 8 + tables * 4)
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._device = torch.zeros(size, dtype=torch.uint8, device=device)
        self._copied = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.tokens, self.addresses, self.capacities, self.lengths = self._numbers(self._device, batch)
        self.slots = self._tables(self._device, batch, tables)
        self._rows = self._numbers(self._host, batch)
        self._slots = self._tables(self._host, batch, tables)

    def fill(self, tokens: Sequence[int], caches: Sequence[KVCache], slots: Sequence[Sequence[int]]) -> None:
        """Writes a step's inputs and sends them.

        Args:
            tokens: one a row.
            caches: of the rows, with room for one more token.
            slots: for each table the rows' indices in its stack, -1 where a row has none; rows beyond have none.
        """
        if self._copied is not None:
            self._copied.synchronize()  # the copy before may still be reading
        columns = (
            tokens,
            [cache.address for cache in caches],
            [cache.capacity for cache in caches],
            [cache.length for cache in caches],
        )
        for place, column in zip(self._rows, columns, strict=True):
            place.copy_(torch.tensor(column))
        for table, column in zip(self._slots, slots, strict=True):
            table.fill_(-1)
            table[: len(column)] = torch.tensor(column, dtype=torch.int32)
        self._device.copy_(self._host, non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    @staticmethod
    def _numbers(memory: Tensor, batch: int) -> tuple[Tensor, ...]:
        return memory[: 32 * batch].view(torch.int64).view(4, batch).unbind(0)

    @staticmethod
    def _tables(memory: Tensor, batch: int, tables: int) -> tuple[Tensor, ...]:
        return memory[32 * batch :].view(torch.int32).view(tables, batch).unbind(0)
