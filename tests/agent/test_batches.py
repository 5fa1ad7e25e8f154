"""Many requests at once: results in their order, errors in their places, and forwards that all share."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from loraloop.agent import Agent, Limits, Runtime
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError, LimitError
from loraloop.tool_schemas.tools.context import Context


@pytest.fixture
def runtime(make_runtime: Callable[..., Any]) -> Runtime:
    made: Runtime = make_runtime(*["none"] * 40)
    return made


def test_runs_give_what_they_give_alone_in_their_order(runtime: Runtime) -> None:
    agent = Agent(runtime, limits=Limits(max_steps=1, step_tokens=24))
    prompts = [f"Say {number}." for number in range(6)]
    alone = [agent.run_sync(prompt, skill="prose").output for prompt in prompts]
    runtime.engine.store.clear()
    before = runtime.engine.scheduler.stats
    together = agent.run_batch(prompts, concurrency=6, skill="prose")
    after = runtime.engine.scheduler.stats
    assert [result.output for result in together] == alone
    assert after.rows - before.rows > after.forwards - before.forwards
    assert any(step.tokens.shared > 1 for result in together for step in result.steps)


def test_each_request_may_have_options_and_an_error_of_its_own(runtime: Runtime) -> None:
    agent = Agent(runtime, limits=Limits(max_steps=1, step_tokens=8))
    asked = ["Hi.", "", {"prompt": "Hi.", "skill": "prose"}]
    found = agent.run_batch(asked, concurrency=2, on_error="return", skill="none")
    assert [type(each).__name__ for each in found] == ["RunResult", "InputError", "RunResult"]
    assert [found[0].steps[0].skill, found[2].steps[0].skill] == ["none", "prose"]
    with pytest.raises(InputError):
        agent.run_batch(asked, skill="none")
    for wrong in ({"concurrency": 0}, {"on_error": "hide"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            agent.run_batch(["Hi."], **wrong)  # type: ignore[arg-type]


def test_a_skill_takes_a_batch(runtime: Runtime) -> None:
    skill = runtime.skills["prose"]
    alone = [skill(f"Write {number}.", max_tokens=12).text for number in range(5)]
    found = skill.batch([f"Write {number}." for number in range(4)] + [{"prompt": "Write 4."}], max_tokens=12)
    assert [result.text for result in found] == alone
    errors = skill.batch(["Hi.", {"prompt": "Hi.", "cancelled": lambda: True}], max_tokens=4, on_error="return")
    assert errors[0].text and isinstance(errors[1], LimitError)
    assert [result.text for result in skill.batch(iter(["Write 0."]), max_tokens=12)] == alone[:1]
    with pytest.raises(InputError, match="inputs is "):
        skill.batch("Hi.")


def test_as_many_await_as_there_are(runtime: Runtime) -> None:
    agent = Agent(runtime, limits=Limits(max_steps=1, step_tokens=8))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(agent.run(f"Say {number}.", skill="prose") for number in range(24)))

    assert all(result.steps for result in asyncio.run(all_of_them()))
    assert runtime.engine.scheduler.stats.most_waiting > 12


def test_a_run_that_is_past_its_deadline_ends_with_that_wherever_it_waits(runtime: Runtime) -> None:
    agent = Agent(runtime, limits=Limits(max_steps=2, step_tokens=200, deadline=0.05))
    results = agent.run_batch([f"Say {number}. " * 40 for number in range(12)], concurrency=12, skill="prose")
    assert {result.stop_reason for result in results} <= {"deadline", "answer", "max_steps"}
    assert any(result.stop_reason == "deadline" for result in results)


def test_an_interrupt_ends_the_runs_of_a_batch_too() -> None:
    def wait(context: Context[None]) -> str:
        """Waits."""
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
        for _ in range(1000):
            time.sleep(0.03)
            if context.cancelled:
                break
        return "done"

    agent = Agent(ScriptedRuntime(calls(wait={}), "Done."), [wait])
    start = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            agent.run_batch(["Wait."])
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 20


def test_a_child_that_was_forked_runs_many_too(runtime: Runtime) -> None:
    agent, threads = Agent(runtime, limits=Limits(max_steps=1, step_tokens=8)), torch.get_num_threads()

    async def awaited() -> list[Any]:
        return list(await asyncio.gather(*(agent.run(f"Say {number}.", skill="prose") for number in range(4))))

    def work() -> None:
        asyncio.run(awaited())
        torch.ones(2**22).add_(1)  # as large as what a base with threads computes

    torch.set_num_threads(2)
    try:
        work()  # its threads wait for more when the process is forked
        runtime.engine.scheduler._busy = True  # as while a thread of the parent computes
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        runtime.engine.scheduler._busy = False
        child.join(60)
        child.kill()
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(threads)
