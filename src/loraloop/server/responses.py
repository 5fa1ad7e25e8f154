"""`/v1/responses`: a server with sessions keeps them; else the client sends the whole conversation each time."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from loraloop.integrations.conversation import ConversationBuilder
from loraloop.integrations.reply import Reply
from loraloop.server.chat import facts_of, prepared, replying, tool_calls, whole_reply
from loraloop.server.errors import STREAM, ApiError, api_error, documented
from loraloop.server.runs import owner_of
from loraloop.server.state import BodyRoute, begun, event_stream, key_of, state_of, turn_of, while_there
from loraloop.server.wire import (
    MOST_ITEMS,
    ChatMessage,
    ConversationItem,
    FunctionCall,
    FunctionDefinition,
    Items,
    ModelRequest,
    RefusalPart,
    ReplyOptions,
    Strict,
    TextPart,
    ToolCallItem,
    conversation_of,
    text_of,
)
from loraloop.tool_schemas.jsontext import adapter, dumps

if TYPE_CHECKING:
    from loraloop.agent.sessions.store import SessionStore

routes = APIRouter(route_class=BodyRoute)
KEPT = 1000
"""Responses of one owner that are kept; the oldest go."""


class OutputPart(TextPart):
    """Text of an earlier answer."""

    annotations: list[Any] = Field(default_factory=list)
    logprobs: list[Any] | None = None
    parsed: Any = None


class InputItem(ConversationItem):
    """An item of the conversation: a message, a call, a call's output, or the id of an item that was answered.

    What a client dumps of an answer has the last fields too, which say nothing more.
    """

    type: Literal["message", "function_call", "function_call_output", "item_reference"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | Items[Annotated[OutputPart | RefusalPart, Field(discriminator="type")]] | None = None
    output: str | Items[TextPart] | None = None
    parsed_arguments: Any = None
    namespace: None = None
    caller: None = None
    async_: None = None


class ResponseTool(FunctionDefinition):
    """A tool that may be called."""

    type: Literal["function"]


class TextFormat(Strict):
    """The form of the text."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextOptions(Strict):
    """How the text is to be."""

    format: TextFormat = TextFormat()
    verbosity: Literal["medium"] | None = None


class ResponseRequest(ModelRequest):
    """The body of `POST /v1/responses`."""

    input: str | Items[InputItem]
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Items[ResponseTool] | None = Field(default=None, max_length=512)
    text: TextOptions | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    store: bool | None = None
    truncation: Literal["disabled"] | None = None
    include: Items[Literal["reasoning.encrypted_content"]] | None = None  # an answer has no reasoning


@routes.post("/v1/responses", responses={**STREAM, **documented({404})})
async def create_response(body: ResponseRequest, request: Request) -> Response:
    """Answers a conversation, which may go on from a kept response: text, or calls of the tools that are offered.

    A server with sessions keeps the response unless `store` is false.
    """
    state, messages = state_of(request), list[ChatMessage]()
    if body.store is None:
        body.store = state.sessions is not None
    refers = not isinstance(body.input, str) and any(item.type == "item_reference" for item in body.input)
    store = store_of(request) if body.store or refers or body.previous_response_id is not None else None

    def talk() -> ConversationBuilder:
        instructions = [ChatMessage(role="system", content=body.instructions)] if body.instructions else []
        messages.extend(messages_of(body, store, state.settings.limits.max_bytes))
        return conversation_of([*instructions, *messages])

    async def keep(document: dict[str, Any]) -> None:
        if store is not None and body.store:
            for item in document["output"]:
                _add(messages, InputItem.model_validate(item), "output")
            await asyncio.to_thread(store.add, document, messages)

    options = options_of(body)
    turn = await turn_of(request)
    made = await prepared(request, talk, options, turn)
    if not body.stream:
        reply = await while_there(request, whole_reply(state, made, turn))
        document = response_document(empty_document(body), reply)
        await keep(document)
        return JSONResponse(document)
    pieces = await while_there(request, begun(replying(state, made, turn)))
    return event_stream(state, _events(empty_document(body), pieces, keep))


