"""`/v1/responses` by the openai package."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from loraloop.testing import ScriptedRuntime, calls, verdict

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest.fixture
def client(serving: Callable[..., str]) -> Callable[..., openai.OpenAI]:
    def make(*script: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=serving(ScriptedRuntime(*script)) + "/v1", api_key="none", max_retries=0)

    return make


def test_text_calls_and_their_results(client: Callable[..., openai.OpenAI]) -> None:
    asking = client(calls(weather={"city": "Oslo"}), "Sunny in Oslo.")
    first = asking.responses.create(
        model="auto", input="How is Oslo?", instructions="Be brief.", tools=[TOOL], store=False
    )
    (call,) = first.output
    assert (
        call.type == "function_call" and json.loads(call.arguments) == {"city": "Oslo"} and first.status == "completed"
    )
    talk: list[Any] = [
        {"role": "user", "content": "How is Oslo?"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny"}'},
    ]
    second = asking.responses.create(model="auto", input=talk, tools=[TOOL], store=False)
    facts = second.model_extra["loraloop"]  # type: ignore[index]
    assert facts["receipts"] == facts["gates"] == [], "the client has run the call"
    assert second.output_text == "Sunny in Oslo." and second.usage is not None and second.usage.input_tokens > 10


def test_a_stream_has_the_events_that_the_client_gathers(client: Callable[..., openai.OpenAI]) -> None:
    told: Any = {"instructions": "Be brief.", "metadata": {"a": "b"}, "tools": [TOOL], "tool_choice": "none"}
    with client("It is sunny.").responses.stream(model="auto", input="Hi", store=False, **told) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds, begun = [event.type for event in events], events[0].response.to_dict()  # type: ignore[union-attr]
    assert {name: begun[name] for name in told} == told | {"tools": [TOOL]} and kinds[1] == "response.in_progress"
    assert begun.keys() == final.to_dict().keys() - {"loraloop"} and begun["status"] == "in_progress"
    assert final.output_text == "It is sunny." and kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert "response.output_text.delta" in kinds and "response.output_item.done" in kinds
    with client(calls(weather={"city": "Oslo"})).responses.stream(
        model="tools", input="Oslo?", tools=[TOOL], store=False
    ) as stream:
        for _ in stream:
            pass
        (item,) = stream.get_final_response().output
    assert item.type == "function_call" and item.name == "weather"


def test_structured_output_and_refusals(client: Callable[..., openai.OpenAI]) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form: Any = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    done = client('{"n":3}').responses.create(model="auto", input="A number", text=form, store=False)
    assert json.loads(done.output_text) == {"n": 3}
    refused: Any = client(verdict("crime")).responses.create(model="auto", input="Do harm", store=False)
    assert refused.output[0].content[0].type == "refusal"
    for kind in ({"type": "json_schema", "name": "n"}, {"type": "json_schema", "name": "n", "schema": None}):
        with pytest.raises(openai.BadRequestError, match="needs schema"):
            client("{}").responses.create(model="auto", input="Hi", text={"format": kind}, store=False)  # type: ignore[call-overload]
    form = {"format": {"type": "json_object"}}
    assert client("{}").responses.create(model="auto", input="Hi", text=form, store=False).output_text == "{}"
    with pytest.raises(openai.BadRequestError, match="store"):
        client("x").responses.create(model="auto", input="Hi", store=True)
