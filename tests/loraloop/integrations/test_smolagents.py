"""loraloop as a model of smolagents: its agents on scripted steps for what goes in and out, and on the real base."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from smolagents import CodeAgent, ToolCallingAgent, tool
from smolagents.memory import ActionStep
from smolagents.models import CODEAGENT_RESPONSE_FORMAT, ChatMessage, MessageRole, agglomerate_stream_deltas

from loraloop import Guard, Runtime
from loraloop.adapters.base import Base
from loraloop.integrations.smolagents import LoraloopModel
from loraloop.integrations.smolagents_messages import _FAILED
from loraloop.testing import ScriptedRuntime, calls, text, verdict
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError

ASKED = [ChatMessage(MessageRole.USER, [{"type": "text", "text": "Hi."}])]


@tool
def get_weather(city: str, unit: str | None = None) -> str:
    """Current weather of a city.

    Args:
        city: Its name.
        unit: Temperature unit.
    """
    return f"18 degrees in {city}"


def steps_of(agent: Any) -> list[ActionStep]:
    return [step for step in agent.memory.steps if isinstance(step, ActionStep)]


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_calling_agent(streams: bool) -> None:
    runtime = ScriptedRuntime(calls(get_weather={"city": "Paris"}), calls(final_answer={"answer": "18 degrees"}))
    agent = ToolCallingAgent([get_weather], LoraloopModel(runtime), verbosity_level=0, stream_outputs=streams)
    assert agent.run("What is the weather in Paris?") == "18 degrees"
    first, second = steps_of(agent)
    assert first.observations.strip() == "18 degrees in Paris" and first.token_usage.output_tokens > 0
    assert second.token_usage.input_tokens == len(runtime.base.chat.render(runtime.turns[1].messages))
    # The history is in the form that the tools skill knows, and so are the tools.
    told = runtime.turns[1].messages
    assert "- unit?: string|null - Temperature unit." in told[0].content
    assert [(each.role, each.content) for each in told[2:]] == [
        ("assistant", '[{"name":"get_weather","arguments":{"city":"Paris"}}]'),
        ("tool", '{"name":"get_weather","result":"18 degrees in Paris"}'),
    ]


def test_a_call_is_not_made_twice_and_has_to_be_valid() -> None:
    again = calls(get_weather={"city": "Paris"})
    runtime = ScriptedRuntime(again, again, calls(final_answer={"answer": "It is 18."}))
    agent = ToolCallingAgent([get_weather], LoraloopModel(runtime), verbosity_level=0)
    assert agent.run("What is the weather in Paris?") == "It is 18." and len(steps_of(agent)) == 2
    for step in (calls(), calls(get_weather={"town": "Paris"}), calls(get_wether={"city": "Paris"})):
        with pytest.raises(AssertionError, match="cannot write here"):
            LoraloopModel(ScriptedRuntime(step)).generate(ASKED, tools_to_call_from=[get_weather])


def test_an_error_of_a_tool_is_told_and_the_call_may_be_made_again() -> None:
    tries: list[int] = []

    @tool
    def reserve(table: int) -> str:
        """Reserve a table.

        Args:
            table: Its number.
        """
        tries.append(table)
        if len(tries) == 1:
            raise ValueError("the line was busy")
        return "reserved"

    made = calls(reserve={"table": 2})
    runtime = ScriptedRuntime(made, made, calls(final_answer={"answer": "Done."}))
    agent = ToolCallingAgent([reserve], LoraloopModel(runtime), verbosity_level=0)
    assert agent.run("Reserve table 2.") == "Done." and tries == [2, 2]
    told = runtime.turns[1].messages[-1]
    assert told.role == "user" and "busy" in told.content, "smolagents does not keep a call that failed"


def test_a_code_agent_by_text_by_schema_and_by_the_code_skill() -> None:
    program = 'final_answer("42")'
    by_text = ScriptedRuntime(text(f"Thought: easy.\n<code>\n{program}\n</code> and more", enforced=False))
    agent = CodeAgent([], LoraloopModel(by_text), verbosity_level=0)
    assert agent.run("What is 6 times 7?") == "42" and by_text.turns[0].skill == "none"
    by_schema = ScriptedRuntime(json.dumps({"thought": "easy", "code": program}, separators=(",", ":")))
    agent = CodeAgent([], LoraloopModel(by_schema), verbosity_level=0, use_structured_outputs_internally=True)
    assert agent.run("What is 6 times 7?") == "42"
    by_skill = ScriptedRuntime(text(f"```python\nx = 1\n{program}\n```", "code"))
    assert CodeAgent([], LoraloopModel(by_skill, "code"), verbosity_level=0).run("What is 6 times 7?") == "42"


def test_the_code_skill_writes_steps_alone() -> None:
    runtime = ScriptedRuntime(text("A plan."))
    assert LoraloopModel(runtime, "code").generate(ASKED, stop_sequences=["<end_plan>"]).content == "A plan."


def test_a_response_format_is_enforced() -> None:
    wrong = LoraloopModel(ScriptedRuntime("Thought: easy."))
    with pytest.raises(AssertionError, match="cannot write here"):
        wrong.generate(ASKED, response_format=CODEAGENT_RESPONSE_FORMAT)
    assert LoraloopModel(ScriptedRuntime('{"a":1}')).generate(ASKED, response_format={"type": "json_object"}).content


def test_a_stream_adds_up_to_the_message() -> None:
    model = LoraloopModel(ScriptedRuntime("A long answer. END More", "x"))
    deltas = list(model.generate_stream(ASKED, stop_sequences=["END"]))
    whole = agglomerate_stream_deltas(deltas)
    assert whole.content == "A long answer. " and len(deltas) > 2
    assert whole.token_usage.output_tokens >= len(whole.content) and whole.token_usage.input_tokens > 0


def test_options() -> None:
    model = LoraloopModel(ScriptedRuntime(text("A long answer."), text("A long answer.")), max_tokens=6)
    assert model.generate(ASKED).content == "A long" and model.model_id == "scripted"
    assert model.generate([{"role": "user", "content": "Hi."}], max_tokens=40).content == "A long answer."
    auto = LoraloopModel(ScriptedRuntime(calls(), "Hello."), tool_choice="auto")
    assert auto.generate(ASKED, tools_to_call_from=[get_weather]).content == "Hello."
    guarded = LoraloopModel(ScriptedRuntime(verdict("crime")), guard=Guard(refusal="No."))
    assert guarded.generate(ASKED).content == "No."


def test_what_cannot_be_done_says_so() -> None:
    runtime = ScriptedRuntime()
    with pytest.raises(UnknownNameError, match="did you mean 'code'"):
        LoraloopModel(runtime, "cod")
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        LoraloopModel(runtime, temprature=1)
    with pytest.raises(InputError, match="reads text only"):
        LoraloopModel(runtime).generate([ChatMessage(MessageRole.USER, [{"type": "image", "image": b""}])])
    with pytest.raises(InputError, match="response_format is"):
        LoraloopModel(runtime).generate(ASKED, response_format={"type": "xml"})
    with pytest.raises(SchemaError, match=r"\$"):
        bad = {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}
        LoraloopModel(runtime).generate(ASKED, response_format=bad)


def test_the_real_base_keeps_to_the_schemas(base: Base) -> None:
    model = LoraloopModel(Runtime.load(base), max_tokens=60)
    made = model.generate(ASKED, tools_to_call_from=[get_weather])
    assert made.tool_calls and made.tool_calls[0].function.name == "get_weather"
    assert set(made.tool_calls[0].function.arguments) <= {"city", "unit"}
    formed = json.loads(model.generate(ASKED, response_format=CODEAGENT_RESPONSE_FORMAT).content)
    assert set(formed) == {"thought", "code"}


def test_an_error_of_much_white_space_is_read_in_bounded_time() -> None:
    start = time.thread_time()
    assert _FAILED.fullmatch("Error:\n" + " " * 400_000 + "x") is not None
    assert time.thread_time() - start < 5
