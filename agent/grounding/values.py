"""The check of argument values in one run: by the policy, a call does not run on a value that nobody gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from loraloop.adapters.base.messages import Message
from loraloop.agent.grounding.grounding import Grounding, sources_of
from loraloop.agent.grounding.value_kinds import IDENTIFIERS
from loraloop.agent.job import Job
from loraloop.agent.values.calls import UngroundedValue
from loraloop.agent.values.step import Compaction
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool


class ValueCheck:
    """Looks at the calls of one step.

    Args:
        job: The run's. Its policy says which values are checked.
        header: What stands in the system message between the instructions and the descriptions of the tools.
        messages: The transcript before the calls.
        compactions: What was done to it.

    Attributes:
        messages: The transcript.
        instructions: The system message without the descriptions of the tools.
    """

    def __init__(
        self, job: Job, header: str, messages: Sequence[Message], compactions: Sequence[Compaction] = ()
    ) -> None:
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in job.tools}
        self._level, self._dates = job.policy.values, job.dates
        self.messages = messages
        self._removed = [message for done in compactions for message in (*done.removed, *done.shortened)]
        first = messages[0].content if messages and messages[0].role == "system" else ""
        self.instructions = first.rpartition(header)[0] if header and header in first else first

    @cached_property
    def _grounding(self) -> Grounding:
        sources = sources_of(self.messages, self.instructions, self._removed)
        if not self._dates:  # nobody but the model says which day "tomorrow" is
            sources = replace(sources, other=(*sources.other, *sources.instructions))
        return Grounding(sources)

    def values_of(self, call: Call) -> tuple[UngroundedValue, ...]:
        """Every value of a call that nobody gave, whatever the policy is."""
        tool = self._tools.get(call.name)
        return () if tool is None else self._grounding.ungrounded(call, tool)

    def refused(self, calls: Sequence[Call]) -> tuple[UngroundedValue, ...]:
        """The values for which the policy lets none of the calls of a step run; empty where they may run."""
        if self._level == "off":
            return ()
        found = []
        for call in calls:
            acts = self._tools[call.name].effects is True if call.name in self._tools else False
            if acts or self._level == "check":
                found += [value for value in self.values_of(call) if acts or value.kind in IDENTIFIERS]
        return tuple(dict.fromkeys(found))
