"""Runs sessions in processes that are killed: forks one for each order that it reads, a JSON object a line.

An order: `place` of the sessions, `session`, `effects` and `heard` (files to which tools and hooks add lines), `out`
(where the result goes), `on_unfinished`, `real` (the embedded base instead of a script), and how the process dies:
`commit` [number, "within" or "after"], `seconds`, not at all; or how large files may get: `most_bytes`. The answer, a
line: the signal and the code that ended the process, and what it said on standard error.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraloop import Agent, Hook, Limits, Runtime
from loraloop.agent.events import StepFinished, ToolCallFinished
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.sessions.sqlite import SessionFile
from loraloop.agent.values.step import plain
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import SessionBusyError

PROMPT = "Pay what is due."
REAL = "What is the temperature in room 3?"
SCRIPT = (
    calls(pay={"amount": 1}),
    calls(("pay", {"amount": 2}), ("look", {"at": 3}), ("pay", {"amount": 4})),
    calls(),
    "All is paid.",
)


def note(file: str, line: str) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(line + "\n")


def agent_of(runtime: Any, order: dict[str, Any]) -> Agent[Any, Any]:
    pause = order.get("pause", 0.0)

    def pay(amount: int) -> str:
        """Pays."""
        note(order["effects"], f"pay {amount}")
        time.sleep(pause)
        return f"paid {amount}"

    def look(at: int) -> int:
        """Looks."""
        note(order["effects"], f"look {at}")
        time.sleep(pause)
        return at * 10

    def heard(event: Any) -> None:
        call = "" if isinstance(event, StepFinished) else f"{event.call.name} {event.call.arguments}"
        note(order["heard"], call or f"step {event.step.index}")

    limits = Limits(step_tokens=120)
    tools = [Tool.from_function(pay), Tool.from_function(look, idempotent=True)]
    return Agent(runtime, tools, limits=limits, hooks=[Hook(heard, (StepFinished, ToolCallFinished))])


def is_run(session: Any) -> bool:
    """Whether a process has the lease of the session, which may hold nothing yet."""
    try:
        session.store.database.check_free(session.id)
    except SessionBusyError:
        return True
    return bool(session.state == "running")


def run(order: dict[str, Any]) -> None:
    """Runs the session to its end from wherever it is."""
    session = Sessions(order["place"]).session(order["session"])
    while is_run(session):  # in PostgreSQL, until the lease of a process that was killed runs out
        time.sleep(0.05)
    turns = session.turns
    if turns and turns[-1].result is not None:
        result = turns[-1].result
    else:
        resumed = session.journal("").interrupted if turns else None
        done = len(resumed.steps) + (resumed.written is not None) if resumed else 0
        runtime = Runtime.load() if order.get("real") else ScriptedRuntime(*SCRIPT[done:])
        first = {"prompt": REAL, "tool_choice": "look"} if order.get("real") else {"prompt": PROMPT}
        asked: dict[str, Any] = {} if turns else first
        result = agent_of(runtime, order).run_sync(**asked, session=session, on_unfinished=order.get("on_unfinished"))
        if isinstance(runtime, ScriptedRuntime):
            runtime.assert_finished()
    Path(order["out"]).write_text(json.dumps(plain(result)), encoding="utf-8")


def store_kind(place: str) -> Any:
    """The class of the store at a place; in PostgreSQL, leases of the dead run out soon."""
    if "://" not in place:
        return SessionFile
    from loraloop.agent.sessions.postgres import PostgresStore

    PostgresStore.lease_seconds = 0.5
    return PostgresStore


def dying_at(kind: Any, number: int, when: str) -> None:
    """From now on, the process kills itself within or after its commit of this number."""
    original, count = kind.writing, 0

    @contextmanager
    def writing(self: Any) -> Iterator[Any]:
        nonlocal count
        count += 1
        last = count == number
        with original(self) as database:
            yield database
            if last and when == "within":
                os.kill(os.getpid(), signal.SIGKILL)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    kind.writing = writing


def obey(order: dict[str, Any]) -> dict[str, Any]:
    kind = store_kind(order["place"])
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            try:
                if order.get("commit"):
                    dying_at(kind, *order["commit"])
                if order.get("most_bytes"):
                    resource.setrlimit(resource.RLIMIT_FSIZE, (order["most_bytes"], resource.RLIM_INFINITY))
                run(order)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        if order.get("seconds") is not None:
            time.sleep(order["seconds"])
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        errors.seek(0)
        return {"signal": os.WTERMSIG(status), "code": os.WEXITSTATUS(status), "said": errors.read().decode()}


def warm_up() -> None:
    """What takes time once, before any process is forked."""
    with tempfile.TemporaryDirectory() as folder:
        run({"session": "s", **{name: f"{folder}/{name}" for name in ("place", "effects", "heard", "out")}})


if __name__ == "__main__":
    warm_up()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)
