"""Loads the skills that a run is likely to need next: the route's runner-up, and what usually follows a tool's call."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING

import torch

from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import UnknownNameError

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank

RUNNER_UP = 0.05
"""Probability from which a runner-up is worth reading."""


class SkillPrefetcher:
    """Asks a bank for skills before a step does. Thread-safe; shared by all runs of a runtime.

    It learns from every run which skills follow which, so that a tool's time can be used for reading the next skill.

    Args:
        bank: where the skills are.
        device: the base's.
        active: False makes nothing ready.

    Attributes:
        spare: whether reading leaves a step's forwards alone: they run on a GPU, or leave a core free. Where they do
            not, a runner-up is read when a tool runs, and not beside the decoding that it would slow.
    """

    def __init__(self, bank: Bank, device: torch.device, active: bool = True) -> None:
        self.active = active
        self.spare = device.type != "cpu" or torch.get_num_threads() < _cores()
        self._bank = bank
        self._lock = Lock()
        self._followed: dict[str, Counter[str]] = {}

    def follows(self, before: Iterable[str], after: Iterable[str]) -> None:
        """Notes that a step on some skills was followed by one on others."""
        with self._lock:
            for name in before:
                self._followed.setdefault(name, Counter()).update(after)

    def likely(self, skills: Iterable[str]) -> str:
        """The skill that followed these most often; `none` where that is the base, or nothing is known."""
        with self._lock:
            total: Counter[str] = Counter()
            for name in skills:
                total.update(self._followed.get(name, Counter()))
        return total.most_common(1)[0][0] if total else NONE

    def begin(self, names: Iterable[str]) -> tuple[str, ...]:
        """Makes skills ready; returns those for which there was something to do."""
        return tuple(name for name in dict.fromkeys(names) if self.active and self._wanted(name))

    def _wanted(self, name: str) -> bool:
        try:
            return self._bank.prefetch(name)
        except UnknownNameError:
            return False  # a router may know more skills than the bank, and a skill may have been removed


class RunPrefetcher:
    """Has a `SkillPrefetcher` load the skills that one run is likely to need next.

    Attributes:
        begun: skills whose reading the current step has begun.
    """

    __slots__ = ("_names", "_prefetcher", "_runner_up", "begun")

    def __init__(self, prefetcher: SkillPrefetcher) -> None:
        self._prefetcher = prefetcher
        self._names: tuple[str, ...] = ()
        self._runner_up = NONE
        self.begun: tuple[str, ...] = ()

    def routed(self, names: tuple[str, ...], runners_up: Iterable[tuple[str, float]]) -> tuple[str, ...]:
        """A step on some skills begins: their runner-up is made ready, or remembered. Returns what was begun."""
        if self._names:
            self._prefetcher.follows(self._names, names)
        self._names, self.begun = names, ()
        likely = (name for name, probability in runners_up if name != NONE and probability >= RUNNER_UP)
        self._runner_up = next(likely, NONE)
        return self._begin(self._runner_up) if self._prefetcher.spare else ()

    def acting(self) -> tuple[str, ...]:
        """The step's tools run: what usually follows is made ready, and the runner-up. Returns what was begun."""
        return self._begin(self._prefetcher.likely(self._names), self._runner_up)

    def _begin(self, *names: str) -> tuple[str, ...]:
        begun = self._prefetcher.begin(names)
        self.begun += begun
        return begun


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
