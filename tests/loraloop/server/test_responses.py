"""`/v1/responses` by the openai package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.wire import ChatMessage, conversation_of
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
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny"}'},
    ]
    second = asking.responses.create(model="auto", input=talk, tools=[TOOL], store=False)
    facts = second.model_extra["loraloop"]  # type: ignore[index]
    assert facts["receipts"] == facts["gates"] == [], "the client has run the call"
    assert second.output_text == "Sunny in Oslo." and second.usage is not None and second.usage.input_tokens > 10


class Place(BaseModel):
    """A city."""

    city: str


@pytest.mark.parametrize("store", [False, True])
def test_what_was_parsed_is_sent_back(serving: Callable[..., str], tmp_path: Path, store: bool) -> None:
    runtime = ScriptedRuntime(calls(weather={"city": "Oslo"}), '{"city":"Oslo"}', "You are welcome.")
    url = serving(runtime, ServerSettings(folder=tmp_path))
    asking = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    talk: list[Any] = [{"role": "user", "content": "How is Oslo?"}]
    more: dict[str, Any] = {"model": "auto", "store": store}
    (call,) = asking.responses.parse(input=talk, tools=[TOOL], **more).output
    assert call.type == "function_call"
    talk += [call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    found = asking.responses.parse(input=talk, text_format=Place, **more)
    assert found.output_parsed == Place(city="Oslo")
    talk += [*(item.model_dump() for item in found.output), {"role": "user", "content": "Thanks."}]
    thanked = asking.responses.create(input=talk, **more)
    assert thanked.output_text == "You are welcome."
    if store:
        listed = asking.responses.input_items.list(thanked.id).to_dict()
        assert "parsed" not in json.dumps(listed)


def test_an_answer_includes_the_reasoning_that_it_has_not(client: Callable[..., openai.OpenAI]) -> None:
    asking = client("Hi.", "Hello.")  # openai-agents sends an empty list, the AI SDK the reasoning
    included: list[Any] = [[], ["reasoning.encrypted_content"], ["message.output_text.logprobs"]]
    for include in included[:2]:
        assert asking.responses.create(model="auto", input="Hi", include=include, store=False).output_text
    with pytest.raises(openai.BadRequestError, match=r"include\.0: Input should be 'reasoning\.encrypted_content'"):
        asking.responses.create(model="auto", input="Hi", include=included[2], store=False)


def test_only_allowed_tools_are_called(client: Callable[..., openai.OpenAI]) -> None:
    choice: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    tools: list[Any] = [{**TOOL, "name": "radar"}, TOOL]
    asking = client(calls(weather={"city": "Oslo"}), calls(radar={"city": "Oslo"}))
    made = asking.responses.create(model="auto", input="How is Oslo?", tools=tools, tool_choice=choice)
    assert made.output[0].to_dict()["name"] == "weather" and made.to_dict()["tool_choice"] == choice
    with pytest.raises(openai.BadRequestError, match="the step's form has 'weather"):
        asking.responses.create(model="auto", input="How is Oslo?", tools=tools, tool_choice=choice)
    with pytest.raises(openai.BadRequestError, match=r"tool_choice is .*'custom'"):
        asking.responses.create(
            model="auto", input="Hi", tools=tools, tool_choice={"type": "custom", "name": "weather"}
        )


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
        snapshots = [event.snapshot for event in stream if event.type == "response.function_call_arguments.delta"]
        (item,) = stream.get_final_response().output
    assert item.type == "function_call" and item.name == "weather"
    assert snapshots == [item.arguments], "what is gathered is the arguments once"


def test_a_text_that_was_cut_is_incomplete_as_its_response_is(client: Callable[..., openai.OpenAI]) -> None:
    found = client("It is sunny there.").responses.create(model="auto", input="Hi", max_output_tokens=3)
    assert found.incomplete_details is not None and found.incomplete_details.reason == "max_output_tokens"
    assert found.status == found.output[0].status == "incomplete"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"model": "auto", "input": "Hi", "tools": [{"type": "web_search"}]}', "tools.0.type: Input should be 'func"),
        ('{"model": "auto", "input": "Café"}'.encode("latin-1"), "the body is not UTF-8: it has 0xe9 at 31"),
        (('{"model": "auto", "input": "' + 70_000 * "é").encode("latin-1"), "the body is not UTF-8: it has 0xe9 at 28"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(serving: Callable[..., str], body: bytes, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(serving(ScriptedRuntime()) + "/v1/responses", content=body, headers=headers)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"], answer.text


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


def test_a_refusal_is_streamed_as_one(client: Callable[..., openai.OpenAI]) -> None:
    with client(verdict("crime")).responses.stream(model="auto", input="Do harm", store=False) as stream:
        events: list[Any] = list(stream)
        (item,) = stream.get_final_response().output
    kinds = [event.type for event in events]
    assert item.type == "message" and item.content[0].type == "refusal" and "response.output_text.done" not in kinds
    (delta,) = (event for event in events if event.type == "response.refusal.delta")
    (done,) = (event for event in events if event.type == "response.refusal.done")
    assert delta.delta == done.refusal == item.content[0].refusal and done.item_id == item.id
    (added,) = (event for event in events if event.type == "response.content_part.added")
    assert added.part.type == "refusal" and kinds.index(added.type) < kinds.index(delta.type)


def test_a_server_without_sessions_keeps_no_responses(client: Callable[..., openai.OpenAI]) -> None:
    asking = client("Hello.")
    for kept in (
        lambda: asking.responses.create(model="auto", input="Hi", store=True),
        lambda: asking.responses.create(model="auto", input="Hi", previous_response_id="resp_1"),
        lambda: asking.responses.retrieve("resp_1"),
        lambda: asking.responses.delete("resp_1"),
    ):
        with pytest.raises(openai.BadRequestError, match=r"store: false, or start it with --state or --sessions"):
            kept()
    assert asking.responses.create(model="auto", input="Hi").to_dict()["store"] is False


def keeping(serving: Callable[..., str], place: str, *script: Any, **limits: Any) -> Callable[[str], openai.OpenAI]:
    """A server that keeps responses there: its clients by their keys, and what its runtime is asked."""
    settings = ServerSettings(
        keys=frozenset(("first-key", "second-key")), sessions=place, limits=ServerLimits(**limits)
    )
    url = serving(ScriptedRuntime(*script), settings) + "/v1"
    return lambda name: openai.OpenAI(base_url=url, api_key=f"{name}-key", max_retries=0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The role and text of each message of the conversations that the server has read."""
    found = list[list[tuple[str, str]]]()

    def noted(messages: list[ChatMessage]) -> Any:
        found.append([(each.role, each.text or str(each.tool_calls)) for each in messages])
        return conversation_of(messages)

    monkeypatch.setattr("loraloop.server.responses.conversation_of", noted)
    return found


