"""Starting a server, and stopping it without losing a run."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime
    from loraloop.server.agents import HostedAgent
    from loraloop.server.settings import ServerSettings

GRACE = 10
"""Seconds that requests may go on when the server is told to stop."""


def need_extra() -> None:
    """Raises InputError where the packages of the server are not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import sse_starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"the server needs {error.name}: pip install 'loraloop[serve]'") from None


def serve(
    runtime: Runtime,
    settings: ServerSettings,
    agents: Mapping[str, HostedAgent],
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serves until the process is told to stop (SIGINT, SIGTERM); what runs then may go on for a few seconds.

    Args:
        runtime: Base, skills and router.
        settings: Where and for whom.
        agents: Hosted agents by name.
        ready: Told the URL once it is listened on.

    Raises:
        InputError: The address or the port cannot be had.
    """
    import uvicorn

    from loraloop.server.app import create_app
    from loraloop.server.runs import RunRegistry
    from loraloop.server.state import ServerState

    logging.basicConfig(format='{"at":"%(asctime)s","level":"%(levelname)s","message":"%(message)s"}')
    logging.getLogger("loraloop.server").setLevel(logging.INFO)
    host, six = settings.host, ":" in settings.host
    try:
        listening = socket.create_server((host, settings.port), family=socket.AF_INET6 if six else socket.AF_INET)
    except OSError as error:
        raise InputError(f"{host}:{settings.port} cannot be listened on ({error}): choose another port, or 0") from None
    app = create_app(ServerState(runtime, settings, agents, RunRegistry(settings.folder)))
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=65536
    )
    with listening:
        ready(f"http://{f'[{host}]' if six else host}:{listening.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listening])
