"""Sessions on a terminal: the list, and one with its runs, steps and calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loraloop.agent.sessions.export import call_state
from loraloop.render.steps import shortened, steps_tree

if TYPE_CHECKING:
    from datetime import datetime

    from loraloop.agent.sessions.rows import SessionCall, SessionInfo
    from loraloop.agent.sessions.sessions import Session

_STYLES = {"idle": "dim", "running": "green", "interrupted": "yellow"}


def sessions_table(listed: Sequence[SessionInfo]) -> Table:
    """One row a session."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("session", "state", "runs", "steps", "calls", "written", "title"):
        table.add_column(column, justify="right" if column in ("runs", "steps", "calls") else "left")
    for each in listed:
        counts = map(str, (each.turns, each.steps, each.calls))
        table.add_row(each.id, _state(each), *counts, _local(each.updated), shortened(each.title, 60))
    return table


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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("step", "call", "begun", "times", "state"):
        table.add_column(column, justify="right" if column in ("step", "times") else "left")
    for call in calls:
        written = f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})"
        state = Text(call_state(call), style="yellow" if call.at_least_once else "")
        table.add_row(str(call.step + 1), shortened(written, 80), _local(call.begun), str(call.times), state)
    return table


def _state(info: SessionInfo) -> Text:
    by = (f" by {info.pid}" if info.pid else "") + (f" on {info.host}" if info.host else "")
    return Text(f"{info.state}{by}", style=_STYLES[info.state])


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
