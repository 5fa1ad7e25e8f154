"""The scheduler: one thread at a time owns the base, and each of its forwards serves all runs that wait, whatever their
skills.

A run submits *work*: the token that it has chosen, a stretch of tokens that its grammar forces, or a prompt. Every tick
takes one row of each, forms one forward of them, and hands every run its states. Masks, sampling and grammars are the
runs' own threads' business, while the next forward runs.

- **One run alone** computes on its own thread, in the shapes it asks for: as fast as without a scheduler, bit for bit.
- **Waiting.** What a row saves by joining a forward is one reading of the weights, which is what a forward of one row
  takes. So a tick waits for runs that are between two tokens, but no longer than that.
- **Prompts** are computed in chunks. Beside runs that generate, a chunk is as large as it can be while the tick takes
  at most `STRETCH` times as long again as without it; so a long prompt never stalls the others.
- **Fairness.** Rows that generate come first in the order in which they were submitted, prompts take turns; where not
  all fit, higher priorities go before lower ones.
- **Limits.** At most `queue` works wait; one more is a LimitError. What was cancelled, or is past its deadline, leaves
  before the next tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from threading import Condition, Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from loraloop.agent.engine.sequence import CachedSequence, Interrupted, Work
from loraloop.tool_schemas.errors import LimitError

if TYPE_CHECKING:
    from loraloop.adapters.base import Attached, Base

QUEUE = 256
"""Works that wait at most."""
ROWS = 64
"""Rows of one forward at most."""
CHUNK = 512
"""Tokens of a prompt in one forward, where no run generates."""
STRETCH = 1.0
"""By how many times its own duration a tick may be prolonged by a prompt's chunk."""
LEAST_CHUNK = 16
URGENT = 64
"""Tokens up to which a forced stretch is computed whole, beside the rows of single tokens."""
IDLE = 5.0
"""Seconds after which the thread ends where nothing is to be done."""


@dataclass(slots=True)
class Pace:
    """How long forwards take, as measured: moving averages in seconds.

    Attributes:
        alone: Of a forward of one row.
        tick: Of a forward of rows that generate.
        token: What a prompt's token adds.
    """

    alone: float = 0.0
    tick: float = 0.0
    token: float = 0.0

    def measured(self, rows: int, tokens: int, prompt: int, seconds: float) -> None:
        """Learns from a forward of so many rows and tokens, `prompt` of them of prompts."""
        if prompt:
            own = max(seconds - (self.tick if tokens > prompt else 0.0), seconds / 10)
            self.token = _average(self.token, own / prompt)
        else:
            self.tick = _average(self.tick, seconds)
            if rows == tokens == 1 or not self.alone:
                self.alone = _average(self.alone, seconds)

    def chunk(self) -> int:
        """Tokens of prompts that a tick has room for beside rows that generate."""
        if not self.token or not self.tick:
            return URGENT
        return max(LEAST_CHUNK, min(CHUNK, int(STRETCH * self.tick / self.token)))


def _average(before: float, now: float) -> float:
    return before + 0.2 * (now - before) if before else now


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """What the scheduler has done so far.

    Attributes:
        forwards: Forwards, those of runs alone included.
        rows: Rows in them.
        tokens: Tokens in them.
        waiting: Works that wait now.
        most_waiting: The most that ever waited.
    """

    forwards: int = 0
    rows: int = 0
    tokens: int = 0
    waiting: int = 0
    most_waiting: int = 0


