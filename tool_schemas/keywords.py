"""Which JSON Schema keywords decoding enforces exactly; every other one is refused, by JSON path."""

from __future__ import annotations

from typing import Any


def check_enforceable(schema: dict[str, Any]) -> None:
    """Checks that every keyword of a schema is one that the grammar enforces."""
