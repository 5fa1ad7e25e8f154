"""Blocking iterators read from an event loop: one thread makes the items, and none is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from loraloop.integrations.in_thread import in_thread


class Counting:
    """Counts, until it is told to stop."""

    def __init__(self, most: int = 10**9) -> None:
        self.most, self.stop, self.ended = most, threading.Event(), threading.Event()
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.most):
                self.threads.add(threading.get_ident())
                if self.stop.is_set():
                    return
                yield number
                self.stop.wait(0.001 if self.most > 1000 else 0)
        finally:
            self.ended.set()


def test_one_thread_makes_the_items_and_does_not_wait_for_the_reader() -> None:
    async def read() -> list[int]:
        counting, found = Counting(200), []
        async with aclosing(in_thread(iter(counting), counting.stop.set)) as numbers:
            async for number in numbers:
                found.append(number)
                while not counting.ended.is_set():
                    await asyncio.sleep(0.001)
        assert len(counting.threads) == 1 and counting.threads != {threading.get_ident()}
        assert not counting.stop.is_set(), "what came to its end is not cancelled"
        return found

    assert asyncio.run(read()) == list(range(200))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    async def read() -> list[int]:
        found = []
        with pytest.raises(ValueError, match="no more"):
            async for number in in_thread(failing(), lambda: None):
                found.append(number)
        return found

    assert asyncio.run(read()) == [1]


def test_a_reader_that_goes_away_ends_the_thread() -> None:
    async def leave() -> None:
        counting = Counting()
        async with aclosing(in_thread(iter(counting), counting.stop.set)) as numbers:
            assert await anext(numbers) == 0
        assert counting.ended.is_set()

    asyncio.run(leave())


def test_a_reader_that_is_cancelled_twice_still_waits_for_the_end() -> None:
    async def cancelled() -> None:
        counting = Counting()

        async def read() -> None:
            async with aclosing(in_thread(iter(counting), counting.stop.set)) as numbers:
                async for _ in numbers:
                    pass

        reader = asyncio.ensure_future(read())
        while not counting.threads:
            await asyncio.sleep(0.001)
        reader.cancel()
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert counting.ended.is_set()

    asyncio.run(cancelled())
