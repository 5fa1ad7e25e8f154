"""Threads for runs and steps: each has one of its own while it lasts, so that many share the base's forwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import Literal, TypeVar

from loraloop.tool_schemas.errors import InputError

T = TypeVar("T")

MOST = 256
"""Runs of one process that asyncio's callers may have at once."""

OnError = Literal["raise", "return"]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST, thread_name_prefix="loraloop-run")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def awaited(function: Callable[[], T], cancel: Callable[[], object]) -> T:
    """What a function gives that blocks, as by `asyncio.to_thread`, but with a thread for each run.

    The loop's own executor has few threads on a small machine.

    Args:
        function: Called in a thread.
        cancel: Called when the caller is cancelled; the function has to end soon after it, and is waited for.
    """
    work = asyncio.get_running_loop().run_in_executor(_pool(), copy_context().run, function)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancel()
        while not work.done():  # whoever cancels may do so again
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # it is nobody's any more
        raise


def run_all(
    jobs: Sequence[Callable[[], T]],
    concurrency: int,
    on_error: OnError = "raise",
    cancel: Callable[[], object] = lambda: None,
) -> list[T]:
    """What jobs give, in their order; so many run at a time.

    Args:
        jobs: Each is called in a thread of its own.
        concurrency: At most.
        on_error: `raise` raises the first error once all jobs have ended, `return` gives it in its place.
        cancel: Called when the caller is interrupted; the jobs that run have to end soon after it, and are waited for.
    """
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= MOST:
        raise InputError(f"concurrency is {concurrency!r}: give a number from 1 to {MOST}")
    if on_error not in ("raise", "return"):
        raise InputError(f"on_error is {on_error!r}: use 'raise' or 'return'")
    with ThreadPoolExecutor(max(1, min(concurrency, len(jobs))), thread_name_prefix="loraloop-batch") as pool:
        futures = [pool.submit(copy_context().run, job) for job in jobs]
        try:
            errors = [future.exception() for future in futures]
        except BaseException:  # an interrupt: what has not begun never does
            pool.shutdown(wait=False, cancel_futures=True)
            cancel()
            raise
    first = next((error for error in errors if error is not None), None)
    if first is not None and on_error == "raise":
        raise first
    return [future.result() if error is None else error for future, error in zip(futures, errors, strict=True)]  # type: ignore[misc]  # as on_error says
