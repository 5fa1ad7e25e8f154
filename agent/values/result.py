"""What a run leaves: its output, its messages, and a trace of every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.checkpoint import Checkpoint
from loraloop.agent.values.receipts import Receipt, status_of
from loraloop.agent.values.step import Compaction, GateRecord, Step, StopReason, plain
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call

T = TypeVar("T", default=Any)


@dataclass(frozen=True, slots=True)
class RunResult(Generic[T]):
    """The end of a run; `T` is what the run's `output_type` says. Its `repr` leaves out what is long.

    Attributes:
        run_id: The run's, as events have it.
        output: The answer, the code block, the refusal, or what there was when a limit was met.
        stop_reason: See `StopReason`.
        messages: The transcript, each message with its `origin`; pass it as `messages=` to go on.
        steps: The trace.
        calls: Calls that the caller has to run (stop reason `tool_call`).
        citations: Ids of the passages that a retrieval answer cites.
        category: Why a request was refused.
        cited: Those passages, with text, title and source, in the order of `citations`.
        ms: Wall time of the run.
        value: The answer as a value of the run's `output_type`; None without one, and where the run ended with
            something else than the base's answer.
        compactions: What was done to keep the transcript within the context, with all that `messages` lacks.
        gates: What the guard's gates decided, in order.
        planned: Tools with effects that the user's own words need, where the guard had that asked.
        pending: All that `Agent.resume` needs to go on (stop reason `approval`).
        receipts: What came of each call, in plain words made from its record, whatever the model says of it.
    """

    run_id: str
    output: str
    stop_reason: StopReason
    messages: tuple[Message, ...] = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    ms: float = 0.0
    value: T | None = None
    cited: tuple[Passage, ...] = field(default=(), repr=False)
    compactions: tuple[Compaction, ...] = field(default=(), repr=False)
    gates: tuple[GateRecord, ...] = field(default=(), repr=False)
    planned: tuple[str, ...] | None = None
    pending: Checkpoint | None = field(default=None, repr=False)
    receipts: tuple[Receipt, ...] = ()

    @property
    def failed_calls(self) -> tuple[CallRecord, ...]:
        """The calls that failed, by their error or their result, or of which nobody knows; denied ones are not here."""
        records = [record for step in self.steps for record in step.calls if not record.repeated]
        return tuple(record for record in records if status_of(record) in ("failed", "unknown"))

    @property
    def complete(self) -> bool:
        """Whether the run ended by itself rather than at a limit."""
        return self.stop_reason in ("answer", "code", "refused", "tool_call", "approval")

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return dict(plain(self))

    def to_json(self) -> str:
        """One line of JSON."""
        return dumps(self.to_dict())
