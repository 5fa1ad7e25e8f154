"""The beginning of a run: its transcript as a trunk, of which as much as is known is taken from earlier runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import ContextLengthError

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop.compaction import Compactor
    from loraloop.agent.loop.job import Job
    from loraloop.agent.loop.pending_run import PendingRun
    from loraloop.agent.result import Compaction
    from loraloop.agent.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Opened:
    """A trunk that ends with what the run was asked.

    Attributes:
        trunk: Nothing of what is new in it is computed yet.
        reused: Tokens known from an earlier run.
        fresh: The first message that nobody has looked at.
        after: What the last message is.
        compaction: What was done to make the messages fit; None for nothing.
    """

    trunk: Trunk
    reused: int
    fresh: int
    after: str
    compaction: Compaction | None


def opened(runtime: Runtime, job: Job, compactor: Compactor) -> Opened:
    """The request's trunk: what is known of it from earlier runs, and the rest appended.

    Raises:
        ContextLengthError: it does not fit, with a reply.
    """
    chat = runtime.base.chat
    messages, compaction = compactor.messages(chat.complete(job.messages))
    fresh, answers = len(messages) - 1, messages[-1].role == "tool"
    while answers and fresh and messages[fresh - 1].role == "tool":
        fresh -= 1
    trunk = runtime.store.take(messages[:fresh]) or runtime.trunk()
    known, reused = len(trunk.messages), len(trunk.ids)
    try:
        for index, message in enumerate(messages[known:], start=known):
            ids = job.journal.ids(index, message) or chat.message(message.role, message.content)
            trunk.append(message, ids, more=index > fresh)
        trunk.room(len(chat.generation_prompt) + len(chat.closing) + 1, "the transcript with a reply")
    except ContextLengthError:
        trunk.cut(reused)
        runtime.store.put(trunk)
        raise
    return Opened(trunk, reused, fresh, "tool" if answers else "user", compaction)


def reopened(runtime: Runtime, paused: PendingRun) -> Opened:
    """The trunk of a run that was paused, in the very tokens that it had.

    Raises:
        ContextLengthError: it does not fit, with a result.
    """
    chat, ids = runtime.base.chat, [token for each in paused.ids for token in each]
    trunk = runtime.store.take(paused.messages) or runtime.trunk()
    if trunk.ids != ids[: len(trunk.ids)]:  # the same messages in other tokens
        runtime.store.put(trunk)
        trunk = runtime.trunk()
    known, reused = len(trunk.messages), len(trunk.ids)
    try:
        for message, tokens in zip(paused.messages[known:], paused.ids[known:], strict=True):
            trunk.append(message, tokens)
        trunk.room(len(chat.generation_prompt) + len(chat.closing) + 1, "the transcript with a reply")
    except ContextLengthError:
        trunk.cut(reused)
        runtime.store.put(trunk)
        raise
    return Opened(trunk, reused, len(paused.messages), paused.after, None)
