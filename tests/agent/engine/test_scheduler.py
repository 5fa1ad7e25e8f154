"""The scheduler: runs share forwards, and none of them can tell, wait without end, or harm another."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row
from loraloop.adapters.skill.skill import Skill
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.prefix_cache import FullCaches
from loraloop.agent.engine.cache.sequence import CachedSequence, ComputeRequest, Interrupted, RequestContext
from loraloop.agent.engine.generate import Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.scheduler import CHUNK, URGENT, Pace, Scheduler
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.errors import BaseModelError, LimitError, SkillError

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}
NAMES = ("none", "tools", "code", "prose")


def author(base: Base, bank: Bank, name: str) -> Author:
    weights = base.fingerprints.weights
    return Author(weights) if name == "none" else Author(weights, name, bank.slot(name), "branch", bank.identity(name))


def tokens(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 259) for _ in range(count)]


def begun(scheduler: Scheduler, seed: int, count: int) -> CachedSequence:
    """A sequence that holds a context of the bare base."""
    made = CachedSequence(scheduler)
    made.feed(Author(scheduler.base.fingerprints.weights), tokens(seed, count))
    return made


class Watched:
    """A base whose forwards are noted, wait at a gate while that is closed, and take `token` seconds a token more."""

    def __init__(self, base: Base) -> None:
        self.base, self.gate, self.rows, self.threads = base, threading.Event(), list[list[int]](), list[int]()
        self.gate.set()
        self.entered, self.token = threading.Semaphore(0), 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def forward(self, rows: Sequence[Any], **options: Any) -> Any:
        self.rows.append([len(row.tokens) for row in rows])
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.gate.wait(20)
        time.sleep(self.token * sum(self.rows[-1]))
        return self.base.forward(rows, **options)

    @contextmanager
    def closed(self) -> Iterator[None]:
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


@pytest.fixture
def watched(small: Base) -> Watched:
    return Watched(small)


@pytest.fixture
def scheduler(watched: Watched, small_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """A scheduler whose chunks, where no run generates, do not depend on how busy the machine is."""
    monkeypatch.setattr("loraloop.agent.engine.scheduler.SLICE", 60.0)
    return Scheduler(watched, small_bank.attached)  # type: ignore[arg-type]  # a base in all that is asked of it


@contextmanager
def at_once(*jobs: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Runs jobs in threads of their own; what they raise is listed, in no order."""
    raised: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    yield raised
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_row_depends_on_its_own_slot_alone_while_others_join_and_leave(
    small: Base, small_bank: Bank, data: st.DataObject
) -> None:
    """Rule 2, in threads: each run decodes as if alone, whoever shares its forwards, and whenever these come and go."""
    runs = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 40), st.integers(1, 12)), min_size=2,
                              max_size=6), label="skill, prompt and steps of each run")  # fmt: skip
    shared = Scheduler(small, small_bank.attached)
    found: dict[int, list[torch.Tensor]] = {}

    def decode(scheduler: Scheduler, at: int) -> list[torch.Tensor]:
        name, prompt, steps = runs[at]
        held, who, out = begun(scheduler, at, prompt), author(small, small_bank, name), []
        for step in range(steps):
            request = held.feed(who, tokens(1000 * at + step, 1 + (step % 3 == 1) * 5), logits=True)
            assert request.scores is not None
            out.append(request.scores.clone())
        scheduler.leave(held)
        return out

    with at_once(*(lambda at=at: found.update({at: decode(shared, at)}) for at in range(len(runs)))) as raised:
        pass
    assert raised == []
    for at in range(len(runs)):
        alone = decode(Scheduler(small, small_bank.attached), at)
        for mine, others in zip(alone, found[at], strict=True):
            torch.testing.assert_close(mine, others, **TOLERANCE)