def test_any_server_goes_on_with_a_response(
    serving: Callable[..., str], sessions_place: str, read: list[list[tuple[str, str]]]
) -> None:
    one = keeping(serving, sessions_place, calls(weather={"city": "Oslo"}), "Bring one.")("first")
    two = keeping(serving, sessions_place, "Sunny in Oslo.", "Nothing.")("first")
    first = one.responses.create(model="auto", input="How is Oslo?", instructions="Be brief.", tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call" and first.to_dict()["store"] is True
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny"}'}
    with two.responses.stream(
        model="auto", previous_response_id=first.id, input=[output], tools=[TOOL], store=True
    ) as stream:
        for _ in stream:
            pass
        second = stream.get_final_response()
    assert second.output_text == "Sunny in Oslo." and second.previous_response_id == first.id
    two.responses.delete(first.id)
    third = one.responses.create(
        model="base", previous_response_id=second.id, input="An umbrella?", instructions="Be kind.", store=False
    )
    assert third.output_text == "Bring one."
    assert [role for role, _ in read[-1]] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert read[-1][0][1] == "Be kind." and "Oslo" in read[-1][2][1] and read[-1][4][1] == "Sunny in Oslo."
    again = one.responses.retrieve(second.id)
    assert again.output_text == "Sunny in Oslo." and again.output[0].id == second.output[0].id
    for gone in (first.id, third.id):
        with pytest.raises(openai.NotFoundError, match=f"no response '{gone}'"):
            one.responses.retrieve(gone)


def test_the_input_of_a_response_is_listed(serving: Callable[..., str], tmp_path: Path) -> None:
    by = keeping(serving, str(tmp_path / "sessions.db"), calls(weather={"city": "Oslo"}), "Sunny in Oslo.", "Yes.")
    asking = by("first").responses
    said: list[Any] = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "How is Oslo?"}]
    first = asking.create(model="auto", input=said, instructions="Be kind.", tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny"}'}
    second = asking.create(model="auto", previous_response_id=first.id, input=[output], tools=[TOOL])
    whole = list(asking.input_items.list(second.id, order="asc", limit=3))
    assert [item.type for item in whole] == ["message", "message", "function_call", "function_call_output"]
    told: list[Any] = [item.to_dict() for item in whole]
    assert told[0]["role"] == "developer" and told[1]["role"] == "user" and len({each["id"] for each in told}) == 4
    assert told[1]["content"] == [{"type": "input_text", "text": "How is Oslo?"}]
    assert {each["status"] for each in told} == {"completed"}
    assert told[2]["call_id"] == call.call_id == told[3]["call_id"] and told[3]["output"] == output["output"]
    assert told[2]["name"] == "weather" and json.loads(told[2]["arguments"]) == {"city": "Oslo"}
    assert asking.input_items.list(second.id).data == whole[::-1] and len(asking.input_items.list(first.id).data) == 2
    page = asking.input_items.list(second.id, limit=1)
    assert page.has_more and page.to_dict()["first_id"] == page.data[0].id == page.to_dict()["last_id"]
    assert asking.create(model="base", input=told, store=False).output_text == "Yes.", "it is an input as it is"
    with pytest.raises(openai.BadRequestError, match=" limit: Input should be less"):
        asking.input_items.list(second.id, limit=101)
    with pytest.raises(openai.BadRequestError, match="has no item 'msg_1'"):
        asking.input_items.list(second.id, after="msg_1")


def test_an_earlier_item_is_sent_by_its_id(
    serving: Callable[..., str], sessions_place: str, read: list[list[tuple[str, str]]]
) -> None:
    by = keeping(serving, sessions_place, calls(weather={"city": "Oslo"}), "Sunny in Oslo.", "Yes.")
    asking = by("first").responses
    user: Any = {"role": "user", "content": "How is Oslo?"}
    first = asking.create(model="auto", input=[user], tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call"
    items: list[Any] = [
        user,
        {"type": "item_reference", "id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny"}'},
    ]
    second = asking.create(model="auto", input=items, tools=[TOOL])
    items += [{"type": "item_reference", "id": second.output[0].id}, {"role": "user", "content": "Warm?"}]
    assert asking.create(model="base", input=items, store=False).output_text == "Yes."
    assert [role for role, _ in read[-1]] == ["user", "assistant", "tool", "assistant", "user"]
    assert "Oslo" in read[-1][1][1] and read[-1][3][1] == "Sunny in Oslo."
    for key, name in (("second", call.id), ("first", "fc_" + "0" * 32), ("first", "%"), ("first", None)):
        with pytest.raises(openai.NotFoundError, match="send the item itself"):
            by(key).responses.create(model="base", input=[user, {"type": "item_reference", "id": name}])


def test_responses_belong_to_their_key(serving: Callable[..., str], sessions_place: str) -> None:
    by = keeping(serving, sessions_place, "Hello Ann.", "You are Ann.")
    mine = by("first").responses.create(model="base", input="I am Ann.")
    other = by("second").responses
    for ask in (
        lambda: other.retrieve(mine.id),
        lambda: other.delete(mine.id),
        lambda: other.input_items.list(mine.id),
        lambda: other.create(model="base", input="Who am I?", previous_response_id=mine.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert by("first").responses.retrieve(mine.id).output_text == "Hello Ann."


def test_the_oldest_responses_of_a_key_go(
    serving: Callable[..., str], sessions_place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloop.server.responses.KEPT", 2)
    by = keeping(serving, sessions_place, *(str(number) for number in range(5)))
    other = by("second").responses.create(model="base", input="Hi")
    mine = [by("first").responses.create(model="base", input="Hi").id for _ in range(4)]
    for gone in mine[:2]:
        with pytest.raises(openai.NotFoundError):
            by("first").responses.retrieve(gone)
    assert [by("first").responses.retrieve(kept).output_text for kept in mine[2:]] == ["3", "4"]
    assert by("second").responses.retrieve(other.id).output_text == "0"


def test_a_kept_conversation_is_no_longer_than_a_request(serving: Callable[..., str], tmp_path: Path) -> None:
    by = keeping(serving, str(tmp_path / "sessions.db"), "Yes.", "Yes.", "Yes.", max_bytes=2000)
    name = "c" * 600  # is in no prompt
    call = {"type": "function_call", "call_id": name, "name": "look", "arguments": "{}"}
    talk: Any = [call, {"type": "function_call_output", "call_id": name, "output": "1"}]
    told: Any = None
    with pytest.raises(openai.BadRequestError, match=r"longer than a request may be.*without previous_response_id"):
        for _ in range(3):
            told = by("first").responses.create(model="base", input=talk, previous_response_id=told and told.id)
    assert told is not None
