"""Threads: the interpreter ends in peace while daemon threads run agents."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from loraloop.agent import Sessions

PROGRAM = """
import sys, threading, time
from loraloop import Agent, Limits, Policy, Runtime

def wait() -> None:
    "Waits."
    waiting.set()
    time.sleep(600)

def write(**given):
    while True:
        agent.run_sync("Write a long story about a river.", **given)

def classify():
    while True:
        runtime.skills.safety("Write a long story about a river.")

waiting, runtime = threading.Event(), Runtime.load()
agent = Agent(runtime, sessions=sys.argv[1], limits=Limits(step_tokens=400))
tools = Agent(runtime, [wait], policy=Policy(max_calls=1), limits=Limits(tool_timeout=600))
for work in (write, lambda: write(session="kept"), classify, lambda: tools.run_sync("Wait.", tool_choice="required")):
    threading.Thread(target=work, daemon=True).start()
assert waiting.wait(60)
time.sleep(0.5)
print("end")
"""


def test_the_interpreter_ends_while_daemon_threads_are_in_the_middle_of_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "sessions.db")]
    for _ in range(2):  # without the wait, about every second process aborts
        (tmp_path / "sessions.db").unlink(missing_ok=True)
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
        assert time.monotonic() - start < 200
        assert Sessions(tmp_path / "sessions.db").session("kept").state == "interrupted"
