"""What a run leaves: its output, its messages, and a trace of every step."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.tool_schemas.calls import Call
from loraloop.tool_schemas.jsontext import dumps

StopReason = Literal[
    "answer",
    "code",
    "refused",
    "tool_call",
    "max_steps",
    "max_tokens",
    "max_tool_calls",
    "context",
    "deadline",
    "cancelled",
]
"""Why a run ended: `answer`, `code` and `refused` are complete; `tool_call` waits for the caller to run its calls; the
others met a limit."""


def plain(value: Any) -> Any:
    """Dataclasses, tuples and sets as dictionaries and lists that JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a tool and its result or error (one of them, unless the call was not run here)."""

    name: str
    arguments: dict[str, Any]
    result: Any = None
    error: str | None = None
    ms: float = 0.0
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one step.

    Attributes:
        prefilled: Context tokens computed for it, under the base or a full-activation skill.
        reused: Context tokens it read from a cache.
        generated: Tokens it wrote.
        forced: Those of them about which the grammar left no choice.
        recomputed: Those of `prefilled` that the base had computed before, and a full-activation skill did again.
    """

    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    forced: int = 0
    recomputed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One branch with what it led to.

    Attributes:
        index: From 0.
        skill: Which skill ran; `none` is the bare base, `0.7 code + 0.3 tools` a mixture.
        probability: Of the route; of the screen for a verdict.
        abstained: Whether the router fell back to none.
        runners_up: Other skills and their probabilities.
        masked: Skills that could not be chosen.
        decided_by: `router`, `policy` or `screen`.
        outcome: `calls`, `no_call`, `repeated`, `tool_call`, `answer`, `not_answerable`, `safe`, `unsafe`, `code`,
            `text` or `truncated`.
        kept: Whether its text stays in the transcript.
        text: What it generated.
        calls: The calls it made.
        tokens: Counts.
        ms: Milliseconds by phase, and `first_token` from the route to the first token.
        mixture: The skills that ran together and their weights; empty for a single one.
        prefetched: Skills that the bank began to read in the background during the step.
    """

    index: int
    skill: str
    probability: float
    abstained: bool
    runners_up: tuple[tuple[str, float], ...]
    masked: tuple[str, ...]
    decided_by: str
    activation: str
    outcome: str
    kept: bool
    text: str
    calls: tuple[CallRecord, ...] = ()
    tokens: Tokens = Tokens()
    ms: dict[str, float] = field(default_factory=dict)
    mixture: tuple[tuple[str, float], ...] = ()
    prefetched: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return dict(plain(self))


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run.

    Attributes:
        output: The answer, the code block, the refusal, or what there was when a limit was met.
        stop_reason: See `StopReason`.
        messages: The whole transcript; pass it as `messages=` to go on.
        steps: The trace.
        calls: Calls that the caller has to run (stop reason `tool_call`).
        citations: Ids of the passages that a retrieval answer cites.
        category: Why a request was refused.
        ms: Wall time of the run.
    """

    run_id: str
    output: str
    stop_reason: StopReason
    messages: tuple[Message, ...]
    steps: tuple[Step, ...]
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    ms: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether the run ended by itself rather than at a limit."""
        return self.stop_reason in ("answer", "code", "refused", "tool_call")

    def to_dict(self) -> dict[str, Any]:
        return dict(plain(self))

    def to_json(self) -> str:
        """One line of JSON."""
        return dumps(self.to_dict())
