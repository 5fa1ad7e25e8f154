"""Calls of tools as values: a call that has not run, what was said of it, and the record of one that has."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

PYTHON = "python"
"""The name under which the results of the `python` tool stand in the transcript."""
Kind = Literal["identifier", "email", "url", "number", "date", "time", "name"]
"""What an argument value is by its format or shape, if it is no free text."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a tool and its result or error (one of them, unless the call was not run here).

    Attributes:
        name: The name of the tool.
        arguments: JSON data.
        result: The whole result; the model may have read a shorter one.
        error: What went wrong, in the words that the model read.
        ms: Milliseconds that the call took.
        repeated: Whether an earlier call of the run asked the same, whose result this is.
        left_out: Tokens of the result or error that the model was not told.
        source: Where the tool comes from, such as `mcp:NAME`.
        retry: Whether the tool asked for another try (`ToolRetry`); `error` then says why, and is no failure.
        id: The call's own in its run: step and place in the step.
        approval: `approved`, `edited` or `denied`, where somebody was asked.
        wanted: The arguments that the model wrote, where somebody edited them.
        at_least_once: Whether the run was interrupted during the call: it may have been done more often than this
            record says (`Session.resume`).
        by_runtime: Whether the runtime wrote the error and no tool did: the call was denied, cancelled, late or lost.
    """

    name: str
    arguments: dict[str, Any]
    result: Any = None
    error: str | None = None
    ms: float = 0.0
    repeated: bool = False
    left_out: int = 0
    source: str = ""
    retry: bool = False
    id: str = ""
    approval: str = ""
    wanted: dict[str, Any] | None = None
    at_least_once: bool = False
    by_runtime: bool = False

    @property
    def data(self) -> Any:
        """The result as the JSON data that the model reads, whatever object the tool returned."""
        return json.loads(dumps(self.result))


@dataclass(frozen=True, slots=True)
class Approve:
    """The call may run.

    Attributes:
        arguments: Other arguments to run it with; they are checked against the tool's schema, and the model is told.
    """

    arguments: dict[str, Any] | None = None
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Deny:
    """The call does not run.

    Attributes:
        reason: The reason, which the model sees.
    """

    reason: str = ""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def error(self) -> str:
        """The error that the model sees."""
        return f"denied by the user: {self.reason}" if self.reason else "denied by the user"


Approval: TypeAlias = Approve | Deny


@dataclass(frozen=True, slots=True)
class UngroundedValue:
    """An argument value that nobody gave.

    Attributes:
        argument: The name of the property that holds it.
        path: Where it stands in the arguments, as a JSON path.
        value: It.
        kind: What it is by its format or shape.
        required: Whether the property is required.
    """

    argument: str
    path: str
    value: Any
    kind: Kind
    required: bool = True

    def __str__(self) -> str:
        return f"{self.argument} {dumps(self.value)}"


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call of a step that has not run.

    Attributes:
        id: The call's own in its run.
        name: The name of the tool.
        arguments: What the model wrote; they fit the tool's schema.
        waits: Whether the call needs approval.
        approval: The decision about the call; None while there is none.
        ungrounded: Values of a call that waits which nobody gave, as far as the policy lets them pass.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    waits: bool = False
    approval: Approve | Deny | None = None
    ungrounded: tuple[UngroundedValue, ...] = ()

    @property
    def open(self) -> bool:
        """Whether somebody has to decide about the call, and nobody has yet."""
        return self.waits and self.approval is None

    @property
    def call(self) -> Call:
        """The call that runs, if it runs."""
        edited = self.approval.arguments if isinstance(self.approval, Approve) else None
        return Call(self.name, self.arguments if edited is None else edited)


def call_id(step: int, number: int) -> str:
    """The id of a call."""
    return f"call_{step}_{number}"


def call_key(call: Call) -> str:
    """Equal for calls that ask the same."""
    return call.name + "\n" + json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)


def clip(text: str) -> str:
    """The beginning of a text: jsonschema quotes whole values in its errors."""
    return text if len(text) <= 400 else f"{text[:400]}…"


def check_answer(call: PendingCall, answer: object, tool: Tool | None) -> Approval:
    """An answer about a call.

    Args:
        call: The call that the answer is about.
        answer: The answer. Its arguments are copied.
        tool: The tool of the call; None where it is gone, which is no matter if the call is denied.

    Raises:
        InputError: The answer is neither `Approve` nor `Deny`.
        SchemaError: It approves other arguments that do not fit the tool's schema.
    """
    if not isinstance(answer, Approve | Deny):
        raise InputError(f"{answer!r} is not an answer about {call.id} ({call.name}): give Approve() or Deny('reason')")
    if isinstance(answer, Deny) or answer.arguments is None:
        return answer
    if tool is not None:
        try:
            tool.validate(answer.arguments)
        except SchemaError as error:
            where = f"the edited arguments of {call.id} ({call.name}) do not fit"
            raise SchemaError(f"{where}: {error.reason}", error.path) from None
    return Approve(deepcopy(answer.arguments))  # who answered may use the mapping for the next call
