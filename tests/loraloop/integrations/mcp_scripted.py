"""Our MCP server over stdio on scripted steps, run as a child process; it also writes to standard output itself."""

from __future__ import annotations

import asyncio
import os

from mcp.server.lowlevel import Server

from loraloop import Agent
from loraloop.integrations.mcp_offers import agent_offer, skill_offers
from loraloop.integrations.mcp_server import mcp_server
from loraloop.integrations.mcp_serving import serve_stdio
from loraloop.testing import ScriptedRuntime, answer, calls


def noisy(a: int) -> int:
    """Doubles, loudly."""
    print("noise from a tool")
    os.write(1, b"noise below Python\n")
    return 2 * a


def make() -> Server:
    print("noise while loading")
    runtime = ScriptedRuntime(answer("In 1889.", ["p"]), calls(noisy={"a": 2}), "It is 4.")
    return mcp_server([*skill_offers(runtime), agent_offer(Agent(runtime, [noisy]))])


asyncio.run(serve_stdio(make))
