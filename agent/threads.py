"""Threads for runs and steps: each has one of its own while it lasts, so that many share the base's forwards.

The interpreter's end waits for daemon threads that compute. Python before 3.14 unwinds such a thread by force when it
comes back from C++ or Rust, which answer that with an abort of the whole process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import cache, wraps
from typing import Literal, ParamSpec, TypeVar

from loraloop.tool_schemas.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")

MOST = 256
"""Runs of one process that asyncio's callers may have at once."""
PATIENCE = 30.0
"""Seconds for which the interpreter's end waits at most: longer than a forward takes."""

OnError = Literal["raise", "return"]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST, thread_name_prefix="loraloop-run")


class _Exit:
    """Which threads the interpreter's end waits for, and whether it has come."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.computing: set[int] = set()
        self.begun = False

    @contextmanager
    def waits(self) -> Iterator[None]:
        """The end waits for what this thread does here. A daemon thread that comes after the end has begun stays."""
        me = threading.get_ident()
        with self.changed:
            outermost = me not in self.computing
            stays = outermost and self.reached()
            self.computing.update([] if stays else [me])
        if stays:
            threading.Event().wait()
        try:
            yield
        finally:
            if outermost:
                with self.changed:
                    self.computing.discard(me)
                    self.changed.notify_all()

    def reached(self) -> bool:
        """Whether this is a daemon thread and the interpreter ends."""
        return self.begun and threading.current_thread().daemon

    def begin(self) -> None:
        """Waits until no other thread computes."""
        with self.changed:
            self.begun = True
            self.changed.wait_for(lambda: self.computing <= {threading.get_ident()}, PATIENCE)


_exit = _Exit()
atexit.register(_exit.begin)
if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_exit.__init__)  # type: ignore[misc]  # as if it was new


def exit_waits(function: Callable[P, Iterator[T]]) -> Callable[P, Generator[T, None, None]]:
    """A generator function whose items the interpreter's end waits for, each until it is made."""

    @wraps(function)
    def items(*args: P.args, **options: P.kwargs) -> Generator[T, None, None]:
        made = function(*args, **options)
        try:
            while True:
                with _exit.waits():
                    try:
                        item = next(made)
                    except StopIteration:
                        return
                yield item
        finally:
            with _exit.waits():
                made.close()  # type: ignore[attr-defined]  # it is a generator

    return items


def until_exit(cancelled: Callable[[], bool] | None) -> Callable[[], bool]:
    """Wraps `cancelled`: asked by a daemon thread while the interpreter ends, it ends the thread by SystemExit."""

    def asked() -> bool:
        if _exit.reached():
            raise SystemExit
        return cancelled is not None and cancelled()

    return asked


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
        await asyncio.wait([work])
    except asyncio.CancelledError:
        cancel()
        while not work.done():  # whoever cancels may do so again
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # it is nobody's any more
        raise
    return work.result()


def run_all(
    jobs: Sequence[Callable[[], T]],
    concurrency: int,
    on_error: OnError = "raise",
    cancel: Callable[[], object] = lambda: None,
) -> list[T]:
    """The results of jobs, in their order; so many run at a time.

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
