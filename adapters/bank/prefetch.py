"""A thread that makes skills ready before they are asked for."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from time import monotonic
from weakref import WeakSet

WAITING = 8
"""Wishes that are kept; of more, the oldest are forgotten: they are guesses, and the newest guess is the best."""

IDLE = 5.0
"""Seconds after which a thread without work ends."""


class Prefetcher:
    """Does one thing after another in a daemon thread, which is there only while there is work.

    Args:
        work: called with each name, in the order in which they were asked for. It must not raise.
    """

    def __init__(self, work: Callable[[str], None]) -> None:
        self._work = work
        self._wishes: dict[str, None] = {}
        self._changed = threading.Condition()
        self._busy = ""
        self._thread: threading.Thread | None = None
        _all.add(self)

    def ask(self, name: str) -> bool:
        """Notes a wish; False if it is noted already."""
        with self._changed:
            if name == self._busy or name in self._wishes:
                return False
            self._wishes[name] = None
            if len(self._wishes) > WAITING:
                del self._wishes[next(iter(self._wishes))]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="loraloop-prefetch", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def forget(self, name: str) -> None:
        """Takes back a wish that nobody has begun with."""
        with self._changed:
            self._wishes.pop(name, None)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to do; False if that took longer than `timeout` seconds."""
        end = None if timeout is None else monotonic() + timeout
        with self._changed:
            while self._wishes or self._busy:
                left = None if end is None else end - monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._wishes and not self._changed.wait_for(lambda: bool(self._wishes), IDLE):
                    self._thread = None
                    return
                name = next(iter(self._wishes))
                del self._wishes[name]
                self._busy = name
            try:
                self._work(name)
            finally:
                with self._changed:
                    self._busy = ""
                    self._changed.notify_all()

    def stop(self) -> None:
        """Forgets all wishes and waits a moment for what has been begun."""
        with self._changed:
            self._wishes.clear()
        self.wait(2.0)


_all: WeakSet[Prefetcher] = WeakSet()


@atexit.register
def _stop_all() -> None:
    """A thread that is inside torch when the interpreter goes away would crash it."""
    for prefetcher in list(_all):
        prefetcher.stop()
