"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from loraloop.agent.events import Event, RunFinished
from loraloop.agent.loop.iterate import AnswerText
from loraloop.agent.threads import awaited
from loraloop.agent.values.step import plain
from loraloop.integrations.in_thread import in_thread
from loraloop.integrations.reply import Reply, Replying
from loraloop.server.ag_ui import AgUiInput, translated
from loraloop.server.errors import STREAM, ApiError, api_error, documented
from loraloop.server.state import (
    BodyRoute,
    ServerState,
    begun,
    check_conversation,
    event_stream,
    in_turn,
    state_of,
    turn_of,
    while_there,
)
from loraloop.server.wire import ChatRequest, ReplyOptions, chat_options, conversation_of, reply_request
from loraloop.tool_schemas.errors import TimeLimitError
from loraloop.tool_schemas.grammar.effort import stopping

if TYPE_CHECKING:
    from loraloop.agent.loop.iterate import RunStream
    from loraloop.agent.values.result import RunResult
    from loraloop.integrations.conversation import ConversationBuilder
    from loraloop.server.state import RequestTurn

routes = APIRouter(route_class=BodyRoute)
Progress: TypeAlias = Mapping[str, Any]
"""An event of AG-UI."""
FINISH = {"answer": "stop", "code": "stop", "tool_call": "tool_calls", "refused": "content_filter"}
"""`finish_reason` by stop reason; every other one is `length`."""


