"""Running tools: each call in a thread of its own, with a timeout; whatever goes wrong is an observation."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any

from loraloop.agent.result import CallRecord
from loraloop.tool_schemas.calls import Call
from loraloop.tool_schemas.context import Context
from loraloop.tool_schemas.errors import SchemaError, ToolRetry
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools import Tool

_POLL = 0.05  # seconds between looks at whether the run was cancelled


class ToolRunner:
    """Runs calls for one run.

    A thread cannot be killed: a tool that overruns its timeout goes on in the background, its result unused. An async
    tool is cancelled.

    Args:
        loop: Where async tools are awaited; a fresh loop for each call where None.
        cancelled: Asked while a tool runs.
        calling: Told of each call where it is about to run: in its thread and its context.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        cancelled: Callable[[], bool] | None = None,
        calling: Callable[[Call], None] | None = None,
    ) -> None:
        self._loop = loop
        self.cancelled = cancelled or (lambda: False)
        self._calling = calling or (lambda call: None)

    def run(self, tool: Tool, call: Call, timeout: float, context: Context[Any] | None = None) -> CallRecord:
        """Runs `call`; never raises.

        Args:
            timeout: Seconds; with none left, the tool is not started.
            context: For a tool that takes one.
        """
        start = perf_counter()
        result, error = self._outcome(lambda: self._called(tool, call, context), timeout)
        retry = isinstance(error, _Again)
        if error is None:
            try:
                dumps(result)
                tool.check_result(result)
            except SchemaError as problem:
                result, error = None, f"the result is not what the tool promises: {clipped(str(problem))}"
            except Exception as problem:
                result, error = None, f"the result cannot be written as JSON: {clipped(str(problem))}"
        ms = round((perf_counter() - start) * 1e3, 3)
        return CallRecord(call.name, call.arguments, result, error and str(error), ms, source=tool.source, retry=retry)

    def _called(self, tool: Tool, call: Call, context: Context[Any] | None) -> Any:
        self._calling(call)
        return tool.call(call.arguments, context)

    def _outcome(self, function: Callable[[], Any], timeout: float) -> tuple[Any, str | None]:
        late = f"timed out after {timeout:g} s"
        if timeout <= 0:
            return None, late
        done: queue.SimpleQueue[tuple[Any, str | None]] = queue.SimpleQueue()
        given_up: Future[None] = Future()

        def work() -> None:
            try:
                value = function()
                if inspect.isawaitable(value):
                    value = self._await(value, given_up)
                done.put((value, None))
            except ToolRetry as error:
                done.put((None, _Again(error)))
            except BaseException as error:
                done.put((None, str(error) or type(error).__name__))

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), daemon=True, name="loraloop-tool").start()
        end = monotonic() + timeout
        while True:
            left = end - monotonic()
            try:
                return done.get(timeout=max(min(left, _POLL), 0.0))
            except queue.Empty:
                if self.cancelled():
                    problem = "cancelled"
                elif left <= 0:
                    problem = late
                else:
                    continue
            given_up.set_result(None)
            return None, problem

    def _await(self, value: Awaitable[Any], given_up: Future[None]) -> Any:
        async def wait() -> Any:
            return await value

        async def alone() -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None

            def cancel(_: Future[None]) -> None:
                with suppress(RuntimeError):  # it has just ended, and its loop with it
                    loop.call_soon_threadsafe(task.cancel)

            given_up.add_done_callback(cancel)
            return await value

        if self._loop is None or not self._loop.is_running():
            return asyncio.run(alone())
        future = asyncio.run_coroutine_threadsafe(wait(), self._loop)
        given_up.add_done_callback(lambda _: future.cancel())
        return future.result()


class _Again(str):
    """Why a tool asks for another try."""


def clipped(text: str, most: int = 400) -> str:
    """The beginning of a text: jsonschema quotes whole values in its errors."""
    return text if len(text) <= most else f"{text[:most]}…"


def call_key(call: Call) -> str:
    """Equal for calls that ask the same."""
    import json

    return call.name + "\n" + json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)
