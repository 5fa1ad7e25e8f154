"""The bank's host tier: skills that have been read and laid out in memory, so that a slot is written by copying."""

from __future__ import annotations

from collections import OrderedDict

from loraloop.adapters.payload.slots import HostPayload

HOST_BYTES = 256 << 20
"""What the tier may hold where nothing else is said: about twenty skills of rank 16 on the embedded base."""


class HostTier:
    """Skills by name, the least recently used first to go. Not thread-safe: its owner holds a lock.

    Args:
        limit: bytes that are kept at most; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._held: OrderedDict[str, HostPayload] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def get(self, name: str) -> HostPayload | None:
        """A skill, which becomes the most recently used one."""
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
        return held

    def put(self, name: str, prepared: HostPayload) -> None:
        """Keeps a skill, and lets others go until the limit is met; one that is larger than the limit is not kept."""
        self.drop(name)
        if prepared.bytes > self.limit:
            return
        self._held[name] = prepared
        self.used += prepared.bytes
        while self.used > self.limit:
            _, gone = self._held.popitem(last=False)
            self.used -= gone.bytes

    def drop(self, name: str) -> None:
        """Forgets a skill, if it is there."""
        gone = self._held.pop(name, None)
        if gone is not None:
            self.used -= gone.bytes