class Scheduler:
    """Computes what runs submit. Thread-safe.

    Args:
        base: The model.
        attached: The bank's adapters.
        queue: Works that wait at most.
    """

    def __init__(self, base: Base, attached: Attached | None = None, queue: int = QUEUE) -> None:
        self.base = base
        self.attached = attached
        self._limit = queue
        self._pace = Pace()
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._queue: list[Work] = []
        self._between: dict[CachedSequence, None] = {}  # those whose run is between two tokens
        self._busy = False
        self._thread: Thread | None = None
        self._forwards = self._rows = self._tokens = self._most = 0

    @property
    def stats(self) -> SchedulerStats:
        """What was done so far."""
        with self._lock:
            return SchedulerStats(self._forwards, self._rows, self._tokens, len(self._queue), self._most)

    def compute(self, works: Sequence[Work]) -> None:
        """Computes works of different sequences, and waits for them.

        Raises:
            LimitError: Too much waits already.
            Interrupted: The claim of one is gone.
            SkillError: Weights gave what is not finite.
        """
        with self._lock:
            for work in works:
                self._between.pop(work.sequence, None)
            alone = not self._busy and not self._queue and not self._between
            if alone:
                self._busy = True
            else:
                self._enqueue(works)
        if alone:
            self._alone(works)
        else:
            self._wait(works)
        error = next((work.error for work in works if work.error is not None), None)
        if error is not None:
            raise error

    def leave(self, sequence: CachedSequence) -> None:
        """Nobody needs to wait for a sequence: its run does something else now."""
        with self._lock:
            if self._between.pop(sequence, True) is None and self._queue:
                self._changed.notify()

    def _alone(self, works: Sequence[Work]) -> None:
        """Computes on the caller's thread, chunk by chunk, until others have submitted something."""
        live = list(works)
        try:
            while live:
                self._forward([(work, min(work.rest, CHUNK)) for work in live], alone=True)
                live = [work for work in live if work.rest and work.error is None and not self._gone(work)]
                if live and self._queue:
                    break
        finally:
            with self._lock:
                self._busy = False
                self._expect(works)
                if self._queue:
                    self._wake()
                if live:
                    self._enqueue(live)
        if live:
            self._wait(live)

    def _expect(self, works: Sequence[Work]) -> None:
        """Runs that have their logits will soon submit the token that they choose; the lock is held."""
        for work in works:
            if work.scores is not None and work.error is None:
                self._between[work.sequence] = None

    def _enqueue(self, works: Sequence[Work]) -> None:
        """Adds works to the queue; the lock is held."""
        if len(self._queue) + len(works) > self._limit:
            raise LimitError(
                f"{len(self._queue)} works wait for the base and {len(works)} more were submitted, but at most "
                f"{self._limit} may wait: run fewer agents at once (concurrency=…), or load the runtime with queue=…"
            )
        for work in works:
            work.gate.acquire()
        sleeps = not self._queue or not self._between
        self._queue.extend(works)
        self._most = max(self._most, len(self._queue))
        if sleeps:
            self._wake()

    def _wake(self) -> None:
        """Lets the thread look at the queue; the lock is held."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="loraloop-scheduler", daemon=True)
            self._thread.start()
        else:
            self._changed.notify()

    def _wait(self, works: Sequence[Work]) -> None:
        try:
            for work in works:
                work.gate.acquire()
        except BaseException:  # an interrupt of the main thread: nothing may be computed for it any more
            with self._lock:
                left = [work for work in works if work not in self._queue]
                self._queue = [work for work in self._queue if work not in works]
            for work in left:
                work.gate.acquire(timeout=60)
            raise

    def _run(self) -> None:
        """The thread: one forward after the other while anything waits."""
        while True:
            with self._lock:
                batch = self._next()
                if batch is None:
                    self._thread = None
                    return
            done = self._tick(batch)
            with self._lock:
                self._busy = False
                self._queue.extend(work for work, _ in batch if work not in done)
                self._expect(done)
            for work in done:
                work.gate.release()

    def _next(self) -> list[tuple[Work, int]] | None:
        """What the next forward computes, taken off the queue; None where nothing came for long. The lock is held."""
        while True:
            while self._busy or not self._queue:
                if not self._changed.wait(IDLE) and not self._queue and not self._busy:
                    return None
            until = perf_counter() + self._pace.alone
            waited_for = list(self._between)
            while self._between and (left := until - perf_counter()) > 0:  # while anything waits, no run goes alone
                self._changed.wait(left)
            if perf_counter() >= until:  # who has not come is busy with something else
                for sequence in waited_for:
                    self._between.pop(sequence, None)
            self._drop()
            if self._queue:
                self._busy = True
                return self._picked()

    def _drop(self) -> None:
        """Lets go of works that nobody wants any more. The lock is held."""
        gone = [work for work in self._queue if self._gone(work)]
        if gone:
            self._queue = [work for work in self._queue if work.error is None]
            for work in gone:
                work.gate.release()

    def _gone(self, work: Work) -> bool:
        """Whether nobody wants a work any more; its error says why then."""
        try:
            if reason := work.sequence.claim.gone():
                work.error = Interrupted(reason)
        except Exception as error:  # of the caller's own question
            work.error = error
        return work.error is not None

    def _picked(self) -> list[tuple[Work, int]]:
        """Takes the next forward's works off the queue, each with how many of its tokens. The lock is held."""
        queue = sorted(self._queue, key=lambda work: -work.sequence.claim.priority)  # stable: else as submitted
        urgent = [work for work in queue if work.logits and work.rest <= URGENT]
        batch: list[tuple[Work, int]] = []
        tokens = 0
        for work in urgent[:ROWS]:
            if not batch or tokens + work.rest <= 2 * URGENT:
                batch.append((work, work.rest))
                tokens += work.rest
        room = self._pace.chunk() if batch or self._between else CHUNK
        for work in queue:
            prompt = not work.logits or work.rest > URGENT
            if prompt and room >= min(work.rest, LEAST_CHUNK) and len(batch) < ROWS:
                batch.append((work, min(work.rest, room)))
                room -= min(work.rest, room)
        taken = {id(work) for work, _ in batch}
        self._queue = [work for work in self._queue if id(work) not in taken]
        return batch

    def _tick(self, batch: list[tuple[Work, int]]) -> list[Work]:
        """One forward; returns the works that are done with."""
        before = [work.done for work, _ in batch]
        try:
            self._forward(batch)
        except Exception as error:
            if len(batch) > 1 and before == [work.done for work, _ in batch]:
                for each in batch:  # nothing was kept of it; whose fault it is shows alone
                    self._tick([each])
            else:
                for work, _ in batch:
                    work.error = work.error or error
        return [work for work, _ in batch if not work.rest or work.error is not None]

    def _forward(self, batch: Sequence[tuple[Work, int]], alone: bool = False) -> None:
        start = perf_counter()
        keep: tuple[int, ...] = ()
        for work, _ in batch:
            keep = work.keep if not keep else tuple(sorted({*keep, *work.keep})) if work.keep else keep
        rows = [work.row(count) for work, count in batch]
        out = self.base.forward(rows, attached=self.attached, keep=keep)
        finite = isfinite(out.hidden.sum().item())
        place = tokens = prompt = 0
        for work, count in batch:
            if work.clock is not None:
                work.clock.shared(0.0 if alone else start - work.submitted, len(batch))
            place = work.take(out, place, count, finite)
            tokens += count
            prompt += count if not work.logits or count > URGENT else 0
        self._score([work for work, _ in batch if work.logits and work.state is not None])
        end = perf_counter()
        for work, _ in batch:
            work.submitted = end  # what it waits from now on is for its next chunk
        self._pace.measured(len(batch), tokens, prompt, end - start)
        self._forwards += 1
        self._rows += len(batch)
        self._tokens += tokens

    def _score(self, works: Sequence[Work]) -> None:
        """The logits of works whose last token is computed."""
        if len(works) == 1 and works[0].state is not None:
            works[0].scores = self.base.logits(works[0].state[None])[0]
        elif works:
            scores = self.base.logits(torch.stack([work.state for work in works if work.state is not None]))
            for work, row in zip(works, scores, strict=True):
                work.scores = row
