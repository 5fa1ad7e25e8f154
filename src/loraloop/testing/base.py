"""A base that computes nothing: what a scripted model's transcripts are laid out on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.decoder import Decoder, Forward
from loraloop.adapters.base.prompting import READING
from loraloop.adapters.base.random_weights import random_base

if TYPE_CHECKING:
    from loraloop.adapters.base.decoder.decoder import Attached, Row

POSITIONS = 1 << 20
"""Positions of its context. Its tokens are bytes, so this is a megabyte of text."""


class SilentDecoder(Decoder):
    """Keeps the books of a forward (caches grow, shapes are right) and leaves out the arithmetic: all states are 0."""

    __slots__ = ()

    def forward(self, rows: Sequence[Row], attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        count = 0
        for row in rows:
            new = len(row.tokens) + (0 if row.before is None else len(row.before))
            row.cache.begin(new)
            row.cache.commit()
            count += new
        states = torch.zeros(count, self.config.hidden_size)
        return Forward(states, dict.fromkeys(keep, states))

    def logits(self, hidden: Tensor) -> Tensor:
        """Zeros `[M, V]` for states `hidden` `[M, H]`, fp32."""
        return torch.zeros(len(hidden), self.config.vocab_size)


def scripted_base() -> Base:
    """A base of one layer over the 256 bytes, whose forwards cost microseconds."""
    made = random_base(
        hidden_size=2, intermediate_size=2, layers=1, heads=1, kv_heads=1, head_dim=2, max_positions=POSITIONS
    )
    drawn = made.decoder
    assert isinstance(drawn, Decoder)
    made.name = "scripted"
    made.prompting = replace(READING, call_form="")  # its skills stand for trained ones
    made.decoder = SilentDecoder(
        config=drawn.config,
        embedding=drawn.embedding,
        layers=drawn.layers,
        norm=drawn.norm,
        head=drawn.head,
        dtype=drawn.dtype,
        device=drawn.device,
    )
    return made


def scripted(base: Base) -> bool:
    """Whether this is such a base."""
    return isinstance(base.decoder, SilentDecoder)
