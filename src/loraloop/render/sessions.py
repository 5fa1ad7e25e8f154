"""Sessions on a terminal: the list, and one with its runs, steps and calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from loraloop.agent.sessions.export import call_state
from loraloop.render.steps import shortened, steps_tree
from loraloop.render.terminal import table_of

if TYPE_CHECKING:
    from datetime import datetime

    from loraloop.agent.sessions.rows import SessionCall, SessionInfo
    from loraloop.agent.sessions.sessions import Session

_STYLES = {"idle": "dim", "running": "green", "interrupted": "yellow"}


def sessions_table(listed: Sequence[SessionInfo]) -> Table:
    """One row a session."""
    counts = ("runs", "steps", "calls")
    rows: list[tuple[RenderableType, ...]] = []
    for each in listed:
        found = map(str, (each.turns, each.steps, each.calls))
        rows.append((each.id, _state(each), *found, _local(each.updated), shortened(each.title, 60)))
    return table_of(("session", "state", *counts, "written", "title"), rows, counts)


def show_session(console: Console, session: Session) -> None:
    """A session's runs, each with its trace and its calls."""
    info = session.info
    console.print(Text.assemble((info.id, "bold"), f"  {info.title}  ", _state(info)))
    for turn in session.turns:
        console.print(Text.assemble("\n", (f"{turn.number + 1}. ", "bold"), shortened(turn.prompt, 200)))
        console.print(steps_tree(turn.steps))
        if turn.calls:
            console.print(_calls_table(turn.calls))
        if turn.result is not None and turn.result.output:
            console.print(Text(turn.result.output))
        ended = "" if turn.ended is None else f", {_local(turn.ended)}"
        console.print(Text(f"{turn.stop_reason or 'not ended'}   begun {_local(turn.started)}{ended}", style="dim"))


def _calls_table(calls: Sequence[SessionCall]) -> Table:
    rows = []
    for call in calls:
        written = f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})"
        state = Text(call_state(call), style="yellow" if call.at_least_once else "")
        rows.append((str(call.step + 1), shortened(written, 80), _local(call.begun), str(call.times), state))
    return table_of(("step", "call", "begun", "times", "state"), rows, ("step", "times"))


def _state(info: SessionInfo) -> Text:
    by = (f" by {info.pid}" if info.pid else "") + (f" on {info.host}" if info.host else "")
    return Text(f"{info.state}{by}", style=_STYLES[info.state])


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
