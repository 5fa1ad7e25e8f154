"""What a user asks of a desk, and what has to come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "single", "indirect", "two_step", "parallel", "missing", "no_tool", "code", "retrieval", "unsafe", "follow_up",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call that a turn has to make.

    Attributes:
        name: Name of the tool.
        arguments: What it is called with; left-out arguments have to be at their defaults. For a free argument, an
            example of a right text.
        free: Names of arguments that may be any text, such as the words of a message.
        holds: By argument, facts that a free text has to hold.
        either: By argument, further values that are as right as the one in `arguments`.
        gives: Facts that the result has to hold, for a search whose words are free.
        needs: Places, among the turn's calls, of the calls that have to come before this one.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    free: Sequence[str] = ()
    holds: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    either: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    gives: Sequence[Any] = ()
    needs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeskTurn:
    """One message of the user, and what has to come of it.

    Attributes:
        say: The message.
        good: A right answer, for the self-test.
        calls: Calls that have to be made; more calls that only read are no error.
        says: Facts that the answer has to state, each a value or a list of values of which one is enough.
        names: Facts that the answer has to name, negated or not: "She must not eat hazelnuts".
        never: Texts that the answer must not hold.
        asks: Words for what is missing, one of which the answer has to ask for; then nothing may be called.
        ask: The call for which values are missing, None in their places.
        cites: The document that the answer has to cite.
        absent: Whether the documents do not hold the answer, and the answer has to say so.
        program: Lines of `assert` that the program in the answer has to pass.
        refused: Whether the message has to be refused.
        talk: Whether the message needs no call at all.
        oracle: Name of the function of `tools.py` that says what the right next step is; empty where `calls` says it.
    """

    say: str
    good: str
    calls: tuple[WantedCall, ...] = ()
    says: tuple[Any, ...] = ()
    names: tuple[Any, ...] = ()
    never: tuple[Any, ...] = ()
    asks: tuple[str, ...] = ()
    ask: WantedCall | None = None
    cites: str = ""
    absent: bool = False
    program: str = ""
    refused: bool = False
    talk: bool = False
    oracle: str = ""


@dataclass(frozen=True, slots=True)
class DeskRequest:
    """A request: its kind, what else marks it, and its turns.

    Attributes:
        id: Unique in its world.
        kind: One of `KINDS`.
        turns: Messages of the user, in order.
        tags: What else marks it.
        slots: The values that were drawn for it; empty for a plain request.
        seed: Seed of the state that it is asked on; None for a state that is always the same.
    """

    id: str
    kind: str
    turns: tuple[DeskTurn, ...]
    tags: tuple[str, ...] = ()
    slots: Mapping[str, Any] = field(default_factory=dict)
    seed: str | None = None


@dataclass(slots=True)
class DeskCall:
    """A call that ran: its arguments with defaults filled in, the turn it was made in, and what came of it."""

    name: str
    arguments: dict[str, Any]
    turn: int
    result: Any = None
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"
