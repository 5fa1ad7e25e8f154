"""The one message type a transcript is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loraloop.adapters.base.origin import Origin

ROLES = ("system", "user", "assistant", "tool")


_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a transcript: who speaks (`system`, `user`, `assistant` or `tool`) and what.

    Attributes:
        role: Who speaks.
        content: What is said; halves of surrogate pairs, which no text can hold, become U+FFFD.
        origin: Where it comes from, as a run notes it; None where nobody said. Its JSON form is taken too. Two messages
            that say the same are equal, whatever their origin.
    """

    role: str
    content: str
    origin: Origin | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"unknown message role {self.role!r}: use one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise TypeError(f"message content must be text, not {type(self.content).__name__}")
        if not self.content.isascii() and _HALVES.search(self.content):
            object.__setattr__(self, "content", _HALVES.sub("\ufffd", self.content))
        origin: object = self.origin
        if isinstance(origin, Mapping):
            object.__setattr__(self, "origin", Origin.read(origin))

    @property
    def instructs(self) -> bool:
        """Whether it is a system message of the application: a note of the runtime is none."""
        return self.role == "system" and (self.origin is None or self.origin.kind != "runtime")

    @property
    def trusted(self) -> bool:
        """Whether all that it says may be followed; of an unknown origin, what tools say may not."""
        if self.origin is None:
            return self.role != "tool"
        return self.origin.trusted and all(span.trusted for span in self.origin.passages)
