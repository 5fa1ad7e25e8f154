"""A run that waits for approval, as a value: it can be kept as JSON and resumed elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.contracts import Passage
from loraloop.agent.approval import Approval, PendingCall, checked
from loraloop.agent.mixture import Mixture
from loraloop.agent.outcomes import PYTHON
from loraloop.agent.result import Compaction, Step, plain
from loraloop.tool_schemas.errors import InputError, SchemaError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools import Tool
from loraloop.tool_schemas.validation import json_path

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
    version: int = VERSION

    @property
    def waiting(self) -> tuple[PendingCall, ...]:
        """The calls that have to be approved or denied."""
        return tuple(call for call in self.calls if call.open)

    @property
    def step(self) -> Step:
        """The step that waits."""
        return self.steps[-1]

    def to_dict(self) -> dict[str, Any]:
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
            pending = pydantic.TypeAdapter(cls).validate_json(json.dumps(data))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise InputError(f"the pending run is damaged: {json_path(first['loc'])}: {first['msg']}") from None
        _check_whole(pending)
        return pending

    def decided(
        self, said: Mapping[str, Any], tools: Mapping[str, Tool], base: str
    ) -> dict[str, Approval]:
        """What is to become of the step's calls, once everything fits what the run goes on with.

        Args:
            said: `Approve` or `Deny` by the calls' ids.
            tools: The agent's, by name.
            base: The fingerprint of the runtime's base.

        Raises:
            InputError: An answer is missing, or the base or a tool is not what it was.
            UnknownNameError: An answer to a call that does not exist, or a call of a tool that is gone.
            SchemaError: Arguments that do not fit a tool's schema, or no longer do.
        """
        if base != self.base:
            raise InputError(
                f"run {self.run_id} was paused on another base ({self.base}, and this is {base}): resume it on the "
                "base that it began with"
            )
        ids = [call.id for call in self.calls]
        for name in said:
            if name not in ids:
                raise unknown("call of the step that waits", name, ids)
        missing = [call for call in self.waiting if call.id not in said]
        if missing:
            listed = ", ".join(f"{call.id} ({call.name} {dumps(call.arguments):.200})" for call in missing)
            raise InputError(f"no decision about {listed}: give Approve() or Deny('reason') for each")
        known = {call.id: call.approval for call in self.calls if call.approval is not None}
        for call in self.calls:
            if call.id in said:
                known[call.id] = checked(call, said[call.id], tools.get(call.name))
        for call in self.calls:
            answer = known.get(call.id)
            if not hasattr(answer, "reason"):
                _check_tool(call, tools, edited=getattr(answer, "arguments", None) is not None)
        return known


def _check_tool(call: PendingCall, tools: Mapping[str, Tool], edited: bool) -> None:
    """Checks that a call that may run still can."""
    gone = f"{call.id} cannot run any more"
    if call.name == PYTHON and PYTHON not in tools:
        raise InputError(f"{gone}: it is a program, and the agent runs none; give it python=True, or deny the call")
    if call.name not in tools:
        error = unknown("tool", call.name, tools)
        raise type(error)(f"{gone}: {error}; give the agent the tool, or deny the call", "tool", call.name, error.nearest)
    tool = tools[call.name]
    if not tool.executable:
        raise InputError(f"{gone}: the tool {call.name!r} has no implementation now; give it one, or deny the call")
    if edited:
        return
    try:
        tool.validate(call.arguments)
    except SchemaError as error:
        raise SchemaError(
            f"{gone}, since the schema of {call.name!r} has changed ({error.reason}): approve it with other arguments, "
            "or deny it",
            error.path,
        ) from None


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
