"""The scheduler: one thread at a time owns the base, and each of its forwards serves all runs that wait, whatever their
skills.

A run submits *requests*: the token that it has chosen, a stretch of tokens that its grammar forces, or a prompt. Every
tick takes one row of each, forms one forward of them, and hands every run its states. Masks, sampling and grammars are
the runs' own threads' business, while the next forward runs.

- **One run alone** computes on its own thread, in the shapes it asks for: as fast as without a scheduler, bit for bit.
- **Waiting.** What a row saves by joining a forward is one reading of the weights, which is what a forward of one row
  takes. So a tick waits for runs that are between two tokens, but no longer than that after they got their logits.
- **Prompts** are computed in chunks. Beside runs that generate, a chunk has as many tokens as prolong the tick by
  `STRETCH` times what it takes without a chunk, by the measured time of such a tick and of a prompt's token; at least
  one. So a gap between two tokens is at most about doubled by prompts, however long they are. A tick of more than twice
  as many tokens as were measured goes once without a chunk, to be measured, and so does each after `FRESH` with one:
  the contexts grow meanwhile. Where no run generates, or none has asked for anything for `AWAY` seconds, a chunk has
  as many tokens as are read in `SLICE` seconds: so long does a new run wait for it, if it comes meanwhile.
- **Fairness.** Rows that generate come first in the order in which they were submitted, prompts take turns; where not
  all fit, higher priorities go before lower ones. A forward in which a prompt ends is not filled up with a piece of
  another one, which its run would wait for. That run is then waited for as one that generates.
- **Limits.** At most `queue` requests wait; one more is a `QueueFullError`. A request that was cancelled, or is past
  its deadline, leaves before the next tick.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from math import isfinite
from threading import Condition, Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from loraloop.agent.engine.cache.sequence import CachedSequence, ComputeRequest, Interrupted, QueueFullError

if TYPE_CHECKING:
    from loraloop.adapters.base import Attached, Base

QUEUE = 256
"""Requests that wait at most."""
ROWS = 64
"""Rows of one forward at most."""
CHUNK = 512
"""Tokens of prompts in one forward at most."""
SLICE = 0.5
"""Seconds for which a forward reads prompts, where no run generates; of at least `URGENT` tokens, fewer cost more."""
STRETCH = 1.0
"""Factor of its own duration by which a prompt's chunk may prolong a tick of runs that generate."""
FRESH = 15
"""Ticks with a prompt's chunk after which one goes without, to be measured anew."""
AWAY = 0.1
"""Seconds after its last token from which a run that asks for nothing does not count as one that generates."""
URGENT = 64
"""Tokens up to which a forced stretch is computed whole, beside the rows of single tokens."""
IDLE = 5.0
"""Seconds after which the thread ends where nothing is to be done."""


