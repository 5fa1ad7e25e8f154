"""Compaction: a transcript that outgrows the context is shortened by fixed rules, and the trace says what was removed.

In this order, and no further than needed:

1. Results of tools are cut to `STUB` tokens, the oldest first; those that the next step answers stay whole.
2. Turns before the last user message are left out, the oldest first: the message of the user and all that followed it.
   The first message that stays says how many went.

System message, last user message and the calls after it stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from loraloop.adapters.base.chat import Chat
from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.messages import LEFT_OUT, is_date_note
from loraloop.agent.tools.observation import shorten_result
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.step import Compaction

STUB = 48
"""Tokens that an old result keeps."""
_WORTH = 8  # tokens that cutting a result has to save: one that was cut before is left as it is
_TEMPLATE = 24  # tokens that stand around a message, at most
_NOTE = "[{} earlier messages are left out here.]\n\n"


@dataclass(slots=True)
class Part:
    """A message and its tokens; `was` is the message before it was shortened."""

    message: Message
    ids: list[int]
    was: Message | None = None


class Compactor:
    """Makes transcripts of one run shorter.

    Args:
        chat: Counts tokens.
        context: Positions of the base.
        keep_free: Positions that a step should find free. Where fewer are free, half of the context is freed.
    """

    def __init__(self, chat: Chat, context: int, keep_free: int) -> None:
        self._chat = chat
        self._most = context - keep_free
        self._wanted = min(context // 2, self._most)
        self.on = keep_free > 0

    def messages(self, messages: Sequence[Message]) -> tuple[list[Message], Compaction | None]:
        """The messages of a transcript that is about to be opened, short enough if the rules can make them so."""
        most = sum(len(message.content.encode()) + _TEMPLATE for message in messages)  # a token has a byte or more
        if not self.on or most <= self._most:
            return list(messages), None
        parts = [
            Part(message, self._chat.message(message.role, message.content, not place))
            for place, message in enumerate(messages)
        ]
        kept, done = self._compact(parts, 0)
        return (list(messages), None) if done is None else ([part.message for part in kept], done)

    def trunk(self, trunk: Transcript, index: int, fresh: int) -> Compaction | None:
        """Makes a trunk shorter before step `index`, if it is too long.

        Args:
            trunk: Changed in place. From the first changed message on, its tokens are computed again.
            index: The step.
            fresh: The first message whose hidden states are still needed, and those after it.

        Returns:
            What was shortened; None where nothing was.
        """
        if not self.on or len(trunk.ids) <= self._most:
            return None
        parts = [Part(span.message, trunk.ids[span.start : span.end]) for span in trunk.messages]
        kept, done = self._compact(parts, index)
        if done is None:
            return None
        same = 0
        while same < len(kept) and kept[same].message is trunk.messages[same].message:
            same += 1
        first = min(same, fresh - len(done.removed), len(kept) - 1)
        trunk.cut(trunk.messages[first - 1].end if first else 0)
        for at in range(first, len(kept)):
            trunk.append(kept[at].message, kept[at].ids, more=at > max(fresh - len(done.removed), first))
        return done

    def _compact(self, parts: list[Part], index: int) -> tuple[list[Part], Compaction | None]:
        before = total = sum(len(part.ids) for part in parts)
        if before <= self._most:
            return parts, None
        last = len(parts)
        while last and parts[last - 1].message.role == "tool":
            last -= 1
        for part in parts[:last]:
            if total <= self._wanted:
                break
            if part.message.role == "tool" and len(part.ids) > STUB:
                total += self._shorten(part)
        parts, removed = self._without_turns(parts, total)
        cut = tuple(part.was for part in parts if part.was is not None)
        after = sum(len(part.ids) for part in parts)
        if after >= before:  # there was nothing to cut, or a note of what went would be longer than that
            return parts, None
        return parts, Compaction(index, before, after, cut, tuple(removed))

    def _shorten(self, part: Part) -> int:
        """Cuts a result; returns by how many tokens it grew, which is negative or 0."""
        content = _stub(part.message.content, lambda text: len(self._chat.message("tool", text)))
        ids = self._chat.message("tool", content)
        grew = len(ids) - len(part.ids)
        if grew > -_WORTH:
            return 0
        part.was, part.message, part.ids = part.message, Message("tool", content, part.message.origin), ids
        return grew

    def _without_turns(self, parts: list[Part], total: int) -> tuple[list[Part], list[Message]]:
        users = [at for at, part in enumerate(parts) if part.message.role == "user"]
        turns = [at - (at > 0 and is_date_note(parts[at - 1].message)) for at in users]
        if len(users) < 2 or total <= self._wanted:
            return parts, []
        first = cut = turns[0]
        for following, user in zip(turns[1:], users[1:], strict=True):
            total -= sum(len(part.ids) for part in parts[cut:following])
            cut, asked = following, user
            if total <= self._wanted:  # the note may be longer than what went
                noted = self._with_note(parts[first:cut], parts[asked])
                if total + len(noted.ids) - len(parts[asked].ids) <= self._wanted:
                    break
        gone = parts[first:cut]
        noted = self._with_note(gone, parts[asked])
        return [*parts[:first], *parts[cut:asked], noted, *parts[asked + 1 :]], [
            each.was or each.message for each in gone
        ]

    def _with_note(self, gone: Sequence[Part], part: Part) -> Part:
        """A message of the user after a note of what went before it."""
        known = sum(int(found[1]) for each in gone if (found := LEFT_OUT.match(each.message.content)))
        message = _after_note(part.message, _NOTE.format(known + len(gone)))
        return replace(part, message=message, ids=self._chat.message("user", message.content))


def _after_note(message: Message, note: str) -> Message:
    """The message after a note; its passages stand that much later."""
    origin = message.origin
    if origin is not None:
        moved = (replace(span, start=span.start + len(note), end=span.end + len(note)) for span in origin.passages)
        origin = replace(origin, passages=tuple(moved))
    return Message(message.role, note + message.content, origin)


def _stub(content: str, count: Callable[[str], int]) -> str:
    """A result in `STUB` tokens: the tool's name, the beginning of the result, and how much was left out."""
    try:
        result = json.loads(content)
        record = CallRecord(result["name"], {}, result.get("result"), result.get("error", result.get("retry")), 0.0)
    except (ValueError, TypeError, KeyError, AttributeError):  # no result that a run wrote
        return f"… ({count(content)} tokens left out)"
    return shorten_result(replace(record, retry="retry" in result), STUB, count)[0]
