"""A real server on a free port, over a scripted runtime or the embedded base."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import uvicorn

from loraloop.agent.engine.remote.fallback import Fallback
from loraloop.agent.runtime import Runtime
from loraloop.server.app import create_app
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerSettings
from loraloop.server.state import ServerState


@contextlib.contextmanager
def running(
    runtime: Runtime,
    settings: ServerSettings | None = None,
    agents: Mapping[str, HostedAgent] | None = None,
    send_buffer: int = 0,
    fallback: Fallback | None = None,
) -> Iterator[str]:
    """The address of a server that runs; `send_buffer` bytes are kept of what a client has not read."""
    settings = settings or ServerSettings()
    app = create_app(ServerState(runtime, settings, agents or {}, fallback))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """`serving(runtime, settings, agents)`: the address of a server that runs until the test is over."""
    yield from servers()


@pytest.fixture(scope="module")
def module_serving() -> Iterator[Callable[..., str]]:
    """`module_serving(…)` is `serving`, but until the last test of the module is over."""
    yield from servers()


def servers() -> Iterator[Callable[..., str]]:
    with contextlib.ExitStack() as stack:

        def start(*given: Any, **more: Any) -> str:
            return stack.enter_context(running(*given, **more))

        yield start
