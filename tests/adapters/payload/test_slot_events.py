"""Writes and reads of slots on streams: who waits for whom. The streams here note what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loraloop.adapters.payload.slot_events import SlotEvents


class Stream:
    """Its work in order: names of what it does, and the events that it waits for before the next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: list[object] = []

    def record_event(self) -> tuple[Stream, int]:
        return self, len(self.work)

    def wait_event(self, event: tuple[Stream, int]) -> None:
        self.work.append(event)

    def before(self, place: int | None = None) -> set[object]:
        """All work that is done before a place of this stream is reached, on whatever stream."""
        found: set[object] = set()
        for item in self.work[:place]:
            found |= item[0].before(item[1]) if isinstance(item, tuple) else {item}
        return found


def test_reads_and_writes_of_a_slot_follow_each_other() -> None:
    copies, one, two = Stream("copies"), Stream("one"), Stream("two")
    current = [one]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before = current[0]
        current[0] = stream
        yield
        current[0] = before

    events = SlotEvents(copies, lambda: current[0], on)

    def write(slot: int, name: str) -> None:
        with events.writing(slot):
            assert current[0] is copies
            current[0].work.append(name)

    def read(stream: Stream, slots: set[int], name: str) -> None:
        current[0] = stream
        with events.reading(slots):
            stream.work.append(name)

    write(1, "write 1")
    read(one, {1}, "read 1")
    assert one.before() == {"write 1", "read 1"}
    write(2, "write 2")
    assert "read 1" not in copies.before(), "a write of another slot does not wait"
    read(two, {1, 2}, "read both")
    assert {"write 1", "write 2", "read 1"} <= two.before(), "also for the other stream's read"
    write(1, "write 1 again")
    assert {"read 1", "read both"} <= copies.before()
    read(one, {1}, "read 1 again")
    assert "write 1 again" in one.before()
