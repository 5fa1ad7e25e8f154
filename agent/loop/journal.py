"""What a run tells while it goes, so that it can be resumed after its process was killed."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.checkpoint import Interrupted, Written
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.events import Event
    from loraloop.agent.loop.act import CarryingOut
    from loraloop.agent.result import CallRecord, RunResult, Step
    from loraloop.tool_schemas.tools.calls import Call
    from loraloop.tool_schemas.tools.tool import Tool


class Journal:
    """Is told what a run did before the run goes on; this one keeps nothing, at no cost.

    `begun` and `ended` may be called from several threads at once.

    Attributes:
        interrupted: The run to go on with; None for a new one.
    """

    interrupted: Interrupted | None = None

    def around(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """The run's events: it begins with the first, and after the last it is over or was given up."""
        return events

    def ids(self, index: int, message: Message) -> list[int] | None:
        """Tokens of message `index` of the history, if they are known."""
        return None

    def opened(self, run: CarryingOut, trunk: Trunk) -> None:
        """The request is read, and nothing was done yet. Not told of a run that was interrupted."""

    def written(self, written: Written, run: CarryingOut) -> None:
        """A step's calls are about to run."""

    def begun(self, index: int, number: int, call: Call, tool: Tool) -> CallRecord | None:
        """Call `number` of step `index` is about to run. Returns its record if it must not: it ran before."""
        return None

    def ended(self, index: int, number: int, record: CallRecord) -> CallRecord:
        """The call has run. Returns the record, which may say more."""
        return record

    def stepped(self, step: Step, run: CarryingOut, trunk: Trunk) -> None:
        """A step is over, and the next one has not begun."""

    def finished(self, result: RunResult) -> None:
        """The run is over."""


NO_JOURNAL = Journal()
