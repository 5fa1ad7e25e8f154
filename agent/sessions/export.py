"""A session for other programs: JSON, or a message a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loraloop.agent.values.step import plain
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.sessions.rows import SessionCall
    from loraloop.agent.sessions.sessions import Session


def document(session: Session) -> dict[str, Any]:
    """All that is known of a session, as JSON data."""
    return dict(plain({**plain(session.info), "messages": session.messages, "turns": session.turns}))


def message_lines(session: Session) -> str:
    """The transcript of a session, a JSON object with role and content a line."""
    return "".join(dumps(message) + "\n" for message in session.messages)


def call_state(call: SessionCall) -> str:
    """The state of a call, in a word or two."""
    if call.ended is None:
        return "began, and may have run"
    failed = call.record is not None and call.record.error is not None
    state = "asked for another try" if call.record is not None and call.record.retry else "failed" if failed else "done"
    return f"{state}, at least once" if call.at_least_once else state
