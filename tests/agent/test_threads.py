"""Threads: the interpreter ends in peace while daemon threads run agents."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from loraloop.agent.sessions.sessions import Sessions

PROGRAM = """
import sys, threading, time
import torch
from loraloop import Agent, Hook, Limits, Policy, Runtime
from loraloop.agent.events import TokenGenerated

def wait() -> None:
    "Waits."
    waiting.set()
    time.sleep(600)

def multiply(event):
    "Is in C++ for long, so that the end meets it there."
    multiplying.set()
    large @ large

def write():
    while True:
        agent.run_sync("Write a long story about a river.", session="kept")

def classify():
    while True:
        runtime.skills.safety("Write a long story about a river.")

waiting, multiplying, large = threading.Event(), threading.Event(), torch.ones(3000, 3000)
runtime = Runtime.load()
agent = Agent(runtime, sessions=sys.argv[1], hooks=[Hook(multiply, (TokenGenerated,))])
tools = Agent(runtime, [wait], policy=Policy(max_calls=1), limits=Limits(tool_timeout=600))
for work in (write, classify, lambda: tools.run_sync("Wait.", tool_choice="required")):
    threading.Thread(target=work, daemon=True).start()
assert waiting.wait(120) and multiplying.wait(120)
multiplying.clear()
assert multiplying.wait(120)
time.sleep(0.1)
print("end")
"""


def test_the_interpreter_ends_while_daemon_threads_are_in_the_middle_of_runs(tmp_path: Path) -> None:
    start = time.monotonic()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "sessions.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert time.monotonic() - start < 300, "the tool was waited for"
    assert Sessions(tmp_path / "sessions.db").session("kept").state == "interrupted"
