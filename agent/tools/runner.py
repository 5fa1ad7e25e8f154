"""Running tools: each call in a thread of its own, with a timeout; whatever goes wrong is an observation."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from time import monotonic
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, cast

from loraloop.agent.threads import running_loop
from loraloop.agent.values.calls import CallRecord, clip
from loraloop.tool_schemas.errors import SchemaError, ToolError, ToolRetry
from loraloop.tool_schemas.jsontext import dumps, is_sequence
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.context import Context
from loraloop.tool_schemas.tools.tool import Tool

DEEPEST = 100
"""Levels of objects and lists that a result may have."""
_POLL = 0.05  # seconds between looks at whether the run was cancelled
CANCELLED = "cancelled"


class ToolRunner:
    """Runs calls for one run.

    A thread cannot be killed: a tool that overruns its timeout goes on in the background, its result unused. An async
    tool is cancelled.

    Args:
        loop: Where async tools are awaited; a fresh loop for each call where None, and where it is the loop of the
            thread that waits for the call, which cannot run it meanwhile.
        cancelled: Function that is asked while a tool runs; true ends the waiting.
        calling: Function that receives the id of each call where it is about to run: in its thread and its context.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        cancelled: Callable[[], bool] | None = None,
        calling: Callable[[str], None] | None = None,
    ) -> None:
        self.loop = loop
        self.cancelled = cancelled or (lambda: False)
        self.calling = calling or (lambda call_id: None)

    def run(self, tool: Tool, call: Call, timeout: float, context: Context[Any] | None = None) -> CallRecord:
        """Runs one call and waits for it; never raises.

        Args:
            timeout: Seconds; with none left, the tool is not started.
            context: For a tool that takes one.
        """
        running = RunningCalls(self)
        try:
            running.start(0, tool, call, timeout, context)
            return running.next()[1]
        finally:
            running.give_up()

    def ask(self, function: Callable[[], Any]) -> Any:
        """What a function of the caller's gives, sync or async; None if the run is cancelled before.

        Raises:
            Exception: What the function raises.
        """
        asked = _Thread(function, _other_loop(self.loop))
        while True:
            try:
                value, error = asked.done.get(timeout=_POLL)
            except queue.Empty:
                if self.cancelled():
                    asked.give_up()
                    return None
                continue
            if error is not None:
                raise error
            return value


@dataclass(slots=True)
class _Started:
    """A call that runs; times are of `time.monotonic()`."""

    tool: Tool
    call: Call
    timeout: float
    begun: float
    thread: _Thread | None


class RunningCalls:
    """The calls of a runner that run at the moment."""

    def __init__(self, runner: ToolRunner) -> None:
        self._runner = runner
        self._over: queue.Queue[tuple[int, float, Any, BaseException | None]] = queue.Queue()
        self._calls: dict[int, _Started] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def alone(self) -> bool:
        """Whether a call of a sequential tool is among them."""
        return any(started.tool.sequential for started in self._calls.values())

    def start(
        self,
        number: int,
        tool: Tool,
        call: Call,
        timeout: float,
        context: Context[Any] | None = None,
        call_id: str = "",
    ) -> None:
        """Starts a call.

        Args:
            number: What `next` calls it; each one once.
            timeout: Seconds; with none left, the tool is not started, and the call is late.
            context: For a tool that takes one.
            call_id: The call's own in its run.
        """

        def work() -> Any:
            self._runner.calling(call_id)
            return tool.call(call.arguments, context)

        def over(value: Any, error: BaseException | None) -> None:
            self._over.put((number, monotonic(), value, error))

        begun, thread = monotonic(), None
        if timeout > 0:
            thread = _Thread(work, _other_loop(self._runner.loop), lambda value: _usable(tool, value), over)
        self._calls[number] = _Started(tool, call, timeout, begun, thread)

    def next(self) -> tuple[int, CallRecord]:
        """Waits until a call is over, is late, or the run is cancelled; the call's number and what came of it."""
        while True:
            first = min(self._calls.values(), key=lambda started: started.begun + started.timeout)
            left, cancelled = first.begun + first.timeout - monotonic(), self._runner.cancelled()
            try:
                number, end, value, error = self._over.get(timeout=0.0 if cancelled else max(min(left, _POLL), 0.0))
            except queue.Empty:
                if cancelled:
                    return self._given_up(next(iter(self._calls)), CANCELLED)
                if left <= 0:
                    number = next(number for number, started in self._calls.items() if started is first)
                    return self._given_up(number, _late(first))
                continue
            started = self._calls.get(number)
            if started is None:  # it was given up before
                continue
            if end - started.begun > started.timeout:
                return self._given_up(number, _late(started))
            del self._calls[number]
            problem = None if error is None else str(error) or type(error).__name__
            return number, _record(started, value, problem, end, isinstance(error, ToolRetry))

    def give_up(self) -> None:
        """Gives up all that still run."""
        for number in list(self._calls):
            self._given_up(number, CANCELLED)

    def _given_up(self, number: int, why: str) -> tuple[int, CallRecord]:
        started = self._calls.pop(number)
        if started.thread is not None:
            started.thread.give_up()
        return number, replace(_record(started, None, why, monotonic()), by_runtime=True)


