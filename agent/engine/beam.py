"""Beam search in a branch: the likeliest text that a grammar allows, where greedy decoding takes the likeliest token.

Hypotheses are branches of one trunk, which none of them computes again, and one forward feeds them all. They are
compared by the sum of their tokens' log-probabilities over what the grammar allows, without a length penalty; a token
that the grammar forces is certain. A hypothesis therefore never gets likelier, and the search ends with the first
complete one that is likelier than all others (Lowerre 1976; arXiv 1702.01806).

A hypothesis ends where it completes a value that fails its check. Of those that spell one text with different tokens
only the likeliest goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from torch.special import entr

from loraloop.adapters.skill.card import MOST_BEAMS
from loraloop.agent.engine.hypotheses import Contexts, Hypothesis
from loraloop.agent.engine.kv_context import feed_together
from loraloop.agent.engine.timer import Clock
from loraloop.tool_schemas.errors import InputError, Violation

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.constrained import Constraint
    from loraloop.agent.engine.generate import Budget
    from loraloop.agent.engine.two_way_choice import Balance

LIKELIER = 0.5
"""From which probability the first of two ways is taken that a balance weighs without a threshold."""


def check_beams(beams: int | None) -> None:
    """Raises InputError if it is no number of hypotheses; None leaves the number to a card."""
    if beams is not None and not 1 <= beams <= MOST_BEAMS:
        raise InputError(f"beams is {beams!r}: give a number from 1 (no search) to {MOST_BEAMS}, or None")


@dataclass(slots=True)
class Found:
    """The likeliest text.

    Attributes:
        ids: Its tokens, without the invocation and without a stop token.
        log_probability: Of them, over what the grammar allows.
        entropy: Of the choices that led to them, over the same, in nats.
        forced: Those of the tokens about which the grammar left no choice.
        stopped: Whether the model ended it, rather than the grammar.
        forwards: Of the search; each feeds all hypotheses.
        passed: Those of the best text on the way that a judge did not take; see `nbest`.
    """

    ids: list[int]
    log_probability: float
    entropy: float
    forced: int
    stopped: bool
    forwards: int = 0
    passed: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class _Next:
    """A token that may follow a hypothesis, and the log-probability of both."""

    score: float
    parent: int
    token: int


def likeliest(
    branch: Branch,
    invocation: Sequence[int],
    state: Constraint,
    beams: int,
    budget: Budget,
    stop_ids: frozenset[int],
    balance: Balance | None = None,
    clock: Clock | None = None,
    *,
    kept: int = 1,
    margin: float = 0.0,
    width: float = math.inf,
    refuses: Callable[[Sequence[int]], bool] | None = None,
) -> list[Found]:
    """The likeliest texts in a branch, best first; the branch is left as it was.

    Args:
        branch: Open, and nothing was fed to it.
        invocation: Tokens that start the assistant's turn.
        state: A grammar's fresh state.
        beams: Hypotheses that are kept. Each but the first takes the memory of a copy of the context.
        budget: As for `generate`.
        stop_ids: Tokens that end the text.
        balance: Weighs two ways in which the text may go on. What its threshold says is taken, or the likelier one: a
            short text on one way is not set against a long one on the other.
        clock: Where the time goes.
        kept: How many texts are wanted.
        margin: By how much the logarithm of their probability may be lower than that of the best.
        width: By how much that of a hypothesis may be lower than that of the likeliest one that goes on; those below
            are dropped, and a forward feeds fewer where the model is sure.
        refuses: Of the tokens of a text so far, whether no text may go on, or end, with them.

    Returns:
        At most `kept`; none if none was complete within the budget, or all failed a check.
    """
    clock = clock or Clock()
    contexts, spelling = Contexts(branch), cache(branch.tokenizer.token_bytes)
    live = [Hypothesis(branch.computed, state, [], list(invocation))]
    done: list[Found] = []
    forwards = 0
    try:
        while True:
            with clock.phase("mask"):
                live = _forced(live, done, budget.tokens, refuses)
                floor = _floor(_distinct(done, spelling), kept, margin)
                live = [each for each in live if each.score > floor]
            if not live:
                best = _distinct(done, spelling)[:kept]
                near = (each for each in best if each.log_probability >= best[0].log_probability - margin)
                return [replace(each, forwards=forwards) for each in near]
            if budget.spent():
                return []
            with clock.phase("decode"):
                states = feed_together([(each.context, each.feed) for each in live], branch.author)
                logits = branch.logits(states)
            forwards += 1
            with clock.phase("mask"):
                on, texts = list[_Next](), set[bytes]()
                for may in _following(live, logits, beams + (refuses is not None), balance):
                    if len(on) == beams or may.score <= floor:
                        break
                    parent = live[may.parent]
                    ends = may.token in stop_ids
                    if refuses is not None and refuses(parent.ids if ends else [*parent.ids, may.token]):
                        continue
                    if ends:
                        done.append(Found(parent.ids, may.score, parent.entropy, parent.forced, True))
                        floor = _floor(_distinct(done, spelling), kept, margin)
                    elif len(parent.ids) < budget.tokens and _new(texts, [*parent.ids, may.token], spelling):
                        floor = max(floor, may.score - width) if not on else floor
                        on.append(may)
                live = _grown(live, on, contexts)
    finally:
        branch.computed.truncate(branch.start)


def _new(texts: set[bytes], ids: Sequence[int], spelling: Callable[[int], bytes]) -> bool:
    """Whether tokens spell a text that is not among these yet; it is then."""
    known = len(texts)
    texts.add(b"".join(map(spelling, ids)))
    return len(texts) > known


def _distinct(done: Sequence[Found], spelling: Callable[[int], bytes]) -> list[Found]:
    """The likeliest of those that spell one text, best first."""
    texts = set[bytes]()
    ranked = sorted(done, key=lambda each: -each.log_probability)
    return [each for each in ranked if _new(texts, each.ids, spelling)]


def _floor(best: Sequence[Found], kept: int, margin: float) -> float:
    """The log-probability that a text must be above, so that it is still wanted beside those that are complete."""
    if not best:
        return -math.inf
    return max(best[0].log_probability - margin, best[kept - 1].log_probability if len(best) >= kept else -math.inf)


def _forced(
    live: Sequence[Hypothesis], done: list[Found], limit: int, refuses: Callable[[Sequence[int]], bool] | None
) -> list[Hypothesis]:
    """Takes what must follow; returns the hypotheses that go on, and adds those that are complete to `done`."""
    on: list[Hypothesis] = []
    for each in live:
        if not each.force() or len(each.ids) > limit:
            continue
        if not each.state.done:
            on.append(each)
        elif refuses is None or not refuses(each.ids):
            done.append(Found(each.ids, each.score, each.entropy, each.forced, False))
    return on


def _following(live: Sequence[Hypothesis], logits: Tensor, beams: int, balance: Balance | None) -> list[_Next]:
    """What may follow, likeliest first: of each hypothesis as much as could be kept, its end besides.

    The entropy of the choice is added to each hypothesis.
    """
    found: list[_Next] = []
    for parent, (each, row) in enumerate(zip(live, logits, strict=True)):
        each.state.mask_(row)
        if balance is not None:
            balance.weigh_(each.ids, row, LIKELIER)
        logs = row.log_softmax(-1)
        each.entropy += float(entr(logs.exp()).sum())
        values, tokens = logs.topk(beams + 1)
        pairs = zip(values.tolist(), tokens.tolist(), strict=True)
        found += [_Next(each.score + value, parent, token) for value, token in pairs if value > float("-inf")]
    return sorted(found, key=lambda it: (-it.score, it.parent, it.token))


def _grown(live: Sequence[Hypothesis], kept: Sequence[_Next], contexts: Contexts) -> list[Hypothesis]:
    """The hypotheses of the next round. The last child of a hypothesis takes its context, others a copy."""
    left = Counter(each.parent for each in kept)
    for index, ended in enumerate(live):
        if not left[index]:
            contexts.free(ended.context)
    grown: list[Hypothesis] = []
    for each in kept:
        parent = live[each.parent]
        left[each.parent] -= 1
        last = not left[each.parent]
        state = parent.state if last else parent.state.fork()
        try:
            state.accept((each.token,))
        except Violation:
            if last:
                contexts.free(parent.context)
            continue
        context = parent.context if last else contexts.copy(parent.context)
        ids = [*parent.ids, each.token]
        grown.append(Hypothesis(context, state, ids, [each.token], each.score, parent.forced, parent.entropy))
    return grown
