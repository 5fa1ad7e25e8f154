"""Where the rows of a training forward stand: flat, padded, and by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.rope import RopeTable


@dataclass(frozen=True, slots=True)
class RowSpan:
    """Rows whose attention is computed together, padded on the right to the longest of them.

    Attributes:
        rows: which of the forward's rows.
        states: where their states stand in the flat `[N, …]` matrices.
        counts: how many states each has.
        past: positions of each row's trunk.
        prefix: keys that a payload puts between trunk and row.
        places: places of the flat states in `[rows · longest]`; None where all rows are as long.
    """

    rows: slice
    states: slice
    counts: list[int]
    past: list[int]
    prefix: int
    places: Tensor | None

    @property
    def longest(self) -> int:
        """States of the longest row."""
        return max(self.counts)

    def bias(self, window: int | None, device: torch.device) -> Tensor:
        """`[rows or 1, L, T + prefix + L]` fp32: 0 where a state sees a position, else -inf."""
        trunk = max(self.past)
        past = torch.tensor(self.past, device=device)
        if window is None and min(self.past) == trunk:
            past = past[:1]
        own = torch.arange(self.prefix + self.longest, device=device) + past[:, None]
        before = torch.arange(trunk, device=device).expand(len(past), -1)
        far = torch.full((), 1 << 40, device=device)
        keys = torch.cat([torch.where(before < past[:, None], before, far), own], dim=1)[:, None]
        queries = own[:, self.prefix :, None]
        seen = keys <= queries
        if window is not None:
            seen &= queries - keys < window
        return torch.zeros(seen.shape, device=device).masked_fill_(~seen, -torch.inf)

    def padded(self, x: Tensor) -> Tensor:
        """The span's states of flat `[N, heads, D]` -> `[rows, heads, L, D]`, with zeros where a row has no more."""
        x = x[self.states]
        heads, dim = x.shape[1:]
        rows, longest = len(self.counts), self.longest
        if self.places is not None:
            x = x.new_zeros(rows * longest, heads, dim).index_copy(0, self.places, x)
        return x.view(rows, longest, heads, dim).transpose(1, 2)

    def flat(self, x: Tensor) -> Tensor:
        """`[rows, heads, L, D]` -> the span's states `[n, heads · D]`."""
        rows, heads, longest, dim = x.shape
        x = x.transpose(1, 2).reshape(rows * longest, heads * dim)
        return x if self.places is None else x.index_select(0, self.places)


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows of a forward, one after another in `[N, …]` matrices.

    Attributes:
        tokens: `[N - rows · prompt]` ids of all rows.
        lengths: how many ids each row has.
        counts: how many states each row has: a prompt's virtual tokens and its ids.
        past: positions of each row's trunk.
        prefix: keys that a payload puts between trunk and row.
        wanted: `[M]` places in the flat states whose final states are wanted.
    """

    tokens: Tensor
    lengths: list[int]
    counts: list[int]
    past: list[int]
    prefix: int
    wanted: Tensor

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int]],
        device: torch.device,
        past: Sequence[int] | None = None,
        starts: Sequence[int] | None = None,
        prompt: int = 0,
        prefix: int = 0,
    ) -> Plan:
        """The plan of rows of ids.

        Args:
            rows: ids of each, at least one row; a row may be empty if there is a prompt.
            device: where its tensors go.
            past: positions of each row's trunk; None: no trunks.
            starts: of each row, the first id whose state is wanted; None: no states are.
            prompt: virtual tokens before each row's ids.
            prefix: keys between trunk and row.
        """
        lengths = [len(row) for row in rows]
        counts = [count + prompt for count in lengths]
        wanted: list[int] = []
        offset = 0
        for index, count in enumerate(counts):
            if starts is not None:
                wanted += range(offset + prompt + starts[index], offset + count)
            offset += count
        flat = [token for row in rows for token in row]
        return cls(
            tokens=torch.tensor(flat, dtype=torch.long, device=device),
            lengths=lengths,
            counts=counts,
            past=list(past) if past is not None else [0] * len(counts),
            prefix=prefix,
            wanted=torch.tensor(wanted, dtype=torch.long, device=device),
        )

    @property
    def total(self) -> int:
        """N, the states of all rows."""
        return sum(self.counts)

    def spans(self, size: int | None = None) -> list[RowSpan]:
        """The rows for attention, `size` at a time; None: all at once."""
        made: list[RowSpan] = []
        first, size = 0, size or len(self.counts)
        for start in range(0, len(self.counts), size):
            rows = slice(start, start + size)
            counts = self.counts[rows]
            longest, states = max(counts), slice(first, first + sum(counts))
            padded = [row * longest + place for row, count in enumerate(counts) for place in range(count)]
            places = None if min(counts) == longest else torch.tensor(padded, device=self.tokens.device)
            span = RowSpan(
                rows=rows, states=states, counts=counts, past=self.past[rows], prefix=self.prefix, places=places
            )
            made.append(span)
            first = states.stop
        return made

    def angles(self, rope: RopeTable) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines `[N, 1, D]`."""
        firsts = [past + self.prefix for past in self.past]
        cos, sin = rope.at(0, max(first + count for first, count in zip(firsts, self.counts, strict=True)))
        spans = [slice(first, first + count) for first, count in zip(firsts, self.counts, strict=True)]
        return torch.cat([cos[span] for span in spans]), torch.cat([sin[span] for span in spans])
