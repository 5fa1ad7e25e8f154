"""The checkpoint: all that a run needs to go on, as one serialisable value.

A run that waits for approval, a session and the recovery of a killed process use the same form. What the agent has is
no part of it: tools, policy, limits, sampling and the runtime are given again by whoever resumes the run.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.values.calls import Deny, PendingCall
from loraloop.agent.values.signing import check, sign
from loraloop.agent.values.step import Compaction, Decision, GateRecord, Step, StopReason, plain
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.jsontext import adapter, dumps, levels, loads_or
from loraloop.tool_schemas.schema.untitled import first_problem
from loraloop.tool_schemas.tools.calls import Call

VERSION = 2
"""Version of a checkpoint's JSON form."""
DEEPEST = 200
"""Levels of a document that is read; results of tools have at most 100."""
Line = tuple[Message, list[int] | None]
"""A message of a transcript and its tokens; None where they are not known."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request of a run, as far as it is data.

    Attributes:
        prompt: What the user said.
        passages: The passages that the request came with, found ones too.
        skill: The forced first choice.
        tool_choice: The tool choice that replaces the policy's.
        objects: Names of the options that are no data: whoever resumes the run gives them again.
        architecture: Fingerprint of the base, in whose tokens the transcript is.
    """

    prompt: str
    passages: tuple[Passage, ...] = ()
    skill: str | dict[str, float] | None = None
    tool_choice: str | dict[str, Any] | None = None
    objects: tuple[str, ...] = ()
    architecture: str = ""


@dataclass(slots=True)
class Spent:
    """The limits that a run has used up so far.

    Attributes:
        seconds: Seconds that count against the deadline; the time that a person took to approve calls does not.
        ms: Wall time.
        tokens: Tokens that were generated.
        calls: Calls that were run.
    """

    seconds: float = 0.0
    ms: float = 0.0
    tokens: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """The last step, which is written once more as the next one.

    Attributes:
        decision: What it ran on.
        text: What it wrote, where that was invalid.
        error: What is wrong with that.
        left: How often it may be tried after this time; 0 at the last.
        refused: Arguments whose values nobody gave, where that is what is wrong.
    """

    decision: Decision
    text: str = ""
    error: str = ""
    left: int = 0
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class NextStep:
    """The facts about the step that comes next.

    Attributes:
        after: What the last message is for the router: `user`, `tool`, or `dropped` where a branch was just dropped.
        masked: Skills that cannot be chosen any more.
        choices: The policy's forced choices that are still to be made.
        first: Whether the run's first choice is still to be made, for which the tool choice counts.
        repair: Set where the last text was invalid and is decoded again.
        retry: Set where a tool asked for another try.
        ask: Arguments for which the base asks, because nobody said them.
    """

    after: str = "user"
    masked: set[str] = field(default_factory=set)
    choices: tuple[str, ...] = ()
    first: bool = True
    repair: Retry | None = None
    retry: Retry | None = None
    ask: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that is to be judged: its place in the transcript, and what the screen said of it."""

    at: int
    record: GateRecord


@dataclass(slots=True)
class GuardState:
    """The state of a run's guard: messages that it has looked at, and its decisions.

    Attributes:
        seen: Messages of the transcript that were looked at.
        records: Every decision so far.
        waiting: Messages that wait for their verdict.
        planned: Tools with effects that the user's own words need; None where that was not asked.
    """

    seen: int = 0
    records: list[GateRecord] = field(default_factory=list)
    waiting: list[Suspect] = field(default_factory=list)
    planned: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The output and stop reason with which a run would end now.

    Attributes:
        output: The text.
        calls: Calls that the caller has to run.
        citations: Ids of the passages that the text cites.
        category: Why the request was refused.
        valued: Whether the text is read as a value of the run's output type.
    """

    output: str = ""
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    valued: bool = False


@dataclass(slots=True)
class RunState:
    """The state of a run between two steps, besides its transcript and its steps.

    Attributes:
        spent: What it has used of its limits.
        next: The step that comes next.
        guard: What its guard has seen and decided.
        retries: In how many steps each tool asked for another try.
        compactions: What was done to the transcript.
        ending: What it would end with.
        stop: Why it ends, if it does.
        sampler: State of the random generator; empty where nothing is drawn.
    """

    spent: Spent
    next: NextStep
    guard: GuardState
    retries: dict[str, int] = field(default_factory=dict)
    compactions: list[Compaction] = field(default_factory=list)
    ending: Ending = Ending()
    stop: StopReason | None = None
    sampler: str = ""


