"""Opens the trunk of a run. What an earlier run has computed of the same transcript is used again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.job import Job, Journal
from loraloop.agent.loop.compaction import Compactor
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.checkpoint import Checkpoint, Line
from loraloop.agent.values.step import Compaction
from loraloop.tool_schemas.errors import ContextLengthError


@dataclass(frozen=True, slots=True)
class Opening:
    """The trunk of a run that is about to begin or to go on.

    Attributes:
        trunk: The transcript; what is new in it is not computed yet.
        reused: Tokens that an earlier run has computed.
        fresh: Index of the first message that the guard has not screened.
        compaction: Record of how the messages were shortened to fit; None where they were not.
    """

    trunk: Transcript
    reused: int
    fresh: int
    compaction: Compaction | None = None


def open_trunk(runtime: Runtime, job: Job, journal: Journal, compactor: Compactor) -> Opening:
    """The trunk of a new run: what earlier runs have computed of it, and the rest appended.

    Args:
        runtime: Keeps what earlier runs have computed.
        job: What the run is asked to do; its messages make the transcript.
        journal: Knows the tokens of the messages that its session has stored, so that these are not made anew.
        compactor: Shortens the messages where they leave too little room.

    Raises:
        ContextLengthError: The transcript and a reply do not fit the context.
    """
    messages, compaction = compactor.messages(runtime.base.chat.complete(job.messages))
    fresh, answers = len(messages) - 1, messages[-1].role == "tool"
    while answers and fresh and messages[fresh - 1].role == "tool":
        fresh -= 1
    lines = [(message, journal.ids(index, message)) for index, message in enumerate(messages)]
    trunk, reused = _trunk(runtime, lines, fresh)
    return Opening(trunk, reused, fresh, compaction)


def restore_trunk(runtime: Runtime, known: Checkpoint) -> Opening:
    """The trunk of a run that goes on, with exactly the tokens that it had.

    Raises:
        ContextLengthError: The runtime's context is smaller than it was.
    """
    fresh = min(known.state.guard.seen, len(known.lines) - 1)
    if known.written is not None:  # the next step looks at what its calls give
        fresh = len(known.lines)
    trunk, reused = _trunk(runtime, known.lines, fresh, again=True)
    return Opening(trunk, reused, known.state.guard.seen)


def _trunk(runtime: Runtime, lines: Sequence[Line], fresh: int, again: bool = False) -> tuple[Transcript, int]:
    """A trunk of these messages, and how many of its tokens are computed; hidden states are kept from `fresh` on."""
    chat = runtime.base.chat
    engine = runtime.engine
    trunk = engine.open([message for message, _ in lines[:fresh]])
    if again and not _same_tokens(trunk, lines):
        engine.close(trunk)
        trunk = engine.open()
    known, reused = len(trunk.messages), len(trunk.ids)
    try:
        for index, (message, ids) in enumerate(lines[known:], start=known):
            trunk.append(message, ids or None, more=index > fresh)
        if not again or fresh == len(lines):
            trunk.room(len(chat.generation_prompt) + len(chat.closing) + 1, "the transcript with a reply")
    except ContextLengthError:
        trunk.cut(reused)
        engine.close(trunk)
        raise
    return trunk, reused


def _same_tokens(trunk: Transcript, lines: Sequence[Line]) -> bool:
    """Whether a trunk has the same tokens for these messages, where the tokens are known."""
    spans = zip(trunk.messages, lines, strict=False)
    return all(ids is None or trunk.ids[span.start : span.end] == ids for span, (_, ids) in spans)
