"""Date notes: before a user's message stands what its calendar words mean, as a message of the runtime.

A note is a system message of its own, such as `Dates: tomorrow = 2026-03-19 (Thursday)`. It stands directly before the
message that it explains, so that the user's words stay the last message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.dates.resolve import date_note, resolve_dates, stated_today
from loraloop.agent.messages import is_date_note, words_of
from loraloop.tool_schemas.errors import InputError

_LOOKED_AT = 100  # messages in which a date was spoken of
_ISO = re.compile(r"(?<![\w-])\d{4}-\d\d-\d\d(?![\d-])")


def today_of(clock: Callable[[], date] | None, instructions: str) -> date | None:
    """The current date: the clock's, or the one that the instructions state; None where neither says it.

    Raises:
        InputError: The clock returns something else than a date.
    """
    if clock is None:
        return stated_today(instructions)
    today: object = clock()
    if not isinstance(today, date):
        raise InputError(f"clock returned {today!r}: it has to return a date or a datetime")
    return today.date() if isinstance(today, datetime) else today


def with_date_notes(messages: Sequence[Message], today: date | None) -> tuple[Message, ...]:
    """The messages with a note before the last one, if it is the user's, and before earlier ones of no known origin.

    Earlier messages that a run left had their notes at their time. A message that has a note gets no second one, and a
    note that lost its origin on the way, in a file or at a client, gets it again.

    Args:
        messages: The transcript.
        today: The current date; None for no notes.
    """
    noted: list[Message] = []
    for place, message in enumerate(messages):
        if message.origin is None and is_date_note(message):
            message = replace(message, origin=Origin("runtime"))
        new = message.role == "user" and (message.origin is None or place == len(messages) - 1)
        if new and not (noted and is_date_note(noted[-1])):
            noted += with_date_note(message, today, noted)
        else:
            noted.append(message)
    return tuple(noted)


def with_date_note(message: Message, today: date | None, before: Sequence[Message]) -> tuple[Message, ...]:
    """A message that comes after others; with a note before it if it is the user's and has calendar words."""
    if today is None or message.role != "user":
        return (message,)
    note = date_note(resolve_dates(words_of(message), today, _dates_before(before)))
    return (Message("system", note, Origin("runtime")), message) if note else (message,)


def _dates_before(messages: Sequence[Message]) -> tuple[date, ...]:
    """The date that was spoken of last, if that is clear and not more than `_LOOKED_AT` messages ago.

    In the latest turn with a date it is the one that the calls, results and answers name, if they all name the same
    one, else the last one of the user's message. A list of several dates that only a result holds is not clear.
    """
    answered: set[date] = set()
    asked: list[date] = []
    for place in reversed(range(max(len(messages) - _LOOKED_AT, 0), len(messages))):
        message = messages[place]
        if message.role == "user":
            asked = _written(words_of(message))
            if place and is_date_note(messages[place - 1]):
                asked = _written(messages[place - 1].content) or asked
            if len(answered) == 1:
                return tuple(answered)
            if asked or answered:
                return tuple(asked)
        elif message.role != "system":
            answered.update(_written(message.content))
    return ()


def _written(text: str) -> list[date]:
    found = []
    for iso in _ISO.findall(text):
        try:
            found.append(date.fromisoformat(iso))
        except ValueError:  # no day of the calendar
            continue
    return found
