"""``loraloop serve``: `mcp` offers the skills, and the agent, to other programs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from loraloop.cli.options import BaseOptions, Instructions, Python, ToolOptions, command

serve_app = typer.Typer(no_args_is_help=True, help="Serve skills and agents to other programs.")

Many = list[str] | None


@serve_app.callback()
def serve() -> None:
    """Serve skills and agents to other programs."""


@serve_app.command()
@command
def mcp(
    context: typer.Context,
    tools: ToolOptions,
    base: BaseOptions,
    skills: Annotated[
        Many, typer.Option("--skill", help="A skill to offer; repeatable. All where none is named; `none` is the base.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before each tool's name.")] = "",
    run: Annotated[bool, typer.Option("--run", help="Offer the whole agent too, as the tool `run`.")] = False,
    python: Python = False,
    instructions: Instructions = "",
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of standard input and output.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")] = 8000,
    allow_host: Annotated[
        Many, typer.Option("--allow-host", help="Name under which the server may be asked, such as gpu.example:8000.")
    ] = None,
    allow_origin: Annotated[
        Many, typer.Option("--allow-origin", help="Origin of pages that may ask it, such as https://chat.example.")
    ] = None,
    token_env: Annotated[
        str, typer.Option("--token-env", help="Variable with the bearer token that HTTP requests have to bring.")
    ] = "",
) -> None:
    """Offer skills as MCP tools, over standard input and output or HTTP. All else is written to standard error."""
    import asyncio
    import logging

    from loraloop.integrations.mcp_offers import agent_offer, skill_offers
    from loraloop.integrations.mcp_server import mcp_server, need_sdk
    from loraloop.integrations.mcp_serving import http_app, serve_http, serve_stdio
    from loraloop.tool_schemas.errors import InputError

    need_sdk()
    import mcp.server.lowlevel as lowlevel

    if not run and (tools.tools or tools.mcp or python or instructions):
        raise InputError("--tools, --mcp, --python and --instructions are of the agent: add --run to offer it")
    token = os.environ.get(token_env, "") if token_env else ""
    if token_env and not token:
        raise InputError(f"the variable {token_env} is empty: put the token there")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

    def make() -> lowlevel.Server:
        from loraloop.agent import Agent

        given = tools.load(context)
        runtime = base.open(quiet=True)
        offers = skill_offers(runtime, skills, prefix)
        if run:
            agent = Agent(runtime, tools=given, python=python, instructions=instructions)
            offers.append(agent_offer(agent, prefix + "run"))
        return mcp_server(offers)

    if not http:
        asyncio.run(serve_stdio(make))
        return
    app = http_app(make(), host, hosts=allow_host or (), origins=allow_origin or (), token=token)
    asyncio.run(serve_http(app, host, port, lambda url: sys.stderr.write(f"listening on {url}\n")))
