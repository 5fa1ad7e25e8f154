"""Beginnings that transcripts share: computed once, held once, and never another's."""

from __future__ import annotations

import random
import threading
import time

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message
from loraloop.adapters.base.decoder.native_cache import PAGE, distinct
from loraloop.agent import Agent, Limits, Runtime
from loraloop.agent.engine.cache.prefix_cache import PrefixCache
from loraloop.agent.engine.cache.sequence import CachedSequence, RequestContext
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.trunk import Trunk
from loraloop.testing import ScriptedRouter


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest) -> Base:
    made: Base = request.getfixturevalue("native_base")
    return made


def tokens(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 259) for _ in range(count)]


def begun(scheduler: Scheduler, prefixes: PrefixCache | None, seed: int, instructions: int = 300) -> Trunk:
    """A trunk of instructions that all have, and of a request that it has alone."""
    trunk = Trunk(scheduler.base, (1,), scheduler=scheduler, prefixes=prefixes)
    trunk.append(Message("system", "Be brief."), tokens(0, instructions))
    trunk.append(Message("user", f"Request {seed}."), tokens(100 + seed, 9))
    return trunk


def test_the_second_run_computes_its_own_tokens_alone(base: Base) -> None:
    scheduler, prefixes = Scheduler(base), PrefixCache()
    first, second = (begun(scheduler, prefixes, seed) for seed in (1, 2))
    assert (first.flush(Clock()), second.flush()) == (309, 9)
    alone = begun(scheduler, None, 2)
    alone.flush()
    assert torch.equal(second.features()[1], alone.features()[1]) or torch.allclose(
        second.features()[1], alone.features()[1], atol=0.02, rtol=0.02
    )
    ours, theirs = second.branch().feed([5, 6]), alone.branch().feed([5, 6])
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)


def test_sixty_four_runs_hold_one_copy(base: Base) -> None:
    scheduler, prefixes = Scheduler(base), PrefixCache()
    trunks = [begun(scheduler, prefixes, seed, 4 * PAGE) for seed in range(64)]
    assert sum(trunk.flush() for trunk in trunks) == 4 * PAGE + 64 * 9
    positions, _ = distinct(trunk.sequence.cache for trunk in trunks)
    assert positions == (4 + 64) * PAGE
    for trunk in trunks:
        trunk.branch().feed(tokens(7, 5))
    assert distinct(trunk.sequence.cache for trunk in trunks)[0] == (4 + 64) * PAGE


def test_runs_that_begin_at_once_wait_for_the_one_that_computes(base: Base) -> None:
    scheduler, prefixes = Scheduler(base), PrefixCache()
    trunks = [begun(scheduler, prefixes, seed, 900) for seed in range(6)]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda t=t: counts.append(t.flush())) for t in trunks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(counts)[-1] == 909 and sum(counts) < 909 + 5 * (9 + PAGE)


def test_who_waits_is_not_left_when_the_other_fails_or_is_cancelled_itself(base: Base) -> None:
    prefixes, ids, found = PrefixCache(), tokens(1, 500), list[object]()
    waiting = threading.Thread(target=lambda: found.append(prefixes.take(ids, RequestContext())))
    with pytest.raises(RuntimeError), prefixes.reading(ids):
        waiting.start()
        time.sleep(0.1)
        assert waiting.is_alive()
        assert prefixes.take(ids, RequestContext(cancelled=lambda: True)) is None
        raise RuntimeError
    waiting.join(5)
    assert found == [None]


def test_the_least_recently_used_goes_first_and_pinned_ones_stay(base: Base) -> None:
    scheduler, prefixes = Scheduler(base), PrefixCache(4 * PAGE)
    made = []
    for seed in range(5):
        sequence = CachedSequence(scheduler)
        sequence.feed(Trunk(base).author, tokens(seed, PAGE))
        made.append(sequence)
    prefixes.put(made[0], pinned=True)
    for sequence in made[1:]:
        prefixes.put(sequence.fork(PAGE))
    assert prefixes.take(tokens(1, PAGE), RequestContext()) is not None
    extra = CachedSequence(scheduler)
    extra.feed(Trunk(base).author, tokens(9, PAGE))
    prefixes.put(extra)
    held = prefixes.held
    assert (held.count, held.evicted, held.positions) == (5, 1, 5 * PAGE)
    known = [prefixes.take(tokens(seed, PAGE), RequestContext()) is not None for seed in range(5)]
    assert known == [True, True, False, True, True]


@pytest.mark.parametrize("same", [40, PAGE, PAGE + 5, 300])
def test_a_beginning_of_another_run_is_reused_up_to_the_first_other_token(base: Base, same: int) -> None:
    scheduler, prefixes, bare = Scheduler(base), PrefixCache(), Trunk(base).author
    known, mine = tokens(1, 400), [*tokens(1, same), *tokens(2, 60)]
    mine[same] = known[same] + 1 if known[same] < 200 else known[same] - 1
    first = CachedSequence(scheduler)
    first.feed(bare, known)
    prefixes.put(first)
    found = prefixes.take(mine, RequestContext())
    assert found is not None and found.ids == mine[:same] == known[:same]
    assert found.length == found.cache.length == found.ledger.length == same
    alone = CachedSequence(scheduler)
    ours, theirs = (held.feed(bare, mine[held.length :], logits=True).scores for held in (found, alone))
    assert ours is not None and theirs is not None
    # A busy machine reads in other slices, which rounds otherwise; one wrong token makes 0.07 and more.
    torch.testing.assert_close(ours, theirs, atol=0.04, rtol=0)


def test_a_longer_beginning_takes_the_place_of_a_shorter_one(base: Base) -> None:
    scheduler, prefixes = Scheduler(base), PrefixCache()
    sequence = CachedSequence(scheduler)
    sequence.feed(Trunk(base).author, tokens(1, 100))
    prefixes.put(sequence.fork(50))
    prefixes.put(sequence.fork(100))
    assert prefixes.held.count == 1
    found = prefixes.take(tokens(1, 70), RequestContext())
    assert found is not None and found.length == found.cache.length == found.ledger.length == 70


def test_a_pinned_beginning_serves_all_runs_that_begin_so(base: Base) -> None:
    bank = Bank(base, slots=1)
    runtime = Runtime(base, bank, ScriptedRouter(["none"] * 2), reuse=0)
    agent = Agent(runtime, instructions="Be brief. " * 20, limits=Limits(max_steps=1, step_tokens=4))
    known = agent.run_sync("Hi.")
    runtime.pin(known.messages[:1])
    again = agent.run_sync("Hi again.")
    assert known.steps[0].tokens.reused == 0 and again.steps[0].tokens.reused > 150
    assert runtime.memory().prefixes.count == 1
