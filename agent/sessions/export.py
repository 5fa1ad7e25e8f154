"""A session for other programs and for people: JSON, a message a line, or Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from loraloop.agent.step import plain
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.sessions.rows import SessionCall, SessionTurn
    from loraloop.agent.sessions.sessions import Session


def document(session: Session) -> dict[str, Any]:
    """All that is known of a session, as JSON data."""
    return dict(plain({**plain(session.info), "messages": session.messages, "turns": session.turns}))


def message_lines(session: Session) -> str:
    """Its transcript, a JSON object with role and content a line."""
    return "".join(dumps(message) + "\n" for message in session.messages)


def markdown(session: Session) -> str:
    """The conversation and the calls of a session as Markdown."""
    info = session.info
    lines = [f"# {info.title or info.id}", "", f"Session `{info.id}`, {info.created:%Y-%m-%d %H:%M} UTC, {info.state}."]
    for turn in session.turns:
        lines += ["", f"## {turn.number + 1}. {' '.join(turn.prompt.split())[:80] or '(results of calls)'}"]
        lines += ["", *_quoted(turn.prompt), *_turn(turn)]
    return "\n".join(lines) + "\n"


def call_state(call: SessionCall) -> str:
    """The state of a call, in a word or two."""
    if call.ended is None:
        return "began, and may have run"
    failed = call.record is not None and call.record.error is not None
    state = "asked for another try" if call.record is not None and call.record.retry else "failed" if failed else "done"
    return f"{state}, at least once" if call.at_least_once else state


def _turn(turn: SessionTurn) -> Iterator[str]:
    for step in turn.steps:
        dropped = "" if step.kept else ", dropped"
        yield from ("", f"**Step {step.index + 1}: {step.skill}** ({step.outcome}{dropped})")
        if step.kept and not step.calls:
            yield from ("", step.text)
        yield from _calls(call for call in turn.calls if call.step == step.index)
    yield from _calls(call for call in turn.calls if call.step >= len(turn.steps))
    if turn.stop_reason == "refused" and turn.result is not None:
        yield from ("", turn.result.output)
    yield from ("", f"*{turn.stop_reason or 'not ended'}*")


def _calls(calls: Iterator[SessionCall]) -> Iterator[str]:
    for call in calls:
        yield from ("", f"`{call.name}` {call_state(call)}:", "", "```json", _pretty(call.arguments), "```")
        if call.record is not None:
            result = call.record.result if call.record.error is None else {"error": call.record.error}
            yield from ("", "```json", _pretty(result), "```")


def _pretty(value: Any) -> str:
    """JSON in which no line can end a block of code."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def _quoted(text: str) -> list[str]:
    return [f"> {line}".rstrip() for line in text.splitlines()]
