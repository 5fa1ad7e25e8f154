"""A run that waits for approval, as a value: it can be kept as JSON and resumed elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.loop.job import Decision
from loraloop.agent.result import Compaction, GateRecord, Step, plain
from loraloop.agent.skills.mixture import Mixture
from loraloop.agent.tools.approval import Deny, PendingCall
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.places import json_path

VERSION = 1
"""Of the JSON form."""


@dataclass(frozen=True, slots=True)
class PendingRun:
    """All that a run needs to go on, but for what the agent has: tools, policy, limits, sampling, runtime.

    Attributes:
        version: Of the JSON form.
        run_id: The run's; it keeps it.
        base: Fingerprint of the base's architecture, tokenizer and chat template, in whose tokens `ids` are.
        prompt: What the user said.
        passages: What the run may be answered from.
        messages: The transcript, which ends with the calls.
        ids: The tokens of each message.
        steps: The trace; the last step is the one that waits, without its calls.
        calls: All calls of that step. None of them has run.
        masked: Skills that cannot be chosen any more.
        after: What the last message before the step was, for the router.
        forced: Choices of `Policy.skills` that are still to be made.
        made: Calls that were run.
        asked: In how many steps each tool asked for another try.
        output: The run's output so far.
        citations: Of that output.
        compactions: What was done to keep the transcript within the context.
        seconds: How much of the deadline is used up.
        ms: Wall time so far.
        sampler: State of the generator that draws tokens; empty where they are not drawn.
        gates: What the guard's gates have decided.
        planned: Tools with effects that the user's own words need, where that was asked.
    """

    run_id: str
    base: str
    prompt: str
    passages: tuple[Passage, ...]
    messages: tuple[Message, ...]
    ids: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    calls: tuple[PendingCall, ...]
    masked: tuple[str, ...]
    after: str
    forced: tuple[str | Mixture, ...] = ()
    made: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    output: str = ""
    citations: tuple[str, ...] = ()
    compactions: tuple[Compaction, ...] = ()
    seconds: float = 0.0
    ms: float = 0.0
    sampler: str = ""
    gates: tuple[GateRecord, ...] = ()
    planned: tuple[str, ...] | None = None
    version: int = VERSION

    @property
    def waiting(self) -> tuple[PendingCall, ...]:
        """The calls that have to be approved or denied."""
        return tuple(call for call in self.calls if call.open)

    @property
    def step(self) -> Step:
        """The step that waits."""
        return self.steps[-1]

    def denied(self, reason: str = "nobody could be asked") -> dict[str, Deny]:
        """A denial of each call that waits, for `Agent.resume` where nobody can decide."""
        return {call.id: Deny(reason) for call in self.waiting}

    def to_dict(self) -> dict[str, Any]:
        """JSON data, for `from_dict`."""
        return dict(plain(self))

    def to_json(self) -> str:
        """One line of JSON, for `from_json`."""
        return dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str | bytes) -> PendingRun:
        """Reads what `to_json` wrote.

        Raises:
            InputError: It is no pending run, or one of another version; the message gives the JSON path.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"the pending run is no JSON: {error}") from None
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> PendingRun:
        """Reads what `to_dict` gave. Raises as `from_json` does."""
        import pydantic

        if not isinstance(data, dict) or "version" not in data:
            raise InputError("this is no pending run: give what PendingRun.to_json wrote")
        if data["version"] != VERSION:
            raise InputError(
                f"the pending run is of version {data['version']!r}, and this loraloop reads version {VERSION}: resume "
                "it with the loraloop that wrote it"
            )
        try:
            pending = pydantic.TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise InputError(f"the pending run is damaged: {json_path(first['loc'])}: {first['msg']}") from None
        _check_whole(pending)
        return pending


def _check_whole(pending: PendingRun) -> None:
    """Checks what types do not say."""
    wrong = ""
    if not pending.steps or not pending.calls:
        wrong = "there is no step with calls"
    elif len(pending.ids) != len(pending.messages):
        wrong = f"$.ids has {len(pending.ids)} entries for {len(pending.messages)} messages"
    elif not pending.messages or pending.messages[-1].role != "assistant":
        wrong = "$.messages does not end with the calls"
    elif len({call.id for call in pending.calls}) != len(pending.calls):
        wrong = "$.calls has an id twice"
    if wrong:
        raise InputError(f"the pending run is damaged: {wrong}")


def decision_of(step: Step) -> Decision:
    """What a step ran on, as far as its trace says it."""
    contract = "code" if step.outcome == "code" else "calls"
    mixture = Mixture(step.mixture, contract) if step.mixture else None
    return Decision(
        step.skill, step.probability, step.abstained, step.runners_up, step.masked, step.decided_by, mixture
    )
