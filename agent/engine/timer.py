"""Where a step's time goes."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

PHASES = ("prefill", "recompute", "queue", "route", "gate", "plan", "switch", "compile", "decode", "mask", "tool")


class Phase:
    """A block whose time counts for one phase, without what it spent in the queue."""

    __slots__ = ("_name", "_queued", "_seconds", "_start")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start, self._queued = perf_counter(), self._seconds["queue"]

    def __exit__(self, *_: object) -> None:
        seconds = self._seconds
        seconds[self._name] += perf_counter() - self._start - (seconds["queue"] - self._queued)


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

    def phase(self, name: str) -> Phase:
        """Adds what its block takes to `name`."""
        return Phase(self.seconds, name)

    def milliseconds(self) -> dict[str, float]:
        """Phase -> milliseconds, phases that took no time left out."""
        return {name: round(value * 1e3, 3) for name, value in self.seconds.items() if value}

    def added(self, known: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by phase, those of an earlier part of the same step added."""
        own = self.milliseconds()
        return {name: round(own.get(name, 0.0) + known.get(name, 0.0), 3) for name in dict.fromkeys((*own, *known))}
