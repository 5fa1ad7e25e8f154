"""The order of writes and reads of slots on a GPU, whatever streams they are issued on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

import torch


class SlotEvents:
    """Writes of slots go to a stream of their own, so that they overlap with forwards that use other slots.

    A write waits for the last read of its slot, and a read for the last write of each of its slots. Reads of a slot
    wait for each other too where they are on different streams, so that the last one stands for all.

    Args:
        stream: Where slots are written.
        current: The stream on which the caller's work is issued.
        on: Makes a stream the current one for a block.
    """

    def __init__(
        self,
        stream: Any,
        current: Callable[[], Any],
        on: Callable[[Any], AbstractContextManager[object]],
    ) -> None:
        self._stream, self._current, self._on = stream, current, on
        self._written: dict[int, Any] = {}
        self._read: dict[int, Any] = {}
        self._lock = Lock()

    @classmethod
    def of(cls, device: torch.device) -> SlotEvents:
        """Makes the events of a GPU."""
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return cls(stream, lambda: torch.cuda.current_stream(device), torch.cuda.stream)

    @contextmanager
    def writing(self, slot: int) -> Iterator[None]:
        """The block's work writes a slot."""
        with self._lock:
            before = self._read.get(slot), self._written.get(slot)
        _wait(self._stream, before)
        with self._on(self._stream):
            yield
        with self._lock:
            self._written[slot] = self._stream.record_event()

    @contextmanager
    def reading(self, slots: Collection[int]) -> Iterator[None]:
        """The block's work, on the current stream, reads slots."""
        stream = self._current()
        with self._lock:
            before = {id(event): event for slot in slots for event in (self._written.get(slot), self._read.get(slot))}
        _wait(stream, before.values())
        yield
        with self._lock:
            event = stream.record_event()
            self._read.update(dict.fromkeys(slots, event))


def _wait(stream: Any, events: Collection[Any]) -> None:
    for event in events:
        if event is not None:
            stream.wait_event(event)