@dataclass(frozen=True, slots=True)
class PendingStep:
    """A written step whose calls wait for approval or are about to run.

    Attributes:
        step: The step, without its calls.
        contract: What it wrote.
        calls: The calls of the step, with the decisions about those that needed approval.
    """

    step: Step = field(repr=False)
    contract: str
    calls: tuple[PendingCall, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run needs to go on. Its `repr` leaves out what is long.

    Attributes:
        run_id: The run's; it keeps it.
        asked: What it was asked.
        lines: The transcript; with `written`, it ends with that step's calls.
        steps: The completed steps.
        state: What the run knows.
        written: The step whose calls have not all run; None between two steps.
        version: Version of the JSON form.
        signature: What `to_json` signed the rest with; empty for a run that was not read from a text.
    """

    run_id: str
    asked: RunRequest
    lines: tuple[Line, ...] = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    state: RunState = field(repr=False)
    written: PendingStep | None = None
    version: int = VERSION
    signature: str = field(default="", compare=False)

    @property
    def prompt(self) -> str:
        """The user's prompt."""
        return self.asked.prompt

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The passages that the run may be answered from."""
        return self.asked.passages

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript."""
        return tuple(message for message, _ in self.lines)

    @property
    def calls(self) -> tuple[PendingCall, ...]:
        """All calls of the step that waits. None of them has run."""
        return self.written.calls if self.written else ()

    @property
    def waiting(self) -> tuple[PendingCall, ...]:
        """Copies of the calls that have to be approved or denied; their arguments may be edited in place."""
        return tuple(deepcopy(call) for call in self.calls if call.open)

    @property
    def step(self) -> Step:
        """The step that waits; between two steps, the last one."""
        return self.written.step if self.written else self.steps[-1]

    def denied(self, reason: str = "nobody could be asked") -> dict[str, Deny]:
        """A denial of each call that waits, for `Agent.resume` where nobody can decide."""
        return {call.id: Deny(reason) for call in self.waiting}

    @property
    def mark(self) -> str:
        """The run and the step that waits."""
        return f"{self.run_id}/{self.step.index}"

    def to_dict(self, key: str | bytes | None = None) -> dict[str, Any]:
        """JSON data for `from_dict`, signed as `to_json` does."""
        data = dict(plain(self))
        return {**data, "signature": sign(data, key)}

    def to_json(self, key: str | bytes | None = None) -> str:
        """One line of JSON for `from_json`, signed so that nobody changes it.

        Args:
            key: What it is signed with, at least 16 bytes, if another machine is to read it. By default
                `$LORALOOP_SIGNING_KEY`, else a key in the user's data folder, which is made when it is first needed.
        """
        return dumps(self.to_dict(key))

    @classmethod
    def from_json(cls, text: str | bytes, key: str | bytes | None = None) -> Checkpoint:
        """Reads what `to_json` wrote. The run can be resumed once.

        Args:
            text: As it was written.
            key: The key that it was written with.

        Raises:
            InputError: It is no pending run, one of another version (the message gives the JSON path), or was changed.
        """
        try:
            data = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"the pending run is not JSON: {error}") from None
        return cls.from_dict(data, key)

    @classmethod
    def from_dict(cls, data: Any, key: str | bytes | None = None) -> Checkpoint:
        """Reads what `to_dict` gave. Raises as `from_json` does."""
        import pydantic

        if not isinstance(data, dict) or "version" not in data:
            raise InputError("not a pending run: pass the output of PendingRun.to_json()")
        if data["version"] != VERSION:
            raise InputError(
                f"the pending run is of version {data['version']!r}, and this loraloop reads version {VERSION}: resume "
                "it with the loraloop that wrote it"
            )
        if levels(data) > DEEPEST:
            raise InputError(f"the pending run is damaged: it is nested more than {DEEPEST} levels deep")
        try:
            made: Checkpoint = adapter(Checkpoint).validate_json(json.dumps(data), strict=True)
        except RecursionError:
            raise InputError("the pending run is nested too deeply to be one") from None
        except pydantic.ValidationError as error:
            raise InputError(f"the pending run is damaged: {': '.join(first_problem(error))}") from None
        if wrong := made.flaw():
            raise InputError(f"the pending run is damaged: {wrong}")
        check(data, key)
        return made

    def flaw(self) -> str:
        """What is wrong with a checkpoint of a run that waits, as far as types do not say it; empty for nothing."""
        if not self.calls:
            return "there is no step with calls"
        if not self.lines or self.lines[-1][0].role != "assistant":
            return "$.lines does not end with the calls"
        if len({call.id for call in self.calls}) != len(self.calls):
            return "$.written.calls has an id twice"
        guard, last = self.state.guard, len(self.lines) - 1
        if not 1 <= guard.seen <= last or any(not 0 <= each.at < guard.seen for each in guard.waiting):
            return "$.state.guard does not say which messages were looked at"
        if self.written and self.written.contract == "calls":
            made = [{"name": call.name, "arguments": call.arguments} for call in self.calls]
            read = loads_or(self.lines[-1][0].content)  # a model may write 12.50, which is read as 12.5
            if json.dumps(read, sort_keys=True) != json.dumps(made, sort_keys=True):
                return "$.written.calls are not the calls of the transcript"
        return ""

    def check_tokens(self, count: int) -> None:
        """Checks that a base with so many tokens can read the transcript.

        Raises:
            InputError: The transcript has a token that the base does not have.
        """
        for place, (_, ids) in enumerate(self.lines):
            if any(not 0 <= each < count for each in ids or ()):
                raise InputError(
                    f"the pending run is damaged: $.lines[{place}] has a token that the base does not have"
                )


PendingRun = Checkpoint
"""What a checkpoint is called where its run waits for approval (`RunResult.pending`)."""
