"""Thresholds: the two openings that a step weighs under its contract, and from which probability it takes the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraloop.adapters.skill.contracts import openings
from loraloop.agent.engine.sampler import TwoWayChoice

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.agent.skills.one_step import SkillRuntime


def openings_of(
    runtime: SkillRuntime, skill: str, contract: str, threshold: float | None = None
) -> TwoWayChoice | None:
    """What weighs unsafe against safe, no call against a call, or no answer against one.

    Args:
        runtime: Of the skill.
        skill: Which one writes.
        contract: What it writes.
        threshold: The probability from which the first is taken; the one on the skill's card where None.

    Returns:
        None for a contract that weighs nothing.
    """
    return two_way_choice(runtime.base, contract, runtime.threshold(skill) if threshold is None else threshold)


def two_way_choice(base: Base, contract: str, threshold: float | None) -> TwoWayChoice | None:
    """The same, of a base and a threshold; None: what is likelier, token by token, is written."""
    ways = openings(contract)
    if ways is None:
        return None
    first, second = map(base.tokenizer.encode, ways)
    return TwoWayChoice(*ways, base.tokenizer.token_bytes, threshold, (first, second))
