"""``loraloop serve``: OpenAI's API, decisions, hosted agents and a page; `serve mcp` offers skills as MCP tools."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloop.cli.options import (
    AgentOptions,
    BaseOptions,
    Instructions,
    Python,
    ToolSources,
    command,
    policy_of,
    secret,
)
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from ray.serve import Application

    from loraloop.server.settings import ServerSettings
    from loraloop.server.state import ServerState

serve_app = typer.Typer(help="Serve skills and agents to other programs.")

Many = list[str] | None
AllowHost = Annotated[Many, typer.Option(help="Host name that requests may have, such as gpu.example:8000.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")]
AllowOrigin = Annotated[Many, typer.Option(help="Origin of web pages that may use it, such as https://chat.example.")]


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """The limits of a server, from the command line."""

    concurrency: Annotated[int, typer.Option(min=1, help="Maximum number of requests that run at the same time.")] = 16
    queue: Annotated[
        int, typer.Option(min=0, help="Maximum number of waiting requests; one more is answered with 429.")
    ] = 64
    per_key: Annotated[
        int, typer.Option(min=1, help="Maximum number of running and waiting requests per key (or address).")
    ] = 32
    per_minute: Annotated[
        int, typer.Option(min=0, help="Maximum number of requests per minute and key (or address); 0: no limit.")
    ] = 0
    max_prompt: Annotated[
        int, typer.Option(min=0, help="Maximum number of tokens of a conversation; 0: what can be read in time.")
    ] = 0
    seconds: Annotated[float, typer.Option("--timeout", min=1, help="Maximum seconds of a request.")] = 300.0


@serve_app.callback(invoke_without_command=True)
@command
def serve(
    context: typer.Context,
    agent: AgentOptions,
    tools: ToolSources,
    base: BaseOptions,
    bounds: LimitOptions,
    agents: Annotated[Path | None, typer.Option(help="YAML file of hosted agents; see docs/serve.md.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a key.")
    ] = "127.0.0.1",
    port: Port = 8000,
    key_env: Annotated[
        str, typer.Option(help="Environment variable with the keys of clients, separated by commas.")
    ] = "",
    admin_key_env: Annotated[str, typer.Option(help="Environment variable with the key that may change skills.")] = "",
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    folder: Annotated[
        Path | None, typer.Option("--state", help="Folder for waiting runs and conversations, kept across restarts.")
    ] = None,
    sessions: Annotated[
        str, typer.Option(help="Keep them in a file, or in PostgreSQL (postgresql://…) for many servers.")
    ] = "",
    replicas: Annotated[
        int, typer.Option("--ray", metavar="N", min=0, help="Serve N replicas under Ray Serve; they need --sessions.")
    ] = 0,
) -> None:
    """Serve OpenAI's API, decisions, hosted agents and a page: open the address in a browser.

    `auto` routes, a skill's name forces it, `assistant` is an agent with --tools, --docs and --instructions.
    """
    if context.invoked_subcommand is not None:
        return
    from loraloop.server.settings import ServerLimits, ServerSettings, need_extra

    need_extra()
    keys = frozenset(word.strip() for word in secret(key_env).split(",") if word.strip())
    if key_env and not keys:
        raise InputError(f"the variable {key_env} holds commas and no key: put the keys there")
    settings = ServerSettings(
        host,
        port,
        keys=keys,
        admin_key=secret(admin_key_env),
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
        limits=ServerLimits(**asdict(bounds)),
        folder=folder,
        sessions=sessions,
    )
    parts = ServerParts(settings, agent, tools, base, agents)
    if context.obj is not None:  # `ray_application` reads the options
        context.obj(parts)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what is open is closed, as after SIGINT
    if replicas:
        from loraloop.scale.replicas import serve_replicas

        serve_replicas(parts.open, settings, replicas, _listening)
        return
    from loraloop.server.app import serve as start

    with ExitStack() as stack:
        start(parts.open(stack), _listening)


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What the command line says of a server: plain data, which every replica opens for itself."""

    settings: ServerSettings
    agent: AgentOptions
    tools: ToolSources
    base: BaseOptions
    agents: Path | None

    def open(self, stack: ExitStack | None = None) -> ServerState:
        """Loads the base, the tools and the agents.

        Args:
            stack: Closes connections and threads with the server; without one, they end with the process.
        """
        from loraloop.agent.tracing.otel import OpenTelemetry
        from loraloop.inputs.loading import read_documents
        from loraloop.inputs.skill_watch import SkillWatch
        from loraloop.server.agents import read_agents
        from loraloop.server.runs import HostedAgent
        from loraloop.server.state import ServerState

        stack = ExitStack() if stack is None else stack
        offered, index = self.tools.load(stack.enter_context), read_documents(self.agent.docs)
        runtime = self.base.open()
        seconds = self.settings.limits.seconds
        options = replace(self.agent, deadline=self.agent.deadline or seconds)
        own = options.agent(runtime, offered, index, hooks=[OpenTelemetry(agent="assistant")])
        hosted = {"assistant": HostedAgent("assistant", own, "The agent of the command line")}
        if self.agents is not None:
            local = policy_of(self.tools.allow_local)
            hosted |= read_agents(self.agents, runtime, stack, seconds, local)
        watch = SkillWatch(runtime, lambda: self.base.folders(runtime))
        watch.start()
        stack.callback(watch.stop)
        return ServerState(runtime, self.settings, hosted, own.fallback)


