"""A transcript: the messages of a conversation and their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Self

from loraloop.agent.engine.cache.sequence import MessageSpan, RequestContext
from loraloop.tool_schemas.errors import ContextLengthError

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import Base, Message
    from loraloop.agent.engine.timer import Clock


class Transcript:
    """Token ids of messages, which are counted against a context. Here nothing is computed; a `Trunk` computes them.

    Args:
        base: The base whose tokenizer and chat format count the tokens.
        context: Positions to use at most; the base's own number where None.
    """

    request_context: RequestContext

    def __init__(self, base: Base, context: int | None = None) -> None:
        self.base = base
        self.context = min(context or base.config.max_positions, base.config.max_positions)
        self.ids: list[int] = []
        self.messages: list[MessageSpan] = []
        self.request_context = RequestContext()

    @property
    def pending(self) -> int:
        """Tokens that are to be computed and are not computed yet."""
        return 0

    def extend(self, ids: Sequence[int]) -> None:
        """Appends tokens.

        Raises:
            ContextLengthError: They do not fit; the transcript is unchanged then.
        """
        self.room(len(ids))
        self.ids.extend(ids)

    def room(self, count: int, what: str = "the transcript") -> None:
        """Verifies that `count` more tokens fit.

        Raises:
            ContextLengthError: with the lengths and what to do.
        """
        total = len(self.ids) + count
        if total > self.context:
            raise ContextLengthError(
                f"{what} would have {total} tokens ({len(self.ids)} so far and {count} more), but the context holds "
                f"{self.context}: shorten the prompt, the passages or the tools, or start without the old messages"
            )

    def append(self, message: Message, ids: Sequence[int] | None = None, more: bool = False) -> MessageSpan:
        """Appends a message's tokens.

        Args:
            message: What the tokens say.
            ids: The tokens; where None, those of the base's chat format.
            more: Whether the message is one more of a group, all of which the router may look at.
        """
        start = len(self.ids)
        if ids is None:
            ids = self.base.chat.message(message.role, message.content, not self.messages)
        self.extend(ids)
        return self.mark(message, start, more)

    def mark(self, message: Message, start: int, more: bool = False) -> MessageSpan:
        """Notes that the tokens from `start` on are `message`."""
        span = MessageSpan(message, start, len(self.ids))
        self.messages.append(span)
        return span

    def flush(self, clock: Clock | None = None) -> int:
        """Computes what is pending. Returns the number of tokens computed."""
        return 0

    def features(self, at: int = -1, clock: Clock | None = None) -> dict[int, Tensor]:
        """Hidden states `[T, H]` of the T tokens of message `at`, by layer; none where nothing is computed."""
        return {}

    def cut(self, length: int) -> None:
        """Forgets everything after `length` tokens, and messages that do not end before."""
        del self.ids[length:]
        self.messages = [span for span in self.messages if span.end <= length]

    def fork(self, length: int) -> Self:
        """A copy of the first `length` tokens that grows apart from this one, within the same bounds."""
        other = copy(self)
        other.ids, other.messages = list(self.ids), list(self.messages)
        other.cut(length)
        return other
