"""The parts of a trace: what ran, under which settings, what happened, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.agent.result import Compaction, GateRecord, StopReason
from loraloop.tool_schemas.tools.calls import Call


@dataclass(frozen=True, slots=True)
class BaseUsed:
    """The base of a run.

    Attributes:
        name: Its name in the catalog, or that of its file or folder.
        form: The quantization that it was served in.
        architecture: Fingerprint of architecture, tokenizer and chat format.
        weights: Fingerprint of weights and quantization.
        context: Positions that a transcript may use.
        device: What it ran on.
    """

    name: str
    form: str
    architecture: str
    weights: str
    context: int
    device: str


@dataclass(frozen=True, slots=True)
class SkillUsed:
    """A skill that could be chosen.

    Attributes:
        name: What it is called.
        contract: What it writes.
        method: How its weights are made.
        activation: `branch` or `full`.
        sha256: Of its weights; empty where it was never saved.
    """

    name: str
    contract: str
    method: str
    activation: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RouterUsed:
    """What chose.

    Attributes:
        kind: Its class.
        sha256: Of its weights and thresholds; empty where it has none.
    """

    kind: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """A tool that could be called.

    Attributes:
        name: What the model calls it by.
        description: What the model was told.
        parameters: JSON Schema of the arguments.
        strict: Whether the arguments were decoded under that schema.
        on_unsupported: What was done about keywords that decoding cannot enforce.
        returns: JSON Schema of the result.
        retries: How often it may ask for another try; None: as the limits say.
        executable: Whether a call gives a result here.
        source: Where it comes from.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = True
    on_unsupported: Literal["refuse", "check"] = "refuse"
    returns: dict[str, Any] | None = None
    retries: int | None = None
    executable: bool = True
    source: str = ""


@dataclass(frozen=True, slots=True)
class SettingsUsed:
    """Under what a run ran.

    Attributes:
        limits: The fields of `Limits`.
        policy: The fields of `Policy`; of a function, its name.
        sampling: The fields of `Sampling`; the seed is what was drawn where none was given.
        guard: The fields of `Guard`; of a function, its name.
        output: The form of the answer: its `kind` and what that has; None for any text.
        python: Whether the programs of code steps were run.
    """

    limits: dict[str, Any]
    policy: dict[str, Any]
    sampling: dict[str, Any]
    guard: dict[str, Any]
    output: dict[str, Any] | None = None
    python: bool = False


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a run. What it shares with the steps and the end is there alone; tokens are not listed.

    Attributes:
        at: Milliseconds since the run began.
        type: The event's class.
        step: The step; None for an event of the whole run.
        data: Its other fields.
    """

    at: float
    type: str
    step: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run; the fields are those of `RunResult`.

    Attributes:
        output: The answer, or what there was when a limit was met.
        stop_reason: Why it ended.
        messages: The transcript.
        calls: Calls that the caller had to run.
        citations: Ids of the passages that the answer cites.
        category: Why a request was refused.
        value: The answer as a value, as JSON data.
        compactions: What was done to keep the transcript within the context.
        ms: Wall time of the run.
        gates: What the guard's gates decided.
        planned: Tools with effects that the user's own words need, where that was asked.
    """

    output: str
    stop_reason: StopReason
    messages: tuple[Message, ...]
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    value: Any = None
    compactions: tuple[Compaction, ...] = ()
    ms: float = 0.0
    gates: tuple[GateRecord, ...] = ()
    planned: tuple[str, ...] | None = None
