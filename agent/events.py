"""What a run tells while it goes: frozen, and JSON by `to_dict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loraloop.agent.values.calls import CallRecord, PendingCall, UngroundedValue
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import AnswerFlaw, Compaction, GateRecord, Step, plain
from loraloop.tool_schemas.jsontext import dumps


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in run `run_id`."""

    run_id: str

    @property
    def type(self) -> str:
        """The name of its class."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON data, with its type."""
        return {"type": self.type, **plain(self)}

    def to_json(self) -> str:
        """The event as JSON on one line."""
        return dumps(self.to_dict())


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins; `reused` context tokens are known from an earlier one. Or it goes on, `resumed`."""

    prompt: str
    skills: tuple[str, ...]
    tools: tuple[str, ...]
    context: int
    reused: int
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Screened(Event):
    """A message was screened; a positive screen activates the safety skill."""

    step: int
    probability: float
    positive: bool
    place: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Gated(Event):
    """A gate of the guard decided about a text."""

    gate: GateRecord


@dataclass(frozen=True, slots=True)
class ToolsLimited(Event):
    """The guard leaves a step some of the tools only; `planned` are those that the user's own words need."""

    step: int
    tools: tuple[str, ...]
    planned: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """A step is about to run and waits for the caller, who reads the run with `Agent.iter`."""

    step: int
    skill: str
    decided_by: str
    routed: str


@dataclass(frozen=True, slots=True)
class Routed(Event):
    """The next step's skill is decided, by the `router`, the `policy`, the `screen`, the `caller`, or as one more try.

    `routed` is the router's own choice, whoever decided; empty where it was not asked. A skill less probable than
    `threshold` is not taken by the router.
    """

    step: int
    skill: str
    probability: float
    abstained: bool
    runners_up: tuple[tuple[str, float], ...]
    masked: tuple[str, ...]
    decided_by: str
    routed: str = ""
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class SkillActivated(Event):
    """The step's slot is ready; 0 is the bare base.

    `written_by` is the fallback's model where the fallback has written the step in the place of the skill.
    """

    step: int
    skill: str
    slot: int
    activation: str
    microseconds: float
    written_by: str = ""


@dataclass(frozen=True, slots=True)
class TokenGenerated(Event):
    """A piece of text, made of `tokens` tokens; text of a constrained step comes in pieces that are sure to stay.

    Under a gate before the output, a step's whole text comes at once, after the gate let it pass; of a step whose text
    does not stay, nothing comes. `spans` are the parts of the text about which the grammar left no choice: the first
    character of each, and the one after its last. `answer` says that the text is sure to be part of the run's output;
    other text may still be dropped, or be the form of a call, a program that runs, or an answer with its citations.
    """

    step: int
    skill: str
    text: str
    tokens: int
    spans: tuple[tuple[int, int], ...] = ()
    answer: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRequested(Event):
    """Calls of a step wait for approval; until all of them have it or are denied, no call of the step runs."""

    step: int
    calls: tuple[PendingCall, ...]


@dataclass(frozen=True, slots=True)
class ToolCallStarted(Event):
    """A validated call is about to run; calls of one step run at the same time. `id` is that of its `CallRecord`."""

    step: int
    name: str
    arguments: dict[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallFinished(Event):
    """A call has its result or error; of calls that run at the same time, the first that is over comes first.

    A call that did not run (its answer is known, or it was denied) has no `ToolCallStarted` before it. How many tokens
    of a result were left out (`left_out`) is known only when the step is over.
    """

    step: int
    call: CallRecord


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A gate stopped the run, or the safety skill's verdict is unsafe: `text` is what is said instead."""

    step: int
    category: str
    text: str


@dataclass(frozen=True, slots=True)
class Ungrounded(Event):
    """No call of a step runs, because nobody gave `values`: the step is written again, or the user is asked (`ask`)."""

    step: int
    values: tuple[UngroundedValue, ...]
    ask: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFlawed(Event):
    """The records do not bear out an answer: they are the answer, or the fallback writes it `again`."""

    step: int
    flaws: tuple[AnswerFlaw, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    """A step is over."""

    step: Step


@dataclass(frozen=True, slots=True)
class Compacted(Event):
    """The transcript was made shorter, since it outgrew the context; the step after it reads the rest again."""

    compaction: Compaction


@dataclass(frozen=True, slots=True)
class HookFailed(Event):
    """A hook raised; the run goes on. `event` is the type of the event that it was told."""

    hook: str
    event: str
    error: str


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The run is over; always the last event."""

    result: RunResult


EVENTS: tuple[type[Event], ...] = tuple(
    kind for kind in vars().values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
)
"""The classes of events."""
