"""Turns of one dialogue as branches of one trunk, so that their shared context is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loraloop.adapters.training.data.encode import Encoded, branch_of, encode
from loraloop.adapters.training.data.record import Place, Record

if TYPE_CHECKING:
    from loraloop.adapters.base import Base


def encode_grouped(base: Base, records: Sequence[Record], longest: int) -> list[Encoded]:
    """Encodes records; those of one dialogue share an example where each one's context begins the next one's.

    The loss is that of examples of their own: a branch stands on as much of the trunk as its context has. An epoch that
    holds a record several times has it in several examples.

    Args:
        base: Whose tokens.
        records: One epoch, in its order.
        longest: Tokens of an example.
    """
    groups: list[list[Record]] = []
    open_groups: dict[tuple[str, Place], list[list[Record]]] = {}
    for record in records:
        known = open_groups.setdefault((record.source, record.place), [])
        group = next((g for g in known if all(other.key != record.key for other in g)), None)
        if group is None:
            group = []
            known.append(group)
            groups.append(group)
        group.append(record)
    return [example for group in groups for example in _encoded(base, group, longest)]


def _encoded(base: Base, group: Sequence[Record], longest: int) -> list[Encoded]:
    """One example of a dialogue's records, or several where it is too long or its template forbids it."""
    ordered = sorted(group, key=lambda record: len(record.messages))
    alone = [encode(base, record.messages, record.completion) for record in ordered]
    if len(alone) == 1:
        return alone
    trunk = alone[-1].trunk
    tokens = len(trunk) + sum(len(example.branch) for example in alone)
    if tokens > longest or any(trunk[: len(example.trunk)] != example.trunk for example in alone):
        return alone
    branches = [
        branch_of(base, record.completion, at=len(example.trunk))
        for record, example in zip(ordered, alone, strict=True)
    ]
    return [Encoded.of(trunk, branches, alone[-1].shared)]
