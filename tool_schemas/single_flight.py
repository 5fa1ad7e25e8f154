"""Values that are made once each: whoever asks first makes one, others who ask meanwhile wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Values by key, the least recently used dropped first. Thread-safe.

    Args:
        limit: Values kept at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._flights: dict[Hashable, Future[V]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made by `make` if nobody has made it or is making it.

        Raises:
            Exception: What `make` raised, to all who wait for it; the next one to ask tries again.
        """
        with self._lock:
            flight = self._flights.pop(key, None)
            mine = flight is None
            if flight is None:
                flight = Future()
                while len(self._flights) >= self.limit:
                    self._flights.pop(next(iter(self._flights)))
            self._flights[key] = flight
        if mine:
            try:
                flight.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._flights.get(key) is flight:
                        del self._flights[key]
                flight.set_exception(error)
        return flight.result()

    def __len__(self) -> int:
        return len(self._flights)

    def ready(self, key: Hashable) -> bool:
        """Whether asking for `key` would give a value at once."""
        with self._lock:
            flight = self._flights.get(key)
        return flight is not None and flight.done()
