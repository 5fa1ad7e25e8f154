"""Where a step's time goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

PHASES = ("prefill", "recompute", "queue", "route", "gate", "plan", "switch", "compile", "decode", "mask", "tool")


class Clock:
    """Seconds spent in each of `PHASES`.

    Time in the scheduler's queue counts as `queue`, and not for the phase whose forward waited.

    Attributes:
        seconds: Seconds by phase.
        forwards: Forwards that computed something for this step.
        rows: Rows in them, those of other runs included.
    """

    __slots__ = ("forwards", "rows", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.forwards = self.rows = 0

    def shared(self, waited: float, rows: int) -> None:
        """Notes a forward: how long it was waited for, and how many rows it had."""
        self.seconds["queue"] += waited
        self.forwards += 1
        self.rows += rows

    @property
    def sharing(self) -> float:
        """Rows of a forward, on average; 1 where there was none."""
        return round(self.rows / self.forwards, 2) if self.forwards else 1.0

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] += seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds what its block takes to `name`, without what it spends in the queue."""
        start, queued = perf_counter(), self.seconds["queue"]
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start - (self.seconds["queue"] - queued)

    def milliseconds(self) -> dict[str, float]:
        """Phase -> milliseconds, phases that took no time left out."""
        return {name: round(value * 1e3, 3) for name, value in self.seconds.items() if value}

    def added(self, known: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by phase, those of an earlier part of the same step added."""
        own = self.milliseconds()
        return {name: round(own.get(name, 0.0) + known.get(name, 0.0), 3) for name in dict.fromkeys((*own, *known))}
