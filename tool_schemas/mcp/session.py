"""One MCP session on an event loop of its own in a background thread, for callers in any thread or loop."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from loraloop.tool_schemas.errors import LimitError, LoraloopError, ToolError
from loraloop.tool_schemas.jsontext import dumps, fold, shortened
from loraloop.tool_schemas.mcp.listing import LeftOut, Sieve
from loraloop.tool_schemas.mcp.transport import Http, Stdio, Words

if TYPE_CHECKING:
    import anyio
    import mcp_types
    from mcp import Client

_PAGES = 200  # of a tool list, and
_TOOLS = 2_000  # so many tools at most: a server that lists without end is refused
_QUIET = 0.2  # seconds between two looks at a list that keeps changing, and before an ended session is left
_STRAY = 1_000  # messages that are no MCP before a server is given up
_GONE = "the MCP server {label!r} is not connected: {why}; open it (again), and call its tools while it is open"
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class McpSession:
    """A connection that is open between `begin` and `end`; what it does happens in its own thread.

    Args:
        transport: How the server is reached.
        start_timeout: Seconds for the server to start, shake hands and list its tools.
        listed: Told every list of tools, and what in it is no tool; what it raises at the first list becomes the error
            of `begin`.
    """

    def __init__(
        self,
        transport: Stdio | Http,
        start_timeout: float,
        listed: Callable[[list[mcp_types.Tool], list[LeftOut], str], None],
    ) -> None:
        self.transport = transport
        self.label = transport.label
        self.ready: Future[None] = Future()
        self._start_timeout = start_timeout
        self._listed = listed
        self._words = Words()
        self._sieve = Sieve()
        self._stray: list[str] = []
        self._pending: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None
        self._changed, self._renew, self._renewed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._why = "it has not been opened"
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="loraloop-mcp")

    @property
    def inside(self) -> bool:
        """Whether this is asked in the session's own thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def begin(self) -> None:
        """Starts connecting; `ready` is done when the tools are listed, or with the reason why not."""
        self._thread.start()

    def end(self, timeout: float = 15.0) -> None:
        """Closes the connection and stops the server; waits for that, and fails whatever still waits for an answer.

        Args:
            timeout: Seconds to wait. A server gets two to end by itself, then two more, and is killed.
        """
        with self._lock:
            self._ended = True
            if self._loop is not None and self._scope is not None:
                with suppress(RuntimeError):  # the loop is closed, and the thread about to say so
                    self._loop.call_soon_threadsafe(self._scope.cancel)
        if self._thread.ident is not None and not self.inside:
            self._thread.join(timeout)

    def submit(self, work: Callable[[Client], Awaitable[_T]]) -> Future[_T]:
        """Has something done in the session's loop. Cancelling the future cancels the work.

        Raises:
            ToolError: If the session is not open.
        """
        out: Future[_T] = Future()
        with self._lock:
            loop, client = self._loop, self._client
            if loop is None or client is None:
                raise ToolError(_GONE.format(label=self.label, why=self._why))
            self._pending.add(out)
            with suppress(RuntimeError):  # the loop is closed: the thread, about to end, fails what is pending
                loop.call_soon_threadsafe(self._start, work, client, out)
        out.add_done_callback(self._pending.discard)
        return out

    def _start(self, work: Callable[[Client], Awaitable[_T]], client: Client, out: Future[_T]) -> None:
        loop = asyncio.get_running_loop()

        async def done() -> None:
            try:
                try:
                    result = await work(client)
                except Exception as error:
                    if not self._over_for(error):
                        raise
                    result = await work(await self._next(client))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _settle(out, self._explained(error))
            else:
                with suppress(InvalidStateError):
                    out.set_result(result)

        if out.done():
            return
        task = loop.create_task(done())

        def abandoned(finished: Future[_T]) -> None:
            if finished.cancelled():
                with suppress(RuntimeError):  # the loop may be closed by now
                    loop.call_soon_threadsafe(task.cancel)

        out.add_done_callback(abandoned)

    def _over_for(self, error: Exception) -> bool:
        """Whether a request failed because the server knows the session no more, so that it did nothing."""
        from mcp import MCPError

        return isinstance(error, MCPError) and (error.code, error.message) == self._words.ended

    async def _next(self, client: Client) -> Client:
        """The client of the session that follows that of `client`."""
        if self._client is client:
            self._renew.set()
            await self._renewed.wait()
        assert self._client is not None
        return self._client

    def _run(self) -> None:
        logging.getLogger("mcp").addHandler(logging.NullHandler())  # else Python prints what nobody asked to see
        logging.getLogger("client").addHandler(logging.NullHandler())
        problem: LoraloopError
        try:
            asyncio.run(self._main())
            problem = self._over()
        except BaseException as error:
            problem = self._explained(error)
        with self._lock:
            self._client = self._loop = None
            self._why = str(problem)
            waiting = list(self._pending)
        for out in (self.ready, *waiting):
            _settle(out, problem)

    def _over(self) -> LoraloopError:
        """The error that says why the session is over, where it ended without one."""
        if self._ended:
            return ToolError(f"the MCP server {self.label!r} was closed")
        if len(self._stray) >= _STRAY:
            return ToolError(f"the MCP server {self.label!r} was given up{self._hints()}")
        return LimitError(
            f"the MCP server {self.label!r} did not answer within {self._start_timeout:g} s{self._hints()}; "
            "see that it speaks MCP, or give it a longer start_timeout"
        )

    def _explained(self, error: BaseException) -> LoraloopError:
        """What went wrong, in a line."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, LoraloopError):
            return error
        data = getattr(error, "data", None)  # of an error of JSON-RPC
        reason = fold(str(error)) + ("" if data is None else f" ({dumps(data)})")
        reason = shortened(reason, 400) or type(error).__name__
        if reason == "Connection closed":
            reason = "it closed the connection"
        return ToolError(f"the MCP server {self.label!r} failed: {reason}{self._hints()}")

    def _hints(self) -> str:
        stray = f"; it wrote what is no MCP message: {self._stray[0]!r}" if self._stray else ""
        words = self._words.last
        return stray + (f"; its last words: {words}" if words else "")

    async def _main(self) -> None:
        import anyio
        from mcp import Client

        from loraloop.tool_schemas.mcp.results import own_version

        with anyio.CancelScope(deadline=anyio.current_time() + self._start_timeout) as scope:
            with self._lock:
                self._loop, self._scope = asyncio.get_running_loop(), scope
                if self._ended:
                    return
            while True:
                async with Client(
                    self._sieve.over(self.transport.connect(self._words)),
                    message_handler=self._heard,
                    client_info=own_version(),
                    cache=None,
                ) as client:
                    await self._opened(client)
                    scope.deadline = math.inf
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._subscribe, client)
                        group.start_soon(self._follow, client)
                        await self._renew.wait()
                        await anyio.sleep(_QUIET)  # for the calls that are being told the same
                        group.cancel_scope.cancel()
                scope.deadline = anyio.current_time() + self._start_timeout

    async def _opened(self, client: Client) -> None:
        """Lists the tools of a new session and lets calls use it."""
        if client.server_info is not None and client.server_info.name:
            self.label = fold(client.server_info.name)[:64] or self.label
        self._sieve.version = client.protocol_version
        self._listed(*await self._list(client), self.label)
        renewed, self._renewed = self._renewed, asyncio.Event()
        self._renew.clear()
        with self._lock:
            self._client, self._words.ended = client, None
        with suppress(InvalidStateError):
            self.ready.set_result(None)
        renewed.set()

    async def _heard(self, message: Any) -> None:
        if isinstance(message, Exception):
            details: list[Any] = getattr(message, "errors", list)()
            shown = details[0].get("input") if details else message
            self._stray.append(fold(str(shown))[:120])
            if len(self._stray) >= _STRAY and self._scope is not None:
                self._scope.cancel()
        elif getattr(message, "method", "") == "notifications/tools/list_changed":
            self._changed.set()

    async def _subscribe(self, client: Client) -> None:
        """Asks for news of the tool list, which servers of newer protocols only send on request."""
        from mcp.client.subscriptions import ListenNotSupportedError

        tools = client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        try:
            async with client.listen(tools_list_changed=True) as events:
                async for _ in events:
                    self._changed.set()
        except ListenNotSupportedError:
            return  # an older protocol: they come by themselves
        except Exception as error:
            _log.debug("MCP server %r: no news of its tools: %s", self.label, error)

    async def _follow(self, client: Client) -> None:
        """Lists the tools again whenever the server says that they have changed, until the session ends."""
        import anyio

        while True:
            await self._changed.wait()
            await anyio.sleep(_QUIET)
            self._changed.clear()
            try:
                with anyio.fail_after(self._start_timeout):
                    self._listed(*await self._list(client), self.label)
            except Exception as error:
                _log.warning(
                    "MCP server %r: its tools could not be listed again: %s", self.label, self._explained(error)
                )

    async def _list(self, client: Client) -> tuple[list[mcp_types.Tool], list[LeftOut]]:
        """Every page of the tool list, and what in it is no tool."""
        if client.server_capabilities.tools is None:
            return [], []
        self._sieve.taken = []
        tools: list[mcp_types.Tool] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                return tools, self._sieve.taken
            if cursor in seen or len(tools) + len(self._sieve.taken) > _TOOLS:
                break
            seen.add(cursor)
        raise LimitError(
            f"the MCP server {self.label!r} lists tools without end (more than {_TOOLS}, {_PAGES} pages, or the "
            "same page twice); it cannot be used"
        )


def _settle(out: Future[Any], problem: BaseException) -> None:
    with suppress(InvalidStateError):
        out.set_exception(problem)
