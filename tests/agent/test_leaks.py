"""Many runs at once, cut off, cancelled and failing, leave no threads, open files or transcripts behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.agent.events import TokenGenerated

OPEN_FILES = Path("/proc/self/fd")


FAILED: list[bool] = []


def fails(loud: bool) -> str:
    """Always fails."""
    FAILED.append(loud)
    raise OSError("gone")


def one_run(agent: Agent, place: int) -> str:
    stream = agent.stream(f"Say something about {place}.")
    for event in stream:
        if place % 3 == 1 and isinstance(event, TokenGenerated):
            stream.close()
            return "left"
        if place % 3 == 2 and isinstance(event, TokenGenerated):
            stream.cancel()
    return stream.result.stop_reason


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="counts open files as Linux lists them")
def test_nothing_is_left_of_many_runs(make_runtime: Callable[..., Runtime]) -> None:
    runtime = make_runtime()
    limits = Limits(step_tokens=80, max_steps=2)
    agents = [
        Agent(runtime, limits=limits),
        Agent(runtime, [fails], policy=Policy(tool_choice="required", max_calls=1), limits=limits),
    ]

    def many() -> set[str]:
        with ThreadPoolExecutor(6) as pool:
            return set(pool.map(lambda place: one_run(agents[place % 2], place), range(24)))

    many()  # what is opened once, such as a pool of threads, is open from here on
    threads, files = threading.active_count(), len(os.listdir(OPEN_FILES))
    FAILED.clear()
    assert len(many()) > 2 and len(FAILED) > 2, "runs end in several ways, and some call the tool"
    for _ in range(50):
        if threading.active_count() <= threads:
            break
        time.sleep(0.1)
    assert threading.active_count() <= threads
    assert len(os.listdir(OPEN_FILES)) <= files
    assert runtime.engine.stats.waiting == 0