@cache
def bound_children() -> None:
    """Gives processes that are forked from now on one thread: with more, OpenMP would wait for its parent's threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


@dataclass(slots=True)
class Pace:
    """Measured durations of forwards: moving averages in seconds.

    Attributes:
        ticks: Seconds of forwards without prompts, by their number of tokens.
        token: Seconds that each token of a prompt adds.
        stretched: Forwards of both since the last one without prompts.
    """

    ticks: dict[int, float] = field(default_factory=dict)
    token: float = 0.0
    stretched: int = 0

    @property
    def alone(self) -> float:
        """Seconds of a forward of one row, or of the fewest rows that were seen."""
        return self.ticks.get(1) or (self.ticks[min(self.ticks)] if self.ticks else 0.0)

    def tick(self, tokens: int) -> float:
        """Seconds of a forward of so many tokens without prompts, by the nearest measured number from half of it on;
        else 0."""
        return self.ticks.get(max((n for n in self.ticks if n <= tokens <= 2 * n), default=0), 0.0)

    @property
    def slice(self) -> int:
        """Tokens of prompts that a tick has room for where no run generates."""
        return max(URGENT, min(CHUNK, int(SLICE / self.token))) if self.token else CHUNK

    def measured(self, tokens: int, prompt: int, seconds: float) -> None:
        """Learns from a forward of so many tokens, `prompt` of them of prompts."""
        self.stretched = self.stretched + (tokens > prompt) if prompt else 0
        if not prompt:
            self.ticks[tokens] = _average(self.ticks.get(tokens, 0.0), seconds)
        elif (tick := self.tick(tokens - prompt)) or (tokens == prompt and (tokens >= URGENT or not self.token)):
            self.token = _average(self.token, max(seconds - tick, seconds / 10) / prompt)

    def chunk(self, tokens: int) -> int:
        """Tokens of prompts that a tick has room for beside so many of rows that generate."""
        if self.stretched >= FRESH or not (tick := self.tick(tokens)):
            return 0
        return max(1, min(CHUNK, int(STRETCH * tick / self.token) if self.token else 1))


def _average(before: float, now: float) -> float:
    return before + 0.2 * (now - before) if before else now


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """Counters of the scheduler since it was made.

    Attributes:
        forwards: Forwards, those of runs alone included.
        rows: Rows in them.
        tokens: Tokens in them.
        waiting: Works that wait now.
        most_waiting: The most that ever waited.
        prompt_token: Seconds that a token of a prompt takes, on average of the last ones; 0 where none was read.
    """

    forwards: int = 0
    rows: int = 0
    tokens: int = 0
    waiting: int = 0
    most_waiting: int = 0
    prompt_token: float = 0.0


class Scheduler:
    """Computes what runs submit. Thread-safe.

    Args:
        base: The model.
        attached: The bank's adapters.
        queue: Works that wait at most.

    Attributes:
        drafts: Whether a run alone computes drafts.
    """

    drafts = True

    def __init__(self, base: Base, attached: Attached | None = None, queue: int = QUEUE) -> None:
        self.base = base
        self.attached = attached
        self._limit = queue
        self._pace = Pace()
        self._forwards = self._rows = self._tokens = self._most = 0
        bound_children()
        self._begin()

    def _begin(self) -> None:
        """Nothing waits and there is no thread: as at first, and in a child process that was forked."""
        self._process = os.getpid()
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._queue: list[ComputeRequest] = []
        self._between: dict[CachedSequence, float] = {}  # those whose run is between two tokens, and since when
        self._busy = False
        self._thread: Thread | None = None

    @property
    def stats(self) -> SchedulerStats:
        """What was done so far."""
        with self._lock:
            counts = self._forwards, self._rows, self._tokens, len(self._queue), self._most
            return SchedulerStats(*counts, self._pace.token)

    def compute(self, request: ComputeRequest) -> None:
        """Computes a request, and waits for it.

        Raises:
            QueueFullError: Too much waits already.
            Interrupted: Its run was cancelled, or its deadline is over.
            SkillError: Weights gave what is not finite.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            self._between.pop(request.sequence, None)
            alone = not self._busy and not self._queue and not self._generating()
            if alone:
                self._busy = True
            else:
                self._enqueue(request)
        if alone:
            self._alone(request)
        else:
            self._wait(request)
        if request.error is not None:
            raise request.error

    def leave(self, sequence: CachedSequence) -> None:
        """Nobody needs to wait for a sequence: its run does something else now."""
        with self._lock:
            if self._between.pop(sequence, None) is not None and self._queue:
                self._changed.notify()

    def drafting(self, sequence: CachedSequence) -> bool:
        """Whether a sequence may bring a draft: where it is alone. Rows of several runs share a reading already."""
        if not self.drafts or not self.base.native:
            return False
        with self._lock:
            return not self._queue and self._between.keys() <= {sequence}

    def _alone(self, request: ComputeRequest) -> None:
        """Computes on the caller's thread, chunk by chunk, until others have submitted something."""
        left = True
        try:
            while left:
                self._forward([(request, min(request.rest, self._pace.slice))], alone=True)
                left = bool(request.rest) and request.error is None and not self._gone(request)
                if left and self._queue:
                    break
        except BaseException:  # an interrupt, or an error: nothing may be computed for it any more
            request.sequence.forget_half()
            left = False
            raise
        finally:
            with self._lock:
                self._busy = False
                if request.scores is not None:
                    self._expect([request])
                if self._queue:
                    self._wake()
                if left:
                    self._enqueue(request)
        if left:
            self._wait(request)

    def _generating(self) -> bool:
        """Whether a run is between two tokens; those that are away are forgotten. The lock is held."""
        if self._between:
            since = perf_counter() - AWAY
            self._between = {sequence: begun for sequence, begun in self._between.items() if begun > since}
        return bool(self._between)

    def _worth_waiting(self) -> float:
        """Seconds for which a tick waits for runs that are between two tokens. The lock is held."""
        return max(self._between.values(), default=0.0) + self._pace.alone - perf_counter()

    def _expect(self, requests: Iterable[ComputeRequest]) -> None:
        """Runs that have what they asked for will soon submit the token that follows; the lock is held."""
        for request in requests:
            if request.error is None:
                self._between[request.sequence] = request.submitted

    def _enqueue(self, request: ComputeRequest) -> None:
        """Adds a request to the queue; the lock is held."""
        if len(self._queue) >= self._limit:
            raise QueueFullError(
                f"{len(self._queue)} requests wait for the base and at most {self._limit} may: run fewer agents at "
                "once (concurrency=…), or load the runtime with queue=…"
            )
        request.gate.acquire()
        begins = not self._queue
        self._queue.append(request)
        self._most = max(self._most, len(self._queue))
        if begins or self._worth_waiting() <= 0:
            self._wake()

    def _wake(self) -> None:
        """Lets the thread look at the queue; the lock is held."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="loraloop-scheduler", daemon=True)
            self._thread.start()
        else:
            self._changed.notify()

    def _wait(self, request: ComputeRequest) -> None:
        try:
            request.gate.acquire()
        except BaseException:  # an interrupt of the main thread: nothing may be computed for it any more
            with self._lock:
                waits = request in self._queue
                if waits:
                    self._queue.remove(request)
            if not waits:
                request.gate.acquire(timeout=60)
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
                self._queue.extend(request for request, _ in batch if request not in done)
                self._expect(done)
            for request in done:
                request.gate.release()

    def _next(self) -> list[tuple[ComputeRequest, int]] | None:
        """What the next forward computes, taken off the queue; None where nothing came for long. The lock is held."""
        while True:
            while self._busy or not self._queue:
                if not self._changed.wait(IDLE) and not self._queue and not self._busy:
                    return None
            if (left := self._worth_waiting()) > 0:  # while anything waits, no run goes alone
                self._changed.wait(left)
                continue
            self._drop()
            if self._queue:
                self._busy = True
                return self._picked()

    def _drop(self) -> None:
        """Takes requests that nobody wants any more off the queue. The lock is held."""
        gone = [request for request in self._queue if self._gone(request)]
        if gone:
            self._queue = [request for request in self._queue if request.error is None]
            for request in gone:
                request.gate.release()

    def _gone(self, request: ComputeRequest) -> bool:
        """Whether the run of a request has ended; the request's error then says why."""
        try:
            if reason := request.sequence.request_context.gone():
                request.error = Interrupted(reason)
        except (Exception, SystemExit) as error:  # of the caller's own question
            request.error = error
        return request.error is not None

    def _picked(self) -> list[tuple[ComputeRequest, int]]:
        """Takes the next forward's requests off the queue, each with how many of its tokens. The lock is held."""
        # The sort is stable: requests of one priority stay in the order in which they were submitted.
        queue = sorted(self._queue, key=lambda request: -request.sequence.request_context.priority)
        urgent = [request for request in queue if request.logits and request.rest <= URGENT]
        batch: list[tuple[ComputeRequest, int]] = []
        tokens = 0
        for request in urgent[:ROWS]:
            if not batch or tokens + request.rest <= 2 * URGENT:
                batch.append((request, request.rest))
                tokens += request.rest
        rows, room = len(batch), self._pace.slice
        if batch:
            room = self._pace.chunk(tokens)
        elif self._generating():
            room = max(1, self._pace.chunk(len(self._between)))
        for request in queue:
            prompt = not request.logits or request.rest > URGENT
            if prompt and room and len(batch) < ROWS and (len(batch) == rows or request.rest <= room):
                batch.append((request, min(request.rest, room)))
                room -= min(request.rest, room)
        taken = {id(request) for request, _ in batch}
        self._queue = [request for request in self._queue if id(request) not in taken]
        return batch

    def _tick(self, batch: list[tuple[ComputeRequest, int]]) -> list[ComputeRequest]:
        """One forward; returns the requests that are done with."""
        before = [request.done for request, _ in batch]
        try:
            self._forward(batch)
        except Exception as error:
            if len(batch) > 1 and before == [request.done for request, _ in batch]:
                for each in batch:  # nothing was kept of it; whose fault it is shows alone
                    self._tick([each])
            else:
                for request, _ in batch:
                    request.error = request.error or error
        return [request for request, _ in batch if not request.rest or request.error is not None]

    def _forward(self, batch: Sequence[tuple[ComputeRequest, int]], alone: bool = False) -> None:
        start = perf_counter()
        keep: tuple[int, ...] = ()
        for request, _ in batch:
            keep = request.keep if not keep else tuple(sorted({*keep, *request.keep})) if request.keep else keep
        rows = [request.row(count) for request, count in batch]
        out = self.base.forward(rows, attached=self.attached, keep=keep)
        finite = isfinite(out.hidden.sum().item())
        place = tokens = prompt = 0
        for request, count in batch:
            if request.clock is not None:
                request.clock.shared(0.0 if alone else start - request.submitted, len(batch))
            place = request.take(out, place, count, finite)
            tokens += count
            prompt += count if not request.logits or count > URGENT else 0
        self._score([request for request, _ in batch if request.logits and request.states is not None])
        end = perf_counter()
        for request, _ in batch:
            request.submitted = end  # what it waits from now on is for its next chunk
        self._pace.measured(tokens, prompt, end - start)
        self._forwards += 1
        self._rows += len(batch)
        self._tokens += tokens

    def _score(self, requests: Sequence[ComputeRequest]) -> None:
        """The logits of requests whose last token is computed."""
        states = [request.states for request in requests if request.states is not None]
        if states:
            scores = self.base.logits(states[0] if len(states) == 1 else torch.cat(states))
            for request, rows in zip(requests, torch.split(scores, [len(each) for each in states]), strict=True):
                request.scores = rows
