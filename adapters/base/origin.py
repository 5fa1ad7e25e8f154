"""The origin of a message: who wrote it, and whether instructions in it may be followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["system", "user", "skill", "tool", "guard", "runtime"]
"""Two kinds are the runtime's own words in another's place: a `guard`'s (a refusal, or that a result was withheld), and
those of the `runtime`: about a call (that it was denied, cancelled, late or interrupted), or about the user's
calendar words."""


@dataclass(frozen=True, slots=True)
class PassageSpan:
    """A passage inside a user's message.

    Attributes:
        id: The passage's.
        source: The document that it is from.
        start: Place of the first character of the span in the message's content.
        end: The character after its last.
        trusted: Whether what it says may be followed.
    """

    id: str
    source: str
    start: int
    end: int
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a message.

    Attributes:
        kind: Who wrote it.
        name: Name of the skill (`none` is the bare base) or of the tool.
        step: The run's step that wrote it, or that called the tool; None outside steps.
        source: Where the tool comes from, such as `mcp:NAME`.
        trusted: Whether what it says may be followed. What a skill wrote after it read untrusted text is not.
        passages: The parts of a user's message that are passages.
    """

    kind: Kind
    name: str = ""
    step: int | None = None
    source: str = ""
    trusted: bool = True
    passages: tuple[PassageSpan, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of origin {self.kind!r}: use one of {', '.join(get_args(Kind))}")

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Origin:
        """An origin from its JSON form."""
        spans = tuple(PassageSpan(**span) for span in record.get("passages", ()))
        return cls(**{**record, "passages": spans})
