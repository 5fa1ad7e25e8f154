"""Which two ways a step weighs under its contract, and from which probability it takes the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraloop.adapters.contracts import openings
from loraloop.agent.engine.balance import Balance

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.agent.runtime import Runtime


def balance_of(runtime: Runtime, skill: str, given: float | None = None, contract: str = "verdict") -> Balance | None:
    """What weighs unsafe against safe, no call against a call, or no answer against one, as the contract has it.

    Args:
        runtime: Of the skill.
        skill: Which one writes.
        given: The threshold; the one on the skill's card where None.
        contract: What it writes.

    Returns:
        None for a contract that weighs nothing.
    """
    threshold = runtime.threshold(skill) if given is None else given
    return balance(runtime.base, contract, threshold)


def balance(base: Base, contract: str, threshold: float | None) -> Balance | None:
    """The same, of a base and a threshold; None: what is likelier, token by token, is written."""
    ways = openings(contract)
    return None if ways is None else Balance(*ways, base.tokenizer.token_bytes, threshold)
