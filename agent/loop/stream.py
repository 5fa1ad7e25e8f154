"""A run that is read event by event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Generic

from loraloop.agent.events import Event
from loraloop.agent.loop.run import Run
from loraloop.agent.result import RunResult, T
from loraloop.tool_schemas.errors import InputError

_END = object()


class RunStream(Generic[T]):
    """The events of one run, for `for` or `async for`; `result` is there after the last one.

    Args:
        run: What `Agent.stream` has begun.
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
            raise InputError("the run is not over: read its events to the end first")
        return self._run.result

    def cancel(self) -> None:
        """Ends the run at its next token; the events still come to their end."""
        self._run.cancel()

    def close(self) -> None:
        """Stops without a result."""
        self._run.cancel()
        self._events.close()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, self._events, _END))
            try:
                event = await asyncio.shield(step)
            except asyncio.CancelledError:
                self._run.cancel()
                while not step.done():  # whoever cancels may do so again while a token is computed
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([step])
                if step.exception() is None:
                    self._events.close()  # its slot and its memory are free now, and not when this is collected
                raise
            if event is _END:
                return
            assert isinstance(event, Event)
            yield event
