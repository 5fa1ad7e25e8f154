"""Values as what JSON can hold."""

from __future__ import annotations

import json
from math import inf, nan

from loraloop import tool
from loraloop.agent import Agent
from loraloop.agent.events import ToolCallFinished
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.step import plain
from loraloop.testing import ScriptedRuntime, calls


def test_what_json_has_no_word_for_is_not_in_a_plain_value() -> None:
    value = {"a": nan, "b": [inf, 1.5, -0.0], "c": "half \ud800", "d": "ganz: ä", 3: None, "e": {"f": {True}}}
    made = {"a": None, "b": [None, 1.5, -0.0], "c": "half \ufffd", "d": "ganz: ä", "3": None, "e": {"f": [True]}}
    assert plain(value) == made
    assert json.dumps(plain(value), allow_nan=False, ensure_ascii=False).encode()


def test_an_event_of_any_result_can_be_sent() -> None:
    event = ToolCallFinished("run", 0, CallRecord("look", {}, {"mean": nan, "name": "\udc80"}))
    sent = json.dumps(event.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(sent)["call"]["result"] == {"mean": None, "name": "\ufffd"}


def test_a_result_is_shown_by_what_came_of_it() -> None:
    asked = "What is the weather? " * 200
    result = Agent(ScriptedRuntime("Sunny.")).run_sync(asked)
    assert "output='Sunny.'" in repr(result) and "stop_reason='answer'" in repr(result) and asked not in repr(result)
    assert asked in result.to_json(), "only the repr leaves it out"


def test_a_checkpoint_is_shown_by_what_waits() -> None:
    @tool(effects=True)
    def send(to: str) -> str:
        """Sends a message."""
        return to

    instructions = "Be kind. " * 200
    runtime = ScriptedRuntime(calls(("send", {"to": "Ann"})))
    pending = Agent(runtime, [send], instructions).run_sync("Write to Ann").pending
    assert pending is not None
    assert "name='send'" in repr(pending) and "'to': 'Ann'" in repr(pending) and "Be kind." not in repr(pending)
    assert "Be kind." in pending.to_json(b"0123456789abcdef"), "only the repr leaves it out"
