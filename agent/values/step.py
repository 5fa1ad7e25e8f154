"""One step of a run as a value: what decided it, what it wrote, and what it led to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.agent.values.calls import CallRecord, UngroundedValue
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call

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
"""Why a run ended. `answer` and `code` are complete, and so is `refused`: the guard stopped it. `tool_call` waits for
the caller to run its calls, `approval` until somebody approves or denies calls (`RunResult.pending`). `invalid` could
not write the call or the answer that was required, repairs included; `repetition` wrote the same over and over;
`stopped` was told to by the caller of `Agent.iter`; the others met a limit."""


def plain(value: Any) -> Any:
    """Dataclasses, tuples, sets and other objects as what JSON can hold: NaN is null, half a surrogate pair U+FFFD."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=dumps)  # by their text: not all values can be compared
    kind = type(value)
    if value is None or kind in (int, bool) or (kind is str and value.isascii()) or (kind is float and isfinite(value)):
        return value
    return json.loads(dumps(value))


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """The router's answer when a step's skill was decided.

    Attributes:
        probability: Probability of the skill that runs, or the screen's probability where a verdict is written.
        routed: The router's own choice, whoever decided; empty where it was not asked.
        abstained: Whether the router fell back to none.
        runners_up: Other skills and their probabilities.
        masked: Skills that could not be chosen.
        threshold: The probability from which the router takes a skill; None where it has none, or was not asked.
    """

    probability: float = 1.0
    routed: str = ""
    abstained: bool = False
    runners_up: tuple[tuple[str, float], ...] = ()
    masked: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The skill of a step, and who decided it.

    Attributes:
        skill: Name of the skill; `none` is the bare base.
        by: `router`, `policy`, `screen`, `caller` (of `Agent.iter`), `repair` for one more try at a step whose text was
            invalid, `retry` after a tool that asked for another try, `ask` where the user is asked for arguments, or
            `loop` where the loop's own order decides against the router: the skill for calls is asked first, and who
            closes runs speaks after results and failures.
        route: What the router said.
    """

    skill: str
    by: str
    route: RouteRecord = RouteRecord()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one step.

    Attributes:
        prefilled: Context tokens computed for it, under the base or a full-activation skill.
        reused: Context tokens it read from a cache.
        generated: Tokens it wrote.
        forced: Generated tokens about which the grammar left no choice.
        recomputed: Tokens of `prefilled` that the base had computed before, and a full-activation skill computed again.
        retried: Values that failed a check of their schema and were decoded again (`on_unsupported="check"`).
        drafted: Tokens that were computed in case that they come next; see `engine/drafts.py`.
        accepted: Drafted tokens that were chosen; each saved a forward.
        shared: With how many rows the step's forwards went through the base, on average: 1 where it was alone. How
            long it waited for them is `queue` in the step's `ms`.
        spans: Where the forced tokens are in the step's text: the first character of each part, and the one after its
            last.
        written_by: The fallback's model, if the fallback wrote the step; `reused` and a part of `prefilled` are then
            counted by its server. Empty where the runtime's own base wrote it.
    """

    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    forced: int = 0
    recomputed: int = 0
    retried: int = 0
    drafted: int = 0
    accepted: int = 0
    shared: float = 1.0
    spans: tuple[tuple[int, int], ...] = ()
    written_by: str = ""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Two openings that a step weighed, one of which decides what it does.

    Attributes:
        opening: `unsafe` of a verdict, `no_call` of a step that can call tools, `no_answer` of an answer from passages.
        probability: Probability of `opening` against the other one, as the skill sees it.
        threshold: Minimum probability at which `opening` was taken; None where the likelier opening was.
    """

    opening: str
    probability: float
    threshold: float | None = None


CONTRADICTION = "contradiction"
"""The kind of the flaw that a verdict skill finds in an answer."""


@dataclass(frozen=True, slots=True)
class AnswerFlaw:
    """A flaw of an answer.

    Attributes:
        kind: `number`, `date`, `time`, `identifier`, `email` or `url` of a value that stands in no record;
            `contradiction` where the verdict skill says that the answer contradicts the records.
        text: The part of the answer that is wrong.
        probability: The verdict skill's, of a contradiction; None of others.
    """

    kind: str
    text: str
    probability: float | None = None

    def __str__(self) -> str:
        return f"the records contradict {self.text!r}" if self.kind == CONTRADICTION else f"no record has {self.text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step: what follows it.

    Attributes:
        name: The outcome's name in the trace.
        keep: Whether the step's text stays in the transcript.
        stop: Why the run ends now; None to route again.
        output: The run's output if it ends here.
        calls: Calls to run or, with stop reason `tool_call`, calls that the caller has to run.
        citations: Ids of the passages that an answer cites.
        category: The category of an unsafe verdict.
        mask: Whether skills of this contract are masked from now on.
        ask: Missing arguments, for which the base asks the user next.
        refuse: Whether the guard's refusal is put into the transcript.
        error: What is wrong with an invalid text.
        again: Whether the same step is written once more.
        value: The value of an answer's text under the run's output type.
        ungrounded: Argument values that nobody gave.
        flaws: What is wrong with an answer.
        records: The answer that the records give in the place of a flawed one.
    """

    name: str
    keep: bool
    stop: StopReason | None = None
    output: str = ""
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    mask: bool = False
    ask: tuple[str, ...] = ()
    refuse: bool = False
    error: str = ""
    again: bool = False
    value: Any = None
    ungrounded: tuple[UngroundedValue, ...] = ()
    flaws: tuple[AnswerFlaw, ...] = ()
    records: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One branch with what it led to.

    Attributes:
        index: Number of the step in its run, from 0.
        skill: Which skill ran; see `Decision`.
        decided_by: Who chose it; see `Decision`.
        route: What the router said.
        outcome: `calls`, `no_call`, `repeated`, `ask`, `ungrounded` (nobody gave a value of a call), `tool_call`,
            `answer`, `not_answerable`, `safe`, `unsafe`, `code`, `text`, `stopped` (by the gate before the output),
            `flawed` (an answer that the records do not bear out), `invalid` or `truncated`.
        kept: Whether its text stays in the transcript.
        text: What it generated.
        calls: The calls it made.
        tokens: Counts.
        ms: Milliseconds by phase, and `first_token` from the route to the first token.
        error: What is wrong with an `invalid`, `ungrounded` or `flawed` text, or one that is cut and has no value.
        weighed: The openings that it weighed; None for none.
        asked: Required arguments that the user did not provide, where the outcome is `ask`.
        open_tools: Tools that it could call, where the guard left it some only; None where it left all.
        ungrounded: Argument values of an `ungrounded` step that nobody gave.
        flaws: What is wrong with a `flawed` answer.
    """

    index: int
    skill: str
    decided_by: str
    route: RouteRecord
    outcome: str
    kept: bool
    text: str
    calls: tuple[CallRecord, ...] = ()
    tokens: Tokens = Tokens()
    ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    weighed: Weighed | None = None
    asked: tuple[str, ...] = ()
    open_tools: tuple[str, ...] | None = None
    ungrounded: tuple[UngroundedValue, ...] = ()
    flaws: tuple[AnswerFlaw, ...] = ()

    @property
    def probability(self) -> float:
        """Probability of the skill that ran."""
        return self.route.probability

    @property
    def routed(self) -> str:
        """The router's own choice, whoever decided; empty where it was not asked."""
        return self.route.routed

    @property
    def written_by(self) -> str:
        """The fallback's model, if the fallback wrote the step; empty where the runtime's own base did."""
        return self.tokens.written_by

    @property
    def decision(self) -> Decision:
        """What the step ran on."""
        return Decision(self.skill, self.decided_by, self.route)

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON data."""
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
    """The decision of a gate of the guard about one text.

    Attributes:
        step: The step that judged it, or before which it passed.
        place: `input`, `tools`, `documents` or `output`.
        outcome: `passed` (the screen was negative, or an open gate could not decide), `safe`, `refused`, `withheld`,
            `overruled` (the caller gave the step another skill), or `stopped` (the run met a limit meanwhile).
        tool: The tool whose result it is, or the id of the document's passage.
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

    @property
    def passed(self) -> bool:
        """Whether a decision let the text pass."""
        return self.outcome in ("passed", "safe") and not self.undecided
