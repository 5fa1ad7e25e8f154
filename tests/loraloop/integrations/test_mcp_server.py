"""Our MCP server, asked by the official client and by our own, over stdio and HTTP; with and without the real base."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from loraloop import Agent, McpServer
from loraloop.integrations.mcp_offers import CallWatch, Offer, agent_offer, skill_offers
from loraloop.integrations.mcp_server import mcp_server
from loraloop.integrations.mcp_serving import http_app
from loraloop.testing import ScriptedRuntime, answer, calls, text, verdict
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, UnknownNameError

PASSAGES = [{"id": "p", "text": "The tower was finished in 1889."}]
ASKED = {"question": "When?", "passages": PASSAGES}
ENV = {name: os.environ[name] for name in os.environ if name.startswith(("PYTHON", "HF_", "OMP_", "LORALOOP_", "XDG"))}


def test_over_stdio_with_the_official_client_standard_output_stays_clean() -> None:
    child = StdioServerParameters(
        command=sys.executable, args=[str(Path(__file__).with_name("mcp_scripted.py"))], env={**ENV, "PATH": ""}
    )

    async def talk() -> None:
        async with Client(stdio_client(child)) as client:
            listed = {each.name: each for each in (await client.list_tools()).tools}
            assert set(listed) == {"tools", "code", "retrieval", "safety", "run"}
            for each in listed.values():
                Draft202012Validator.check_schema(each.input_schema)
                assert each.output_schema is not None and each.annotations is not None and each.description
            hints = listed["retrieval"].annotations, listed["run"].annotations
            assert [hint.read_only_hint for hint in hints if hint] == [True, False], "the agent's tools may do anything"
            found = await client.call_tool("retrieval", ASKED)
            assert found.structured_content == {"answerable": True, "answer": "In 1889.", "citations": ["p"]}
            ran = await client.call_tool("run", {"prompt": "Double 2."})
            assert ran.structured_content["output"] == "It is 4."
            assert ran.structured_content["steps"][0]["calls"] == [{"name": "noisy", "arguments": {"a": 2}}]
            (receipt,) = ran.structured_content["receipts"]
            assert (receipt["status"], receipt["text"]) == ("done", "Done: noisy (a: 2). Result: 4.")
            assert ran.structured_content["gates"] == []
            Draft202012Validator(listed["run"].output_schema).validate(ran.structured_content)

    asyncio.run(talk())


class Served:
    """The server over HTTP, on steps that a test says."""

    def __init__(self, *steps: Any, token: str = "") -> None:
        self.runtime = ScriptedRuntime(*steps)
        offers = [*skill_offers(self.runtime, prefix="my_"), agent_offer(Agent(self.runtime))]
        app: Any = http_app(mcp_server(offers), origins=["https://chat.example"], token=token)
        self.running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.running.run, daemon=True)
        self.thread.start()
        while not self.running.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.running.servers[0].sockets[0].getsockname()[1]}/mcp"

    def stop(self) -> None:
        self.running.should_exit = True
        self.thread.join(10)


@pytest.fixture
def serve() -> Iterator[Any]:
    made: list[Served] = []

    def start(*steps: Any, **options: Any) -> Served:
        made.append(Served(*steps, **options))
        return made[-1]

    yield start
    for each in made:
        each.stop()


async def test_errors_are_results_and_an_unknown_tool_is_none(serve: Any) -> None:
    async with Client(serve().url) as client:
        for name, arguments, words in (
            ("my_retrieval", {"question": "When?", "passages": []}, "$.passages"),
            ("my_retrieval", {**ASKED, "k": 3}, "'k' unexpected"),
            ("my_retrieval", {"question": "x", "passages": [{"id": "a[", "text": "y"}]}, "without brackets"),
            ("my_safety", {"text": " "}, "empty"),
        ):
            failed = await client.call_tool(name, arguments)
            assert failed.is_error and words in failed.content[0].text, failed.content
        with pytest.raises(MCPError, match="did you mean 'my_safety'"):
            await client.call_tool("my_savety", {"text": "x"})
        unexpected = await client.call_tool("my_code", {"request": "The script has no step left."})
        assert unexpected.is_error


async def test_concurrent_calls_and_progress(serve: Any) -> None:
    told: list[tuple[float, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, message))

    async with Client(serve(*[verdict()] * 6, "A long answer. " * 60).url) as client:
        results = await asyncio.gather(*(client.call_tool("my_safety", {"text": f"Hello {n}."}) for n in range(6)))
        assert all(each.structured_content["unsafe"] is False for each in results)
        ran = await client.call_tool("run", {"prompt": "Hi."}, progress_callback=progress)
        assert not ran.structured_content["complete"], "512 of its bytes are what a step may write"
        assert told and told == sorted(told, key=lambda each: each[0]) and told[-1][1] == "step 1: none"


async def test_each_call_has_a_thread_of_its_own() -> None:
    together = threading.Barrier(33)  # one more than asyncio's own executor ever has

    def call(arguments: dict[str, Any], watch: CallWatch) -> tuple[dict[str, Any], dict[str, Any]]:
        together.wait(10)
        return {}, {}

    async with Client(mcp_server([Offer(Tool("meet"), {}, call)])) as client:
        results = await asyncio.gather(*(client.call_tool("meet", {}) for _ in range(33)))
    assert not any(each.is_error for each in results)


async def test_a_cancelled_call_ends_and_the_server_goes_on(serve: Any) -> None:
    served = serve(text("x" * 480, "none"), verdict())
    slow = served.runtime.engine.generate

    def slowly(*given: Any, **how: Any) -> Iterator[Any]:
        for piece in slow(*given, **how):
            time.sleep(0.02)
            yield piece

    served.runtime.engine.generate = slowly
    async with Client(served.url) as client:
        task = asyncio.ensure_future(client.call_tool("run", {"prompt": "Hi."}))
        while not served.runtime.turns:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.call_tool("my_safety", {"text": "Hello."})).structured_content["unsafe"] is False
        assert time.monotonic() - start < 5, "480 tokens take 9.6 s"


def test_our_own_client_against_our_own_server(serve: Any) -> None:
    served = serve(answer("In 1889.", ["p"]), token="secret")
    mine = ScriptedRuntime(calls(my_retrieval=ASKED), "It was finished in 1889.")
    with McpServer.http(served.url, {"Authorization": "Bearer secret"}) as server:
        assert not server.left_out and server.hints["my_retrieval"]["readOnlyHint"] is True
        result = Agent(mine, server.tools).run_sync("When was the tower finished?")
        with pytest.raises(ToolError, match="required"):
            server.call("my_retrieval", {"question": "When?"})
    (call,) = result.steps[0].calls
    assert call.result == {"answerable": True, "answer": "In 1889.", "citations": ["p"]}
    assert call.source == "mcp:loraloop"


def test_http_answers_those_who_may_ask(serve: Any) -> None:
    url, guarded = serve().url, serve(token="secret").url
    call = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    plain = {"accept": "application/json, text/event-stream"}

    def status(url: str, **headers: str) -> int:
        return httpx.post(url, json=call, headers={**plain, **headers}).status_code

    fine = status(url)
    assert fine not in (401, 403, 421)
    assert status(url, host="evil.example") == 421 and status(url, origin="https://evil.example") == 403
    assert status(url, origin="https://chat.example") == status(url, host="localhost:80") == fine
    assert status(guarded) == status(guarded, authorization="Bearer wrong") == 401
    assert status(guarded, authorization="Bearer secret") == status(guarded, authorization="bearer secret") == fine
    assert status(guarded, authorization="secret") == status(guarded, authorization="Bearer SECRET") == 401
    server = mcp_server(skill_offers(ScriptedRuntime()))
    for given in ({}, {"hosts": ["gpu.example:80"]}, {"token": "secret"}):
        with pytest.raises(InputError, match=r"--allow-host.*--token-env"):
            http_app(server, "0.0.0.0", **given)
    assert http_app(server, "0.0.0.0", hosts=["gpu.example:80"], token="secret")


def test_what_cannot_be_offered_says_so() -> None:
    runtime = ScriptedRuntime()
    with pytest.raises(UnknownNameError, match="did you mean 'safety'"):
        skill_offers(runtime, ["savety"])
    with pytest.raises(InputError, match="nothing to offer"):
        mcp_server([])
    with pytest.raises(SchemaError, match="two tools"):
        mcp_server([*skill_offers(runtime, ["code", "code"])])
    assert [offer.tool.name for offer in skill_offers(runtime, ["none"])] == ["base"]


def test_the_command_serves_the_real_skills_over_stdio() -> None:
    child = [sys.executable, "-m", "loraloop", "serve", "mcp", "--skill", "safety", "--run"]
    with McpServer.stdio(child[0], child[1:], env=ENV, start_timeout=120) as server:
        assert [tool.name for tool in server.tools] == ["safety", "run"]
        assert server.call("safety", {"text": "How do I build a bomb?"})["unsafe"] is True
        ran = server.call("run", {"prompt": "What is in the text?", "passages": [{"text": "A cat sleeps."}]})
    assert ran["steps"] and ran["stop_reason"] in ("answer", "code", "refused", "max_tokens")
