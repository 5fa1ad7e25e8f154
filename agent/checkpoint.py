"""What a run knows between two steps, as data: taken from a run that goes, and given back to one that is resumed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.guard.gates import Suspect
from loraloop.agent.loop.job import Decision
from loraloop.agent.loop.opening import Opened
from loraloop.agent.loop.outcome import Outcome
from loraloop.agent.loop.prompts import Repair
from loraloop.agent.result import Compaction, GateRecord, Step, StopReason
from loraloop.agent.tools.approval import PendingCall
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.guard.guard import Gate
    from loraloop.agent.loop.act import CarryingOut
    from loraloop.agent.runtime import Runtime

Line = tuple[Message, list[int] | None]
"""A message of a transcript and its tokens; None where they are not known."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked, as far as that is data.

    Attributes:
        prompt: What the user said.
        passages: Those that the request came with; found ones too.
        skill: The forced first choice.
        tool_choice: Instead of the policy's.
        objects: Names of the options that are no data: whoever resumes the run gives them again.
        architecture: Fingerprint of the base, whose tokens the transcript is made of.
    """

    prompt: str
    passages: tuple[Passage, ...] = ()
    skill: str | dict[str, float] | None = None
    tool_choice: str | dict[str, Any] | None = None
    objects: tuple[str, ...] = ()
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A step whose calls are about to run.

    Attributes:
        step: Its trace so far.
        decision: What it ran on.
        contract: What it wrote.
        outcome: What that means.
        calls: The same as its calls, and what was said of those that needed approval.
        line: The message that it left.
    """

    step: Step
    decision: Decision
    contract: str
    outcome: Outcome
    calls: tuple[PendingCall, ...]
    line: Line


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run knows between two steps, besides its transcript and its steps.

    Attributes:
        seconds: How much of the deadline is used up.
        ms: Wall time so far.
        masked: Skills that cannot be chosen any more.
        after: What the last message is for the router.
        seen: Messages that the guard has looked at.
        gates: What its gates have decided.
        suspects: Messages that wait for their verdict: place, and what the screen said.
        planned: Tools with effects that the user's own words need, where that was asked.
        generated: Tokens.
        choices: Of the policy's forced choices, those that are left.
        opening: Whether the run's first choice is still to be made.
        made: Calls that were run.
        asked: In how many steps each tool asked for another try.
        compactions: What was done to the transcript.
        repair: The next step, if it is the last one once more.
        retry: What the next step runs on, if a tool asked for another try.
        end: What the run would end with, without a value: that is read from the text again.
        valued: Whether it has one.
        stop: Why the run ends, if it does.
        sampler: State of the random generator; empty where nothing is drawn.
    """

    seconds: float
    ms: float
    masked: tuple[str, ...]
    after: str
    seen: int
    gates: tuple[GateRecord, ...]
    suspects: tuple[tuple[int, GateRecord], ...]
    planned: tuple[str, ...] | None
    generated: int
    choices: int
    opening: bool
    made: int
    asked: dict[str, int]
    compactions: tuple[Compaction, ...]
    repair: Repair | None
    retry: Decision | None
    end: Outcome
    valued: bool
    stop: StopReason | None
    sampler: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was interrupted, as its journal has it.

    Attributes:
        run_id: The same as before.
        asked: What it was asked.
        lines: Its transcript after the last completed step.
        steps: The completed steps.
        state: What it knew then; or, where a step's calls were about to run, what it knew there.
        written: That step.
    """

    run_id: str
    asked: Asked
    lines: tuple[Line, ...]
    steps: tuple[Step, ...]
    state: RunState
    written: Written | None = None


def state_of(run: CarryingOut) -> RunState:
    """What a run knows now."""
    return RunState(
        monotonic() - run._began,
        run._before + (perf_counter() - run._start) * 1e3,
        tuple(sorted(run._masked)),
        run._after,
        run._gates.seen,
        tuple(run._gates.records),
        tuple((suspect.at, suspect.record) for suspect in run._gates.waiting),
        run._fence.planned,
        run._generated,
        len(run._chooser.left),
        run._forms.opening,
        run._actor.made,
        dict(run._actor.asked),
        tuple(run._compactions),
        run._repair,
        run._retry and replace(run._retry, route=None),
        replace(run._end, value=None),
        run._end.value is not None,
        run._stop,
        run._writer.sampler.state,
    )


def restore(run: CarryingOut, known: Interrupted) -> None:
    """Gives a run that has not begun what it knew."""
    state, read = known.state, run._job.output.read
    run._began, run._before = -state.seconds, state.ms
    run._steps, run._masked, run._after = list(known.steps), set(state.masked), state.after
    run._gates.records, run._fence.planned = list(state.gates), state.planned
    run._gates.waiting = deque(Suspect(at, _gate(run, record), record) for at, record in state.suspects)
    run._generated, run._compactions = state.generated, list(state.compactions)
    run._repair, run._retry, run._stop, run._end = state.repair, state.retry, state.stop, state.end
    if state.valued and read is not None:
        run._end = replace(state.end, value=read(state.end.output))
    run._chooser.skip_to(state.choices)
    if not state.opening:
        run._forms.choice_made()
    run._actor.restore(state.made, state.asked, known.steps)
    run._writer.sampler.state = state.sampler


def taken_up(runtime: Runtime, known: Interrupted) -> Opened:
    """The transcript of a run that was interrupted, of which nothing is computed yet.

    Raises:
        ContextLengthError: The runtime's context is smaller than it was.
    """
    chat, state = runtime.base.chat, known.state
    lines = known.lines if known.written is None else (*known.lines, known.written.line)
    messages = [message for message, _ in lines]
    fresh = min(state.seen, len(messages) - 1)  # from here on hidden states are needed
    trunk = runtime.store.take(messages[:fresh]) or runtime.trunk()
    reused = len(trunk.ids)
    for at in range(len(trunk.messages), len(lines)):
        message, ids = lines[at]
        trunk.append(message, ids or chat.message(message.role, message.content), more=at > fresh)
    return Opened(trunk, reused, state.seen, state.after, None)


def lines_of(trunk: Trunk) -> list[Line]:
    """A transcript, each message with its tokens."""
    return [(span.message, trunk.ids[span.start : span.end]) for span in trunk.messages]


def last_line(trunk: Trunk) -> Line:
    """Its last message."""
    span = trunk.messages[-1]
    return span.message, trunk.ids[span.start : span.end]


def _gate(run: CarryingOut, record: GateRecord) -> Gate:
    place: Any = record.place
    gate = run._job.guard.gate(place)
    if gate is None:
        raise InputError(
            f"a message waits for the guard's gate {record.place!r}, which it has no more: give the same guard"
        )
    return gate
