"""The limits of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from loraloop.adapters.base.messages import Message
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.context import Left


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run. A run that meets one ends with that as its stop reason and what it has so far.

    Attributes:
        max_steps: Steps, verdicts and dropped branches included.
        step_tokens: Tokens that one step may generate; a gate's verdict may always have as many as it needs.
        run_tokens: Tokens that all steps together may generate.
        max_tool_calls: Calls of tools, the `python` tool included.
        concurrent_calls: Calls of one step that run at the same time at most; 1 runs one after another.
        deadline: Seconds for the whole run; None for no bound. Looked at before every token.
        tool_timeout: Seconds that one call of a tool may take, if the tool itself does not say; it becomes an error
            observation then.
        tool_retries: How often one tool may ask the model to try again (`ToolRetry`), if the tool itself does not say.
        result_tokens: Tokens of one call's result or error that the transcript holds at most. What is longer, or
            longer than the context still has room for, is cut, and a marker says how many tokens were left out.
        keep_free: Positions that a step should find free. Where it does not, the oldest results and turns are made
            shorter or left out (`compaction`). None: `step_tokens` and `result_tokens`, at most a third of the
            context. 0: nothing is, and the run ends with `context`.
        passages: Passages that a request gets from the agent's retriever at most.
        priority: Where not all runs fit into one forward of the base, those of a higher priority come first; 1 for a
            run that a person waits for, 0 for the others.
    """

    max_steps: int = 12
    step_tokens: int = 512
    run_tokens: int = 4096
    max_tool_calls: int = 16
    concurrent_calls: int = 8
    deadline: float | None = None
    tool_timeout: float = 30.0
    tool_retries: int = 2
    result_tokens: int = 1024
    keep_free: int | None = None
    passages: int = 4
    priority: int = 0

    def left(self, index: int, calls: int, tokens: int, deadline: float | None) -> Left:
        """The limits left in step `index`, after so many calls and tokens, until a time of `time.monotonic()`.

        Args:
            index: Index of the step that runs, from 0; it does not count as left any more.
            calls: Calls of tools that the run has begun.
            tokens: Tokens that all steps together have generated.
            deadline: The run's end by `time.monotonic()`, in seconds; None where it has none.
        """
        seconds = None if deadline is None else max(deadline - monotonic(), 0.0)
        return Left(self.max_steps - index - 1, self.max_tool_calls - calls, self.run_tokens - tokens, seconds)

    def free(self, context: int) -> int:
        """Positions of a context that a step should find free; 0: nothing is done for it."""
        if self.keep_free is None:
            return min(self.step_tokens + self.result_tokens, context // 3)
        return min(self.keep_free, context - 1)

    def __post_init__(self) -> None:
        for name in ("max_steps", "step_tokens", "run_tokens", "concurrent_calls", "passages"):
            check_number(name, getattr(self, name), least=1)
        for name in ("max_tool_calls", "tool_retries"):
            check_number(name, getattr(self, name), least=0)
        check_number("result_tokens", self.result_tokens, least=64, why=", so that an error fits")
        if self.keep_free is not None:
            check_number("keep_free", self.keep_free, least=0)
        if self.deadline is not None:
            check_number("deadline", self.deadline, above=0, unit=" seconds", why=", or None for no bound")
        check_number("tool_timeout", self.tool_timeout, above=0, unit=" seconds")
        if not isinstance(self.priority, int):
            raise InputError(f"priority is {self.priority!r}: give a whole number")


def check_number(
    name: str, value: object, *, least: int | None = None, above: float | None = None, unit: str = "", why: str = ""
) -> None:
    """Checks an option that is a number.

    Args:
        name: The option's.
        value: The value to check.
        least: The least whole number that it may be; None: it may have a fraction.
        above: What it has to be above.
        unit: What it counts.
        why: The end of the message.

    Raises:
        InputError: It is something else.
    """
    kinds = (int,) if least is not None else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InputError(f"{name} is {value!r}: give a {'whole ' if least is not None else ''}number{why}")
    if least is not None and value < least:
        bound = f"at least {least}" if least else "0 or more"
        raise InputError(f"{name} is {value}: it must be {bound}{why}")
    if above is not None and not value > above:
        raise InputError(f"{name} is {value}{unit}: it must be above {above:g}{why}")


def check_probability(name: str, value: object) -> None:
    """Checks an option that is a probability or None; raises InputError."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise InputError(f"{name} is {value!r}: give a probability, such as 0.5, or None")


def check_list(name: str, value: object) -> None:
    """Checks an option that is a list of something, so that a single one is told; raises InputError."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{name} is {value!r}: give a list")


def check_messages(value: object) -> None:
    """Checks an option that is a list of messages; raises InputError."""
    check_list("messages", value)
    for each in cast(Iterable[object], value):
        if not isinstance(each, Message):
            raise InputError(f"messages has {each!r}: give Message('user', 'text'), such as those of a result")


def check_kind(name: str, value: object, kind: type[Any]) -> None:
    """Checks an option that is a value of a class or None; raises InputError."""
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{name} is {value!r}: give {kind.__name__}(…), or leave it out")
