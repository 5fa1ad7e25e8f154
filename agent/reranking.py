"""Which of the calls that a search found are made: those whose features weigh most (`adapters.grounding`).

A log-linear model: the weights are on the skill's card, where `loraloop eval tools-reranking` stores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from loraloop.adapters.grounding import LEFT, Said, read_calls
from loraloop.adapters.skill.card import MARGIN

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.adapters.skill.card import Reranking
    from loraloop.tool_schemas import Tool

MOST_CALLS = 6
"""Calls from which no longer list is searched for."""


class Reranker:
    """A judge (`engine.nbest`) of lists of calls.

    Args:
        weights: By feature.
        said: What the step was asked.
        margin: By how many nats a list may be less likely than the likeliest.
    """

    def __init__(self, weights: Mapping[str, float], said: Said, margin: float = MARGIN) -> None:
        self.margin = margin
        self._weights = weights
        self._said = said

    def score(self, text: str, log_probability: float, entropy: float) -> float:
        return self._weighed(features(self._said, text, log_probability, entropy))

    def nothing(self, log_odds: float) -> float:
        return self._weighed(features_of_none(self._said, log_odds))

    def short(self, text: str) -> bool:
        calls = read_calls(text) or []
        if not 0 < len(calls) < MOST_CALLS:
            return False
        found = self._said.features(calls)
        return any(found.get(name) for name in LEFT)

    def longer(self, text: str, than: str) -> bool:
        if not text.rstrip().endswith("]"):
            return True
        calls = read_calls(text)
        return calls is None or len(calls) > len(read_calls(than) or [])

    def missing(self, text: str) -> tuple[str, ...]:
        return self._said.missing(read_calls(text) or [])

    def _weighed(self, found: Mapping[str, float]) -> float:
        return sum(self._weights.get(name, 0.0) * value for name, value in found.items())


def features(said: Said, text: str, log_probability: float, entropy: float) -> dict[str, float]:
    """The features of a list of calls, as a search found it."""
    return {**said.features(read_calls(text) or []), "log_probability": log_probability, "entropy": entropy}


def features_of_none(said: Said, log_odds: float) -> dict[str, float]:
    """The features of calling nothing, for which the model has these log-odds."""
    return said.features([]) | {"none_log_odds": log_odds}


def reranker(reranking: Reranking, messages: Sequence[Message], tools: Sequence[Tool]) -> Reranker:
    """The judge of a step by what is on its skill's card."""
    shown = [{"name": each.name, "description": each.description, "parameters": each.parameters} for each in tools]
    return Reranker(reranking.weights, Said(messages, shown), reranking.margin)
