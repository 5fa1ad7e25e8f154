"""Which two ways a step weighs under its contract, from which probability it takes the first; what compares calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraloop.adapters.skill.contracts import openings
from loraloop.agent.engine.two_way_choice import Balance
from loraloop.agent.reranking import Reranker, reranker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.card import Card, Reranking
    from loraloop.agent.runtime import Runtime
    from loraloop.tool_schemas import Tool


def weighed_by(
    runtime: Runtime,
    skill: str,
    contract: str,
    given: float | None = None,
    searched: tuple[Sequence[Message], Sequence[Tool]] | None = None,
) -> tuple[Balance | None, Reranker | None]:
    """What weighs unsafe against safe, no call against a call, or no answer against one, and what compares calls.

    Args:
        runtime: Of the skill.
        skill: Which one writes.
        contract: What it writes.
        given: The threshold; the one on the skill's card where None.
        searched: The messages and tools of a step that is searched for; None: it is decoded token by token.

    Returns:
        None for a contract that weighs nothing, and where the skill's card has no weights for calls.
    """
    card = runtime.bank.card(skill) if skill in runtime.bank else None
    reranking = card.reranking if card and searched and contract == "calls" else None
    return balance(runtime.base, contract, given if given is not None else threshold(card, reranking)), (
        reranker(reranking, *searched) if reranking and searched else None
    )


def threshold(card: Card | None, reranking: Reranking | None) -> float | None:
    """From which probability the first way is taken; None: what is likelier."""
    if reranking is not None:
        return reranking.no_call_from
    return None if card is None or card.threshold is None else card.threshold.value


def balance(base: Base, contract: str, threshold: float | None) -> Balance | None:
    """The same, of a base and a threshold; None: what is likelier, token by token, is written."""
    ways = openings(contract)
    if ways is None:
        return None
    first, second = map(base.tokenizer.encode, ways)
    return Balance(*ways, base.tokenizer.token_bytes, threshold, (first, second))
