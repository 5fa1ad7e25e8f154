"""A run that is read by its caller: in one go, event by event, or step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Generic, Self

from loraloop.agent.events import Event, Planned
from loraloop.agent.loop.pending import Pending
from loraloop.agent.loop.run import Run
from loraloop.agent.result import RunResult, T
from loraloop.agent.skills.threads import awaited
from loraloop.tool_schemas.errors import InputError


class RunReader(Generic[T]):
    """A run whose events the caller reads; `result` is there after the last one.

    As a context manager, sync or async, it stops the run and gives its memory back where the loop is left early.

    Args:
        run: A run whose events nobody has read.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._events = run.events()

    @property
    def result(self) -> RunResult[T]:
        """The run's result.

        Raises:
            InputError: while the run is not over.
        """
        if self._run.result is None:
            raise InputError("the run is not over: go on to its end first")
        return self._run.result

    def close(self) -> None:
        """Stops without a result."""
        self._run.cancel()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.__exit__(kind)


class RunStream(RunReader[T]):
    """The events of one run, for `for` or `async for`."""

    def cancel(self) -> None:
        """Ends the run at its next token; the events still come to their end."""
        self._run.cancel()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            try:
                event = await awaited(lambda: next(self._events, None), self._run.cancel)
            except asyncio.CancelledError:
                self._events.close()  # its slot and its memory are free now, and not when this is collected
                raise
            if event is None:
                return
            yield event


class RunSteps(RunReader[T]):
    """The pending steps of one run, for `for` or `async for`.

    Attributes:
        happened: The events since the last pending step.
    """

    def __init__(self, run: Run) -> None:
        run.stepwise = True
        super().__init__(run)
        self.happened: tuple[Event, ...] = ()

    def stop(self) -> RunResult[T]:
        """Ends the run before the pending step, and gives what there is."""
        if self._run.pending is None:
            self._next()
        if self._run.pending is not None:
            self._run.pending.stop()
        return self.finish()

    def finish(self) -> RunResult[T]:
        """Runs the rest without looking at it."""
        for _ in self._events:
            pass
        return self.result

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._run.pending is not None and self._run.pending.stopped:
            self.finish()
        else:
            self.close()

    def __iter__(self) -> Iterator[Pending]:
        while (pending := self._next()) is not None:
            yield pending

    async def __aiter__(self) -> AsyncIterator[Pending]:
        while True:
            pending = await awaited(self._next, self._run.cancel)
            if pending is None:
                return
            yield pending

    def _next(self) -> Pending | None:
        happened, pending = list[Event](), None
        for event in self._events:
            happened.append(event)
            if isinstance(event, Planned):
                pending = self._run.pending
                break
        self.happened = tuple(happened)
        return pending
