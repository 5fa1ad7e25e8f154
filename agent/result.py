"""What a run leaves: its output, its messages, and a trace of every step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal

from typing_extensions import TypeVar

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call

if TYPE_CHECKING:
    from loraloop.agent.loop.pending_run import PendingRun

T = TypeVar("T", default=Any)

StopReason = Literal[
    "answer",
    "code",
    "refused",
    "tool_call",
    "approval",
    "invalid",
    "max_steps",
    "max_tokens",
    "max_tool_calls",
    "context",
    "deadline",
    "cancelled",
    "repetition",
    "stopped",
]
"""Why a run ended: `answer`, `code` and `refused` are complete; `tool_call` waits for the caller to run its calls;
`approval` waits until somebody approves or denies calls (`RunResult.pending`); `invalid` could not write the call or
the answer that was required, repairs included; `stopped` was told to by the caller of `Agent.iter`; the others met a
limit."""


def plain(value: Any) -> Any:
    """Dataclasses, tuples, sets and other objects as what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=dumps)  # by their text: not all values can be compared
    return value if value is None or type(value) in (str, int, float, bool) else json.loads(dumps(value))


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a tool and its result or error (one of them, unless the call was not run here).

    Attributes:
        name: The tool.
        arguments: JSON data.
        result: All of it; what the model was told may be shorter.
        error: What went wrong, as the model was told.
        ms: Milliseconds that it took.
        repeated: Whether an earlier call of the run asked the same, whose result this is.
        left_out: Tokens of the result or error that the model was not told.
        source: Where the tool comes from, such as `mcp:NAME`.
        retry: Whether the tool asked for another try (`ToolRetry`); `error` then says why, and is no failure.
        id: The call's own in its run: step and place in the step.
        approval: `approved`, `edited` or `denied`, where that was asked.
        wanted: The arguments that the model wrote, where somebody edited them.
        at_least_once: Whether the run was interrupted during the call: it may have been done more often than this
            record says (`Session.resume`).
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


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one step.

    Attributes:
        prefilled: Context tokens computed for it, under the base or a full-activation skill.
        reused: Context tokens it read from a cache.
        generated: Tokens it wrote.
        forced: Those of them about which the grammar left no choice.
        recomputed: Those of `prefilled` that the base had computed before, and a full-activation skill did again.
        retried: Values that failed a check of their schema and were decoded again (`on_unsupported="check"`).
    """

    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    forced: int = 0
    recomputed: int = 0
    retried: int = 0


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
        decided_by: `router`, `policy`, `screen`, `caller` (of `Agent.iter`), `repair` for one more try at a step whose
            text was invalid, or `retry` after a tool that asked for another try.
        activation: Whether the skill acts on the `branch` alone or on the `full` context.
        outcome: `calls`, `no_call`, `repeated`, `tool_call`, `answer`, `not_answerable`, `safe`, `unsafe`, `code`,
            `text`, `stopped` (by the gate before the output), `invalid` or `truncated`.
        kept: Whether its text stays in the transcript.
        text: What it generated.
        calls: The calls it made.
        tokens: Counts.
        ms: Milliseconds by phase, and `first_token` from the route to the first token.
        mixture: The skills that ran together and their weights; empty for a single one.
        prefetched: Skills that the bank began to read in the background during the step.
        error: What is wrong with an `invalid` text.
        unsafe: Of a verdict, the skill's probability that the message is unsafe.
        unsafe_from: The probability from which it was to be judged so; None where the likelier verdict counted.
        routed: The router's own choice, whoever decided; empty where it was not asked.
        no_call: Of a step that could call a tool or none, the skill's probability that none is called.
        no_call_from: The probability from which it was to call none; None where what is likelier counted.
        no_answer: Of an answer from passages, the skill's probability that they hold none.
        no_answer_from: The probability from which it was to say so; None where what is likelier counted.
        open_tools: Tools that it could call, where the guard left it some only; None where it left all.
        beams: Hypotheses of the search that found its text; 1 where it was decoded token by token.
        missing: Of a step that called none, required arguments of the call it would have made that nobody said.
        tries: Programs that were tried on the examples of the request until one got through.
        passed: Whether the one that was written does; None where the request has no examples, or programs are not run.
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
    error: str = ""
    unsafe: float | None = None
    unsafe_from: float | None = None
    routed: str = ""
    no_call: float | None = None
    no_call_from: float | None = None
    no_answer: float | None = None
    no_answer_from: float | None = None
    open_tools: tuple[str, ...] | None = None
    beams: int = 1
    missing: tuple[str, ...] = ()
    tries: int = 1
    passed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dict(plain(self))


@dataclass(frozen=True, slots=True)
class Compaction:
    """One time that a transcript was made shorter.

    Attributes:
        step: Before which step.
        before: Tokens of the transcript until then.
        after: Tokens that are left.
        shortened: Results that were cut, as they were.
        removed: Messages that were left out, as they were.
    """

    step: int
    before: int
    after: int
    shortened: tuple[Message, ...]
    removed: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class GateRecord:
    """What a gate of the guard decided about one text.

    Attributes:
        step: The step that judged it, or before which it passed.
        place: `input`, `tools` or `output`.
        outcome: `passed` (the screen was negative, or an open gate could not decide), `safe`, `refused`, `withheld`,
            `overruled` (the caller gave the step another skill), or `stopped` (the run met a limit meanwhile).
        tool: Whose result it is.
        screen: The screen's probability; None where it was not asked.
        screen_from: The probability from which it asks for the verdict.
        unsafe: The safety skill's probability that the text is unsafe; None where it was not asked.
        unsafe_from: The probability from which that is the verdict; None where the likelier verdict counts.
        category: Why it was stopped.
        undecided: Whether the gate could not decide, so that its `fail` did.
    """

    step: int
    place: str
    outcome: str
    tool: str = ""
    screen: float | None = None
    screen_from: float | None = None
    unsafe: float | None = None
    unsafe_from: float | None = None
    category: str = ""
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class RunResult(Generic[T]):
    """The end of a run; `T` is what the run's `output_type` says.

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
    value: T | None = None
    cited: tuple[Passage, ...] = ()
    compactions: tuple[Compaction, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    planned: tuple[str, ...] | None = None
    pending: PendingRun | None = None

    @property
    def complete(self) -> bool:
        """Whether the run ended by itself rather than at a limit."""
        return self.stop_reason in ("answer", "code", "refused", "tool_call", "approval")

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dict(plain(self))

    def to_json(self) -> str:
        """One line of JSON."""
        return dumps(self.to_dict())
