"""Async tools that are given up (out of time, run cancelled) are cancelled, with and without a loop of the caller's."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent.tools.runner import ToolRunner
from loraloop.tool_schemas import McpServer, Tool
from loraloop.tool_schemas.tools.calls import Call


@pytest.mark.parametrize("why", ["timed out after 0.1 s", "cancelled"])
@pytest.mark.parametrize("with_loop", [False, True])
async def test_an_async_tool_that_is_given_up_is_cancelled(why: str, with_loop: bool) -> None:
    heard = threading.Event()
    start = time.monotonic()

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            heard.set()
            raise

    runner = ToolRunner(
        asyncio.get_running_loop() if with_loop else None,
        lambda: why == "cancelled" and time.monotonic() - start > 0.1,
    )
    record = await asyncio.to_thread(
        runner.run, Tool("slow", function=slow), Call("slow", {}), 0.1 if "timed" in why else 20
    )
    assert record.error == why
    assert await asyncio.to_thread(heard.wait, 5)


@pytest.mark.parametrize("with_loop", [False, True])
async def test_what_is_awaited_only_after_it_was_given_up_is_cancelled_too(with_loop: bool) -> None:
    heard = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            heard.set()
            raise

    def late() -> Coroutine[Any, Any, None]:
        time.sleep(0.3)
        return slow()

    runner = ToolRunner(asyncio.get_running_loop() if with_loop else None)
    record = await asyncio.to_thread(runner.run, Tool("late", function=late), Call("late", {}), 0.05)
    assert record.error == "timed out after 0.05 s"
    assert await asyncio.to_thread(heard.wait, 5)


def test_a_tool_for_which_no_time_is_left_is_not_started() -> None:
    started: list[bool] = []
    record = ToolRunner().run(Tool("act", function=lambda: started.append(True)), Call("act", {}), 0.0)
    time.sleep(0.05)
    assert record.error == "timed out after 0 s" and not started


def test_a_call_that_is_given_up_is_cancelled_at_its_mcp_server(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "tool_schemas" / "mcp" / "mcp_by_hand.py"
    log = tmp_path / "log"
    with McpServer.stdio(sys.executable, ["-S", str(script), "good", str(log)], include=["slow"]) as server:
        record = ToolRunner().run(server.tools[0], Call("slow", {}), 0.3)
        assert record.error == "timed out after 0.3 s" and record.source == "mcp:by hand"
        for _ in range(100):
            if "notifications/cancelled" in log.read_text():
                return
            time.sleep(0.05)
    raise AssertionError("the server never heard of it")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
def test_a_signal_that_cancels_is_heard_while_a_tool_runs() -> None:
    """Its handler takes longer than the wait that it interrupts; `queue.SimpleQueue` then waits until the tool ends."""
    heard, over = threading.Event(), threading.Event()

    def handler(number: int, frame: Any) -> None:
        heard.set()
        time.sleep(0.2)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        runner = ToolRunner(cancelled=heard.is_set)
        record = runner.run(Tool("wait", function=lambda: over.wait(5)), Call("wait", {}), 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        over.set()
    assert heard.is_set() and record.error == "cancelled"
