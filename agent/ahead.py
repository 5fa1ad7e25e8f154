"""What a run makes ready before it is needed: the route's runner-up, and what usually follows while a tool runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING

from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import UnknownNameError

if TYPE_CHECKING:
    from loraloop.adapters.bank import Bank

RUNNER_UP = 0.05
"""Probability from which a runner-up is worth reading."""


class Ahead:
    """Asks a bank for skills before a step does. Thread-safe; shared by all runs of a runtime.

    It learns from every run which skills follow which, so that a tool's time can be used for reading the next skill.

    Args:
        bank: where the skills are.
        active: False makes nothing ready.
    """

    def __init__(self, bank: Bank, active: bool = True) -> None:
        self.active = active
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

    def routed(self, runners_up: Iterable[tuple[str, float]]) -> tuple[str, ...]:
        """Makes the best runner-up among the skills ready; returns what was begun."""
        names = (name for name, probability in runners_up if name != NONE and probability >= RUNNER_UP)
        return self._ready(next(names, NONE))

    def acting(self, skills: Iterable[str]) -> tuple[str, ...]:
        """Makes ready what usually follows a step on these skills, while its tools run; returns what was begun."""
        return self._ready(self.likely(skills))

    def _ready(self, name: str) -> tuple[str, ...]:
        if not self.active:
            return ()
        try:
            return (name,) if self._bank.prefetch(name) else ()
        except UnknownNameError:
            return ()  # a router may know more skills than the bank, and a skill may have been removed