@settings(max_examples=8, deadline=None)
@given(mates=st.lists(st.sampled_from(NAMES), min_size=3, max_size=3), other=st.lists(st.sampled_from(NAMES),
       min_size=3, max_size=3), mine=st.sampled_from(NAMES))  # fmt: skip
def test_at_one_batch_shape_the_bits_are_the_same(
    small: Base, small_bank: Bank, mates: list[str], other: list[str], mine: str
) -> None:
    def scores(names: list[str], seed: int) -> torch.Tensor:
        scheduler = Scheduler(small, small_bank.attached)
        requests = [
            ComputeRequest(
                begun(scheduler, seed * at, 20), author(small, small_bank, name), tokens(seed * at, 2), logits=True
            )
            for at, name in enumerate([mine, *names])
        ]
        scheduler._forward([(request, 2) for request in requests])
        assert requests[0].scores is not None
        return requests[0].scores

    assert torch.equal(scores(mates, 3), scores(other, 7))


def test_a_lone_run_computes_on_its_own_thread_in_its_own_shapes(watched: Watched, scheduler: Scheduler) -> None:
    held, clock = begun(scheduler, 1, 600), Clock()
    for token in (5, 6, 7):
        held.feed(Author(watched.fingerprints.weights), [token], logits=True, clock=clock)
    assert watched.rows == [[512], [88], [1], [1], [1]] and set(watched.threads) == {threading.get_ident()}
    assert (clock.forwards, clock.rows, clock.seconds["queue"]) == (3, 3, 0.0)


def test_runs_share_forwards_and_are_told(
    small: Base, small_bank: Bank, watched: Watched, scheduler: Scheduler
) -> None:
    clocks = [Clock() for _ in range(4)]
    made = [begun(scheduler, at, 9) for at in range(4)]
    done = len(watched.rows)

    def run(at: int) -> None:
        who = author(small, small_bank, NAMES[at])
        for step in range(6):
            made[at].feed(who, [5 + step], logits=True, clock=clocks[at])
        scheduler.leave(made[at])

    with watched.closed(), at_once(*(lambda at=at: run(at) for at in range(4))) as raised:
        until(lambda: scheduler.stats.waiting == 3)
        watched.gate.set()
    assert raised == []
    assert watched.rows[done] == [1] and [1] * 4 in watched.rows, "the first alone, then all of them"
    assert all(clock.forwards == 6 for clock in clocks) and sum(clock.rows for clock in clocks) > 40
    assert sum(clock.seconds["queue"] > 0 for clock in clocks) >= 3


def test_a_prompt_is_computed_in_chunks_beside_those_that_decode(watched: Watched, scheduler: Scheduler) -> None:
    bare = Author(watched.fingerprints.weights)
    decoding, reading = begun(scheduler, 1, 5), CachedSequence(scheduler)
    for token in range(10):
        decoding.feed(bare, [5 + token], logits=True)
    prompt, stop = tokens(2, 500), threading.Event()

    def decode() -> None:
        while not stop.is_set():
            decoding.feed(bare, [9], logits=True)

    with at_once(decode) as raised:
        until(lambda: len(watched.rows) > 20)
        before = len(watched.rows)
        request = reading.feed(bare, prompt, keep=(1,), keep_from=100)
        stop.set()
        mixed = [rows for rows in watched.rows[before:] if len(rows) == 2]
        scheduler.leave(decoding)
    assert raised == [] and len(mixed) > 1 and max(map(max, mixed)) < 500
    alone = CachedSequence(Scheduler(watched.base)).feed(bare, prompt, keep=(1,), keep_from=100)
    assert request.states is not None and alone.states is not None
    torch.testing.assert_close(request.states, alone.states, **TOLERANCE)
    torch.testing.assert_close(torch.cat(request.kept[1]), torch.cat(alone.kept[1]), **TOLERANCE)
    assert len(torch.cat(request.kept[1])) == 400


