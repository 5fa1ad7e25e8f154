"""The fence of one run: which tools a step may call, by what the guard allows and what the transcript holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loraloop.agent.guard import GuardFacts
from loraloop.agent.planning import needed
from loraloop.agent.tool_choice import WORDS, choice_of
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.job import Job
    from loraloop.agent.result import Step
    from loraloop.agent.runtime import Runtime


class Fence:
    """Says before each step what it may call. The step's grammar then holds no other name.

    Args:
        runtime: Which is asked what a request needs.
        job: The run's.

    Attributes:
        planned: Tools with effects that the user's own words need; None where that was not asked.
    """

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime, self._job, self._guard = runtime, job, job.guard
        tools = [*job.tools, *([job.python] if job.python is not None else [])]
        self._names = tuple(tool.name for tool in tools)
        self._readers = frozenset(tool.name for tool in tools if not tool.effects)
        self.planned: tuple[str, ...] | None = None

    def open(self, trunk: Trunk, index: int, steps: Sequence[Step]) -> tuple[str, ...] | None:
        """Names of the tools that step `index` may call, in their order; None for all.

        Raises:
            UnknownNameError: The guard's `allow` names a tool that does not exist.
            InputError: It returns something else than names.
        """
        messages = [span.message for span in trunk.messages]
        outside = [message for message in messages if not message.trusted]
        allowed = self._allowed(index, outside, steps)
        if outside and self._guard.after_untrusted != "any":
            allowed = allowed & self._left(trunk)
        return None if len(allowed) == len(self._names) else tuple(name for name in self._names if name in allowed)

    def _allowed(self, index: int, outside: Sequence[Message], steps: Sequence[Step]) -> frozenset[str]:
        said = self._guard.allow
        if callable(said):
            origins = tuple(message.origin for message in outside)
            said = said(GuardFacts(index, self._job.prompt, self._names, origins, tuple(steps)))
        if said is None:
            return frozenset(self._names)
        if isinstance(said, str) or not all(isinstance(name, str) for name in said):
            raise InputError(f"the guard's allow gave {said!r}: give names of tools, or None for all")
        for name in said:
            if name not in self._names:
                raise unknown("tool", name, self._names)
        return frozenset(said)

    def _left(self, trunk: Trunk) -> frozenset[str]:
        """What untrusted text leaves."""
        reach = self._guard.after_untrusted
        if reach == "none":
            return frozenset()
        if reach == "read_only":
            return self._readers
        if self.planned is None:
            asked = choice_of(self._job.policy.tool_choice)
            named = () if asked in WORDS else (asked,)
            self.planned = tuple(dict.fromkeys((*named, *needed(self._runtime, trunk, self._job))))
        return self._readers.union(self.planned)
