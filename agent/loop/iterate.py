"""A run that is read by its caller: in one go, event by event, as the answer's text, or step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Generic, Self, TypeVar

from loraloop.agent.events import Event, Planned, RunFinished, TokenGenerated
from loraloop.agent.loop.pending import Pending
from loraloop.agent.loop.run import Run
from loraloop.agent.threads import awaited
from loraloop.agent.values.result import RunResult, T
from loraloop.tool_schemas.errors import InputError

Item = TypeVar("Item")


class RunReader(Generic[Item, T]):
    """A run whose items the caller reads, with `for` or `async for`; `result` is there after the last one.

    As a context manager, sync or async, it stops the run and gives its memory back where the loop is left early.

    Args:
        start: Gives the run. Called by whoever reads the first event, in the thread that reads it.
    """

    _stepwise = False
    _items: Iterator[Item]

    def __init__(self, start: Callable[[], Run]) -> None:
        self._start = start
        self._run: Run | None = None
        self._cancelled = False
        self._events = self._read()

    def _read(self) -> Generator[Event, None, None]:
        self._run = run = self._start()
        run.stepwise = self._stepwise
        if self._cancelled:
            run.cancel()
        yield from run.events()

    @property
    def result(self) -> RunResult[T]:
        """The run's result.

        Raises:
            InputError: while the run is not over.
        """
        if self._run is None or self._run.result is None:
            raise InputError("the run has not ended: iterate to its end first")
        return self._run.result

    def cancel(self) -> None:
        """Ends the run at its next token; the events still come to their end."""
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()

    def finish(self) -> RunResult[T]:
        """Runs the rest without looking at it."""
        for _ in self._events:
            pass
        return self.result

    def close(self) -> None:
        """Stops without a result."""
        self.cancel()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.__exit__(kind)

    def __iter__(self) -> Iterator[Item]:
        return self._items

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            try:
                item = await awaited(lambda: next(self._items, None), self.cancel)
            except asyncio.CancelledError:
                self._events.close()  # its slot and its memory are free now, and not when this is collected
                raise
            if item is None:
                return
            yield item


class RunStream(RunReader[Event, T]):
    """The events of one run, for `for` or `async for`."""

    def __init__(self, start: Callable[[], Run]) -> None:
        super().__init__(start)
        self._items = self._events


class AnswerText:
    """Picks the text of a run's answer out of its events: joined, the pieces are the run's `output`.

    A piece whose event says `answer` cannot be dropped any more and is given at once. Everything else waits for the
    run's end. Where the run ends with calls, or with a text that is not valid, there is no answer and no piece.
    """

    def __init__(self) -> None:
        self._length = 0

    def piece(self, event: Event) -> str:
        """The text that an event adds to the answer; empty for most events."""
        new = ""
        if isinstance(event, TokenGenerated) and event.answer:
            new = event.text
        elif isinstance(event, RunFinished) and event.result.stop_reason not in ("approval", "tool_call", "invalid"):
            new = event.result.output[self._length :]
        self._length += len(new)
        return new


class RunText(RunReader[str, T]):
    """The text of one run's answer, in pieces, for `for` or `async for`."""

    def __init__(self, start: Callable[[], Run]) -> None:
        super().__init__(start)
        answer = AnswerText()
        self._items = (piece for event in self._events if (piece := answer.piece(event)))


class RunSteps(RunReader[Pending, T]):
    """The pending steps of one run, for `for` or `async for`.

    Attributes:
        happened: The events since the last pending step.
    """

    _stepwise = True

    def __init__(self, start: Callable[[], Run]) -> None:
        super().__init__(start)
        self.happened: tuple[Event, ...] = ()
        self._items = iter(self._next, None)

    def stop(self) -> RunResult[T]:
        """Ends the run before the pending step, and gives what there is."""
        if (pending := self._pending or self._next()) is not None:
            pending.stop()
        return self.finish()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._pending is not None and self._pending.stopped:
            self.finish()
        else:
            self.close()

    @property
    def _pending(self) -> Pending | None:
        return None if self._run is None else self._run.pending

    def _next(self) -> Pending | None:
        happened, pending = list[Event](), None
        for event in self._events:
            happened.append(event)
            if isinstance(event, Planned):
                pending = self._pending
                break
        self.happened = tuple(happened)
        return pending
