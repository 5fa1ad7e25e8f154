"""How agents hand over, without a model: who is asked, what each one reads, and what it does not have to read again."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from loraloop import Message
from loraloop.testing import ScriptedRuntime, calls


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "examples" / "handoff.py"
    spec = importlib.util.spec_from_file_location("handoff", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_request_goes_to_who_can_help_and_the_conversation_with_it(example: ModuleType) -> None:
    runtime = ScriptedRuntime(
        *(calls(to_weather={}), calls(get_weather={"city": "Oslo"}), "It is 18 degrees."),
        *(calls(to_orders={}), calls(order_status={"order": 4711}), "It was shipped."),
        *(calls(to_weather={}), calls(get_weather={"city": "Bergen"}), "It is 18 degrees too."),
    )
    agents, history = example.make_agents(runtime), []
    first = example.ask(agents, "What is the weather in Oslo?", history)
    assert [who for who, _ in first] == ["front", "weather"]
    assert first[1][1].steps[0].calls[0].result["city"] == "Oslo"
    second = example.ask(agents, "Where is my order 4711?", history)
    assert [who for who, _ in second] == ["front", "orders"]
    third = example.ask(agents, "And the weather in Bergen?", history)
    runtime.assert_finished()
    assert [message.content for message in history][1::2] == [
        "It is 18 degrees.",
        "It was shipped.",
        "It is 18 degrees too.",
    ]
    seen = runtime.turns[-1].messages  # the weather's agent knows what was said to others, and not what they called
    assert [message.content for message in seen if message.role == "user"] == [message.content for message in history][
        ::2
    ]
    assert "shipped" in "".join(message.content for message in seen) and "order_status" not in seen[0].content
    for who, result in (*second[:1], *third):
        assert result.steps[0].tokens.reused > 100, who  # each goes on where it was
    assert third[1][1].steps[0].tokens.reused > third[1][1].steps[0].tokens.prefilled


def test_who_hands_over_in_circles_is_stopped(example: ModuleType) -> None:
    runtime = ScriptedRuntime(*[calls(to_front={})] * example.MOST)
    circle = example.Agent(runtime, [example.hand_over("front", "Everything.")])
    history: list[Message] = []
    asked = example.ask({"front": circle}, "Help.", history)
    assert len(asked) == example.MOST and history[-1].content == "(nobody answered)"
