"""N-best reranking (Collins and Koo, CL 31:25, 2005): of the texts that a search finds, the one a judge finds best.

The likeliest text is not always the best one, and the best one is often among the likeliest. A judge scores each by
whatever it knows beside its probability and its entropy (how unsure the model was on the way; arXiv 2002.07650). Where
a balance weighs two ways, the first is scored as one more text. What the threshold decides about, and what is reported
as the probability, is that of the first way against the best text of the second (the logistic function of the
difference of their scores): at 0.5, the best of all texts is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from loraloop.agent.engine.beam import LIKELIER, Found, likeliest
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.two_way_choice import Balance

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.constrained import Constraint
    from loraloop.agent.engine.generate import Budget

KEPT, MORE = 8, 4
"""Texts that are compared, and those that are searched beside them because they are longer."""
SURE = 0.99
"""From which probability the first way is taken without a look at the second."""


class Judge(Protocol):
    """Scores texts of a search: the higher, the better. Scores are log-odds of one text being right before another.

    Attributes:
        margin: By how many nats a text may be less likely than the likeliest, also on the way to it.
    """

    margin: float

    def score(self, text: str, log_probability: float, entropy: float) -> float:
        """Of a complete text, by what the search knows of it (`beam.Found`)."""
        ...

    def nothing(self, log_odds: float) -> float:
        """Of the first way of a balance, by the model's log-odds for it."""
        ...

    def missing(self, text: str) -> tuple[str, ...]:
        """What a text would need that nobody said, where the first way was taken instead of it."""
        ...

    def short(self, text: str) -> bool:
        """Whether longer texts than this one should be searched for as well."""
        ...

    def longer(self, text: str, than: str) -> bool:
        """Whether a complete text is longer than another; one that is not complete is."""
        ...


def judged(
    branch: Branch,
    invocation: Sequence[int],
    state: Constraint,
    beams: int,
    budget: Budget,
    stop_ids: frozenset[int],
    judge: Judge,
    balance: Balance | None = None,
    clock: Clock | None = None,
) -> Found | None:
    """The text that the judge finds best; the branch is left as it was.

    Args:
        branch, invocation, state, beams, budget, stop_ids, clock: As for `beam.likeliest`.
        judge: Compares.
        balance: Weighs two ways; its `probability` becomes that of the first one against the best text.

    Returns:
        None if no text was complete within the budget, or all failed a check.
    """
    clock = clock or Clock()

    def search(kept: int, ways: Balance | None, than: str = "") -> list[Found]:
        def refuses(ids: Sequence[int]) -> bool:
            return not judge.longer(branch.tokenizer.decode(list(ids), skip_special=False), than)

        near = judge.margin
        return likeliest(branch, invocation, state.fork(), beams, budget, stop_ids, ways, clock,
                         kept=kept, margin=near, width=near, refuses=refuses if than else None)  # fmt: skip

    threshold = LIKELIER if balance is None or balance.threshold is None else balance.threshold
    sure = max(SURE, threshold)
    ways = balance and balance.taking(sure)
    found = search(KEPT, ways)
    if not found:
        return None
    first = None if ways is None else ways.probability
    if balance is not None and first is not None and first >= sure:
        balance.probability = first
        return found[0]
    text = _text(branch, found[0])
    forwards = found[0].forwards
    if judge.short(text):
        more = search(MORE, balance and balance.taking(math.inf), text)
        forwards += more[0].forwards if more else 0
        known = {tuple(each.ids) for each in found}
        found += [each for each in more if tuple(each.ids) not in known]
    with clock.phase("mask"):
        scores = [judge.score(_text(branch, each), each.log_probability, each.entropy) for each in found]
    best = replace(found[max(range(len(found)), key=scores.__getitem__)], forwards=forwards)
    if balance is None or first is None:
        return best
    nothing = judge.nothing(math.log(max(first, 1e-6)) - math.log(max(1 - first, 1e-6)))
    balance.probability = 1 / (1 + math.exp(min(max(scores) - nothing, 700.0)))
    if balance.probability < threshold:
        return best
    short = search(1, balance.taking(0.0))
    return replace(short[0], forwards=forwards + short[0].forwards, passed=best.ids) if short else best


def _text(branch: Branch, found: Found) -> str:
    return branch.tokenizer.decode(found.ids, skip_special=False)
