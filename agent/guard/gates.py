"""The gates of one run: they screen messages, ask the safety skill for verdicts, and apply these."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.engine.cache.sequence import Interrupted, QueueFullError, RequestContext
from loraloop.agent.engine.step import StepOutput
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.events import Event, Gated, Screened, TokenGenerated
from loraloop.agent.guard.guard import Gate, Guard, Place, judges
from loraloop.agent.guard.judge import Judge
from loraloop.agent.messages import words_of
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.checkpoint import GuardState, Suspect
from loraloop.agent.values.step import Decision, GateRecord, Outcome, RouteRecord
from loraloop.router.decision import NONE, ScreenResult
from loraloop.tool_schemas.errors import ContextLengthError, InputError, LimitError, SchemaError
from loraloop.tool_schemas.jsontext import dumps

PLACES: dict[str, Place] = {"user": "input", "tool": "tools"}
"""The gate that a message passes, by its role."""
WITHHELD = "withheld: the result was found unsafe; do without it"
"""The error that replaces a withheld result."""
UNDECIDED = "undecided"
"""The category of a text that a gate refused because it could not decide."""


class Gates:
    """Screens and settles the messages and outputs of one run.

    A gate reads what somebody else wrote: the user's words without the passages beside them, and the results of tools.
    It does not read messages of the runtime itself, and it reads each text once.

    Args:
        runtime: The runtime whose router screens and whose skill judges.
        guard: The gates.
        state: What the guard knows of the run.
        run_id: For events.

    Raises:
        InputError: A message waits for a gate that the guard does not have.
    """

    def __init__(self, runtime: Runtime, guard: Guard, state: GuardState, run_id: str) -> None:
        self._runtime, self._guard, self._state, self._run_id = runtime, guard, state, run_id
        self._chat = runtime.base.chat
        for each in state.waiting:
            self._gate(each.record)

    def screen_messages(self, trunk: Transcript, index: int) -> Iterator[Event]:
        """Screens the messages that are new; each message that must be judged waits for a step of its own."""
        for at in range(self._state.seen, len(trunk.messages)):
            message = trunk.messages[at].message
            place = PLACES.get(message.role)
            gate = None if place is None else self._guard.gate(place)
            if gate is None or place is None or (message.origin and message.origin.kind in ("guard", "runtime")):
                continue
            record = GateRecord(index, place, "passed", tool=_tool_of(message) if place == "tools" else "")
            if not judges(self._runtime, gate):
                yield self._record(replace(record, undecided=True))
                continue
            if gate.screen != 0:
                screened = self._screen(trunk, at)
                least, positive = screen_says(gate, screened)
                record = replace(record, screen=screened.probability, screen_from=least)
                yield Screened(self._run_id, index, screened.probability, positive, place=place, threshold=least)
                if not positive:
                    yield self._record(record)
                    continue
            self._state.waiting.append(Suspect(at, record))
        self._state.seen = len(trunk.messages)

    def decision(self) -> Decision:
        """The decision of a step that judges a message; a placeholder where no message waits."""
        if not self._state.waiting:
            return Decision(NONE, "router")
        screened = self._state.waiting[0].record.screen
        probability = 1.0 if screened is None else screened
        return Decision(self._runtime.with_contract("verdict")[0], "screen", RouteRecord(probability))

    def trunk_to_judge(self, trunk: Transcript) -> Transcript:
        """The trunk up to the message that is judged."""
        return self._trunk_up_to(trunk, self._state.waiting[0].at)

    @property
    def threshold(self) -> float | None:
        """The threshold of the next verdict; None for the one on the skill's card."""
        gate = self._gate(self._state.waiting[0].record) if self._state.waiting else self._guard.input
        return None if gate is None else gate.unsafe_from

    def apply_verdict(self, trunk: Transcript, index: int, outcome: Outcome, out: StepOutput) -> Outcome:
        """Applies a verdict to the run. A withheld result is replaced in the trunk.

        Args:
            trunk: The transcript, no branch open.
            index: The step.
            outcome: The outcome of the verdict's step.
            out: What was generated.
        """
        suspect = self._state.waiting.pop(0)
        gate, records = self._gate(suspect.record), self._state.records
        record = replace(suspect.record, step=index, unsafe=out.weighed, unsafe_from=out.threshold)
        if outcome.name == "safe":
            records.append(replace(record, outcome="safe"))
            return outcome
        undecided = outcome.name != "unsafe"
        if undecided:
            record = replace(record, undecided=True)
            if outcome.stop in ("deadline", "cancelled"):  # the run ends here, before it acts on anything
                records.append(replace(record, outcome="stopped"))
                return outcome
            if gate.fail == "open":
                records.append(record)
                return Outcome(outcome.name, keep=False)
        category = outcome.category or UNDECIDED
        if gate.then == "withhold" and self._withhold(trunk, suspect.at, record.tool):
            records.append(replace(record, outcome="withheld", category=category))
            return Outcome(outcome.name, keep=False)
        records.append(replace(record, outcome="refused", category=category))
        return Outcome(outcome.name, keep=False, stop="refused", category=category, refuse=True)

    def overruled(self, index: int) -> None:
        """The caller gave the step that was to judge a message to another skill: the message passes."""
        suspect = self._state.waiting.pop(0)
        self._state.records.append(replace(suspect.record, step=index, outcome="overruled"))

    def messages_removed(self, removed: int) -> None:
        """Notes that compaction removed so many messages."""
        self._state.seen -= removed
        self._state.waiting = [replace(each, at=each.at - removed) for each in self._state.waiting]

    def last_message_edited(self, last: int) -> None:
        """Notes that the last message was edited: it is screened again, and what the request needs is asked again."""
        self._state.seen = min(self._state.seen, last)
        self._state.waiting = [each for each in self._state.waiting if each.at < last]
        self._state.planned = None

    def judge_output(
        self,
        index: int,
        skill: str,
        outcome: Outcome,
        out: StepOutput,
        clock: Clock,
        *,
        request_context: RequestContext,
    ) -> Generator[Event, None, Outcome]:
        """Judges a step's text at the output gate, and streams it if it passes.

        Args:
            index: The step.
            skill: The skill that wrote it.
            outcome: What the text means.
            out: The text.
            clock: Clock that measures how long judging takes.
            request_context: The run's, which bounds it.

        Returns:
            The outcome; `stopped` if the text has to leave the transcript.
        """
        if outcome.output:
            with clock.phase("gate"):
                record = self._judge_text(index, outcome.output, request_context)
            yield self._record(record)
            if record.outcome == "refused":
                return Outcome("stopped", keep=False, stop="refused", category=record.category, refuse=True)
        if outcome.keep or outcome.output:
            yield TokenGenerated(self._run_id, index, skill=skill, text=out.text, tokens=len(out.ids), spans=out.spans)
        return outcome

    @property
    def last_event(self) -> Gated:
        """The last decision, as an event."""
        return Gated(self._run_id, self._state.records[-1])

    def _judge_text(self, index: int, text: str, request_context: RequestContext) -> GateRecord:
        """Judges a text at the output gate. The text is read alone, as if a user had written it."""
        gate = self._guard.output
        assert gate is not None
        record = GateRecord(index, "output", "passed")
        if not judges(self._runtime, gate):
            return replace(record, undecided=True)
        messages = [Message("user", text)]
        return judged_alone(self._runtime, gate, record, messages, "refused", request_context=request_context)

    def _record(self, record: GateRecord) -> Gated:
        self._state.records.append(record)
        return self.last_event

    def _gate(self, record: GateRecord) -> Gate:
        gate = next((self._guard.gate(place) for place in PLACES.values() if place == record.place), None)
        if gate is None:
            raise InputError(
                f"a message waits for the gate {record.place!r}, which this guard lacks: give the run's own guard"
            )
        return gate

    def _screen(self, trunk: Transcript, at: int) -> ScreenResult:
        """The screen's result for a message."""
        message, runtime = trunk.messages[at].message, self._runtime
        before, judged = [span.message for span in trunk.messages[:at]], _own_words(message)
        kept = {}
        if runtime.router.layers:
            kept = trunk.features(at) if judged is message else self._trunk_up_to(trunk, at).features()
        return runtime.router.screen(runtime.read(kept, [*before, judged], trunk.request_context))

    def _trunk_up_to(self, trunk: Transcript, at: int) -> Transcript:
        """The trunk up to a message; of this message it holds only what somebody wrote."""
        span = trunk.messages[at]
        judged = _own_words(span.message)
        if judged is span.message:
            return trunk if at == len(trunk.messages) - 1 else trunk.fork(span.end)
        heard = trunk.fork(span.start)
        heard.append(judged)
        return heard

    def _withhold(self, trunk: Transcript, at: int, tool: str) -> bool:
        """Replaces a result with a note; returns False where the note does not fit."""
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