class _Thread:
    """A function in a thread of its own, with the caller's context variables; what it gives is awaited if need be.

    Args:
        function: Sync or async.
        loop: Where it is awaited; a fresh loop where None.
        checked: Function that gives the value to keep; it raises if the value is unusable.
        over: Function that receives the value and the error, whichever comes; by default they go into `done`.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        loop: asyncio.AbstractEventLoop | None,
        checked: Callable[[Any], Any] = lambda value: value,
        over: Callable[[Any, BaseException | None], None] | None = None,
    ) -> None:
        self.done: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self._function = function
        self._loop = loop
        self._checked = checked
        self._over = over or (lambda value, error: self.done.put((value, error)))
        self._given_up: Future[None] = Future()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), daemon=True, name="loraloop-tool").start()

    def give_up(self) -> None:
        """Cancels what is awaited, or will be; its value is not looked at any more."""
        self._given_up.set_result(None)

    def _work(self) -> None:
        try:
            value = self._function()
            if inspect.isawaitable(value):
                value = self._await(value)
            value = self._checked(value)
        except BaseException as error:
            self._over(None, error)
        else:
            self._over(value, None)

    def _await(self, value: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await value

        async def alone() -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None

            def cancel(_: Future[None]) -> None:
                with suppress(RuntimeError):  # it has just ended, and its loop with it
                    loop.call_soon_threadsafe(task.cancel)

            self._given_up.add_done_callback(cancel)
            return await value

        if self._loop is None or not self._loop.is_running():
            return asyncio.run(alone())
        future = asyncio.run_coroutine_threadsafe(wait(), self._loop)
        self._given_up.add_done_callback(lambda _: future.cancel())
        return future.result()


def _other_loop(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """The loop, unless this thread is the one that runs it."""
    return None if running_loop() is loop else loop


def _usable(tool: Tool, result: Any) -> Any:
    """A copy of a result, which the tool may change later; ToolError if it is not what the tool promises, or for JSON.

    What cannot be copied is kept as it is.
    """
    check_shape(result)
    try:
        dumps(result)
        tool.check_result(result)
    except SchemaError as problem:
        raise ToolError(f"the result is not what the tool promises: {clip(str(problem))}") from problem
    except Exception as problem:
        raise ToolError(f"the result cannot be written as JSON: {clip(str(problem))}") from problem
    with suppress(Exception):
        return deepcopy(result)
    return result


def check_shape(result: Any) -> None:
    """Refuses what has no end, and what is nested too deeply to be stored and read again.

    Raises:
        ToolError: The result is or holds an iterator, something to await, a function, or an object without data or
            text, or is nested more than `DEEPEST` levels deep.
    """
    deepest: dict[int, int] = {}  # the depth at which each container was looked at
    waiting = [(result, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Iterator | AsyncIterator):
            kind = type(value).__name__
            raise ToolError(f"the result is or holds an iterator ({kind}), which may have no end: return list(…) of it")
        if inspect.isawaitable(value):
            raise ToolError(f"the result holds what nobody has awaited ({type(value).__name__}): await it in the tool")
        if isinstance(value, FunctionType | MethodType | BuiltinFunctionType):
            name = value.__qualname__
            raise ToolError(f"the result is or holds a function ({name}): call it, and return what it gives")
        if _is_opaque(value):
            kind = type(value).__name__
            raise ToolError(
                f"the result is or holds an object ({kind}) that JSON has no form for: return data or a text"
            )
        inner = _inner(value)
        if inner is None or deepest.get(id(value), 0) >= depth:
            continue
        if depth > DEEPEST:
            raise ToolError(f"the result is nested more than {DEEPEST} levels deep: return it flatter, or as a text")
        deepest[id(value)] = depth
        waiting += [(each, depth + 1) for each in inner]


def _is_opaque(value: Any) -> bool:
    """Whether an object has no data, and no text but its address."""
    kind: Any = type(value)
    plain: Any = object
    if kind.__repr__ is not plain.__repr__ or kind.__str__ is not plain.__str__:
        return False
    return not (is_dataclass(value) or any(hasattr(kind, name) for name in ("tolist", "to_dict", "model_fields")))


def _inner(value: Any) -> Iterable[Any] | None:
    """What a container of data holds; None for any other value."""
    if isinstance(value, Mapping):
        return value.values()
    if is_sequence(value):
        return cast(Iterable[Any], value)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in fields(value)]
    if not hasattr(type(value), "model_fields"):
        return None
    computed = (getattr(value, name) for name in type(value).model_computed_fields)
    return [*vars(value).values(), *(value.model_extra or {}).values(), *computed]


def _record(started: _Started, result: Any, error: str | None, end: float, retry: bool = False) -> CallRecord:
    call, ms = started.call, round((end - started.begun) * 1e3, 3)
    return CallRecord(call.name, call.arguments, result, error, ms, source=started.tool.source, retry=retry)


def _late(started: _Started) -> str:
    return f"timed out after {started.timeout:g} s"