@routes.post("/v1/chat/completions", responses={**STREAM, **documented({404, 409})})
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answers a conversation: text, or calls of the tools that are offered."""
    state = state_of(request)
    options, usage = chat_options(body), bool(body.stream_options and body.stream_options.include_usage)
    if body.model in state.agents and body.model not in state.runtime.skills:
        if options != ReplyOptions(body.model):
            raise ApiError(400, f"{body.model} is an agent with its own tools and options: leave them out", "agent")
        turn = await turn_of(request)
        if body.stream:
            pieces = await while_there(request, begun(hosted_replying(state, body, turn)))
            return event_stream(state, chunks(body.model, pieces, usage))
        with turn:
            return JSONResponse(completion(body.model, await while_there(request, hosted_reply(state, body))))
    turn = await turn_of(request)
    made = await prepared(request, lambda: conversation_of(body.messages), options, turn)
    if not body.stream:
        return JSONResponse(completion(body.model, await while_there(request, whole_reply(state, made, turn))))
    pieces = await while_there(request, begun(replying(state, made, turn)))
    return event_stream(state, chunks(body.model, pieces, usage))


async def prepared(
    request: Request, talk: Callable[[], ConversationBuilder], options: ReplyOptions, turn: RequestTurn
) -> Replying:
    """What the runtime is asked, made `in_turn`: a long conversation and the schemas of many tools take a while.

    Args:
        request: The request; if its client goes, the work stops.
        talk: Makes the conversation.
        options: What the reply may be.
        turn: The client's turn, which is given back if this fails.
    """
    state = state_of(request)

    def make(stop: Callable[[], bool]) -> Replying:
        with stopping(stop):
            asked = reply_request(state.runtime, state.settings.limits, talk(), options)
        return Replying(state.runtime, replace(asked, fallback=state.fallback), state.hooks)

    try:
        return await in_turn(request, make)
    except BaseException:
        turn.leave()
        raise


async def whole_reply(state: ServerState, made: Replying, turn: RequestTurn) -> Reply:
    """The reply, once it is there; the turn is given back at the end, however it comes."""
    with turn:
        *_, reply = await awaited(lambda: list(measured(state, made)), made.cancel)
    assert isinstance(reply, Reply)
    return reply


async def replying(state: ServerState, made: Replying, turn: RequestTurn) -> AsyncGenerator[str | Reply, None]:
    """Pieces of text, then the reply; the turn is given back at the end, however it comes."""
    with turn:
        async with aclosing(in_thread(measured(state, made), made.cancel)) as pieces:
            async for piece in pieces:
                yield piece


def measured(state: ServerState, made: Replying) -> Iterator[str | Reply]:
    """Pieces of text, then the reply, of which the metrics are told. A refusal is none of the pieces."""
    start = last = time.perf_counter()
    waited, held = state.metrics.first, ""
    for piece in made:
        state.runs.check_going_on()
        waited.observe((now := time.perf_counter()) - last)
        waited, last = state.metrics.gaps, now
        if piece == made.request.guard.refusal:  # said as a refusal, not as text, if the run is refused
            held = piece
            continue
        if isinstance(piece, Reply):
            state.metrics.count(piece.run.steps, refused=piece.run.stop_reason == "refused")
            state.metrics.whole.observe(time.perf_counter() - start)
            held = "" if piece.run.stop_reason == "refused" else held
        if held:
            yield held
            held = ""
        yield piece


def completion(model: str, reply: Reply) -> dict[str, Any]:
    """The document of a whole reply."""
    refused = reply.run.stop_reason == "refused"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or reply.calls else reply.text,
        "refusal": reply.run.output if refused else None,
    }
    if reply.calls:
        message["tool_calls"] = tool_calls(reply)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_of(reply.run), "logprobs": None}],
        "usage": usage_of(reply),
        "loraloop": facts_of(reply.run, reply.forced),
    }


async def chunks(
    model: str, pieces: AsyncIterator[str | Reply | Progress], usage: bool
) -> AsyncGenerator[dict[str, str], None]:
    """The events of a stream. What an agent does meanwhile comes in chunks without text, as `loraloop.progress`."""
    head: dict[str, Any] = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        **({"usage": None} if usage else {}),
    }

    def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, str]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {"data": json.dumps({**head, "choices": [choice], **more}, ensure_ascii=False)}

    yield event({"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            if isinstance(piece, str):
                yield event({"content": piece})
                continue
            if not isinstance(piece, Reply):
                yield event({}, loraloop={"progress": piece})
                continue
            if piece.run.stop_reason == "refused":
                yield event({"refusal": piece.run.output})
            for index, call in enumerate(tool_calls(piece)):
                yield event({"tool_calls": [{"index": index, **call}]})
            yield event({}, finish_of(piece.run), loraloop=facts_of(piece.run, piece.forced))
            if usage:
                last = {**head, "choices": [], "usage": usage_of(piece)}
                yield {"data": json.dumps(last)}
    except Exception as error:
        yield {"data": json.dumps(api_error(error).document())}
    yield {"data": "[DONE]"}


def finish_of(run: RunResult[Any]) -> str:
    """The reason of the end, in OpenAI's words."""
    return FINISH.get(run.stop_reason, "length")


def tool_calls(reply: Reply) -> list[dict[str, Any]]:
    """The calls of a reply."""
    return [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for call in reply.calls
    ]


