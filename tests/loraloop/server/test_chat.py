"""`/v1/chat/completions` by the openai package: text, calls, structured output, streams, refusals, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from loraloop.server.wire import ChatRequest, conversation_of
from loraloop.testing import ScriptedRuntime, calls, verdict

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
OTHER: Any = {"type": "function", "function": {"name": "radar"}}
ASKED: list[Any] = [{"role": "user", "content": "How is Oslo?"}]


@pytest.fixture
def client(serving: Callable[..., str]) -> Callable[..., openai.OpenAI]:
    """`client(*script)`: a client of a server whose model writes the script."""

    def make(*script: Any, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=serving(ScriptedRuntime(*script), **options) + "/v1", api_key="none", max_retries=0
        )

    return make


def test_every_name_that_a_chat_takes_is_a_model(client: Callable[..., openai.OpenAI]) -> None:
    models = client().models
    base = ScriptedRuntime().base.name
    for name in (base, *(each.id for each in models.list())):
        assert models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        models.retrieve("gpt-6")


def test_text_is_answered_with_usage_and_route(client: Callable[..., openai.OpenAI]) -> None:
    done = client("It is sunny.").chat.completions.create(model="auto", messages=ASKED)
    (choice,) = done.choices
    assert choice.message.content == "It is sunny." and choice.finish_reason == "stop"
    assert done.usage is not None and done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    facts = done.model_extra["loraloop"]  # type: ignore[index]
    assert facts["skill"] == "none" and facts["steps"][0]["decided_by"] == "router"


def test_calls_are_made_and_their_results_read(client: Callable[..., openai.OpenAI]) -> None:
    asking = client(calls(weather={"city": "Oslo"}), "Sunny in Oslo.")
    first = asking.chat.completions.create(model="auto", messages=ASKED, tools=[TOOL])
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls or ()
    assert call.type == "function" and json.loads(call.function.arguments) == {"city": "Oslo"}
    told = [
        *ASKED,
        choice.message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = asking.chat.completions.create(model="auto", messages=told, tools=[TOOL])
    assert second.choices[0].message.content == "Sunny in Oslo."


class weather(BaseModel):
    """The weather in a city."""

    city: str


@pytest.mark.parametrize("dumped", [False, True])
def test_a_parsed_call_is_sent_back(client: Callable[..., openai.OpenAI], dumped: bool) -> None:
    tools = [openai.pydantic_function_tool(weather)]
    asking = client(calls(weather={"city": "Oslo"}), "Sunny in Oslo.")
    message = asking.chat.completions.parse(model="auto", messages=ASKED, tools=tools).choices[0].message
    (call,) = message.tool_calls or ()
    assert call.function.parsed_arguments == weather(city="Oslo")
    told = [*ASKED, message.model_dump() if dumped else message]
    told.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    done = asking.chat.completions.create(model="auto", messages=told, tools=tools)
    assert done.choices[0].message.content == "Sunny in Oslo."


def test_calls_of_a_stream_are_sent_back_as_they_came(client: Callable[..., openai.OpenAI]) -> None:
    asking = client(calls(weather={"city": "Oslo"}), "Sunny in Oslo.")
    stream = asking.chat.completions.create(model="auto", messages=ASKED, tools=[TOOL], stream=True)
    made: Any = [part.model_dump() for chunk in stream for part in chunk.choices[0].delta.tool_calls or ()]
    told: list[Any] = [*ASKED, {"role": "assistant", "tool_calls": made}]
    told.append({"role": "tool", "tool_call_id": made[0]["id"], "content": "sunny"})
    done = asking.chat.completions.create(model="auto", messages=told, tools=[TOOL])
    assert done.choices[0].message.content == "Sunny in Oslo."


def test_a_named_tool_is_called(client: Callable[..., openai.OpenAI]) -> None:
    asking = client(calls(weather={"city": "Rome"}))
    named: Any = {"type": "function", "function": {"name": "weather"}}
    done = asking.chat.completions.create(model="auto", messages=ASKED, tools=[TOOL], tool_choice=named)
    assert done.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_tools_are_called(client: Callable[..., openai.OpenAI], mode: str) -> None:
    choice: Any = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [OTHER]}}
    made: dict[str, Any] = {"model": "tools", "messages": ASKED, "tools": [TOOL, OTHER], "tool_choice": choice}
    (call,) = client(calls(radar={})).chat.completions.create(**made).choices[0].message.tool_calls or ()
    assert call.type == "function" and call.function.name == "radar"
    with pytest.raises(openai.BadRequestError, match="the step's form has 'radar"):
        client(calls(weather={"city": "Oslo"})).chat.completions.create(**made)


def test_structured_output_is_enforced(client: Callable[..., openai.OpenAI]) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    done = client('{"n":3}').chat.completions.create(model="auto", messages=ASKED, response_format=form)
    assert json.loads(done.choices[0].message.content or "") == {"n": 3}


def test_a_stream_tells_text_then_usage(client: Callable[..., openai.OpenAI]) -> None:
    stream = client("It is sunny.").chat.completions.create(
        model="auto", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "It is sunny."
    assert chunks[-1].usage is not None and not chunks[-1].choices and chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.to_dict()["usage"] is None for chunk in chunks[:-1])


def test_a_stream_has_calls_whole(client: Callable[..., openai.OpenAI]) -> None:
    made = client(calls(weather={"city": "Oslo"})).chat.completions.create(
        model="tools", messages=ASKED, tools=[TOOL], stream=True
    )
    parts = [part for chunk in made for part in chunk.choices[0].delta.tool_calls or ()]
    assert len(parts) == 1 and json.loads(parts[0].function.arguments or "") == {"city": "Oslo"}  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_has_a_field_of_its_own(client: Callable[..., openai.OpenAI], stream: bool) -> None:
    done: Any = client(verdict("crime")).chat.completions.create(model="auto", messages=ASKED, stream=stream)
    if stream:
        chunks = list(done)
        assert not any(c.choices[0].delta.content for c in chunks)
        assert (
            "".join(c.choices[0].delta.refusal or "" for c in chunks)
            and chunks[-1].choices[0].finish_reason == "content_filter"
        )
    else:
        (choice,) = done.choices
        assert choice.finish_reason == "content_filter" and choice.message.content is None and choice.message.refusal


def test_a_part_with_an_earlier_refusal_is_read(serving: Callable[..., str]) -> None:
    parts = [{"type": "text", "text": "Well. "}, {"type": "refusal", "refusal": "I cannot do that."}]
    talk: list[Any] = [*ASKED, {"role": "assistant", "content": parts}, {"role": "user", "content": "Why?"}]
    body = {"model": "auto", "messages": talk}
    answer = httpx.post(f"{serving(ScriptedRuntime('So.'))}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    messages = conversation_of(ChatRequest.model_validate(body).messages).messages
    assert [message.content for message in messages][1] == "Well. I cannot do that."


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"logit_bias": {"1": 2}}, 400, "unknown parameter 'logit_bias'"),
        ({"n": 2}, 400, "n:"),
        ({"model": "gpt-6"}, 404, "there is no model 'gpt-6' here; there are auto, base"),
        ({"stop": ["a"] * 5}, 400, "one to four"),
        ({"tool_choice": "required"}, 400, "tool_choice needs tools"),
        ({"model": "tools"}, 400, "tools writes calls: offer tools, or take 'auto'"),
        ({"model": "retrieval"}, 400, "retrieval answers from documents"),
        ({"model": "code", "stop": ["x"]}, 400, "code takes no stop"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}, "tools": [OTHER]},
            400,
            "no tool is called 'weather'; known: radar",
        ),
        ({"max_completion_tokens": 100_000}, 400, "at most 4096 tokens"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]}, 400, "no call has the id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            "messages.0.content.0.type: Input should be 'text'",
        ),
        ({"messages": [{"role": "user", "content": "word " * 1000}]}, 400, "3000"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, 400, "nothing to reply to"),
    ],
)
def test_what_cannot_be_done_is_said(serving: Callable[..., str], given: Any, status: int, message: str) -> None:
    url = serving(ScriptedRuntime("x", context=3000))
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "auto", "messages": ASKED, **given}, timeout=60)
    assert answer.status_code == status and message in answer.json()["error"]["message"], answer.text


def test_a_forced_skill_and_the_bare_base(client: Callable[..., openai.OpenAI]) -> None:
    done = client("Hello.").chat.completions.create(model="base", messages=ASKED)
    assert done.choices[0].message.content == "Hello."
    assert "tools" in [model.id for model in client().models.list()]
