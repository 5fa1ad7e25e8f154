"""Where a skill's weights come from: each earlier round once, by the sha256 of its tensors, on the card of the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loraloop.adapters.skill.card import Card


def rounds(cards: Sequence[Card]) -> dict[str, Any]:
    """These skills and all before them: command, steps, and which round each began from, or is the mean of."""
    found: dict[str, Any] = {}
    for card in cards:
        for sha256, told in _walked(card.sha256, card.training):
            found[sha256] = found.get(sha256, {}) | told
    return found


def _walked(sha256: str, training: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A round and those before it, which older cards nest within each other."""
    told = {name: training[name] for name in ("command", "steps") if training.get(name)}
    begun, parts = training.get("start"), training.get("mean_of") or ()
    if isinstance(begun, Mapping):
        told["start"] = begun["sha256"]
        yield from _walked(begun["sha256"], begun)
    elif begun:
        told["start"] = begun
    if parts:
        told["mean_of"] = [{"sha256": part["sha256"], **_weight(part)} for part in parts]
    yield sha256, told
    for part in parts:
        yield from _walked(part["sha256"], part)
    for earlier, again in training.get("rounds", {}).items():
        yield from _walked(earlier, again)


def _weight(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"weight": part["weight"]} if "weight" in part else {}
