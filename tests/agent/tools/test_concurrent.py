"""Calls of one step run at the same time; what the transcript holds does not depend on how long each takes."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.agent import Agent, Limits, Policy, RunResult
from loraloop.agent.events import ToolCallFinished, ToolCallStarted
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool, tool
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolRetry
from loraloop.tool_schemas.tools.context import Context

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
WAIT = 5.0  # seconds after which something that should have happened did not


def numbered(function: Callable[..., Any], name: str = "act", **options: Any) -> Tool:
    """A tool that takes a number."""
    return Tool(name, "Acts.", NUMBER, function, **options)


def script(*numbers: int, name: str = "act") -> ScriptedRuntime:
    """A runtime whose one step calls a tool with each of some numbers, and then answers."""
    return ScriptedRuntime(calls(*((name, {"n": n}) for n in numbers)), "Done.")


def told(result: RunResult[Any]) -> list[Any]:
    """What the transcript holds of the calls."""
    return [json.loads(message.content) for message in result.messages if message.role == "tool"]


def noting(ran: list[int]) -> Callable[..., None]:
    """A tool that notes its calls."""

    def act(n: int) -> None:
        ran.append(n)

    return act


class Meeting:
    """A tool that returns once `count` calls of it are there at the same time."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)

    def __call__(self, n: int) -> int:
        self.barrier.wait(WAIT)
        return n


