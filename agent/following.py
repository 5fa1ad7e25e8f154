"""Hooks that follow runs: each run has something of its own, which is told its events, its calls and its end."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from loraloop.agent.hooks import Hook, RunHook

if TYPE_CHECKING:
    from loraloop.agent.events import Event
    from loraloop.agent.loop.job import Job
    from loraloop.agent.runtime import Runtime

log = logging.getLogger("loraloop.agent")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a `RunHook` is told of a run that begins.

    Attributes:
        run_id: The run.
        runtime: Base, skills and router.
        job: What it is asked to do, and under which limits.
        seed: What its sampling was seeded with; None where it is greedy.
    """

    run_id: str
    runtime: Runtime
    job: Job
    seed: int | None


class Follower(ABC):
    """Follows one run."""

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Is told an event, in the thread that reads the run."""

    def calling(self, call_id: str) -> None:  # noqa: B027  (few have something to do)
        """Is told that a call is about to run, in the thread and the context (`contextvars`) in which it does."""

    def over(self, error: BaseException | None) -> None:  # noqa: B027
        """Is told the end, after the last event, or why there is none: `GeneratorExit` where the run was given up."""


class Following:
    """The followers of one run, as a context manager that gives the hooks that are told its events."""

    def __init__(self, run_id: str, runtime: Runtime, job: Job, seed: int | None) -> None:
        self._facts = RunFacts(run_id, runtime, job, seed)
        self._followers: list[Follower] = []

    def __enter__(self) -> tuple[Hook, ...]:
        return tuple(map(self._begun, self._facts.job.hooks))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._followers:
            self._tell(follower.over, error)

    def calling(self, call_id: str) -> None:
        """Tells the followers that a call is about to run, in the context where it will."""
        for follower in self._followers:
            self._tell(follower.calling, call_id)

    def _begun(self, hook: Hook) -> Hook:
        if not isinstance(hook.function, RunHook):
            return hook
        try:
            follower = hook.function.begin(self._facts)
        except Exception as error:
            return _failing(hook, error)
        self._followers.append(follower)
        return replace(hook, function=follower)

    def _tell(self, what: Callable[[Any], None], said: Any) -> None:
        try:
            what(said)
        except Exception as error:  # it cannot be told as an event: there is none any more, or another thread reads
            log.warning("the hook %s failed: %s", type(getattr(what, "__self__", what)).__qualname__, error)


def _failing(hook: Hook, error: Exception) -> Hook:
    """A hook that could not begin: it fails at the run's first event."""
    from loraloop.agent.events import RunStarted

    def begin(event: Event) -> None:
        raise error

    begin.__qualname__ = hook.name
    return replace(hook, function=begin, events=(RunStarted,))
