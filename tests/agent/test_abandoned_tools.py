"""Async tools that are given up (out of time, run cancelled) are cancelled, with and without a loop of the caller's."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from loraloop.agent.calling import ToolRunner
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.calls import Call


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
