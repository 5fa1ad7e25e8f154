"""The main job on the shipped base, skills and router: a call under its schema, its result, a route, an answer."""

from __future__ import annotations

import json
from typing import Literal

import jsonschema
import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Agent, Limits, Runtime
from loraloop.tool_schemas.tools.calls import calls_schema


@pytest.fixture(scope="module")
def runtime(base: Base) -> Runtime:
    return Runtime.load(base)


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """Current weather of a city.

    Args:
        city: Name of the city
        unit: Temperature unit
    """
    return {"city": city, "temperature": 21, "unit": unit}


def test_a_tool_is_called_its_result_is_read_and_the_user_gets_an_answer(runtime: Runtime) -> None:
    agent = Agent(runtime, [get_weather], limits=Limits(step_tokens=60))
    result = agent.run_sync("What is the weather in Paris in celsius?")
    first, last = result.steps[0], result.steps[-1]
    assert (first.skill, first.outcome, first.decided_by) == ("tools", "calls", "router")
    jsonschema.validate(json.loads(first.text), calls_schema(agent.tools))
    assert first.calls[0].arguments["city"] == "Paris"
    assert [message.role for message in result.messages[:4]] == ["system", "user", "assistant", "tool"]
    assert len(result.steps) >= 2 and last.skill == "none" and result.output
    # the second step read only what the first one wrote and what the tool said
    context = first.tokens.prefilled + first.tokens.reused
    assert result.steps[1].tokens.reused == context


def test_a_forced_skill_answers_from_passages_with_their_ids(runtime: Runtime) -> None:
    passages = [
        {"id": "louvre", "text": "The Louvre is a museum in Paris."},
        {"id": "tower", "text": "The Eiffel Tower is 330 metres tall."},
    ]
    agent = Agent(runtime, limits=Limits(step_tokens=120))
    result = agent.run_sync("How tall is the Eiffel Tower?", passages=passages, skill="retrieval")
    assert result.steps[0].decided_by == "policy" and result.steps[0].outcome in ("answer", "not_answerable")
    assert set(result.citations) <= {"louvre", "tower"}


def test_a_conversation_reuses_its_trunk(runtime: Runtime) -> None:
    agent = Agent(runtime, limits=Limits(step_tokens=8))
    first = agent.run_sync("My name is Ada.", skill="none")
    second = agent.run_sync("What is my name?", messages=first.messages, skill="none")
    assert second.steps[0].tokens.reused > 30 > second.steps[0].tokens.prefilled