def usage_of(reply: Reply) -> dict[str, Any]:
    """The tokens of a reply. Those of dropped branches count too: they were computed."""
    return {
        "prompt_tokens": reply.read,
        "completion_tokens": reply.written,
        "total_tokens": reply.read + reply.written,
        "prompt_tokens_details": {"cached_tokens": reply.reused, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def facts_of(run: RunResult[Any], forced: int) -> dict[str, Any]:
    """What this server adds to OpenAI's form: each step, the receipts of the calls, and what gates did not let pass."""
    steps = [
        {
            "skill": step.skill,
            "probability": round(step.probability, 4),
            "decided_by": step.decided_by,
            **({"written_by": step.written_by} if step.written_by else {}),
            "outcome": step.outcome,
            "ms": {name: round(ms, 2) for name, ms in step.ms.items()},
        }
        for step in run.steps
    ]
    last = run.steps[-1] if run.steps else None
    return {
        "skill": last.skill if last else "none",
        "probability": round(last.probability, 4) if last else 0.0,
        "run_id": run.run_id,
        "stop_reason": run.stop_reason,
        "category": run.category or None,
        "citations": list(run.citations),
        "forced_tokens": forced,
        "ms": round(run.ms, 2),
        "steps": steps,
        "receipts": plain(run.receipts),
        "gates": plain([gate for gate in run.gates if not gate.passed]),
    }


async def hosted_reply(state: ServerState, body: ChatRequest) -> Reply:
    """Runs an agent on a conversation; its answer. Raises as `hosted_stream` and `hosted_outcome` do."""
    stream = await hosted_stream(state, body)
    try:
        await awaited(lambda: list(going_on(state, stream)), stream.cancel)
        return hosted_outcome(state, body, stream.result)
    except Exception as error:  # the run's calls would run once more
        failed = api_error(error)
        failed.once = True
        raise failed from error


async def hosted_replying(
    state: ServerState, body: ChatRequest, turn: RequestTurn
) -> AsyncGenerator[str | Reply | Progress, None]:
    """Runs an agent: pieces of its answer's text, between them its steps and calls as events of AG-UI, then the reply.

    The turn is given back at the end, however it comes.
    """
    with turn:
        stream = await hosted_stream(state, body)
        text, ready = AnswerText(), list[str]()

        async def noted() -> AsyncGenerator[dict[str, Any], None]:
            async with aclosing(in_thread(going_on(state, stream), stream.cancel)) as happened:
                async for event in happened:
                    if not (isinstance(event, RunFinished) and event.result.stop_reason == "refused"):
                        ready.append(text.piece(event))
                    yield event.to_dict()

        asked = AgUiInput.model_construct(thread_id="", run_id="")
        async with aclosing(noted()) as happened, aclosing(translated(asked, happened, state.runtime)) as ag_ui:
            async for event in ag_ui:
                for piece in filter(None, ready):
                    yield piece
                ready.clear()
                if not event["type"].startswith(("TEXT_", "RUN_")):  # which OpenAI's chunks say themselves
                    yield event
        yield hosted_outcome(state, body, stream.result)


def going_on(state: ServerState, stream: RunStream[Any]) -> Iterator[Event]:
    """The events of a run, as long as the server does not stop; raises ApiError (503) then."""
    with stream:
        for event in stream:
            state.runs.check_going_on()
            yield event


async def hosted_stream(state: ServerState, body: ChatRequest) -> RunStream[Any]:
    """The run of an agent on a conversation; it has not begun.

    Raises:
        ApiError: 400, the conversation has instructions or does not end with the user.
    """
    talk = await asyncio.to_thread(conversation_of, body.messages)
    if talk.system:
        raise ApiError(400, f"{body.model} is an agent with its own instructions: leave yours out", "agent", "messages")
    messages = talk.messages
    if not messages or messages[-1].role != "user":
        raise ApiError(400, "the last message must be the user's", "invalid_value", "messages")
    (*history, last), agent = messages, state.agents[body.model].agent
    await asyncio.to_thread(check_conversation, state, agent, last.content, history)
    return agent.stream(last.content, messages=history)


def hosted_outcome(state: ServerState, body: ChatRequest, run: RunResult[Any]) -> Reply:
    """The outcome of an agent's run.

    Raises:
        ApiError: 409, a call needs approval.
        TimeLimitError: It took longer than it may.
    """
    state.metrics.count(run.steps, refused=run.stop_reason == "refused")
    if run.stop_reason == "deadline":
        raise TimeLimitError(f"the run of {body.model} took longer than its deadline: ask for less at once")
    if run.stop_reason == "approval":
        where = f"/v1/agents/{body.model}/runs"
        raise ApiError(409, f"a call needs approval, which cannot be given here: start the run at {where}", "approval")
    known = sum(step.tokens.reused for step in run.steps[-1:])
    read = known + sum(step.tokens.prefilled for step in run.steps[-1:])
    return Reply(text=run.output, calls=(), run=run, read=read, reused=known)
