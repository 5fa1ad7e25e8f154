"""Hooks: functions of the caller's that are told a run's events as they happen, and what follows whole runs."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from loraloop.agent.events import EVENTS, Event, HookFailed, RunStarted
from loraloop.agent.threads import running_loop
from loraloop.agent.values.limits import check_list
from loraloop.tool_schemas.errors import HookError, InputError

if TYPE_CHECKING:
    from loraloop.agent.job import Job
    from loraloop.agent.runtime import Runtime

log = logging.getLogger("loraloop.agent")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts about a run that begins, for a `RunHook`.

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


class RunHook(ABC):
    """A hook that has something of its own for each run, and hears of the run's calls and its end."""

    @abstractmethod
    def begin(self, run: RunFacts) -> Follower:
        """Makes what follows one run, before its first event, in the thread that reads it."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A function and the events that it is told.

    Attributes:
        function: Sync or async; takes the event. The run waits for it, and what it returns means nothing. Or a
            `RunHook`.
        events: Classes of events; all of them where empty.
        fatal: Whether its error ends the run. If not, the error is logged and told as `HookFailed`.

    Raises:
        InputError: It cannot be called, or is a class, something in `events` is no event, or they are chosen for a
            `RunHook`.
    """

    function: Callable[[Any], object] | RunHook
    events: tuple[type[Event], ...] = ()
    fatal: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function) and not isinstance(self.function, RunHook):
            raise InputError(f"{self.function!r} is not a hook: give a function that takes an event")
        if isinstance(self.function, type):  # to call it would only make an instance
            raise InputError(f"the hook {self.name} is a class: give an instance, {self.name}(…)")
        if self.events and isinstance(self.function, RunHook):
            raise InputError(f"{self.name} follows whole runs: leave events out")
        check_list("events", self.events)
        object.__setattr__(self, "events", tuple(self.events))
        for event in self.events:
            if event not in EVENTS:
                known = ", ".join(each.__name__ for each in EVENTS)
                raise InputError(f"{event!r} is not an event: hooks take {known}")

    @property
    def name(self) -> str:
        """The function's, for messages."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def wants(self, event: Event) -> bool:
        """Whether the hook receives this event."""
        return not self.events or isinstance(event, self.events)


class RunFollowers:
    """What follows one run, as a context manager that gives the hooks that are told its events."""

    def __init__(self, facts: RunFacts, hooks: Sequence[Hook]) -> None:
        self._facts, self._hooks = facts, hooks
        self._followers: list[Follower] = []

    def __enter__(self) -> tuple[Hook, ...]:
        return tuple(map(self._begin_hook, self._hooks))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._followers:
            self._notify(follower.over, error)

    def calling(self, call_id: str) -> None:
        """Tells the followers that a call is about to run, in the context where it will."""
        for follower in self._followers:
            self._notify(follower.calling, call_id)

    def _begin_hook(self, hook: Hook) -> Hook:
        if not isinstance(hook.function, RunHook):
            return hook
        try:
            follower = hook.function.begin(self._facts)
        except Exception as error:
            return _failing_hook(hook, error)
        self._followers.append(follower)
        return replace(hook, function=follower)

    def _notify(self, what: Callable[[Any], None], value: Any) -> None:
        try:
            what(value)
        except Exception as error:  # it cannot be told as an event: there is none any more, or another thread reads
            log.warning("the hook %s failed: %s", type(getattr(what, "__self__", what)).__qualname__, error)


def _failing_hook(hook: Hook, error: Exception) -> Hook:
    """A hook that could not begin: it fails at the run's first event."""

    def begin(event: Event) -> None:
        raise error

    begin.__qualname__ = hook.name
    return replace(hook, function=begin, events=(RunStarted,))


def as_hooks(hooks: Sequence[Hook | RunHook | Callable[[Any], object]]) -> tuple[Hook, ...]:
    """Hooks, and plain functions and what follows runs as hooks that are told every event."""
    check_list("hooks", hooks)
    return tuple(each if isinstance(each, Hook) else Hook(each) for each in hooks)


def tell_hooks(
    events: Generator[Event, None, None], hooks: Sequence[Hook], loop: asyncio.AbstractEventLoop | None
) -> Generator[Event, None, None]:
    """Passes the events on, each one after the hooks have received it. A hook's error comes before the event.

    Args:
        events: The events of a run.
        hooks: Called in their order, in the thread that iterates.
        loop: The event loop of async hooks; where None, each gets a loop of its own.

    Raises:
        HookError: A fatal hook failed.
    """
    with closing(events):
        for event in events:
            for hook in hooks:
                if hook.wants(event):
                    error = _failure(hook, event, loop)
                    if error is not None:
                        log.warning("the hook %s failed at %s: %s", hook.name, event.type, error)
                        if hook.fatal:
                            raise HookError(f"the hook {hook.name} failed at {event.type}: {error}") from error
                        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                        yield HookFailed(event.run_id, hook.name, event.type, problem)
            yield event


def _failure(hook: Hook, event: Event, loop: asyncio.AbstractEventLoop | None) -> Exception | None:
    try:
        value = hook.function(event)  # type: ignore[operator]  # of a RunHook, its follower stands here
        if inspect.isawaitable(value):
            _wait(value, loop)
    except Exception as error:
        return error
    return None


def _wait(value: Awaitable[object], loop: asyncio.AbstractEventLoop | None) -> None:
    async def wait() -> None:
        await value

    if running_loop() is not None:  # the events are read on a loop's own thread, which cannot wait for itself
        with ThreadPoolExecutor(1, "loraloop-hook") as pool:
            pool.submit(asyncio.run, wait()).result()
    elif loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(wait(), loop).result()
    else:
        asyncio.run(wait())