def judged_alone(
    runtime: Runtime,
    gate: Gate,
    record: GateRecord,
    messages: Sequence[Message],
    stopped: str,
    *,
    request_context: RequestContext,
) -> GateRecord:
    """The record of a gate's decision about messages that are read alone, by the screen and then by the safety skill.

    Args:
        runtime: Holds both.
        gate: How to decide.
        record: What is known before.
        messages: The last of them is judged.
        stopped: The outcome of what is unsafe, or undecided at a gate that fails closed.
        request_context: The run's.

    Raises:
        Interrupted: The run's time is up, or it was cancelled.
        QueueFullError: Too much waits for the base.
    """
    judge = Judge(runtime, unsafe_from=gate.unsafe_from)
    try:
        trunk = judge.read(messages, request_context)
        if gate.screen != 0:
            least, positive = screen_says(gate, screened := judge.screen(trunk))
            record = replace(record, screen=screened.probability, screen_from=least)
            if not positive:
                return record
        found = judge.judge(trunk)
    except (Interrupted, QueueFullError):
        raise
    except (ContextLengthError, LimitError, SchemaError):  # too long to be judged, or the verdict is unreadable
        record = replace(record, undecided=True)
        return record if gate.fail == "open" else replace(record, outcome=stopped, category=UNDECIDED)
    outcome = stopped if found.verdict.unsafe else "safe"
    record = replace(record, unsafe=found.probability, unsafe_from=found.threshold, outcome=outcome)
    return replace(record, category=found.verdict.category)


def screen_says(gate: Gate, screened: ScreenResult) -> tuple[float, bool]:
    """The screen's threshold at a gate, and whether the safety skill has to judge the text."""
    if gate.screen is None:
        return screened.threshold, screened.positive
    return gate.screen, screened.probability >= gate.screen


def _own_words(message: Message) -> Message:
    """The message with only the words that somebody wrote: without passages, and without notes of the runtime."""
    words = words_of(message)
    return message if words == message.content else Message(message.role, words, message.origin)


def _tool_of(message: Message) -> str:
    """The tool whose result a message is."""
    if message.origin is not None and message.origin.name:
        return message.origin.name
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(message.content)["name"])
    return ""
