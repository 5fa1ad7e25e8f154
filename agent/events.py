"""What a run tells while it goes: frozen, and JSON by `to_dict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loraloop.agent.result import CallRecord, Compaction, RunResult, Step, plain
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
        """As JSON takes it, with its type."""
        return {"type": self.type, **plain(self)}

    def to_json(self) -> str:
        """On one line."""
        return dumps(self.to_dict())


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins; `reused` context tokens are known from an earlier one."""

    prompt: str
    skills: tuple[str, ...]
    tools: tuple[str, ...]
    context: int
    reused: int


@dataclass(frozen=True, slots=True)
class Screened(Event):
    """The last message was screened; a positive screen activates the safety skill."""

    step: int
    probability: float
    positive: bool


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

    Where several skills run together, `mixture` has their weights and `skill` says the same in words. `routed` is the
    router's own choice, whoever decided; empty where it was not asked.
    """

    step: int
    skill: str
    probability: float
    abstained: bool
    runners_up: tuple[tuple[str, float], ...]
    masked: tuple[str, ...]
    decided_by: str
    mixture: tuple[tuple[str, float], ...] = ()
    routed: str = ""


@dataclass(frozen=True, slots=True)
class SkillActivated(Event):
    """The step's slot is ready; 0 is the bare base, and a mixture has (slot, weight) pairs."""

    step: int
    skill: str
    slot: int | tuple[tuple[int, float], ...]
    activation: str
    microseconds: float


@dataclass(frozen=True, slots=True)
class Prefetched(Event):
    """Skills that are being read in the background: a `runner_up`, or what usually follows, while a `tool` runs."""

    step: int
    skills: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class TokenGenerated(Event):
    """A piece of text, made of `tokens` tokens; text of a constrained step comes in pieces that are sure to stay."""

    step: int
    skill: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolCallStarted(Event):
    """A validated call is about to run."""

    step: int
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCallFinished(Event):
    """A call has its result or error."""

    step: int
    call: CallRecord


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The safety skill's verdict is unsafe."""

    step: int
    category: str
    text: str


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


EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    Compacted,
    Screened,
    Planned,
    Routed,
    SkillActivated,
    Prefetched,
    TokenGenerated,
    ToolCallStarted,
    ToolCallFinished,
    Refused,
    StepFinished,
    HookFailed,
    RunFinished,
)
