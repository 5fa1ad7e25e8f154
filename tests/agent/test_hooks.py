"""Hooks: told events as they happen; an error of theirs is reported, and ends the run only where that is asked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from loraloop.agent import Agent, Follower, Hook, Limits, RunFacts, RunHook, Runtime
from loraloop.agent.events import EVENTS, Event, HookFailed, Routed, RunFinished, StepFinished
from loraloop.agent.tracing.tracer import Tracer
from loraloop.tool_schemas.errors import HookError, InputError

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=5)


def test_a_hook_is_told_what_a_stream_tells(make_runtime: MakeRuntime) -> None:
    seen: list[Event] = []
    some: list[Event] = []
    agent = Agent(make_runtime(), limits=SHORT, hooks=[seen.append, Hook(some.append, (Routed, StepFinished))])
    assert list(agent.stream("go")) == seen
    assert some == [event for event in seen if isinstance(event, Routed | StepFinished)] and len(some) == 2


def test_an_error_is_reported_and_not_fatal(make_runtime: MakeRuntime, caplog: pytest.LogCaptureFixture) -> None:
    def bad(event: Any) -> None:
        raise KeyError("no key")

    agent = Agent(make_runtime(), limits=SHORT, hooks=[Hook(bad, (RunFinished,))])
    with caplog.at_level(logging.WARNING, "loraloop.agent"):
        events = list(agent.stream("go"))
    failed, last = events[-2:]
    assert isinstance(failed, HookFailed) and isinstance(last, RunFinished)
    assert failed.hook.endswith("bad") and failed.event == "RunFinished" and "no key" in failed.error
    assert json.loads(failed.to_json())["type"] == "HookFailed" and "bad failed at RunFinished" in caplog.text


def test_an_error_ends_the_run_where_that_is_asked(make_runtime: MakeRuntime) -> None:
    def bad(event: Any) -> None:
        raise ValueError("stop here")

    runtime = make_runtime()
    with pytest.raises(HookError, match="failed at Routed: stop here"):
        Agent(runtime, limits=SHORT, hooks=[Hook(bad, (Routed,), fatal=True)]).run_sync("go")
    assert len(runtime.engine.store._kept) == 1  # the run gave its memory back
    assert Agent(runtime, limits=SHORT).run_sync("go").steps


def test_async_hooks_are_awaited(make_runtime: MakeRuntime) -> None:
    loops: list[Any] = []

    async def note(event: Any) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())

    agent = Agent(make_runtime(), limits=SHORT, hooks=[Hook(note, (StepFinished,))])
    agent.run_sync("go")

    async def main() -> None:
        await agent.run("go")
        assert loops[-1] is asyncio.get_running_loop()
        list(agent.stream("go"))  # on the loop's own thread, which cannot wait for itself
        assert loops[-1] is not asyncio.get_running_loop()

    asyncio.run(main())
    assert len(loops) == 3


def test_what_is_no_hook_is_refused(make_runtime: MakeRuntime) -> None:
    with pytest.raises(InputError, match="is not a hook"):
        Agent(make_runtime(), hooks=["print"])  # type: ignore[list-item]
    for kind in (Tracer, Follower, RunHook):
        with pytest.raises(InputError, match=rf"{kind.__name__} is a class: give an instance, {kind.__name__}\(…\)"):
            Agent(make_runtime(), hooks=[kind])
    with pytest.raises(InputError, match="is not an event: hooks take RunStarted"):
        Hook(print, (str,))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="events is <class"):
        Hook(print, StepFinished)  # type: ignore[arg-type]
    told: list[Any] = []
    hook = Hook(told.append, [StepFinished])  # type: ignore[arg-type]  # as some write it
    result = Agent(make_runtime(), limits=SHORT, hooks=[hook]).run_sync("go")
    assert [event.step for event in told] == list(result.steps)


def test_every_event_is_documented() -> None:
    assert all(event.__doc__ and not event.__doc__.startswith(f"{event.__name__}(") for event in EVENTS)


def test_what_follows_runs_is_told_their_end_and_all_events(make_runtime: MakeRuntime) -> None:
    ends: list[tuple[str, list[str], BaseException | None]] = []

    class Followers(RunHook):
        def begin(self, run: RunFacts) -> Follower:
            return One(run.job.prompt)

    class One(Follower):
        def __init__(self, prompt: str) -> None:
            self.prompt = prompt
            self.types: list[str] = []

        def __call__(self, event: Event) -> None:
            self.types.append(event.type)

        def over(self, error: BaseException | None) -> None:
            ends.append((self.prompt, self.types, error))
            raise ValueError("too late to matter")

    agent = Agent(make_runtime(), limits=SHORT, hooks=[Followers()])
    first, second = agent.stream("one"), agent.stream("two")
    next(iter(first))
    agent.run_sync("three")
    second.close()  # it has not begun: nothing follows it
    first.close()
    assert [(prompt, types[-1], type(error)) for prompt, types, error in ends] == [
        ("three", "RunFinished", type(None)),
        ("one", "RunStarted", GeneratorExit),
    ]
    with pytest.raises(InputError, match="leave events out"):
        Hook(Followers(), (Routed,))
