"""Reading a blocking iterator from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from loraloop.agent.threads import awaited

T = TypeVar("T")
_END = object()


async def in_thread(items: Iterator[T], cancel: Callable[[], object]) -> AsyncGenerator[T, None]:
    """The items, made by one thread that does not wait for the reader: what the reader has not taken is kept.

    Where the reader is cancelled or goes away, `cancel` is called, and the thread's end is waited for.

    Args:
        items: Has an end that comes soon after `cancel`.
        cancel: Function that is called once, unless the items came to their end.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[object] = asyncio.Queue()

    def make() -> None:
        for item in items:
            loop.call_soon_threadsafe(made.put_nowait, item)

    work = asyncio.ensure_future(awaited(make, cancel))
    work.add_done_callback(lambda _: made.put_nowait(_END))
    try:
        while (item := await made.get()) is not _END:
            yield item  # type: ignore[misc]
        work.result()  # raises what the items raised
    finally:
        work.cancel()
        while not work.done():  # so that nothing stays half done, however often the reader is cancelled
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # it is nobody's any more
