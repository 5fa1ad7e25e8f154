"""What a soak looks at once a second: memory, threads, descriptors, files, stores, and whether it moves."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop import Runtime

STUCK = 120.0  # seconds without an event after which it counts as stuck
FIELDS = ("rss_mb", "threads", "descriptors", "children", "temp_files", "held_mb", "grammars")


@dataclass(frozen=True)
class Sample:
    """One look: seconds since the start, and the values of `FIELDS`."""

    at: float
    values: tuple[float, ...]


def rss_mb() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children() -> int:
    """Processes that this one has started and that are there."""
    return sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))


def slope(samples: list[Sample], name: str) -> float:
    """Least-squares change of a value a minute."""
    at = FIELDS.index(name)
    times = [sample.at / 60 for sample in samples]
    values = [sample.values[at] for sample in samples]
    if len(times) < 2 or times[0] == times[-1]:
        return 0.0
    middle, mean = fmean(times), fmean(values)
    spread = sum((time - middle) ** 2 for time in times)
    return sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True)) / spread


class Watch:
    """Samples in a thread of its own, and looks whether the soak goes on.

    Args:
        runtime: What is watched.
        progress: A number that grows with every event.
        stuck: Called once, after all stacks were written to standard error, when it does not grow for `STUCK` seconds.
    """

    def __init__(self, runtime: Runtime, progress: Callable[[], int], stuck: Callable[[], None]) -> None:
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._runtime, self._progress, self._stuck = runtime, progress, stuck
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="soak-watch")
        self._start = time.monotonic()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def sample(self) -> Sample:
        """The values now; a store beyond its bound is a problem."""
        memory = self._runtime.memory()
        for name, taken, limit in (
            ("trunks", memory.trunks.positions, memory.trunks.limit),
            ("contexts", memory.contexts.positions, memory.contexts.limit),
            ("grammars", memory.grammars, memory.grammars_limit),
            ("skills in memory", memory.bank.host, memory.bank.host_limit),
        ):
            if taken > limit:
                self.problems.append(f"{name}: {taken} where {limit} is the bound")
        temporary = sum(1 for name in os.listdir(tempfile.gettempdir()) if name.startswith("loraloop-scratch-"))
        values = (
            *(rss_mb(), threading.active_count(), len(os.listdir("/proc/self/fd")), children(), temporary),
            *(memory.bytes / 2**20, memory.grammars),
        )
        return Sample(time.monotonic() - self._start, tuple(float(value) for value in values))

    def _look(self) -> None:
        last, moved = -1, time.monotonic()
        while not self._ended.wait(1.0):
            self.samples.append(self.sample())
            now = self._progress()
            if now != last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > STUCK:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                self.problems.append(f"nothing happened for {STUCK:g} s")
                self._stuck()
                return

    def settled(self) -> Sample:
        """The values once everything has ended."""
        gc.collect()
        return self.sample()