@pytest.mark.parametrize(("decoding", "floor", "row", "token"), [
    (1, 1.5, 0.5, 0.42), (8, 1.5, 0.6, 0.42), (64, 1.5, 0.5, 0.42), (8, 20.0, 3.0, 8.0), (8, 2.0, 0.01, 0.005),
])  # fmt: skip
def test_a_chunk_is_as_long_as_the_runs_that_decode_can_bear(
    decoding: int, floor: float, row: float, token: float
) -> None:
    """A model of a computer: what a token costs grows with what stands before it, as attention does."""
    pace, ticks, skipped = Pace(), 0, False
    stretched = list[float]()
    for length in (4000, 300, 4000):
        done = 0
        while done < length:
            count = min(pace.chunk(decoding), length - done)
            assert count or not skipped, "a prompt advances all but always"
            tick = (floor + row * decoding) * (1 + ticks / 500)
            seconds = tick + count * token * (1 + (done + count / 2) / 2500)
            pace.measured(decoding + count, count, seconds)
            if count:
                stretched.append(seconds / tick)
            done, ticks, skipped = done + count, ticks + 1, not count
    assert max(stretched) < 2.3 and sum(stretched) / len(stretched) > 1.6, "no more than bearable, and not much less"


def test_a_chunk_knows_what_other_numbers_of_rows_and_prompts_alone_took() -> None:
    pace = Pace()
    pace.measured(512, 512, 0.256)  # a prompt alone: half a millisecond a token
    pace.measured(1, 0, 0.002)
    pace.measured(8, 0, 0.006)
    assert [pace.chunk(n) for n in (1, 2, 3, 8, 16, 17)] == [4, 4, 0, 12, 12, 0], "what is next below, down to half"
    assert pace.alone == 0.002
    pace.measured(9, 0, 1.0)
    assert pace.chunk(9) == CHUNK


