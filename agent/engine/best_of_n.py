"""Best of n: several texts are drawn side by side in a branch, and the first that passes a check is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Unpack

from loraloop.agent.engine.generate import Budget, Delta, Form, Generated, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.sequence import Work
from loraloop.agent.engine.stops import Detokenizer
from loraloop.agent.engine.timer import Clock
from loraloop.tool_schemas.errors import Violation

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.constrained import Constraint
    from loraloop.agent.engine.sequence import CachedSequence

TEMPERATURE, TOP_P = 0.8, 0.95
"""How the tries after the first are sampled."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How many texts are tried until one passes.

    Attributes:
        count: Texts at most, the first one included.
        passes: Whether a text passes; None where that cannot be known, and the text is taken as it is.
        seed: Seed of the tries after the first.
    """

    count: int
    passes: Callable[[str], bool | None]
    seed: int = 0


def best_of_n(
    branch: Branch,
    invocation: Sequence[int],
    sampler: Sampler,
    budget: Budget,
    tries: Tries | None,
    **form: Unpack[Form],
) -> Iterator[Delta | Generated]:
    """Yields the first text that passes: the first try, or one of those that are drawn after it; else the first try.

    Nothing is streamed before that is known. The branch may hold another text than the one that is yielded.

    Args:
        branch: Open, and nothing was fed to it.
        invocation: Tokens that start the assistant's turn.
        sampler: Chooses the tokens of the first try.
        budget: Tokens of each try, and time for all of them.
        tries: How many, and what they have to pass. None, or free text: there is one try, and it is streamed.
        **form: Options of `generate`.

    Yields:
        One piece of text and one `Generated`, which says how many were tried and whether it passes.
    """
    constraint = form.get("constraint")
    if constraint is None or tries is None:
        yield from generate(branch, invocation, sampler, budget, **form)
        return
    fresh = constraint.fork()
    first = next(p for p in generate(branch, invocation, sampler, budget, **form) if isinstance(p, Generated))
    sampled = first.sampled
    passed: bool | None
    chosen, count, passed = first, 1, first.whole and tries.passes(first.text)
    if passed is False and tries.count > 1 and not budget.spent():
        branch.sequence.truncate(branch.start)
        draws = Draws(branch, invocation, fresh, form["stop_ids"], form.get("clock") or Clock())
        others = draws.texts(tries.count - 1, Sampler(Sampling(TEMPERATURE, TOP_P, seed=tries.seed)), budget)
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
    yield Delta(chosen.text, len(chosen.ids), chosen.spans)
    yield chosen


@dataclass(slots=True)
class _Draw:
    """One text so far: its grammar's state, and the tokens that its context has yet to read."""

    context: CachedSequence
    state: Constraint
    feed: list[int]
    out: Generated
    forced: list[bool] = field(default_factory=list)

    def forces(self) -> bool:
        """Takes the tokens that must follow; False if they complete a value that fails its check."""
        tokens = self.state.forced()
        if self._accepts(tokens):
            self.feed.extend(tokens)
            self.forced += [True] * len(tokens)
            return True
        return False

    def takes(self, token: int) -> bool:
        """Takes a token; False if it completes a value that fails its check."""
        self.feed = [token]
        self.forced.append(False)
        return self._accepts((token,))

    def _accepts(self, tokens: Sequence[int]) -> bool:
        try:
            self.state.accept(tokens)
        except Violation:
            return False
        self.out.ids.extend(tokens)
        return True


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws texts of a grammar side by side, each forward feeding them all; the branch is left as it was.

    Attributes:
        branch: Open, and nothing was fed to it.
        invocation: Tokens that start the assistant's turn.
        state: A grammar's fresh state.
        stop_ids: Tokens that end a text.
        clock: Where the time goes.
    """

    branch: Branch
    invocation: Sequence[int]
    state: Constraint
    stop_ids: frozenset[int]
    clock: Clock

    def texts(self, count: int, sampler: Sampler, budget: Budget) -> list[Generated]:
        """Those of `count` texts that were complete within the budget, in the order in which they were begun."""
        own, forwards = self.branch.sequence, 0
        drawn = [
            _Draw(own.fork(own.length) if at else own, self.state.fork(), list(self.invocation), Generated())
            for at in range(count)
        ]
        live = drawn
        try:
            while True:
                with self.clock.phase("mask"):
                    live = [each for each in live if self._goes_on(each, budget.tokens)]
                if not live or budget.spent():
                    return [self._ended(each) for each in drawn if each.out.whole]
                with self.clock.phase("decode"):
                    author, clock = self.branch.author, self.clock
                    works = [Work(each.context, author, each.feed, logits=True, clock=clock) for each in live]
                    own.scheduler.compute(works)
                forwards += 1
                with self.clock.phase("mask"):
                    for each, work in zip(live, works, strict=True):
                        each.out.sampled, row = forwards, work.scores
                        assert row is not None
                        each.state.mask_(row)
                        token = sampler.pick(row)
                        if token in self.stop_ids:
                            each.out.reason = "stop"
                        elif not each.takes(token):
                            each.out.reason = "unenforced"
        finally:
            for each in drawn:
                own.scheduler.leave(each.context)
            own.truncate(self.branch.start)

    def _goes_on(self, each: _Draw, limit: int) -> bool:
        """Takes what must follow in a text; whether another token is to be drawn."""
        if each.out.reason:
            return False
        if not each.forces() or len(each.out.ids) > limit:
            each.out.reason = "unenforced"
        elif each.state.done:
            each.out.reason = "done"
        elif len(each.out.ids) >= limit:
            each.out.reason = "tokens"
        return not each.out.reason

    def _ended(self, each: _Draw) -> Generated:
        out, text = each.out, Detokenizer(self.branch.tokenizer.token_bytes)
        text.push(out.ids, each.forced)
        text.finish()
        return replace(out, text=text.text, forced=sum(each.forced), spans=tuple(text.spans))
