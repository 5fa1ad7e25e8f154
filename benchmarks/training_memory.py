"""What training allocates: torch's own allocations on a CPU, event by event, and the process's resident memory."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


class Allocations:
    """Peak of what torch allocates between `start` and `stop`, above what was there at `start`.

    The same for every system: torch's profiler reports each allocation and each release of its CPU allocator.
    What oneDNN takes for itself is not seen.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._profile: Any = None

    def start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.__enter__()

    def stop(self) -> None:
        if self._profile is None:
            return
        self._profile.__exit__(None, None, None)
        self.peak = highest(_allocations(self._profile.profiler.kineto_results.experimental_event_tree()))
        self._profile = None


def _allocations(tree: Iterable[Any]) -> list[tuple[int, int]]:
    """(time, bytes) of every allocation (positive) and release (negative) in a tree of the profiler's events."""
    from torch._C._profiler import _EventType

    found, pending = [], list(tree)
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
    return found


def highest(changes: Iterable[tuple[int, int]]) -> int:
    """The largest sum on the way through the changes, in the order of their times; at least 0."""
    total = peak = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        total += size
        peak = max(peak, total)
    return peak


class Resident:
    """Peak of the process's resident memory above what it was when this was made; 0 where Linux does not say."""

    def __init__(self) -> None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from here
        self._before = _status("VmRSS")

    @property
    def peak(self) -> int:
        return max(0, _status("VmHWM") - self._before)

    @property
    def now(self) -> int:
        """What it is above that now."""
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        return max(0, _status("VmRSS") - self._before)


def _status(field: str) -> int:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
