"""The transports of our MCP server: standard input and output, and streamable HTTP."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from loraloop.integrations.listening import LOOPBACK, listening
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.mcp.server import need_sdk

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"


async def serve_stdio(make: Callable[[], Server[Any]]) -> None:
    """Serves one client over standard input and output, until it closes its end.

    Args:
        make: Makes the server. It is called when standard output is taken already: whatever else this process writes
            there, from then on, goes to standard error.
    """
    need_sdk()
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (reader, writer):
        server = make()
        await server.run(reader, writer, server.create_initialization_options())


def http_app(
    server: Server[Any],
    host: str = "127.0.0.1",
    *,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    token: str = "",
) -> ASGIApp:
    """The server as an ASGI application, at `PATH`.

    Requests need a `Host` header that names this machine, and an `Origin`, where there is one, that is allowed; so no
    page of a browser can reach a server that listens on the loopback.

    Args:
        server: See `mcp_server`.
        host: The address that it listens on.
        hosts: More names under which it may be asked, such as `gpu.example:8000`; `:*` stands for any port.
        origins: Origins of pages that may ask it, such as `https://chat.example`.
        token: What requests have to bring as a bearer token; empty for none.

    Raises:
        InputError: Others can reach the address, and there is no name under which they may, or no token.
    """
    from mcp.server.transport_security import TransportSecuritySettings

    if host not in LOOPBACK and not (hosts and token):
        raise InputError(
            f"{host} can be reached by others: say under which names the server may be asked (--allow-host name:port) "
            "and give it a token (--token-env), or listen on 127.0.0.1"
        )
    local = [f"{name if ':' not in name else f'[{name}]'}:*" for name in LOOPBACK]
    security = TransportSecuritySettings(
        allowed_hosts=[*local, *hosts], allowed_origins=[*(f"http://{name}" for name in local), *origins]
    )
    app: ASGIApp = server.streamable_http_app(streamable_http_path=PATH, transport_security=security, host=host)
    return _guarded(app, token) if token else app


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    """The application behind a check of the bearer token."""
    from starlette.responses import PlainTextResponse

    wanted, headers = token.encode(), {"www-authenticate": "Bearer"}
    refused = PlainTextResponse("invalid token: send Authorization: Bearer TOKEN", 401, headers)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, brought = dict(scope.get("headers") or ()).get(b"authorization", b"").partition(b" ")
        known = scope["type"] != "http" or (scheme.lower() == b"bearer" and hmac.compare_digest(brought, wanted))
        await (app if known else refused)(scope, receive, send)

    return guarded


async def serve_http(app: ASGIApp, host: str, port: int, ready: Callable[[str], object] = lambda url: None) -> None:
    """Serves an application until the process is told to stop.

    Args:
        app: See `http_app`.
        host: The address.
        port: The port; 0 for a free one.
        ready: Function that receives the URL once it is listened on.

    Raises:
        InputError: The address or the port cannot be had.
    """
    import uvicorn

    with listening(host, port) as (listener, url):
        ready(url + PATH)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        await uvicorn.Server(config).serve(sockets=[listener])
