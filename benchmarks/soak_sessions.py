"""Accidents of sessions in a soak: the process that runs one is killed, and the disk that holds one is full."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop import Agent, Limits, Sessions
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import SessionError

if TYPE_CHECKING:
    from loraloop import Runtime

CALLS = 20

_RUNNER = f"""
import sys
from loraloop import Agent, Hook, Limits, Sessions
from loraloop.agent.events import StepFinished
from loraloop.testing import ScriptedRuntime, calls

def note(text):
    with open(sys.argv[2], "a") as file:
        file.write(text + "\\n")

def pay(amount: int) -> str:
    "Pays."
    note(f"paid {{amount}}")
    return "thanks"

script = [*(calls(pay={{"amount": number}}) for number in range({CALLS})), "Done."]
hook = Hook(lambda event: note(f"step {{event.step.index}}"), (StepFinished,))
limits = Limits(max_steps={CALLS} + 1, max_tool_calls={CALLS})
agent = Agent(ScriptedRuntime(*script), [pay], limits=limits, hooks=[hook])
session = Sessions(sys.argv[1]).session("s")
print("ready", flush=True)
agent.run_sync("Pay.", session=session)
"""


def session_that_dies(_: Runtime, folder: Path) -> None:
    """A process that runs a session is killed: all that it told, and all that its tool did, is in the file."""
    where = Path(tempfile.mkdtemp(dir=folder))
    notes, path = where / "notes", where / "sessions.db"
    child = subprocess.Popen(
        [sys.executable, "-c", _RUNNER, str(path), str(notes)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n", "the session's process did not start"
        time.sleep(random.random())
        child.kill()
        child.wait()
        told = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        with Sessions(path) as store:
            _check(store, told)
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
        shutil.rmtree(where)


def _check(store: Sessions, told: list[str]) -> None:
    session = store.session("s")
    turns = session.turns
    if not turns:
        assert not told, f"the session is empty, and its process did {told}"
        return
    (turn,) = turns
    steps, begun = (
        [f"step {step.index}" for step in turn.steps],
        [f"paid {call.arguments['amount']}" for call in turn.calls],
    )
    assert set(told) <= {*steps, *begun}, f"done, and not in the file: {sorted({*told} - {*steps, *begun})}"
    ended = [call for call in turn.calls if call.record is not None]
    assert all(f"paid {call.arguments['amount']}" in told for call in ended), "a call has a result, and did not run"
    if session.state == "interrupted":
        done = len(turn.steps) + bool(len(turn.calls) > len(turn.steps))  # steps whose text is in the file
        script = [*(calls(pay={"amount": number}) for number in range(done, CALLS)), "Done."]
        result = session.resume(_agent(script), on_unfinished="run_again")
        assert [call.arguments["amount"] for step in result.steps for call in step.calls] == list(range(CALLS))


def _agent(script: list[object]) -> Agent[None]:
    def pay(amount: int) -> str:
        """Pays."""
        return "thanks"

    limits = Limits(max_steps=CALLS + 1, max_tool_calls=CALLS)
    return Agent(ScriptedRuntime(*script), [pay], limits=limits)


def session_on_a_full_disk(_: Runtime, folder: Path) -> None:
    """The disk of a session is full: its run ends with an error, and goes on where it was once there is room."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "sessions.db"
    script = [*(calls(pay={"amount": number}) for number in range(CALLS)), "Done."]
    try:
        with Sessions(path) as store:
            session, database = store.session("s"), store._file._database
            pages = database.execute("PRAGMA page_count").fetchone()[0]
            database.execute(f"PRAGMA max_page_count = {pages + random.randrange(3, 12)}")
            try:
                _agent(script).run_sync("Pay.", session=session)
            except SessionError as error:
                assert "no room" in str(error), str(error)
            else:
                raise AssertionError("a full disk took a session")
            database.execute("PRAGMA max_page_count = 1000000")
            if session.turns:
                _check(store, [f"paid {call.arguments['amount']}" for call in session.turns[0].calls if call.record])
            else:
                assert _agent(script).run_sync("Pay.", session=session).stop_reason == "answer"
    finally:
        shutil.rmtree(path.parent)
