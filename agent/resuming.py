"""What a run knows between two steps, as data: taken from a run that goes, and given back to one that is resumed."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.contracts import Passage
from loraloop.agent.aside import Repair
from loraloop.agent.engine.generate import Generated
from loraloop.agent.job import Decision
from loraloop.agent.outcomes import Outcome
from loraloop.agent.result import Compaction, Step, StopReason

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop import Run

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
    """A step whose text is known.

    Attributes:
        index: The step.
        decision: What it runs on.
        contract: What it writes.
        activation: Of its skill.
        out: What was generated.
        prefilled: See `Tokens`.
        reused: See `Tokens`.
        recomputed: See `Tokens`.
        seconds: By phase, so far.
        first_token: Milliseconds until it; None where there is none.
    """

    index: int
    decision: Decision
    contract: str
    activation: str
    out: Generated
    prefilled: int
    reused: int
    recomputed: int
    seconds: dict[str, float]
    first_token: float | None


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run knows between two steps, besides its transcript and its steps.

    Attributes:
        elapsed: Seconds that it ran.
        masked: Skills that cannot be chosen any more.
        after: What the last message is for the router.
        screened: Messages that were looked at.
        generated: Tokens.
        choices: Of the policy's forced choices, those that are left.
        opening: Whether the run's first choice is still to be made.
        asked: How often each tool asked for another try.
        compactions: What was done to the transcript.
        repair: The next step, if it is the last one once more.
        retry: What the next step runs on, if a tool asked for another try.
        end: What the run would end with, without a value: that is read from the text again.
        valued: Whether it has one.
        stop: Why the run ends, if it does.
        sampler: State of the random generator in base64; empty where nothing is drawn.
    """

    elapsed: float
    masked: tuple[str, ...]
    after: str
    screened: int
    generated: int
    choices: int
    opening: bool
    asked: dict[str, int]
    compactions: tuple[Compaction, ...]
    repair: Repair | None
    retry: Decision | None
    end: Outcome
    valued: bool
    stop: StopReason | None
    sampler: str


@dataclass(frozen=True, slots=True)
class Resumed:
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


def state_of(run: Run) -> RunState:
    """What a run knows now."""
    retry = run._retry and replace(run._retry, route=None)
    return RunState(
        run.elapsed,
        tuple(sorted(run._masked)),
        run._after,
        run._screened,
        run._generated,
        run._chooser.left,
        run._forms.opening,
        dict(run._actor.asked),
        tuple(run._compactions),
        run._repair,
        retry,
        replace(run._end, value=None),
        run._end.value is not None,
        run._stop,
        base64.b64encode(run._sampler.state()).decode(),
    )


def restored(run: Run, resumed: Resumed) -> Trunk:
    """Gives a run that has not begun what it knew, and returns its transcript, of which nothing is computed yet.

    Raises:
        ContextLengthError: The runtime's context is smaller than it was.
    """
    state, read = resumed.state, run._job.output.read
    run._steps = list(resumed.steps)
    run._masked = set(state.masked)
    run._after, run._screened, run._generated = state.after, state.screened, state.generated
    run._compactions = list(state.compactions)
    run._repair, run._retry, run._stop = state.repair, state.retry, state.stop
    run._end = state.end
    if state.valued and read is not None:
        run._end = replace(state.end, value=read(state.end.output))
    run._chooser.skip_to(state.choices)
    if not state.opening:
        run._forms.choice_made()
    run._actor.remember(resumed.steps, state.asked)
    run._sampler.restore(base64.b64decode(state.sampler))
    return _trunk(run, resumed)


def _trunk(run: Run, resumed: Resumed) -> Trunk:
    runtime, lines = run._runtime, resumed.lines
    messages = [message for message, _ in lines]
    fresh = min(resumed.state.screened, len(messages) - 1)  # from here on hidden states are needed
    trunk = runtime.store.take(messages[:fresh]) or runtime.trunk()
    for at in range(len(trunk.messages), len(lines)):
        message, ids = lines[at]
        trunk.append(message, ids or run._chat.message(message.role, message.content), more=at > fresh)
    if resumed.written is not None:
        trunk.append(Message("assistant", resumed.written.out.text), run.kept(resumed.written.out.ids))
    return trunk
