"""The gates of one run: what is screened, what the safety skill judges, and what becomes of it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.events import Event, Gated, Screened, TokenGenerated
from loraloop.agent.guard.guard import Gate, Place, judges
from loraloop.agent.guard.judge import Judge
from loraloop.agent.loop.job import Decision
from loraloop.agent.loop.outcome import Outcome
from loraloop.agent.result import GateRecord
from loraloop.tool_schemas.errors import ContextLengthError, SchemaError
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.engine.generate import Generated
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop.job import Job
    from loraloop.agent.runtime import Runtime
    from loraloop.router.decision import ScreenResult

PLACES: dict[str, Place] = {"user": "input", "tool": "tools"}
"""Which gate a message meets, by its role."""
WITHHELD = "withheld: the result was found unsafe; do without it"
"""What stands in the place of a withheld result."""
UNDECIDED = "undecided"
"""The category of what a closed gate stopped because it could not decide."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that is to be judged, and what the screen said of it."""

    at: int
    gate: Gate
    record: GateRecord


class Gates:
    """Screens and settles the messages and outputs of one run.

    Args:
        runtime: Whose router screens and whose skill judges.
        job: The run's.
        run_id: For events.

    Attributes:
        seen: Messages of the trunk that were looked at.
        records: Every decision so far.
        waiting: Messages that are to be judged, a step each.
    """

    def __init__(self, runtime: Runtime, job: Job, run_id: str) -> None:
        self.seen = 0
        self.records: list[GateRecord] = []
        self._runtime, self._guard, self._run_id = runtime, job.guard, run_id
        self._chat = runtime.base.chat
        self.waiting: deque[Suspect] = deque()

    def look(self, trunk: Trunk, index: int) -> Iterator[Event]:
        """Screens the messages that came since the last look; those to be judged wait for a step each."""
        for at in range(self.seen, len(trunk.messages)):
            message = trunk.messages[at].message
            place = PLACES.get(message.role)
            gate = None if place is None else self._guard.gate(place)
            if gate is None or place is None or (message.origin and message.origin.kind == "guard"):
                continue
            tool = _tool_of(message) if place == "tools" else ""
            record = GateRecord(index, place, "passed", tool=tool)
            if not judges(self._runtime, gate):
                self._kept(replace(record, undecided=True))
                yield self.last
                continue
            if gate.screen != 0:
                said = self._runtime.router.screen(self._runtime.router.features(trunk.features(at)))
                least, positive = _asks(gate, said)
                record = replace(record, screen=said.probability, screen_from=least)
                yield Screened(self._run_id, index, said.probability, positive, place, least)
                if not positive:
                    self._kept(record)
                    yield self.last
                    continue
            self.waiting.append(Suspect(at, gate, record))
        self.seen = len(trunk.messages)

    def decision(self) -> Decision | None:
        """The next step's, if a message waits for its verdict."""
        if not self.waiting:
            return None
        screened = self.waiting[0].record.screen
        skill = self._runtime.with_contract("verdict")[0]
        return Decision(skill, 1.0 if screened is None else screened, False, (), (), "screen")

    def stand(self, trunk: Trunk) -> Trunk:
        """The trunk up to the message that is judged."""
        at = self.waiting[0].at
        return trunk if at == len(trunk.messages) - 1 else trunk.fork(trunk.messages[at].end)

    @property
    def unsafe_from(self) -> float | None:
        """The threshold of the verdict that is asked next."""
        gate = self.waiting[0].gate if self.waiting else self._guard.input
        return None if gate is None else gate.unsafe_from

    def settle(self, trunk: Trunk, index: int, outcome: Outcome, out: Generated) -> Outcome:
        """What a verdict step means for the run; a withheld result leaves the trunk here.

        Args:
            trunk: The transcript, no branch open.
            index: The step.
            outcome: Of the verdict.
            out: What was generated.
        """
        suspect = self.waiting.popleft()
        record = replace(suspect.record, step=index, unsafe=out.weighed, unsafe_from=out.threshold)
        if outcome.name == "safe":
            self.records.append(replace(record, outcome="safe"))
            return outcome
        undecided = outcome.name != "unsafe"
        if undecided:
            record = replace(record, undecided=True)
            if outcome.stop in ("deadline", "cancelled"):  # the run ends here, before it acts on anything
                self.records.append(replace(record, outcome="stopped"))
                return outcome
            if suspect.gate.fail == "open":
                self.records.append(record)
                return Outcome(outcome.name, keep=False)
        category = outcome.category or UNDECIDED
        if suspect.gate.then == "withhold" and self._withhold(trunk, suspect.at, record.tool):
            self.records.append(replace(record, outcome="withheld", category=category))
            return Outcome(outcome.name, keep=False)
        self.records.append(replace(record, outcome="refused", category=category))
        return Outcome(outcome.name, keep=False, stop="refused", category=category, refuse=True)

    def overruled(self, index: int) -> None:
        """The caller gave the step that was to judge a message to another skill: the message passes."""
        suspect = self.waiting.popleft()
        self.records.append(replace(suspect.record, step=index, outcome="overruled"))

    def moved(self, removed: int) -> None:
        """Messages were left out before those that were looked at."""
        self.seen -= removed
        self.waiting = deque(replace(each, at=each.at - removed) for each in self.waiting)

    def edited(self, last: int) -> None:
        """The last message is another now: it is looked at again."""
        self.seen = min(self.seen, last)
        self.waiting = deque(each for each in self.waiting if each.at < last)

    def given_out(
        self, trunk: Trunk, before: int, index: int, skill: str, outcome: Outcome, out: Generated, clock: Clock
    ) -> Generator[Event, None, Outcome]:
        """Tells a step's text that was held back, once the gate before the output let it pass; else takes it out.

        Args:
            trunk: The transcript, no branch open.
            before: Its tokens before the step.
            index: The step.
            skill: That wrote it.
            outcome: Of the text.
            out: The text.
            clock: Where the judging goes.

        Returns:
            What the text means now.
        """
        if outcome.output:
            with clock.phase("gate"):
                record = self._output(index, outcome.output)
            yield self.last
            if record.outcome == "refused":
                trunk.cut(before)
                return Outcome("stopped", keep=False, stop="refused", category=record.category, refuse=True)
        if outcome.keep or outcome.output:
            yield TokenGenerated(self._run_id, index, skill, out.text, len(out.ids))
        return outcome

    @property
    def last(self) -> Gated:
        """The last decision, as an event."""
        return Gated(self._run_id, self.records[-1])

    def _output(self, index: int, text: str) -> GateRecord:
        """What the gate before the output says of a text, which it reads by itself, as if a user had written it."""
        gate = self._guard.output
        assert gate is not None
        record = GateRecord(index, "output", "passed")
        if not judges(self._runtime, gate):
            return self._kept(replace(record, undecided=True))
        judge = Judge(self._runtime, unsafe_from=gate.unsafe_from)
        try:
            trunk = judge.read([Message("user", text)])
            if gate.screen != 0:
                screened = judge.screen(trunk)
                least, positive = _asks(gate, screened)
                record = replace(record, screen=screened.probability, screen_from=least)
                if not positive:
                    return self._kept(record)
            said = judge.judge(trunk)
        except (ContextLengthError, SchemaError):  # too long to be judged, or the verdict is unreadable
            stopped = gate.fail == "closed"
            record = replace(record, undecided=True, category=UNDECIDED if stopped else "")
            return self._kept(replace(record, outcome="refused" if stopped else "passed"))
        outcome = "refused" if said.verdict.unsafe else "safe"
        record = replace(record, unsafe=said.probability, unsafe_from=said.threshold, outcome=outcome)
        return self._kept(replace(record, category=said.verdict.category))

    def _kept(self, record: GateRecord) -> GateRecord:
        self.records.append(record)
        return record

    def _withhold(self, trunk: Trunk, at: int, tool: str) -> bool:
        """Puts a note in the place of a result; whether it fits."""
        content = dumps({"name": tool, "error": WITHHELD})
        ids, span = self._chat.message("tool", content), trunk.messages[at]
        rest = [(each.message, trunk.ids[each.start : each.end]) for each in trunk.messages[at + 1 :]]
        closing = len(self._chat.generation_prompt) + len(self._chat.closing) + 1
        if len(trunk.ids) - (span.end - span.start) + len(ids) + closing > trunk.context:
            return False
        trunk.cut(span.start)
        trunk.append(Message("tool", content, Origin("guard", tool)), ids)
        for message, own in rest:
            trunk.append(message, own, more=True)
        return True


def _asks(gate: Gate, said: ScreenResult) -> tuple[float, bool]:
    """The screen's threshold at a gate, and whether the verdict is asked for."""
    if gate.screen is None:
        return said.threshold, said.positive
    return gate.screen, said.probability >= gate.screen


def _tool_of(message: Message) -> str:
    """The tool whose result a message is."""
    if message.origin is not None and message.origin.name:
        return message.origin.name
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(message.content)["name"])
    return ""
