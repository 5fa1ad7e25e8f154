"""The one message type a transcript is made of."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a transcript: who speaks (`system`, `user`, `assistant` or `tool`) and what.

    Attributes:
        role: Who speaks.
        content: What is said.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"unknown message role {self.role!r}: use one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise TypeError(f"message content must be text, not {type(self.content).__name__}")
