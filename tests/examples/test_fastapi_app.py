"""The web service, asked over HTTP: a real uvicorn in this process, on a scripted runtime."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn

from loraloop.testing import ScriptedRuntime, calls

LONG = "on and on " * 40


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "examples" / "fastapi_app.py"
    spec = importlib.util.spec_from_file_location("fastapi_app", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


async def read(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, each of which names its type twice."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            assert event["type"] == name
            yield event


@asynccontextmanager
async def asked(url: str, **body: Any) -> AsyncIterator[httpx.Response]:
    async with httpx.AsyncClient(timeout=30) as client, client.stream("POST", f"{url}/runs", json=body) as response:
        yield response


async def test_a_run_is_told_as_it_goes(example: ModuleType) -> None:
    runtime = ScriptedRuntime(calls(add={"a": 17, "b": 25}), "It is 42.")
    with served(example.make_app(runtime)) as url:
        async with asked(url, prompt="What is 17 plus 25?") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = [event async for event in read(response)]
    types = [event["type"] for event in events]
    assert types[0] == "RunStarted" and types[-1] == "RunFinished" and "TokenGenerated" in types
    assert [event["call"]["result"] for event in events if event["type"] == "ToolCallFinished"] == [42]
    assert events[-1]["result"]["output"] == "It is 42."


async def test_a_conversation_goes_on_with_what_the_client_sends(example: ModuleType) -> None:
    runtime = ScriptedRuntime("A dog is a good friend.")
    before = [{"role": "user", "content": "A cat?"}, {"role": "assistant", "content": "A cat."}]
    with served(example.make_app(runtime)) as url:
        async with asked(url, prompt="And a dog?", messages=before) as response:
            assert [event async for event in read(response)]
    assert [message.content for message in runtime.turns[0].messages[1:]] == ["A cat?", "A cat.", "And a dog?"]


async def test_who_goes_away_ends_the_run_and_gives_back_what_it_held(example: ModuleType) -> None:
    runtime = ScriptedRuntime(LONG, "Hello.")
    app = example.make_app(runtime)
    with served(app) as url:
        async with asked(url, prompt="Write.") as response:
            async for event in read(response):
                if event["type"] == "TokenGenerated":
                    break
        await asyncio.to_thread(until, lambda: not app.state.running)
        (trunk,) = runtime.store._trunks  # given back, as by any run that ends, and without what was not written
        assert [span.message.content for span in trunk.messages[1:]] == ["Write."]
        async with asked(url, prompt="Hello?") as response:
            assert [event async for event in read(response)][-1]["result"]["output"] == "Hello."


async def test_requests_share_the_runtime_up_to_a_number(example: ModuleType) -> None:
    runtime = ScriptedRuntime(*["Hello."] * 8)
    with served(example.make_app(runtime)) as url:

        async def one() -> str:
            async with asked(url, prompt="Hi") as response:
                return str([event async for event in read(response)][-1]["result"]["output"])

        assert await asyncio.gather(*(one() for _ in range(8))) == ["Hello."] * 8
        async with httpx.AsyncClient() as client:
            health = (await client.get(f"{url}/health")).json()
    assert health["running"] == 0 and health["memory"]["trunks"]["positions"] <= health["memory"]["trunks"]["limit"]


async def test_what_cannot_be_run_is_refused_with_a_reason(example: ModuleType) -> None:
    runtime = ScriptedRuntime(LONG, context=2000)
    with served(example.make_app(runtime, at_once=1)) as url:
        async with httpx.AsyncClient(timeout=30) as client:
            for body in ({"prompt": ""}, {"prompt": "x" * 5000}, {"prompt": "x", "messages": [{"role": "system"}]}):
                assert (await client.post(f"{url}/runs", json=body)).status_code == 422
            assert (
                (await client.post(f"{url}/runs", json={"prompt": "  "})).json()["detail"].startswith("the prompt is")
            )
            async with asked(url, prompt="Write.") as response:
                await anext(read(response))
                full = await client.post(f"{url}/runs", json={"prompt": "Hi"})
                assert full.status_code == 503 and full.headers["retry-after"] == "5"
