"""What a store of computed contexts holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """Contexts that are kept for later.

    Attributes:
        count: How many.
        tokens: Tokens in them.
        positions: Positions that their caches take, with what was made for more tokens.
        limit: What `positions` never exceeds.
        bytes: Memory of the caches.
    """

    count: int
    tokens: int
    positions: int
    limit: int
    bytes: int