def test_a_newcomer_waits_for_one_slice_of_a_long_prompt(
    watched: Watched, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long prompt is read in slices that are bounded in time; where a short one ends, nothing of it is added."""
    monkeypatch.setattr("loraloop.agent.engine.scheduler.SLICE", 0.05)
    monkeypatch.setattr("loraloop.agent.engine.scheduler.AWAY", 5.0)
    bare, newcomer, read = Author(watched.fingerprints.weights), CachedSequence(scheduler), threading.Event()
    watched.token = 0.0005  # before anything is read, so that no pace is measured that is faster
    warm = begun(scheduler, 1, 5)
    for token in range(3):
        warm.feed(bare, [5 + token], logits=True)
    scheduler.leave(warm)
    begins = len(watched.rows)

    def read_long() -> None:
        long = CachedSequence(scheduler)
        for at in range(4):
            long.feed(bare, tokens(at, 512))
        read.set()

    def come() -> None:
        newcomer.feed(bare, tokens(9, 50))
        newcomer.feed(bare, [9], logits=True)
        scheduler.leave(newcomer)
        assert not read.is_set()

    with at_once(read_long) as raised:
        until(lambda: len(watched.rows) > begins + 2)
        with watched.closed():
            arrival = len(watched.rows)
            until(lambda: len(watched.rows) > arrival)
            with at_once(come) as refused:
                until(lambda: scheduler.stats.waiting == 1)
                watched.gate.set()
    since = watched.rows[arrival + 1 :]
    assert raised == refused == [] and since[0] == [50], "at once, and alone"
    answered = next(at for at, rows in enumerate(since) if rows[0] == 1 and at)
    assert all(sum(rows) < URGENT for rows in since[1 : answered + 1]), "no slice while its run chooses what follows"
    assert max(map(sum, watched.rows[begins + 1 :])) <= 100, "no more than 0.05 s, also where nobody else is there"


def test_a_slice_is_as_long_as_its_time_allows() -> None:
    pace = Pace()
    assert pace.slice == CHUNK, "nothing is known"
    pace.measured(512, 512, 2.048)
    assert URGENT <= pace.slice < 150
    pace.measured(8, 8, 0.08)
    assert pace.token == 0.004, "what reads the weights for a few tokens says nothing about a token's price"
    fast = Pace()
    fast.measured(512, 512, 0.05)
    assert fast.slice == CHUNK


def test_a_prompt_waits_for_those_that_decode_even_where_all_of_them_are_late(
    watched: Watched, scheduler: Scheduler
) -> None:
    """A run that got its logits just now will be back: nobody may begin a long chunk meanwhile."""
    bare = Author(watched.fingerprints.weights)
    decoding = begun(scheduler, 1, 5)
    decoding.feed(bare, [5], logits=True)
    begins = len(watched.rows)
    begun(scheduler, 2, 1200)
    assert watched.rows[begins][0] < CHUNK, "while the other may come back"
    time.sleep(0.15)
    begins = len(watched.rows)
    begun(scheduler, 3, 1200)
    assert watched.rows[begins : begins + 3] == [[512], [512], [176]], "it did not"


def test_nobody_waits_for_a_run_that_has_left(watched: Watched, scheduler: Scheduler) -> None:
    bare, following = Author(watched.fingerprints.weights), begun(scheduler, 2, 5)
    decoding, begins = begun(scheduler, 1, 5), len(watched.rows)

    def decode() -> None:
        decoding.feed(bare, [5], logits=True)
        scheduler.leave(decoding)

    with watched.closed(), at_once(decode) as raised:
        until(lambda: len(watched.rows) > begins)
        with at_once(lambda: following.feed(bare, [6], logits=True)) as other:
            until(lambda: scheduler.stats.waiting == 1)
            time.sleep(1.5)  # as long as a forward seems to take, and as it is worth to wait for one that comes back
            start = time.monotonic()
            watched.gate.set()
    assert raised == other == [] and time.monotonic() - start < 1


def test_a_forward_is_alone_even_where_all_that_waited_was_interrupted(watched: Watched, scheduler: Scheduler) -> None:
    class Interrupting:
        """A gate at which Ctrl-C comes, once its work is in the queue."""

        def __init__(self) -> None:
            self.times = 0

        def acquire(self) -> None:
            self.times += 1
            if self.times > 1:
                raise KeyboardInterrupt

    bare, held = Author(watched.fingerprints.weights), [begun(scheduler, at, 5) for at in range(4)]
    with watched.closed(), at_once(lambda: held[0].feed(bare, [5], logits=True)) as raised:
        time.sleep(1)
        watched.gate.set()
    with pytest.raises(KeyboardInterrupt):
        held[1].feed(bare, [5], gate=Interrupting())
    time.sleep(0.2)
    begins = len(watched.rows)
    with watched.closed(), at_once(lambda: held[2].feed(bare, [5])) as alone:
        until(lambda: len(watched.rows) > begins)
        with at_once(lambda: held[3].feed(bare, [5])) as other:
            until(lambda: scheduler.stats.waiting > 0 or len(watched.rows) > begins + 1)
            time.sleep(0.2)
            assert len(watched.rows) == begins + 1
            watched.gate.set()
    assert raised == alone == other == []


def test_what_is_interrupted_in_its_own_forward_is_computed_by_nobody(either: Base) -> None:
    class Interrupted(Watched):
        armed = False

        def forward(self, rows: Sequence[Any], **options: Any) -> Any:
            out = super().forward(rows, **options)
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt
            return out

    base, bare = Interrupted(either), Author(either.fingerprints.weights)
    scheduler = Scheduler(base)  # type: ignore[arg-type]
    held = begun(scheduler, 1, 40)
    base.armed = True
    with pytest.raises(KeyboardInterrupt):
        held.feed(bare, tokens(2, 30), logits=True)
    time.sleep(0.3)
    assert len(base.rows) == 2 and scheduler.stats.waiting == 0, "nobody waits for it"
    assert held.length == held.cache.length == 40
    again = held.feed(bare, tokens(2, 30), logits=True).scores
    expected = begun(Scheduler(either), 1, 40).feed(bare, tokens(2, 30), logits=True).scores
    assert again is not None and expected is not None and torch.equal(again, expected)


def test_a_full_queue_is_an_error_that_names_the_numbers(small: Base, watched: Watched) -> None:
    scheduler, bare = Scheduler(watched, queue=2), Author(small.fingerprints.weights)  # type: ignore[arg-type]
    jobs = [lambda: begun(scheduler, 1, 3) for _ in range(3)]
    with watched.closed(), at_once(*jobs) as raised:
        until(lambda: scheduler.stats.waiting == 2)
        with pytest.raises(LimitError, match=r"2 requests wait .* at most 2 may.*concurrency"):
            CachedSequence(scheduler).feed(bare, [5])
        watched.gate.set()
    assert raised == [] and scheduler.stats.waiting == 0 and scheduler.stats.most_waiting == 2


def test_what_is_cancelled_or_late_leaves_the_queue(small: Base, watched: Watched, scheduler: Scheduler) -> None:
    bare, gone = Author(small.fingerprints.weights), threading.Event()
    contexts = [RequestContext(cancelled=gone.is_set), RequestContext(deadline=time.monotonic()), RequestContext()]
    held = [CachedSequence(scheduler) for _ in contexts]
    for each, request_context in zip(held, contexts, strict=True):
        each.request_context = request_context
    with watched.closed(), at_once(lambda: begun(scheduler, 1, 3)) as first:
        until(lambda: bool(watched.rows))
        with at_once(*(lambda s=s: s.feed(bare, [5, 6]) for s in held)) as raised:
            until(lambda: scheduler.stats.waiting == 3)
            gone.set()
            watched.gate.set()
    reasons = sorted(error.reason for error in raised if isinstance(error, Interrupted))
    assert first == [] and reasons == ["cancelled", "deadline"] and [each.length for each in held] == [0, 0, 2]


@pytest.mark.parametrize("beside", [True, False])
def test_a_cancelled_prompt_frees_the_base_between_two_chunks(
    watched: Watched, scheduler: Scheduler, beside: bool
) -> None:
    bare, gone = Author(watched.fingerprints.weights), threading.Event()
    reading, decoding = CachedSequence(scheduler), begun(scheduler, 2, 3)
    decoding.feed(bare, [5], logits=True)
    if not beside:
        scheduler.leave(decoding)
    reading.request_context = RequestContext(cancelled=gone.is_set)
    begins = len(watched.rows)
    with watched.closed(), at_once(lambda: reading.feed(bare, tokens(1, 1100))) as raised:
        until(lambda: len(watched.rows) > begins)
        gone.set()
        watched.gate.set()
    assert [error.reason for error in raised if isinstance(error, Interrupted)] == ["cancelled"]
    assert 0 < reading.length < 1100 and reading.length == reading.cache.length == reading.ledger.length


def test_prompts_take_turns_with_those_who_decode(small: Base, watched: Watched, scheduler: Scheduler) -> None:
    """A long prompt is read in chunks, each in a forward that goes on with those who decode: neither waits."""
    bare, decoding = Author(small.fingerprints.weights), begun(scheduler, 1, 9)
    reading, steps, over = CachedSequence(scheduler), list[int](), threading.Event()

    def decode() -> None:
        while not over.is_set():
            decoding.feed(bare, [5], logits=True)
            steps.append(reading.length)
        scheduler.leave(decoding)

    def read() -> None:
        until(lambda: len(steps) > 3)
        reading.feed(bare, tokens(2, 3000))
        over.set()

    before = len(watched.rows)
    with at_once(decode, read) as raised:
        pass
    assert raised == [] and reading.length == 3000
    shared = [rows for rows in watched.rows[before:] if 1 in rows and len(rows) == 2]
    assert len(shared) > 5 and max(max(rows) for rows in shared) <= CHUNK, "the prompt comes in pieces beside the token"
    assert len({length for length in steps if 0 < length < 3000}) > 3, "tokens are decoded while it is read"


def test_higher_priorities_go_first_where_not_all_fit(
    small: Base, watched: Watched, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloop.agent.engine.scheduler.ROWS", 1)
    bare = Author(small.fingerprints.weights)

    def run(priority: int) -> None:
        held = CachedSequence(scheduler)
        held.request_context = RequestContext(priority)
        held.feed(bare, [5] * (1 + priority), logits=True)
        scheduler.leave(held)

    with watched.closed(), at_once(lambda: begun(scheduler, 1, 3)) as raised:
        until(lambda: bool(watched.rows))
        with at_once(*(lambda p=p: run(p) for p in (0, 2, 1))):
            until(lambda: scheduler.stats.waiting == 3)
            watched.gate.set()
    assert raised == [] and watched.rows == [[3], [3], [2], [1]], "the first alone, then by priority"


@pytest.fixture(scope="module")
def poisoned(either: Base, make_skill: Callable[..., Skill]) -> Bank:
    """A bank with one good skill and two whose weights are not finite, as a damaged memory has them."""
    bank = Bank(either, slots=4)
    bank.add(make_skill(either, "good", seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loraloop.adapters.payload.slots.LARGEST", float("inf"))
        for name, value in (("nan", float("nan")), ("huge", 3e38)):
            skill = make_skill(either, name, seed=2)
            tensors = {key: torch.full_like(tensor, value) for key, tensor in skill.tensors.items()}
            bank.slot(bank.add(Skill(skill.card, tensors)))
    return bank


@pytest.mark.parametrize("bad", ["nan", "huge"])
def test_a_bad_skill_is_an_error_that_names_it_and_its_mates_go_on(either: Base, poisoned: Bank, bad: str) -> None:
    scheduler = Scheduler(either, poisoned.attached)
    good, wrong = author(either, poisoned, "good"), author(either, poisoned, bad)
    mine, theirs = begun(scheduler, 1, 21), begun(scheduler, 2, 21)
    requests = [ComputeRequest(mine, good, [5, 6], logits=True), ComputeRequest(theirs, wrong, [5, 6], logits=True)]
    assert scheduler._tick([(request, 2) for request in requests]) == requests
    assert isinstance(requests[1].error, SkillError) and bad in str(requests[1].error)
    assert requests[0].error is None and requests[0].scores is not None and bool(requests[0].scores.isfinite().all())
    assert (mine.length, theirs.length, theirs.cache.length) == (23, 21, 21) and theirs.broken and not mine.broken
    expected = begun(Scheduler(either, poisoned.attached), 2, 21).feed(good, [7, 8], logits=True).scores
    assert expected is not None
    again = theirs.feed(good, [7, 8], logits=True).scores
    assert again is not None
    torch.testing.assert_close(again, expected, atol=0.02, rtol=0.02)


def test_a_trunk_is_whole_after_a_bad_skill(either: Base, poisoned: Bank) -> None:
    trunk, fresh = Trunk(either, (), poisoned.attached), Trunk(either, (), poisoned.attached)
    for each in (trunk, fresh):
        each.extend(tokens(3, 45))
        each.flush()
    branch = trunk.branch(author(either, poisoned, "nan"))
    with pytest.raises(SkillError, match="nan"):
        sampler = Sampler(Sampling())
        request = GenerateRequest(invocation=[5], sampler=sampler, max_tokens=8, stop_ids=either.end_ids)
        list(generate(branch, request))
    branch.close()
    for each in (trunk, fresh):
        each.extend([9, 10, 11])
    for step in range(20):
        left, right = (each.branch().feed([5 + step]) for each in (trunk, fresh))
        assert torch.equal(left, right)
        for each in (trunk, fresh):
            assert each._open is not None
            each._open.close([5 + step])


def test_a_context_of_a_bad_skill_that_acts_on_all_of_it_is_not_kept(
    either: Base, poisoned: Bank, make_skill: Callable[..., Skill]
) -> None:
    if "whole" not in poisoned.names:
        poisoned.add(make_skill(either, "whole", activation="full"))
    full = FullCaches()
    trunk = Trunk(either, (), poisoned.attached, full=full)
    trunk.extend(tokens(3, 45))
    slot = poisoned.slot("whole")
    who = Author(either.fingerprints.weights, "whole", slot, "full", poisoned.identity("whole"))
    branch = trunk.branch(who)
    branch.sequence.broken = True  # as after a forward of which something was not finite
    branch.close()
    assert full.held.count == 0, "nobody goes on from it"
    trunk.branch(who).close()
    assert full.held.count == 1, "a whole one is kept"


def test_a_base_that_is_damaged_says_so(small: Base) -> None:
    class Damaged(Watched):
        def forward(self, rows: Sequence[Any], **options: Any) -> Any:
            out = super().forward(rows, **options)
            return out._replace(hidden=out.hidden * float("nan"))

    with pytest.raises(BaseModelError, match="not finite"):
        begun(Scheduler(Damaged(small)), 1, 3)  # type: ignore[arg-type]


def test_positions_that_are_dropped_leave_nothing_behind(either: Base) -> None:
    """Masked positions are multiplied by zero: what is not finite there must not be met."""
    cache, fresh = either.new_cache(), either.new_cache()
    planes = {
        layer: (torch.full((40, either.config.kv_heads, either.config.head_dim), float("nan")),) * 2
        for layer in range(either.config.layers)
    }
    for each in (cache, fresh):
        either.forward([Row(tokens(1, 21), each)])
    cache.extend(planes)
    cache.truncate(21)
    for token in range(30):
        left, right = (either.forward([Row([5 + token], each)]).hidden for each in (cache, fresh))
        assert torch.equal(left, right)
    gone = either.new_cache()
    for _ in range(5):  # several pages, which other caches get
        gone.extend(planes)
    del gone
    again = either.new_cache()
    hidden = either.forward([Row(tokens(1, 21), again)]).hidden
    assert torch.equal(hidden, either.forward([Row(tokens(1, 21), either.new_cache())]).hidden)
    assert bool(hidden.isfinite().all())


def test_generation_in_threads_writes_what_it_writes_alone(small: Base, small_bank: Bank) -> None:
    shared = Scheduler(small, small_bank.attached)

    def write(scheduler: Scheduler, at: int, into: dict[int, list[int]]) -> None:
        trunk = Trunk(small, (1,), scheduler=scheduler)
        trunk.extend(tokens(at, 30 + at))
        branch = trunk.branch(author(small, small_bank, NAMES[at % 4]))
        sampler = Sampler(Sampling(0.9, seed=at))
        request = GenerateRequest(invocation=[5, 6], sampler=sampler, max_tokens=24, stop_ids=frozenset())
        *_, last = generate(branch, request)
        assert isinstance(last, Generated)
        branch.close(last.ids)
        into[at] = last.ids

    alone: dict[int, list[int]] = {}
    together: dict[int, list[int]] = {}
    for at in range(8):
        write(Scheduler(small, small_bank.attached), at, alone)
    with at_once(*(lambda at=at: write(shared, at, together) for at in range(8))) as raised:
        pass
    assert raised == [] and together == alone
    stats = shared.stats
    assert stats.rows > stats.forwards


FORK = """
import os, torch
from loraloop.agent.engine.scheduler import Scheduler
torch.set_num_threads(2)
for _ in range(2):
    child = os.fork()
    if not child:
        os._exit(torch.get_num_threads())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    Scheduler(None)
"""


def test_children_have_one_thread_of_torch_from_the_first_runtime_on() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "1"], done.stderr
