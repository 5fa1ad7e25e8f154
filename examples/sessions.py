"""A conversation that outlives its process: killed during a tool's call, and gone on with by another process."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from loraloop import Agent, Limits, Policy, Runtime, Sessions, Tool


def book(table: Literal[1, 2, 3]) -> str:
    """Book a table for tonight.

    Args:
        table: The table's number.
    """
    if os.environ.get("DIE"):
        os.kill(os.getpid(), signal.SIGKILL)  # as when the power fails: nothing can be cleaned up
    return f"table {table} is booked"


def run(store: Sessions, prompt: str) -> None:
    tool = Tool.from_function(book, idempotent=True)  # booking the same table twice is booking it once
    agent = Agent(Runtime.load(), [tool], limits=Limits(step_tokens=48), policy=Policy(max_calls=1))
    session = store.session("dinner")
    if session.state == "interrupted":
        result = session.resume(agent)
    else:
        result = agent.run_sync(prompt, session=session, tool_choice="book")
    for step in result.steps:
        for call in step.calls:
            print(call.name, call.arguments, "->", call.result, "(at least once)" if call.at_least_once else "")
    print(result.stop_reason, [message.role for message in result.messages])


def main() -> None:
    file = Path(tempfile.mkdtemp()) / "sessions.db"
    child = subprocess.run([sys.executable, __file__, file], env={**os.environ, "DIE": "1"}, check=False)
    with Sessions(file) as store:
        session = store["dinner"]
        print(f"the process ended with {child.returncode}; the session is {session.state}")
        print("calls without an end:", [call.name for call in session.unfinished])
        run(store, "Book table 2 for tonight, please.")
        print("then:", session.state)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Sessions(sys.argv[1]), "Book table 2 for tonight, please.")
    else:
        main()
