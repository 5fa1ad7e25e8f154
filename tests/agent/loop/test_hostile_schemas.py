"""A run whose tool has a hostile schema keeps its deadline, and ends when it is cancelled."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from loraloop import Agent, Limits, Policy, Tool
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.tool_schemas.grammar.effort import Effort

WORD: dict[str, Any] = {
    "type": "object",
    "properties": {"w": {"type": "string", "pattern": "\\bword\\b"}},
    "required": ["w"],
    "additionalProperties": False,
}
"""None of the ends that a search for one finds passes the pattern: it took minutes, and looked at no clock."""


@pytest.fixture(autouse=True)
def searched(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When masks were computed in the search for an end."""
    times: list[float] = []
    take = Effort.take
    monkeypatch.setattr(Effort, "take", lambda self: (times.append(time.monotonic()), take(self))[1])
    return times


def agent(base: Base, **limits: Any) -> Agent[Any, Any]:
    tool = Tool("say", "Says a word.", WORD, on_unsupported="check", function=lambda w: w)
    policy = Policy(skills=("tools",), tool_choice="required")
    return Agent(Runtime.load(base), [tool], policy=policy, limits=Limits(step_tokens=800, **limits))


def test_the_deadline_ends_a_search_for_an_end(base: Base, searched: list[float]) -> None:
    start = time.monotonic()
    result = agent(base, deadline=3.0).run_sync("Say something.")
    assert result.stop_reason == "deadline"
    assert len(searched) > 50 and searched[-1] - start < 4, "it looked for an end, and no longer than it may"


def test_a_search_for_an_end_can_be_cancelled(base: Base, searched: list[float]) -> None:
    stream = agent(base).stream("Say something.")
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    while len(searched) < 100:
        time.sleep(0.01)
    start = time.monotonic()
    assert thread.is_alive(), "it is looking for an end"
    stream.cancel()
    thread.join(60)
    assert stream.result.stop_reason == "cancelled"
    assert len(searched) > 50 and searched[-1] - start < 1