class Watch:
    """A tool that counts how many calls of it run at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, n: int) -> int:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(n)
        time.sleep(0.02)
        with self._lock:
            self.now -= 1
        return n


def test_calls_of_a_step_run_at_the_same_time() -> None:
    result = Agent(script(1, 2, 3), [numbered(Meeting(3))]).run_sync("go")
    assert [call.result for call in result.steps[0].calls] == [1, 2, 3]


async def test_async_tools_run_at_the_same_time_on_the_callers_loop() -> None:
    here, there = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def act(n: int) -> int:
        loops.append(asyncio.get_running_loop())
        mine, other = (here, there) if n == 1 else (there, here)
        mine.set()
        await asyncio.wait_for(other.wait(), WAIT)
        return n

    result = await Agent(script(1, 2), [numbered(act)]).run("go")
    assert [call.result for call in result.steps[0].calls] == [1, 2]
    assert loops == [asyncio.get_running_loop()] * 2


async def test_async_tools_of_a_stream_that_holds_up_the_loop_run_elsewhere() -> None:
    async def act(n: int) -> int:
        await asyncio.sleep(0)
        return n

    stream = Agent(script(1, 2), [numbered(act)], limits=Limits(tool_timeout=WAIT)).stream("go")
    for _ in stream:  # not `async for`: the loop stands still
        pass
    assert [call.result for call in stream.result.steps[0].calls] == [1, 2]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_the_transcript_is_in_the_order_of_the_calls_whatever_order_they_finish_in(order: list[int], most: int) -> None:
    began, free, told_of = ({n: threading.Event() for n in order} for _ in range(3))
    released: list[int] = []

    def act(n: int) -> str:
        began[n].set()
        assert free[n].wait(WAIT)
        if n == 3:
            raise ValueError("three")
        return "x" * n

    def release() -> None:
        """Lets the calls end in the wanted order, as far as so many at a time can."""
        while len(released) < len(order):
            left = [n for n in order if n not in released]
            running = sorted(left)[:most]
            assert all(began[n].wait(WAIT) for n in running)
            released.append(next(n for n in left if n in running))
            free[released[-1]].set()
            assert told_of[released[-1]].wait(WAIT)

    stream = Agent(script(0, 1, 2, 3, 4), [numbered(act)], limits=Limits(concurrent_calls=most)).stream("go")
    threading.Thread(target=release).start()
    events = []
    for event in stream:
        events.append(event)
        if isinstance(event, ToolCallFinished):
            told_of[event.call.arguments["n"]].set()
    finished = [event.call.arguments["n"] for event in events if isinstance(event, ToolCallFinished)]
    assert [event.arguments["n"] for event in events if isinstance(event, ToolCallStarted)] == [0, 1, 2, 3, 4]
    assert finished == released and (most < 5 or finished == order)
    assert [call.arguments["n"] for call in stream.result.steps[0].calls] == [0, 1, 2, 3, 4]
    wanted = [{"name": "act", "result": "x" * n} for n in range(5)]
    wanted[3] = {"name": "act", "error": "ValueError: three"}
    assert told(stream.result) == wanted


def test_events_tell_what_finishes_first() -> None:
    second = threading.Event()

    def act(n: int) -> int:
        if n == 1:
            assert second.wait(WAIT)
        return n

    seen: list[tuple[str, str]] = []
    stream = Agent(script(1, 2), [numbered(act)]).stream("go")
    for event in stream:
        if isinstance(event, ToolCallStarted):
            seen.append(("began", event.id))
        elif isinstance(event, ToolCallFinished):
            seen.append(("ended", event.call.id))
            second.set()
    assert seen == [("began", "call_0_0"), ("began", "call_0_1"), ("ended", "call_0_1"), ("ended", "call_0_0")]
    assert [call.id for call in stream.result.steps[0].calls] == ["call_0_0", "call_0_1"]


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_run_at_a_time_than_the_limit_says(most: int) -> None:
    watch = Watch()
    result = Agent(script(*range(6)), [numbered(watch)], limits=Limits(concurrent_calls=most)).run_sync("go")
    assert watch.most == most
    assert sorted(watch.order) == [0, 1, 2, 3, 4, 5]
    assert [call.result for call in result.steps[0].calls] == [0, 1, 2, 3, 4, 5]


def test_a_sequential_tool_runs_alone_and_in_its_place() -> None:
    watch, log = Watch(), []

    def write(n: int) -> int:
        log.append((n, watch.now, sorted(watch.order)))
        return n

    runtime = ScriptedRuntime(
        calls(("act", {"n": 1}), ("act", {"n": 2}), ("write", {"n": 3}), ("act", {"n": 4}), ("write", {"n": 5})),
        "Done.",
    )
    Agent(runtime, [numbered(watch), numbered(write, "write", sequential=True)]).run_sync("go")
    assert log == [(3, 0, [1, 2]), (5, 0, [1, 2, 4])]
    assert watch.most == 2


def test_each_call_has_its_own_timeout_and_harms_no_other() -> None:
    free = threading.Event()

    def hang(n: int) -> int:
        free.wait(WAIT)
        return n

    def again(n: int) -> int:
        if n == 3:
            raise ToolRetry("another number, please")
        return n

    runtime = ScriptedRuntime(
        calls(("hang", {"n": 1}), ("act", {"n": 2}), ("again", {"n": 3}), ("broken", {"n": 4})),
        calls(("again", {"n": 5})),
        "Done.",
    )
    tools = [
        numbered(hang, "hang", timeout=0.1),
        numbered(lambda n: n, "act"),
        numbered(again, "again"),
        numbered(lambda n: 1 / 0, "broken"),
    ]
    start = time.monotonic()
    result = Agent(runtime, tools).run_sync("go")
    free.set()
    assert time.monotonic() - start < WAIT
    assert told(result)[:4] == [
        {"name": "hang", "error": "timed out after 0.1 s"},
        {"name": "act", "result": 2},
        {"name": "again", "retry": "another number, please"},
        {"name": "broken", "error": "ZeroDivisionError: division by zero"},
    ]
    assert result.steps[1].decided_by == "retry"


def test_the_deadline_ends_all_calls_of_a_step() -> None:
    free = threading.Event()
    agent = Agent(script(1, 2, 3), [numbered(lambda n: free.wait(WAIT))], limits=Limits(deadline=0.5))
    start = time.monotonic()
    result = agent.run_sync("go")
    free.set()
    assert time.monotonic() - start < WAIT and result.stop_reason == "deadline"
    assert all(call.error is not None and call.error.startswith("timed out") for call in result.steps[0].calls)


def test_cancelling_gives_up_all_calls_at_once() -> None:
    free, begun = threading.Event(), threading.Semaphore(0)

    def act(n: int) -> None:
        begun.release()
        free.wait(WAIT)

    stream = Agent(script(*range(6)), [numbered(act)], limits=Limits(concurrent_calls=3)).stream("go")

    def cancel() -> None:
        for _ in range(3):
            begun.acquire(timeout=WAIT)
        stream.cancel()

    threading.Thread(target=cancel).start()
    start = time.monotonic()
    events = list(stream)
    free.set()
    assert time.monotonic() - start < WAIT and stream.result.stop_reason == "cancelled"
    assert [call.error for call in stream.result.steps[0].calls] == ["cancelled"] * 6
    assert sum(isinstance(event, ToolCallStarted) for event in events) == 3


def test_a_call_that_the_caller_cancels_at_its_event_never_runs() -> None:
    ran: list[int] = []
    stream = Agent(script(1, 2), [numbered(noting(ran))]).stream("go")
    for event in stream:
        if isinstance(event, ToolCallStarted):
            stream.cancel()
    assert not ran and stream.result.stop_reason == "cancelled"
    assert [call.error for call in stream.result.steps[0].calls] == ["cancelled"] * 2


async def test_async_calls_of_a_stream_that_is_closed_are_cancelled() -> None:
    heard: list[int] = []

    async def act(n: int) -> None:
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            heard.append(n)
            raise

    stream = Agent(script(1, 2), [numbered(act)]).stream("go")

    def read() -> None:
        for event in stream:
            if isinstance(event, ToolCallStarted) and event.arguments["n"] == 2:
                time.sleep(0.1)  # the first one is awaited by now
                break
        stream.close()

    await asyncio.to_thread(read)
    for _ in range(100):
        if heard:
            break
        await asyncio.sleep(0.02)
    assert heard == [1]


def test_what_repeats_a_call_of_its_step_does_not_run_again() -> None:
    ran: list[int] = []
    agent = Agent(script(7, 7, 8, 7), [numbered(noting(ran))], limits=Limits(max_tool_calls=2))
    result = agent.run_sync("go")
    assert sorted(ran) == [7, 8] and result.stop_reason == "answer"
    assert [call.repeated for call in result.steps[0].calls] == [False, True, False, True]
    assert [call.id for call in result.steps[0].calls] == [f"call_0_{n}" for n in range(4)]
    ran.clear()
    agent = Agent(script(7, 7), [numbered(noting(ran))], policy=Policy(repeat_calls=True))
    assert [call.repeated for call in agent.run_sync("go").steps[0].calls] == [False, False] and ran == [7, 7]


def test_a_step_with_more_calls_than_are_left_runs_none() -> None:
    ran: list[int] = []
    result = Agent(script(1, 2, 3), [numbered(noting(ran))], limits=Limits(max_tool_calls=2)).run_sync("go")
    assert result.stop_reason == "max_tool_calls" and not ran


def test_tries_of_one_tool_in_one_step_count_once_at_any_concurrency() -> None:
    def outcome(most: int) -> list[tuple[bool, str | None]]:
        def act(n: int) -> int:
            raise ToolRetry("busy")

        step = calls(("act", {"n": 1}), ("act", {"n": 2}))
        agent = Agent(
            ScriptedRuntime(step, step, "Done."), [numbered(act, retries=1)], limits=Limits(concurrent_calls=most)
        )
        result = agent.run_sync("go")
        return [(call.retry, call.error) for step in result.steps for call in step.calls]

    assert outcome(1) == outcome(8) == [(True, "busy")] * 2 + [(False, "busy (no try is left)")] * 2


def test_context_variables_are_copied_and_contexts_count_down() -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[tuple[int, str, int]] = []

    def look(context: Context[None], n: int) -> int:
        """Looks.

        Args:
            n: A number.
        """
        seen.append((n, user.get(), context.left.calls))
        user.set("changed")
        return n

    user.set("ann")
    agent = Agent(script(1, 2, 3, name="look"), [look], limits=Limits(max_tool_calls=5))
    agent.run_sync("go")
    assert sorted(seen) == [(1, "ann", 4), (2, "ann", 3), (3, "ann", 2)] and user.get() == "ann"


def test_long_results_share_the_room_whatever_order_they_come_in() -> None:
    def agent(slow: int) -> RunResult[Any]:
        def act(n: int) -> str:
            time.sleep(0.1 if n == slow else 0)
            return "x" * (20 if n == 1 else 4000)

        runtime = ScriptedRuntime(calls(*(("act", {"n": n}) for n in range(3))), "Done.", context=2500)
        limits = Limits(result_tokens=4096, keep_free=0)
        return Agent(runtime, [numbered(act)], limits=limits).run_sync("go")

    first, last = agent(0), agent(2)
    assert first.messages == last.messages
    cut = [call.left_out for call in first.steps[0].calls]
    assert cut[0] > cut[2] > 0 and cut[1] == 0  # the second one needs little, which is the third one's gain


def test_what_a_tool_finishes_too_late_is_late_even_if_nobody_looked() -> None:
    def act(n: int) -> int:
        time.sleep(0.2)
        return n

    stream = Agent(script(1, 2), [numbered(act, timeout=0.1)]).stream("go")
    for event in stream:
        if isinstance(event, ToolCallStarted) and event.arguments["n"] == 2:
            time.sleep(0.4)  # the first call is over when its turn to be looked at comes
    assert [call.error for call in stream.result.steps[0].calls] == ["timed out after 0.1 s"] * 2


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="concurrent_calls is 0"):
        Limits(concurrent_calls=0)
    with pytest.raises(SchemaError, match="sequential is 'yes'"):
        Tool("act", sequential="yes")  # type: ignore[arg-type]

    @tool(sequential=True)
    def act(n: int) -> int:
        """Acts."""
        return n

    assert act.sequential and Tool.from_schema({"name": "f", "sequential": True}).sequential
