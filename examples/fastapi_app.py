"""A web service: one runtime for all requests, each run's events as server-sent events, and an end when nobody listens.

    python examples/fastapi_app.py
    curl -N localhost:8000/runs -H 'content-type: application/json' -d '{"prompt": "What is 17 plus 25?"}'

A client that goes away ends its run at the next token: its slot and its memory are free for others.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from loraloop import Agent, Limits, LoraloopError, Message, Runtime, tool
from loraloop.agent import RunStream

LIMITS = Limits(max_steps=6, step_tokens=128, run_tokens=512, deadline=60, tool_timeout=10)
AT_ONCE = 16  # runs; who comes then is told to come again


class Said(BaseModel):
    """A message of the conversation so far."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=20_000)


class Asked(BaseModel):
    """The body of a request."""

    prompt: str = Field(min_length=1, max_length=4_000)
    messages: list[Said] = Field(default=[], max_length=50)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number
        b: Second number
    """
    return a + b


def make_app(runtime: Runtime, at_once: int = AT_ONCE) -> FastAPI:
    """The service, on a runtime."""
    app = FastAPI(title="An agent")
    agent = Agent(runtime, tools=[add], instructions="You are a helpful assistant.", limits=LIMITS)
    running: set[RunStream[None]] = set()
    app.state.running = running

    async def events(stream: RunStream[None]) -> AsyncIterator[str]:
        try:
            async for event in stream:  # cancelled when the client has gone, and so is the run then
                yield f"event: {event.type}\ndata: {event.to_json()}\n\n"
        except LoraloopError as error:
            yield f"event: Failed\ndata: {error}\n\n"
        finally:
            running.discard(stream)

    @app.post("/runs")
    async def run(asked: Asked) -> StreamingResponse:
        if len(running) >= at_once:
            raise HTTPException(503, f"{at_once} runs are going on", headers={"Retry-After": "5"})
        messages = [Message(said.role, said.content) for said in asked.messages]
        try:
            stream = agent.stream(asked.prompt, messages=messages)
        except LoraloopError as error:
            raise HTTPException(422, str(error)) from error
        running.add(stream)
        return StreamingResponse(events(stream), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        memory = await asyncio.to_thread(runtime.memory)
        return {"running": len(running), "skills": list(runtime.skills), "memory": memory.to_dict()}

    return app


def main() -> None:
    import uvicorn

    uvicorn.run(make_app(Runtime.load()), host="127.0.0.1", port=8000)


if __name__ == "__main__":
    main()
