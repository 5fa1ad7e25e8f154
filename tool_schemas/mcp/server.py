"""Tools of MCP servers: `McpServer` connects to one, over stdio or streamable HTTP, with the official SDK."""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError, ToolError, needing, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.mcp.listing import LeftOut
from loraloop.tool_schemas.mcp.options import McpOptions, McpOptionsDict, options_of
from loraloop.tool_schemas.mcp.session import McpSession
from loraloop.tool_schemas.mcp.transport import Http, Stdio
from loraloop.tool_schemas.tools.tool import Tool, check_names

if TYPE_CHECKING:
    import mcp_types
    from mcp import Client


class McpWarning(UserWarning):
    """A server's tools cannot all be used."""


_open: weakref.WeakSet[McpServer] = weakref.WeakSet()


class McpServer:
    """A server and its tools, connected while a ``with`` or ``async with`` block runs.

    A background thread holds the session, so that tools can be called from any thread and any event loop. A call
    that is abandoned (its time is up, its task is cancelled) is cancelled at the server too. A child process ends
    with the block, and with this process at the latest. Nothing that a server says is trusted: schemas are checked
    like everyone else's, results are data, and what it says of its tools' harmlessness (`hints`) decides nothing,
    unless the option `trusted` says that the server is your own. It cannot ask for files, for input or for text of a
    model: no such capability is offered to it.

    Args:
        transport: How it is reached; `stdio` and `http` make one.
        options: Which tools are taken, under what names, and how long it may take.

    Attributes:
        left_out: The tools that it offers and that cannot be used.
        hints: What the server says of each tool (``readOnlyHint`` …), by the tool's name here; unproven, so nothing is
            decided by it unless the server is `trusted`.
    """

    def __init__(self, transport: Stdio | Http, options: McpOptions | None = None) -> None:
        self.transport = transport
        self.options = options or McpOptions()
        self._session: McpSession | None = None
        self._tools: tuple[Tool, ...] = ()
        self.left_out: tuple[LeftOut, ...] = ()
        self.hints: Mapping[str, dict[str, Any]] = {}

    @classmethod
    def stdio(
        cls,
        command: str,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **options: Unpack[McpOptionsDict],
    ) -> McpServer:
        """A server that runs as a child process.

        Args:
            command: The program.
            args: Arguments of the command.
            env: Variables for it; of our own only ``HOME``, ``LOGNAME``, ``PATH``, ``SHELL``, ``TERM`` and ``USER``
                are passed on.
            cwd: Working directory of the server.
            **options: See `McpOptions`.

        Raises:
            InputError: If there is no such program, or an option is unusable.
        """
        return cls(Stdio(command, tuple(args), dict(env or {}), cwd), options_of(options))

    @classmethod
    def http(cls, url: str, headers: Mapping[str, str] | None = None, **options: Unpack[McpOptionsDict]) -> McpServer:
        """A server at a URL, over streamable HTTP.

        Args:
            url: Endpoint of the server, often ending in ``/mcp``.
            headers: Sent with every request, such as ``{"Authorization": "Bearer …"}``; never shown.
            **options: See `McpOptions`.

        Raises:
            InputError: If that is no http or https URL, or an option is unusable.
        """
        return cls(Http(url, dict(headers or {})), options_of(options))

    def __repr__(self) -> str:
        return f"McpServer({self.transport!r})"

    @property
    def name(self) -> str:
        """Name of the server in the trace."""
        return self.options.name or (self._session.label if self._session else self.transport.label)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The server's tools in the server's order; after a change notification, the new ones.

        Raises:
            ToolError: If the server was not connected yet.
        """
        self._connected()
        return self._tools

    def __enter__(self) -> McpServer:
        session = self._begin()
        try:
            session.ready.result(self.options.start_timeout + 20)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise LimitError(f"the MCP server {self.name!r} could not be stopped in time") from None
            raise
        self._warn()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> McpServer:
        session = self._begin()
        try:
            await asyncio.wrap_future(session.ready)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self.close))
            raise
        self._warn()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self.close))

    def close(self) -> None:
        """Ends the session and the child process; calls that wait fail. Closing twice does nothing."""
        _open.discard(self)
        if self._session is not None:
            self._session.end()

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        """Calls one of the server's tools by the server's name for it, and waits.

        Args:
            name: Without prefix.
            arguments: JSON data, passed on as it is.
            timeout: Seconds, instead of the server's.

        Raises:
            ToolError: If the server is not connected, or says that the call failed.
            LimitError: If it takes too long; the server is told to stop.
            InputError: If it is called in `on_change`, which runs where the answer would arrive.
        """
        session = self._connected()
        if session.inside:
            raise InputError("on_change runs in the MCP session's thread and must not wait for a call of that server")
        future = session.submit(lambda client: self._answer(client, name, arguments, timeout))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def call_async(
        self, name: str, arguments: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Calls a tool from an event loop; cancelling the task cancels the call at the server."""
        future = self._connected().submit(lambda client: self._answer(client, name, arguments, timeout))
        return await asyncio.wrap_future(future)

    async def _answer(
        self, client: Client, name: str, arguments: Mapping[str, Any] | None, timeout: float | None
    ) -> Any:
        import anyio

        from loraloop.tool_schemas.mcp.results import data_of

        seconds = self.options.timeout if timeout is None else timeout
        try:
            with anyio.fail_after(seconds):
                data = data_of(await client.call_tool(name, dict(arguments or {})))
        except TimeoutError:
            raise LimitError(f"{name!r} took longer than {seconds:g} s; the MCP server was told to stop it") from None
        if (size := len(dumps(data).encode())) > self.options.max_bytes:
            raise LimitError(f"the result of {name!r} is too large ({size} bytes); ask for less, or raise max_bytes")
        return data

    def _connected(self) -> McpSession:
        if self._session is None:
            raise ToolError(
                f"the MCP server {self.name!r} is not connected; use its tools inside `with` or `async with`"
            )
        return self._session

    def _begin(self) -> McpSession:
        need_sdk()
        if self._session is not None and not self._session.ready.done():
            raise InputError(f"the MCP server {self.name!r} is being opened already")
        if self in _open:
            raise InputError(f"the MCP server {self.name!r} is open already; use one `with` block at a time")
        self._session = McpSession(self.transport, self.options.start_timeout, self._listed)
        _open.add(self)
        self._session.begin()
        return self._session

    def _listed(self, listed: list[mcp_types.Tool], refused: list[LeftOut], label: str) -> None:
        from loraloop.tool_schemas.mcp.results import tool_of

        options = self.options
        known = [*(each.name for each in listed), *(each.name for each in refused)]
        for wanted in options.include or ():
            if wanted not in known:
                raise unknown(f"tool of the MCP server {label!r}", wanted, known)
        tools: list[Tool] = []
        left_out = [each for each in refused if options.include is None or each.name in options.include]
        if left_out and options.on_refused == "raise":
            raise SchemaError(f"the tool {left_out[0].name!r} cannot be used: {left_out[0].reason}")
        hints: dict[str, dict[str, Any]] = {}
        seen: set[str] = set()
        for entry in listed:
            if options.include is not None and entry.name not in options.include:
                continue
            try:
                if entry.name in seen:
                    raise SchemaError(f"the server lists two tools called {entry.name!r}; only the first is used")
                seen.add(entry.name)
                made = tool_of(
                    entry,
                    self._function(entry.name),
                    name=options.prefix + entry.name,
                    on_unsupported=options.on_unsupported,
                    timeout=options.timeout,
                    source=f"mcp:{options.name or label}",
                    trusted=options.trusted,
                )
            except SchemaError as error:
                if options.on_refused == "raise":
                    raise
                left_out.append(LeftOut(entry.name, error.path, error.reason))
                continue
            tools.append(made)
            if entry.annotations is not None:
                hints[made.name] = entry.annotations.model_dump(by_alias=True, exclude_none=True)
        again = bool(self._session and self._session.ready.done())
        self._tools, self.left_out, self.hints = tuple(tools), tuple(left_out), hints
        if again and options.on_change is not None:
            options.on_change(self._tools)

    def _warn(self) -> None:
        if self.left_out:
            listed = "; ".join(f"{each.name!r} ({each.path or '$'}: {each.reason})" for each in self.left_out[:10])
            message = f"the MCP server {self.name!r}: {len(self.left_out)} of its tools cannot be used: {listed}"
            warnings.warn(message, McpWarning, stacklevel=3)

    def _function(self, name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            return await self.call_async(name, arguments)

        return call


def mcp_tools(*servers: McpServer) -> tuple[Tool, ...]:
    """The tools of several connected servers.

    Args:
        servers: Each inside its `with` block.

    Raises:
        SchemaError: If two tools share a name; give the servers a `prefix`.
    """
    tools = tuple(tool for server in servers for tool in server.tools)
    try:
        check_names(tools)
    except SchemaError as error:
        raise SchemaError(f"{error.reason}: give its MCP server a prefix=, such as 'weather_'") from None
    return tools


def need_sdk() -> None:
    """Checks that the official SDK is there.

    Raises:
        InputError: It is not; the message says how to install it.
    """
    with needing("MCP needs the official SDK", "'loraloop[mcp]'"):
        import mcp  # noqa: F401


@atexit.register
def _close_all() -> None:
    for server in list(_open):
        server.close()
