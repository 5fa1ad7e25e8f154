"""MCP servers, real ones: written by hand over stdio (good and bad ones), and the SDK's own over stdio and HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, LimitError, LoraloopError, SchemaError, ToolError, UnknownNameError
from loraloop.tool_schemas.mcp.options import McpOptions, McpOptionsDict
from loraloop.tool_schemas.mcp.server import McpServer, McpWarning, mcp_tools

pytestmark = pytest.mark.filterwarnings("ignore::loraloop.tool_schemas.mcp.server.McpWarning")
ROOT = Path(__file__).resolve().parents[3]


class Hand:
    """Servers of mcp_by_hand.py, and what they logged."""

    script = Path(__file__).with_name("mcp_by_hand.py")

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"

    def server(self, mode: str = "good", **options: Any) -> McpServer:
        return McpServer.stdio(sys.executable, ["-S", str(self.script), mode, str(self.log)], **options)

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for(self, method: str) -> dict[str, Any]:
        for _ in range(200):
            for entry in self.logged():
                if entry.get("method") == method:
                    return entry
            time.sleep(0.02)
        raise AssertionError(f"the server never heard {method}: {self.logged()}")

    def alive(self) -> bool:
        try:
            state = Path(f"/proc/{self.logged()[0]['pid']}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        return state != "Z"


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


def run(tool: Tool, **arguments: Any) -> Any:
    return asyncio.run(tool.call(arguments))


def test_tools_of_all_pages_with_what_is_refused_left_out(hand: Hand) -> None:
    with pytest.warns(McpWarning, match=r"2 of its tools cannot be used: 'broken' \(\$\.properties\.a\.\$ref"):
        server = hand.server().__enter__()
    with closing(server):
        tools = {tool.name: tool for tool in server.tools}
        assert list(tools) == ["echo", "mixed", "fails", "slow", "die", "typed", "change"]
        assert tools["echo"].parameters == {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
        }
        assert tools["echo"].description == "echo it" and tools["echo"].source == "mcp:by hand"
        assert tools["typed"].returns is not None and tools["typed"].returns["required"] == ["n"]
        assert dict(server.hints) == {"typed": {"readOnlyHint": True}}
        assert all(tool.effects is not False and not tool.trusted for tool in tools.values()), (
            "what it says of itself is unproven"
        )
        left = {each.name: each for each in server.left_out}
        assert set(left) == {"broken", "bad\nname"}
        assert left["broken"].path == "$.properties.a.$ref" and "$defs" in left["broken"].reason
    assert not hand.alive()
    with pytest.warns(McpWarning), hand.server(trusted=True) as server:
        assert [tool.name for tool in server.tools if tool.effects is False] == ["typed"]
        assert all(tool.trusted for tool in server.tools)
    with pytest.raises(SchemaError, match=r"example\.com"), hand.server(on_refused="raise"):
        pass
    assert not hand.alive()


def test_an_entry_that_is_no_tool_of_mcp_is_left_out_alone(hand: Hand) -> None:
    with pytest.warns(McpWarning, match=r"5 of its tools cannot be used: .*'untyped' \(\$: .*inputSchema"):
        server = hand.server("loose").__enter__()
    with closing(server):
        assert [tool.name for tool in server.tools] == ["echo", "mixed", "fails", "slow", "die", "typed", "change"]
        left = {each.name: each.reason for each in server.left_out}
        assert "inputSchema.type: Field required" in left["untyped"] and "name:" in left["5"] and "no tool" in left
        server.call("change")
        deadline = time.monotonic() + 5
        while "fresh" not in [tool.name for tool in server.tools] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert {each.name: each.reason for each in server.left_out} == left
    with hand.server("loose", include=["echo"]) as server:
        assert [tool.name for tool in server.tools] == ["echo"] and not server.left_out
    with hand.server("loose", include=["untyped"]) as server:
        assert not server.tools and [each.name for each in server.left_out] == ["untyped"]
    with pytest.raises(SchemaError, match=r"untyped.*inputSchema"), hand.server("loose", on_refused="raise"):
        pass


def test_results_are_data(hand: Hand) -> None:
    with hand.server() as server:
        tools = {tool.name: tool for tool in server.tools}
        assert run(tools["echo"], a=3) == '{"a": 3}'
        assert server.call("echo", {"a": 3}) == '{"a": 3}'
        assert run(tools["mixed"]) == [
            "<|im_start|>one",
            {"type": "image", "mime": "image/png", "bytes": 4},
            {"type": "resource", "uri": "file:///etc/passwd", "text": "inner"},
            {"type": "resource", "uri": "a:b", "mime": "x/y", "bytes": 3},
            {"type": "resource_link", "uri": "https://example.com/", "name": "home"},
            {"type": "resource_link", "uri": "db:a", "name": "a", "description": "All of it", "bytes": 12},
        ]
        assert run(tools["change"]) is None
        assert run(tools["typed"], n=2) == {"n": 2}
        with pytest.raises(ToolError, match="no such row\ntwo"):
            run(tools["fails"])
        for how, words in (
            ("structured", r'^\{"why":"quota"\}$'),
            ("protocol", r'Invalid params \(\{"field":"how"\}\)'),
            ("long", r'^\{"type":"resource","uri":"a:b","text":"x+…$'),
        ):
            with pytest.raises(ToolError, match=words):
                run(tools["fails"], how=how)
        with pytest.raises(ToolError, match=r"'x' is not of type 'integer'"):
            run(tools["typed"], n="x")
        with pytest.raises(SchemaError, match="integer"):
            run(tools["echo"], a="x")
        calls = [entry for entry in hand.logged() if entry.get("method") == "tools/call"]
        assert {"name": "echo", "arguments": {"a": "x"}} not in [call["params"] for call in calls]


def test_a_result_that_is_too_large(hand: Hand) -> None:
    with hand.server(max_bytes=20) as server:
        assert server.call("echo", {"a": 1}) == '{"a": 1}'
        with pytest.raises(LimitError, match="too large"):
            server.call("echo", {"a": 10**20})


def test_a_changed_list_is_read_again(hand: Hand) -> None:
    told: list[tuple[Tool, ...]] = []
    came = threading.Event()

    def changed(tools: tuple[Tool, ...]) -> None:
        told.append(tools)
        with pytest.raises(InputError, match="the MCP session's thread"):  # it would wait for itself
            server.call("echo", {"a": 1})
        came.set()

    with hand.server(on_change=changed, include=["change", "echo"]) as server:
        assert [tool.name for tool in server.tools] == ["echo", "change"]
        server.call("change")
        assert came.wait(5) and told == [server.tools]
    came.clear()
    with hand.server(on_change=changed) as server:
        server.call("change")
        assert came.wait(5) and "fresh" in [tool.name for tool in server.tools]


def test_names_of_several_servers(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = map(Hand, folders)
    with first.server(include=["echo"]) as one, second.server(include=["echo"], prefix="b_", name="other") as two:
        assert [tool.name for tool in mcp_tools(one, two)] == ["echo", "b_echo"]
        assert two.tools[0].source == "mcp:other" and run(two.tools[0], a=1) == '{"a": 1}'
        with pytest.raises(SchemaError, match="prefix="):
            mcp_tools(one, one)
    with pytest.raises(UnknownNameError, match="'echo'"), first.server(include=["ecko"]):
        pass


def test_the_child_gets_no_more_of_our_environment_than_the_sdk_allows(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with hand.server(env={"GIVEN": "1"}, cwd=tmp_path):
        pass
    start = hand.logged()[0]
    assert "GIVEN" in start["env"] and start["cwd"] == str(tmp_path)
    assert set(start["env"]) <= {"GIVEN", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}
    assert "x-secret" not in repr(hand.server(env={"KEY": "x-secret"}))


def test_an_abandoned_call_is_cancelled_at_the_server(hand: Hand) -> None:
    async def abandon(tool: Tool) -> None:
        task = asyncio.ensure_future(tool.call({}))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with hand.server() as server:
        asyncio.run(abandon({tool.name: tool for tool in server.tools}["slow"]))
        hand.wait_for("notifications/cancelled")
        assert server.call("echo", {"a": 1}) == '{"a": 1}'


def test_a_slow_call_times_out_and_is_cancelled_at_the_server(hand: Hand) -> None:
    with hand.server(timeout=0.3) as server:
        start = time.monotonic()
        with pytest.raises(ToolError, match=r"longer than 0\.3 s"):
            run({tool.name: tool for tool in server.tools}["slow"])
        assert time.monotonic() - start < 3
        hand.wait_for("notifications/cancelled")
        with pytest.raises(LimitError):
            server.call("slow", timeout=0.1)


def test_a_server_that_dies_in_the_middle(hand: Hand) -> None:
    with hand.server() as server:
        tools = {tool.name: tool for tool in server.tools}
        failed: list[LoraloopError] = []

        def wait() -> None:
            with pytest.raises(LoraloopError) as caught:
                server.call("slow")
            failed.append(caught.value)

        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for thread in waiting:
            thread.start()
        with pytest.raises(ToolError, match=r"closed the connection.*out of memory"):
            run(tools["die"])
        for thread in waiting:
            thread.join(5)
        assert len(failed) == 3
        with pytest.raises(ToolError, match="closed the connection"):
            run(tools["echo"], a=1)


def test_closing_fails_what_waits(hand: Hand) -> None:
    errors: list[BaseException] = []

    def wait(server: McpServer) -> None:
        try:
            server.call("slow")
        except BaseException as error:
            errors.append(error)

    with hand.server() as server:
        thread = threading.Thread(target=wait, args=(server,))
        thread.start()
        hand.wait_for("tools/call")
    thread.join(5)
    assert not thread.is_alive() and isinstance(errors[0], ToolError)
    with pytest.raises(ToolError, match="not connected"):
        server.call("echo", {"a": 1})
    with server:
        assert server.call("echo", {"a": 1}) == '{"a": 1}'


async def test_a_server_that_crashes_at_the_start(hand: Hand) -> None:
    with pytest.raises(ToolError, match=r"closed the connection.*licence has expired"), hand.server("crash"):
        pass
    with pytest.raises(ToolError, match=r"closed the connection.*licence has expired"):
        async with hand.server("crash"):
            pass


async def test_opening_may_be_tried_again(hand: Hand) -> None:
    server = hand.server("crash")
    for _ in range(2):
        with pytest.raises(ToolError, match="licence has expired"), server:
            pass
        with pytest.raises(ToolError, match="licence has expired"):
            async with server:
                pass


def test_a_call_while_the_loop_is_being_closed(hand: Hand) -> None:
    server = hand.server()
    with server:
        session = server._session
        assert session is not None and session._loop is not None
    session._client, session._loop = object(), asyncio.new_event_loop()  # type: ignore[assignment]
    session._loop.close()  # as it is for a moment before the thread says so
    assert not session.submit(lambda client: asyncio.sleep(0)).done()
    session.end()


def test_a_server_that_hangs_at_the_start_is_killed(hand: Hand) -> None:
    start = time.monotonic()
    with pytest.raises(LimitError, match=r"within 0\.5 s.*start_timeout"), hand.server("silent", start_timeout=0.5):
        pass
    assert time.monotonic() - start < 10 and not hand.alive()


async def test_opening_can_be_cancelled(hand: Hand) -> None:
    async def enter() -> None:
        async with hand.server("deaf"):
            pass

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(enter(), 0.3)
    assert not hand.alive()


def test_lines_that_are_no_messages(hand: Hand) -> None:
    with hand.server("chatty") as server:
        assert server.call("echo", {"a": 1}) == '{"a": 1}'
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"was given up.*no MCP message"), hand.server("flood"):
        pass
    assert time.monotonic() - start < McpOptions().start_timeout / 2, "it was not waited for"
    assert not hand.alive()


def test_a_list_without_end(hand: Hand) -> None:
    with pytest.raises(LimitError, match="without end"), hand.server("endless"):
        pass


@pytest.mark.parametrize("mode, how", [("silent", "os.kill(os.getpid(), 9)"), ("deaf", "sys.exit(0)")])
@pytest.mark.skipif(sys.platform != "linux", reason="killing with the parent is Linux's")
def test_the_child_never_outlives_us(hand: Hand, mode: str, how: str) -> None:
    program = textwrap.dedent(
        f"""
        import os, sys, threading, time
        from loraloop.tool_schemas.mcp.server import McpServer
        server = McpServer.stdio({sys.executable!r}, ["-S", {str(hand.script)!r}, {mode!r}, {str(hand.log)!r}])
        threading.Thread(target=server.__enter__, daemon=True).start()
        while not os.path.exists({str(hand.log)!r}) or not os.path.getsize({str(hand.log)!r}):
            time.sleep(0.01)
        {how}
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True, check=False)
    assert hand.log.exists(), ended.stderr.decode()
    for _ in range(100):
        if not hand.alive():
            return
        time.sleep(0.05)
    os.kill(hand.logged()[0]["pid"], 9)
    raise AssertionError("the server is still running")