def ray_application(args: dict[str, list[str]]) -> Application:
    """The server as an application that a configuration of Ray Serve names, such as a `RayService` of KubeRay.

    Args:
        args: `options`, a list of options of `loraloop serve`. The number of replicas and the port are Ray Serve's.

    Raises:
        InputError: An option is one that Ray Serve has of its own; or see `loraloop.scale.replicas.application`.
    """
    from loraloop.scale.replicas import application

    for option in args["options"]:
        if option.partition("=")[0] in ("--ray", "--port"):
            raise InputError(f"{option}: num_replicas and http_options of the configuration say it; leave it out")
    found: list[ServerParts] = []
    serving = typer.main.get_command(serve_app)
    serving.main(list(args["options"]), "loraloop serve", standalone_mode=False, obj=found.append)
    (parts,) = found
    return application(parts.open, parts.settings)


def _listening(url: str) -> None:
    sys.stderr.write(f"listening on {url}\n")


@serve_app.command()
@command
def mcp(
    context: typer.Context,
    tools: ToolSources,
    base: BaseOptions,
    skills: Annotated[
        Many, typer.Option("--skill", help="A skill to offer; repeatable. All where none is named; `none` is the base.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Text before each tool's name.")] = "",
    run: Annotated[bool, typer.Option("--run", help="Offer the whole agent too, as the tool `run`.")] = False,
    python: Python = False,
    instructions: Instructions = "",
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of standard input and output.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    token_env: Annotated[
        str, typer.Option(help="Environment variable with the bearer token that HTTP requests need.")
    ] = "",
) -> None:
    """Offer skills as MCP tools, over standard input and output or HTTP. All else is written to standard error."""
    import asyncio
    import logging

    from loraloop.integrations.mcp_offers import agent_offer, skill_offers
    from loraloop.integrations.mcp_server import mcp_server
    from loraloop.integrations.mcp_serving import http_app, serve_http, serve_stdio
    from loraloop.tool_schemas.mcp.server import need_sdk

    need_sdk()
    import mcp.server.lowlevel as lowlevel

    if not run and (tools.tools or tools.mcp or python or instructions):
        raise InputError("--tools, --mcp, --python and --instructions configure an agent: add --run to offer one")
    token = secret(token_env)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

    def make() -> lowlevel.Server:
        from loraloop.agent import Agent

        offered = tools.load(context.with_resource)
        runtime = base.open(quiet=True)
        offers = skill_offers(runtime, skills, prefix)
        if run:
            agent = Agent(runtime, tools=offered, python=python, instructions=instructions)
            offers.append(agent_offer(agent, prefix + "run"))
        return mcp_server(offers)

    if not http:
        asyncio.run(serve_stdio(make))
        return
    app = http_app(make(), host, hosts=allow_host or (), origins=allow_origin or (), token=token)
    asyncio.run(serve_http(app, host, port, lambda url: sys.stderr.write(f"listening on {url}\n")))
