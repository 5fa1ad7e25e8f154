"""MCP over streamable HTTP, with the SDK's own server behind a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from loraloop.tool_schemas.errors import LimitError, LoraloopError, ToolError
from loraloop.tool_schemas.mcp.server import McpServer


class Served:
    """A server of the SDK over HTTP, which wants a token and can change its tools."""

    def __init__(self) -> None:
        self.running = uvicorn.Server(uvicorn.Config(_app(), port=0, log_level="error", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.running.run, daemon=True)
        self.thread.start()
        while not self.running.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.running.servers[0].sockets[0].getsockname()[1]}/mcp"

    def stop(self) -> None:
        self.running.should_exit = True
        self.thread.join(10)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.stop()


def _app() -> Any:
    made = MCPServer("over http")

    @made.tool()
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @made.tool()
    async def grow(ctx: Context) -> str:
        """Makes one more tool."""
        made.add_tool(lambda: "new", name="fresh", description="New.")
        await ctx.notify_tools_changed()
        return "done"

    @made.tool()
    async def wait() -> str:
        """Waits."""
        await asyncio.sleep(30)
        return "late"

    inner = made.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != b"Bearer t0ken":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    return app


async def test_a_server_of_the_sdk_over_http(served: Served) -> None:
    url = served.url
    came = threading.Event()
    token = {"Authorization": "Bearer t0ken"}
    async with McpServer.http(url, token, on_change=lambda tools: came.set(), timeout=5) as server:
        tools = {tool.name: tool for tool in server.tools}
        assert await tools["add"].call({"a": 2, "b": 3}) == {"result": 5}
        results = await asyncio.gather(*(tools["add"].call({"a": i, "b": 1}) for i in range(20)))
        assert [each["result"] for each in results] == list(range(1, 21))
        with pytest.raises(LimitError, match="longer"):
            await server.call_async("wait", timeout=0.2)
        await tools["grow"].call({})
        assert await asyncio.to_thread(came.wait, 5) and "fresh" in [tool.name for tool in server.tools]
        assert "t0ken" not in repr(server)
    with pytest.raises(LoraloopError, match="HTTP 401 Unauthorized"):
        async with McpServer.http(url, {"Authorization": "Bearer wr0ng"}):
            pass


def test_nobody_at_the_url() -> None:
    start = time.monotonic()
    with pytest.raises(ToolError, match="failed"), McpServer.http("http://127.0.0.1:9/mcp"):
        pass
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/mcp"
        with pytest.raises(LimitError, match=r"within 0\.5 s"), McpServer.http(url, start_timeout=0.5):
            pass
    assert time.monotonic() - start < 10


def test_an_http_server_that_dies_in_the_middle(served: Served) -> None:
    with McpServer.http(served.url, {"Authorization": "Bearer t0ken"}, timeout=5) as server:
        assert server.call("add", {"a": 1, "b": 1}) == {"result": 2}
        served.stop()
        start = time.monotonic()
        with pytest.raises(LoraloopError):
            server.call("add", {"a": 1, "b": 1})
        assert time.monotonic() - start < 8


TOLD = ("forget", "work", "missing", "fails")


class Forgetful(BaseHTTPRequestHandler):
    """A server of 2025-06-18 that knows one session, and forgets it when a tool says so."""

    protocol_version = "HTTP/1.1"
    sessions = 0
    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, method, known = type(self), asked["method"], self.headers["Mcp-Session-Id"]
        if method == "initialize":
            kind.sessions += 1
        elif method != "server/discover" and known != str(kind.sessions):
            unknown = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}
            return self.answer(404, unknown if kind.sessions == 2 else None)
        if method == "tools/call":
            name = asked["params"]["name"]
            kind.calls.append(name)
            if name in ("missing", "fails"):  # the one says so with the status 404, as the protocol has it
                problem = {"code": -32601 if name == "missing" else -32000, "message": f"it {name}"}
                reply = {"jsonrpc": "2.0", "id": asked["id"], "error": problem}
                return self.answer(404 if name == "missing" else 200, reply)
            kind.sessions += name == "forget"
        reply = {"jsonrpc": "2.0", "id": asked["id"], **self.says(method)} if "id" in asked else None
        self.answer(202 if reply is None else 200, reply)

    def says(self, method: str) -> dict[str, Any]:
        named = {"name": "forgetful", "version": "1"}
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": "2025-06-18", "serverInfo": named, "capabilities": {"tools": {}}},
            "tools/list": {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in TOLD]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        return {"result": results[method]} if method in results else {"error": {"code": -32601, "message": "none"}}

    def answer(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Mcp-Session-Id", str(type(self).sessions))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


async def test_a_session_that_the_server_has_ended_is_followed_by_another() -> None:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    with running:
        async with McpServer.http(f"http://127.0.0.1:{running.server_port}/mcp", timeout=5) as server:
            for name in ("missing", "fails"):
                with pytest.raises(ToolError, match=f"it {name}"):
                    await server.call_async(name)
            for _ in range(2):
                assert await server.call_async("forget") == "done"
                assert await asyncio.gather(*(server.call_async("work") for _ in range(3))) == ["done"] * 3
        running.shutdown()
    assert Forgetful.calls == ["missing", "fails"] + (["forget"] + ["work"] * 3) * 2, "each call ran once"
    assert Forgetful.sessions == 5, "three were opened, two forgotten"
