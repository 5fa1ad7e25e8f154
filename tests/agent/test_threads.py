"""Threads: the interpreter ends in peace while daemon threads run agents."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.threads import awaited

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


async def test_an_error_after_the_caller_was_cancelled_is_nobodys() -> None:
    """Python 3.14 logs what a future raises whose `asyncio.shield` was cancelled."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    gone = threading.Event()

    def work() -> None:
        gone.wait(10)
        raise ValueError("the run was cancelled")

    task = asyncio.ensure_future(awaited(work, gone.set))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not told
