"""Several texts drawn side by side in a branch, and the first of them that passes a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from loraloop.agent.engine.generate import Budget, Delta, Generated
from loraloop.agent.engine.hypotheses import Contexts, Hypothesis
from loraloop.agent.engine.kv_context import feed_together
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.timer import Clock
from loraloop.tool_schemas.errors import InputError, Violation

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.constrained import Constraint

MOST_TRIES = 64
TEMPERATURE, TOP_P = 0.8, 0.95
"""How tries after the first are drawn."""


def check_tries(tries: int) -> None:
    """Raises InputError if it is no number of tries."""
    if isinstance(tries, bool) or not 1 <= tries <= MOST_TRIES:
        raise InputError(f"tries is {tries!r}: give a number from 1 (no other try) to {MOST_TRIES}")


@dataclass(frozen=True, slots=True)
class Tries:
    """How many texts are tried until one passes.

    Attributes:
        count: Texts, the first one included.
        passes: Whether a text passes; None where that cannot be told, and the text is taken as it is.
        seed: Of those that are drawn.
    """

    count: int
    passes: Callable[[str], bool | None]
    seed: int = 0


def first_that_passes(
    pieces: Iterable[Delta | Generated],
    branch: Branch,
    invocation: Sequence[int],
    state: Constraint,
    budget: Budget,
    stop_ids: frozenset[int],
    tries: Tries,
    clock: Clock | None = None,
) -> Iterator[Delta | Generated]:
    """The first try if it passes, else the first of those drawn after it that does, else the first try all the same.

    Nothing is given out before that is known. The branch may hold another text than the one that is given out.

    Args:
        pieces: Of the first try (`generate`), in this branch.
        branch, invocation, budget, stop_ids, clock: As for `generate`.
        state: A grammar's fresh state.
        tries: How many, and what they have to pass.

    Yields:
        One piece of text and one `Generated`, which says how many were tried and whether it passes.
    """
    first = next(piece for piece in pieces if isinstance(piece, Generated))
    sampled = first.sampled
    passed: bool | None
    chosen, count, passed = first, 1, first.whole and tries.passes(first.text)
    if passed is False and tries.count > 1 and not budget.spent():
        branch.computed.truncate(branch.start)
        sampler = Sampler(Sampling(TEMPERATURE, TOP_P, seed=tries.seed))
        others = drawn(branch, invocation, state, tries.count - 1, sampler, budget, stop_ids, clock)
        sampled += max((other.sampled for other in others), default=0)
        seen = {first.text}
        for other in others:
            if budget.spent():
                break
            count += 1
            if other.text not in seen and tries.passes(other.text):
                chosen, passed = other, True
                break
            seen.add(other.text)
    chosen = replace(chosen, sampled=sampled, tries=count, passed=passed, first=perf_counter())
    yield Delta(chosen.text, len(chosen.ids))
    yield chosen


def drawn(
    branch: Branch,
    invocation: Sequence[int],
    state: Constraint,
    count: int,
    sampler: Sampler,
    budget: Budget,
    stop_ids: frozenset[int],
    clock: Clock | None = None,
) -> list[Generated]:
    """Texts drawn side by side, each forward feeding them all; the branch is left as it was.

    Args:
        branch: Open, and nothing was fed to it.
        invocation, budget, stop_ids, clock: As for `generate`.
        state: A grammar's fresh state.
        count: How many are begun. Each but the first takes the memory of a copy of the context.
        sampler: Draws.

    Returns:
        Those that were complete within the budget, in the order in which they were begun.
    """
    clock = clock or Clock()
    contexts = Contexts(branch)
    all_of_them = [
        Hypothesis(contexts.copy(branch.computed) if index else branch.computed, state.fork(), [], list(invocation))
        for index in range(count)
    ]
    live, done, forwards = all_of_them, dict[int, Generated](), 0

    def end(each: Hypothesis, reason: str) -> None:
        text = branch.tokenizer.decode(each.ids, skip_special=False)
        done[id(each)] = Generated(each.ids, text, reason, forwards, each.forced)

    try:
        while True:
            on = []
            with clock.phase("mask"):
                for each in live:
                    if not each.force() or len(each.ids) > budget.tokens:
                        continue
                    if each.state.done:
                        end(each, "done")
                    elif len(each.ids) < budget.tokens:
                        on.append(each)
            if not on or budget.spent():
                return [done[id(each)] for each in all_of_them if id(each) in done]
            with clock.phase("decode"):
                logits = branch.logits(feed_together([(each.context, each.feed) for each in on], branch.author))
            forwards += 1
            live = []
            with clock.phase("mask"):
                for each, row in zip(on, logits, strict=True):
                    each.state.mask_(row)
                    token = sampler.pick(row)
                    if token in stop_ids:
                        end(each, "stop")
                    elif _took(each, token):
                        live.append(each)
    finally:
        branch.computed.truncate(branch.start)


def _took(each: Hypothesis, token: int) -> bool:
    """Takes a token; False if it completes a value that fails its check."""
    try:
        each.state.accept((token,))
    except Violation:
        return False
    each.ids.append(token)
    each.feed = [token]
    return True
