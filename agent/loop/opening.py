"""The beginning of a run: its transcript as a trunk, of which as much as is known is taken from earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraloop.agent.checkpoint import Checkpoint, Line
from loraloop.agent.engine.trunk import Trunk
from loraloop.agent.loop.compaction import Compactor
from loraloop.agent.loop.job import Job, Journal
from loraloop.agent.runtime import Runtime
from loraloop.agent.step import Compaction
from loraloop.tool_schemas.errors import ContextLengthError


@dataclass(frozen=True, slots=True)
class Opened:
    """A trunk that ends with what the run was asked, or with where it went on.

    Attributes:
        trunk: Nothing of what is new in it is computed yet.
        reused: Tokens known from an earlier run.
        fresh: The first message that nobody has looked at.
        compaction: What was done to make the messages fit; None for nothing.
    """

    trunk: Trunk
    reused: int
    fresh: int
    compaction: Compaction | None = None


def opened(runtime: Runtime, job: Job, journal: Journal, compactor: Compactor) -> Opened:
    """The request's trunk: what is known of it from earlier runs, and the rest appended.

    Raises:
        ContextLengthError: It does not fit, with a reply.
    """
    messages, compaction = compactor.messages(runtime.base.chat.complete(job.messages))
    fresh, answers = len(messages) - 1, messages[-1].role == "tool"
    while answers and fresh and messages[fresh - 1].role == "tool":
        fresh -= 1
    lines = [(message, journal.ids(index, message)) for index, message in enumerate(messages)]
    trunk, reused = _trunk(runtime, lines, fresh)
    return Opened(trunk, reused, fresh, compaction)


def restored(runtime: Runtime, known: Checkpoint) -> Opened:
    """The trunk of a run that goes on, in the very tokens that it had.

    Raises:
        ContextLengthError: The runtime's context is smaller than it was.
    """
    fresh = min(known.state.guard.seen, len(known.lines) - 1)
    if known.written is not None:  # the next step looks at what its calls give
        fresh = len(known.lines)
    trunk, reused = _trunk(runtime, known.lines, fresh, again=True)
    return Opened(trunk, reused, known.state.guard.seen)


def _trunk(runtime: Runtime, lines: Sequence[Line], fresh: int, again: bool = False) -> tuple[Trunk, int]:
    """A trunk of these messages, and how many of its tokens are known; the hidden states from `fresh` on are kept."""
    chat = runtime.base.chat
    trunk = runtime.store.take([message for message, _ in lines[:fresh]]) or runtime.trunk()
    if again and not _same(trunk, lines):
        runtime.store.put(trunk)
        trunk = runtime.trunk()
    known, reused = len(trunk.messages), len(trunk.ids)
    try:
        for index, (message, ids) in enumerate(lines[known:], start=known):
            trunk.append(message, ids or chat.message(message.role, message.content), more=index > fresh)
        if not again or fresh == len(lines):
            trunk.room(len(chat.generation_prompt) + len(chat.closing) + 1, "the transcript with a reply")
    except ContextLengthError:
        trunk.cut(reused)
        runtime.store.put(trunk)
        raise
    return trunk, reused


def _same(trunk: Trunk, lines: Sequence[Line]) -> bool:
    """Whether a trunk has the messages in the tokens that they had, as far as these are known."""
    spans = zip(trunk.messages, lines, strict=False)
    return all(ids is None or trunk.ids[span.start : span.end] == ids for span, (_, ids) in spans)
