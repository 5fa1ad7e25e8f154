"""How long the work on a grammar may go on: bounded, and until somebody asks it to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from loraloop.tool_schemas.errors import TimeLimitError

_MASKS = 4000
"""Masks that the search for an end may compute, each about a millisecond. Of 1 260 searches in the tests that found an
end, none took more than 1 911."""


class Effort:
    """What searches for an end of a text may take, all that share this together.

    Args:
        masks: Masks that may be computed.
        stop: Asked before each mask; true ends the search.

    Attributes:
        stopped: Whether `stop` has ended a search.
    """

    __slots__ = ("_left", "_stop", "stopped")

    def __init__(self, masks: int = _MASKS, stop: Callable[[], object] | None = None) -> None:
        self._left = masks
        self._stop = stop
        self.stopped = False

    @classmethod
    def of_text(cls, tokens: int, stop: Callable[[], object] | None = None) -> Effort:
        """What the generation of a text of at most so many tokens may take: it looks for its end again and again."""
        return cls(_MASKS + 32 * tokens, stop)

    @property
    def over(self) -> bool:
        """Whether nothing more may be searched."""
        if not self.stopped and self._stop is not None and self._stop():
            self.stopped = True
        return self.stopped or self._left <= 0

    def take(self) -> None:
        """Counts one mask."""
        self._left -= 1


_STOP: ContextVar[Callable[[], object] | None] = ContextVar("stop", default=None)


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """Schemas that are made ready within the block are given up as soon as `stop` is true."""
    token = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(token)


def check_going_on(why: str = "the schema was not made ready in time: simplify it, or offer fewer tools") -> None:
    """Checks that the work on schemas may go on.

    Args:
        why: The message where it may not.

    Raises:
        TimeLimitError: Who asked for it wants it no longer.
    """
    stop = _STOP.get()
    if stop is not None and stop():
        raise TimeLimitError(why)