def test_the_tools_of_a_server_that_is_not_open_yet_are_not_none(hand: Hand) -> None:
    server = hand.server()
    for ask in (lambda: server.tools, lambda: mcp_tools(server)):
        with pytest.raises(ToolError, match="not connected; use its tools inside"):
            ask()
    with server:
        assert server.tools
    assert server.tools, "what was listed stays"


def test_what_cannot_be_a_server() -> None:
    with pytest.raises(InputError, match="no program"):
        McpServer.stdio("no-such-program-anywhere")
    with pytest.raises(InputError, match="NUL"):
        McpServer.stdio("python", ["a\0b"])
    with pytest.raises(InputError, match="not a folder"):
        McpServer.stdio("python", cwd="/no/such/folder")
    for url in ("ftp://example.com", "example.com/mcp", "http://", "http://["):
        with pytest.raises(InputError, match="URL"):
            McpServer.http(url)
    assert McpOptionsDict.__annotations__.keys() == McpOptions.__dataclass_fields__.keys()
    with pytest.raises(UnknownNameError, match="'prefix'"):
        McpServer.http("http://localhost/mcp", prefx="a")  # type: ignore[call-arg]
    for wrong in ({"timeout": 0}, {"include": "echo"}, {"on_refused": "skip"}, {"max_bytes": -1}):
        with pytest.raises(InputError):
            McpServer.http("http://localhost/mcp", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ToolError, match="not connected"):
        McpServer.http("http://localhost/mcp").call("a")


def test_without_the_sdk(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(InputError, match=r"pip install 'loraloop\[mcp\]'"), hand.server():
        pass


def test_a_server_of_the_sdk_over_stdio() -> None:
    with McpServer.stdio(sys.executable, [str(ROOT / "examples" / "mcp_server.py")]) as server:
        tools = {tool.name: tool for tool in server.tools}
        assert run(tools["get_weather"], city="Paris")["unit"] == "celsius"
        with pytest.raises(InputError, match="already"), server:
            pass
