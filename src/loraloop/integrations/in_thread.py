"""Reading a blocking iterator from an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

from loraloop.agent.skills.threads import awaited

T = TypeVar("T")
_END = object()


async def in_thread(items: Iterator[T], cancel: Callable[[], object]) -> AsyncGenerator[T, None]:
    """The items, each awaited in a thread. Where the reader is cancelled or goes away, `cancel` is called.

    Args:
        items: Has an end that comes soon after `cancel`.
        cancel: Told once, unless the items came to their end.
    """
    over = False
    try:
        while True:
            item = await awaited(lambda: next(items, _END), cancel)
            if item is _END:
                over = True
                return
            yield item  # type: ignore[misc]
    finally:
        if not over:
            cancel()
            await awaited(lambda: deque(items, maxlen=0), cancel)  # so that nothing stays half done