@routes.get("/v1/responses/{response_id}", responses=documented({404}))
async def show_response(response_id: str, request: Request) -> Response:
    """A response that was kept."""
    _, document = await asyncio.to_thread(store_of(request).get, response_id)
    return Response(document, media_type="application/json")


@routes.delete("/v1/responses/{response_id}", responses=documented({404}))
async def delete_response(response_id: str, request: Request) -> JSONResponse:
    """Removes a response that was kept."""
    await asyncio.to_thread(store_of(request).delete, response_id)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@routes.get("/v1/responses/{response_id}/input_items", responses=documented({404}))
async def list_input(
    request: Request,
    response_id: str,
    order: Literal["asc", "desc"] = "desc",
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JSONResponse:
    """What a response that was kept answers: the conversation up to it, without the instructions."""
    kept = await asyncio.to_thread(store_of(request).get, response_id)
    items = await asyncio.to_thread(input_items, response_id, *kept)
    items = items if order == "asc" else items[::-1]
    names = [item["id"] for item in items]
    if after and after not in names:
        raise ApiError(400, f"{response_id} has no item {after!r}", "invalid_value", "after")
    left = items[names.index(after) + 1 if after else 0 :]
    page = left[:limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    ends = {"first_id": first, "last_id": last, "has_more": len(left) > limit}
    return JSONResponse({"object": "list", "data": page, **ends})


def options_of(body: ResponseRequest) -> ReplyOptions:
    """The options of a request."""
    schema: dict[str, Any] | None = None
    if body.text is not None and body.text.format.type != "text":
        schema = body.text.format.schema_
        if body.text.format.type == "json_schema" and schema is None:
            raise ApiError(400, "text.format of the type json_schema needs schema", "missing", "text.format")
        schema = schema or {"type": "object"}
    return ReplyOptions(
        model=body.model,
        tools=body.tools or (),
        tool_choice=body.tool_choice,
        parallel=body.parallel_tool_calls,
        schema=schema,
        sampling=body.sampling,
        max_tokens=body.max_output_tokens,
    )


def messages_of(body: ResponseRequest, store: ResponseStore | None, most: int) -> list[ChatMessage]:
    """The conversation without the instructions; calls that follow each other are one message.

    Args:
        body: The request.
        store: Where the responses are that it goes on from or refers to, if it does.
        most: Bytes that the conversation up to there may have.

    Raises:
        ApiError: 404, there is no such response or item; 400, the conversation is too long, or wrong.
    """
    messages = list[ChatMessage]()
    items = [InputItem(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    if store is not None and body.previous_response_id is not None:
        earlier, _ = store.get(body.previous_response_id)
        messages = adapter(list[ChatMessage]).validate_json(earlier) if len(earlier) <= most else []
        if not messages or len(messages) + len(items) > MOST_ITEMS:
            message = "the conversation is longer than a request may be: send what matters of it as input"
            raise ApiError(400, f"{message}, without previous_response_id", "too_long", "previous_response_id")
    for place, item in enumerate(items):
        if store is not None and item.type == "item_reference":
            item = InputItem.model_validate(store.item(item.id or ""))
        _add(messages, item, f"input.{place}")
    return messages


def _add(messages: list[ChatMessage], item: InputItem, where: str) -> None:
    """Adds an item to the messages."""
    if item.type == "function_call_output":
        messages.append(ChatMessage(role="tool", content=text_of(item.output), tool_call_id=item.call_id))
        return
    if item.type == "function_call":
        if not item.name or not item.call_id:
            raise ApiError(400, "a function_call needs call_id, name and arguments", "missing", where)
        call = ToolCallItem(id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments or "{}"))
        if messages and messages[-1].role == "assistant" and messages[-1].tool_calls:
            messages[-1].tool_calls.append(call)
        else:
            messages.append(ChatMessage(role="assistant", tool_calls=[call]))
        return
    if item.role is None:
        raise ApiError(400, "a message needs a role", "missing", where)
    messages.append(ChatMessage(role=item.role, content=text_of(item.content)))


def input_items(response_id: str, conversation: str, document: str) -> list[dict[str, Any]]:
    """The items of a kept conversation without those of the response; the inverse of `_add`."""
    items = list[dict[str, Any]]()
    for message in adapter(list[ChatMessage]).validate_json(conversation):
        if message.role == "tool":
            items.append({"type": "function_call_output", "call_id": message.tool_call_id, "output": message.text})
        elif message.tool_calls:
            for call in message.tool_calls:
                items.append({"type": "function_call", "call_id": call.id, **call.function.model_dump()})
        else:
            more = {"type": "output_text", "annotations": []} if message.role == "assistant" else {"type": "input_text"}
            items.append({"type": "message", "role": message.role, "content": [{**more, "text": message.text}]})
    del items[len(items) - len(json.loads(document)["output"]) :]
    start = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
    return [
        {"id": f"{start[item['type']]}_{response_id.removeprefix('resp_')}_{place}", "status": "completed", **item}
        for place, item in enumerate(items)
    ]


def empty_document(body: ResponseRequest) -> dict[str, Any]:
    """The document of a response that is being written: what was asked for."""
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": time.time(),
        "status": "in_progress",
        "incomplete_details": None,
        "error": None,
        "model": body.model,
        "instructions": body.instructions,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "tool_choice": body.tool_choice or "auto",
        "tools": [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
        "temperature": body.temperature or 0.0,
        "top_p": body.top_p or 1.0,
        "metadata": body.metadata or {},
        "previous_response_id": body.previous_response_id,
        "store": body.store,
        "usage": None,
    }


def response_document(begun: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The document of a reply, from the one that it began with."""
    run = reply.run
    cut = run.stop_reason not in ("answer", "code", "tool_call", "refused")
    status = "incomplete" if cut else "completed"
    return {
        **begun,
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output_items(reply, status),
        "usage": {
            "input_tokens": reply.read,
            "input_tokens_details": {"cached_tokens": reply.reused, "cache_write_tokens": 0},
            "output_tokens": reply.written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.read + reply.written,
        },
        "loraloop": facts_of(run, reply.forced),
    }


def output_items(reply: Reply, status: str) -> list[dict[str, Any]]:
    """The items of a reply with this status: calls, or a message with text or a refusal."""
    if reply.calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{uuid.uuid4().hex}",
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
                "status": status,
            }
            for call in tool_calls(reply)
        ]
    if reply.run.stop_reason == "refused":
        part: dict[str, Any] = {"type": "refusal", "refusal": reply.run.output}
    else:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    return [_message(f"msg_{uuid.uuid4().hex}", [part], status)]


def _message(identity: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"type": "message", "id": identity, "role": "assistant", "status": status, "content": content}


async def _events(
    created: dict[str, Any],
    pieces: AsyncIterator[str | Reply],
    keep: Callable[[dict[str, Any]], Awaitable[None]],
) -> AsyncGenerator[dict[str, str], None]:
    """The events of a stream: the text as it comes, calls whole."""
    message, number, text = f"msg_{uuid.uuid4().hex}", 0, ""

    def event(kind: str, **fields: Any) -> dict[str, str]:
        nonlocal number
        document = {"type": kind, "sequence_number": number, **fields}
        number += 1
        return {"event": kind, "data": json.dumps(document, ensure_ascii=False)}

    def opened(part: dict[str, Any]) -> Iterator[dict[str, str]]:
        yield event("response.output_item.added", output_index=0, item=_message(message, [], "in_progress"))
        yield event("response.content_part.added", part=part, **here)

    yield event("response.created", response=created)
    yield event("response.in_progress", response=created)
    here: dict[str, Any] = {"output_index": 0, "item_id": message, "content_index": 0}
    try:
        piece = await anext(pieces)
        while isinstance(piece, str):
            if not text:
                for each in opened({"type": "output_text", "text": "", "annotations": []}):
                    yield each
            text += piece
            yield event("response.output_text.delta", delta=piece, logprobs=[], **here)
            piece = await anext(pieces)
        document = response_document(created, piece)
        for index, item in enumerate(document["output"]):
            if item["type"] == "function_call":
                place = {"output_index": index, "item_id": item["id"]}
                begun = {**item, "arguments": "", "status": "in_progress"}  # a client adds the deltas to it
                yield event("response.output_item.added", output_index=index, item=begun)
                yield event("response.function_call_arguments.delta", delta=item["arguments"], **place)
                yield event(
                    "response.function_call_arguments.done", arguments=item["arguments"], name=item["name"], **place
                )
            else:
                (part,), item["id"] = item["content"], message
                refused = part["type"] == "refusal"
                for each in () if text else opened({**part, "refusal" if refused else "text": ""}):
                    yield each
                if refused:
                    yield event("response.refusal.delta", delta=part["refusal"], **here)
                    yield event("response.refusal.done", refusal=part["refusal"], **here)
                else:
                    yield event("response.output_text.done", text=part["text"], logprobs=[], **here)
                yield event("response.content_part.done", part=part, **here)
            yield event("response.output_item.done", output_index=index, item=item)
        await keep(document)
        yield event(f"response.{document['status']}", response=document)
    except Exception as error:
        problem = api_error(error).document()["error"]
        yield event("error", code=problem["code"], message=problem["message"], param=problem["param"])


class ResponseStore:
    """The responses of one owner.

    Args:
        database: Where they are kept.
        owner: Hash of whose they are; see `owner_of`.
    """

    def __init__(self, database: SessionStore, owner: str) -> None:
        self._database, self._owner = database, owner

    def add(self, document: dict[str, Any], messages: Sequence[ChatMessage]) -> None:
        """Keeps a response, and the conversation up to its end."""
        conversation = dumps([message.model_dump(exclude_none=True) for message in messages])
        values = (document["id"], self._owner, document["created_at"], conversation, dumps(document))
        with self._database.writing() as database:
            database.execute(
                "INSERT INTO responses (id, owner, created, messages, body) VALUES (?, ?, ?, ?, ?)", values
            )
            database.execute(
                "DELETE FROM responses WHERE owner = ? AND id NOT IN "
                "(SELECT id FROM responses WHERE owner = ? ORDER BY created DESC LIMIT ?)",
                (self._owner, self._owner, KEPT),
            )

    def get(self, response_id: str) -> tuple[str, str]:
        """A response's conversation and its document, as JSON texts.

        Raises:
            ApiError: 404, there is none.
        """
        with self._database.reading() as database:
            statement = "SELECT messages, body FROM responses WHERE id = ? AND owner = ?"
            found: tuple[str, str] | None = database.execute(statement, (response_id, self._owner)).fetchone()
        if found is None:
            raise missing(response_id)
        return found

    def item(self, item_id: str) -> dict[str, Any]:
        """An item of a response, by its id.

        Raises:
            ApiError: 404, no response that is kept has one.
        """
        if re.fullmatch(r"(msg|fc)_[0-9a-f]{32}", item_id):
            with self._database.reading() as database:
                statement = "SELECT body FROM responses WHERE owner = ? AND body LIKE ?"
                found = database.execute(statement, (self._owner, f'%"{item_id}"%')).fetchall()
            for item in (item for (body,) in found for item in json.loads(body)["output"]):
                if item["id"] == item_id:
                    return dict(item)
        raise ApiError(404, f"there is no item {item_id!r}: send the item itself, it may be too old", "item_not_found")

    def delete(self, response_id: str) -> None:
        """Removes a response; those that go on with it have their conversations of their own.

        Raises:
            ApiError: 404, there is none.
        """
        with self._database.writing() as database:
            statement = "DELETE FROM responses WHERE id = ? AND owner = ?"
            if not database.execute(statement, (response_id, self._owner)).rowcount:
                raise missing(response_id)


def missing(response_id: str) -> ApiError:
    """The error for a response that is not there, or another's."""
    return ApiError(404, f"there is no response {response_id!r}: it may be too old", "response_not_found")


def store_of(request: Request) -> ResponseStore:
    """The kept responses of whoever asks.

    Raises:
        ApiError: 400, the server keeps none.
    """
    sessions = state_of(request).sessions
    if sessions is None:
        message = "send the whole conversation with store: false, or start it with --state or --sessions"
        raise ApiError(400, f"this server keeps no responses: {message}", "unsupported", "store")
    return ResponseStore(sessions.database, owner_of(key_of(request)))
