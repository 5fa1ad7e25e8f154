"""How an MCP server is reached: a child process over its standard streams, or a URL over streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.jsontext import fold

if TYPE_CHECKING:
    from typing import TextIO

# Run in the child before the server: Linux kills it when the thread that started it is gone, however that ended.
_TIED = (
    "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9);"
    "os.getppid()==int(sys.argv[1]) or sys.exit(1);os.execvp(sys.argv[2],sys.argv[2:])"
)


class Words:
    """The last words of a server: what it wrote to its standard error, or the HTTP error that it answered with.

    Attributes:
        kept: Most characters that `last` gives.
        ended: The code and message with which it said that it knows the session no more; None until it does.
    """

    kept = 400

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque(maxlen=16)
        self.ended: tuple[int, str] | None = None

    @property
    def last(self) -> str:
        """The end of what it wrote, on one line."""
        return fold(b"".join(self._chunks).decode(errors="replace"))[-self.kept :]

    def note(self, text: str) -> None:
        """Takes this for its last words; nothing, if empty."""
        self._chunks.clear()
        self._chunks.append(text.encode())

    @asynccontextmanager
    async def pipe(self) -> AsyncIterator[TextIO]:
        """A file for the child to write to; what arrives is read by the running loop."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        loop = asyncio.get_running_loop()

        def read() -> None:
            with suppress(BlockingIOError):
                chunk = os.read(ours, 65_536)
                if chunk:
                    self._chunks.append(chunk[-4096:])
                else:
                    loop.remove_reader(ours)

        loop.add_reader(ours, read)
        try:
            with open(theirs, "w", encoding="utf-8") as file:
                yield file
        finally:
            loop.remove_reader(ours)
            os.close(ours)


@dataclass(frozen=True, slots=True)
class Stdio:
    """A server that is started as a child process.

    Attributes:
        command: The program: a name on the search path, or a file.
        args: Arguments of the command.
        env: Variables beside the few that the SDK passes on (``HOME``, ``LOGNAME``, ``PATH``, ``SHELL``, ``TERM``,
            ``USER``); nothing else of our own environment reaches the child.
        cwd: Working directory of the server.

    Raises:
        InputError: If the program is not there, or something is not text.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        texts = (self.command, *self.args, *self.env, *self.env.values())
        if not self.command or not all(isinstance(each, str) and "\0" not in each for each in texts):
            raise InputError("an MCP server's command, arguments and environment are texts without NUL characters")
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise InputError(f"the MCP server's working directory {os.fspath(self.cwd)!r} is not a folder; create it")
        self.program()

    @property
    def label(self) -> str:
        """Its name until the server gives its own."""
        return os.path.basename(self.command)

    def program(self) -> str:
        """The file that will be run."""
        name = self.command
        if os.sep in name and not os.path.isabs(name):
            name = os.path.abspath(os.path.join(self.cwd or os.curdir, name))
        found = shutil.which(name, path=self.env.get("PATH"))
        if found is None:
            raise InputError(f"cannot start the MCP server: there is no program {self.command!r}; install it")
        return os.path.abspath(found)

    @asynccontextmanager
    async def connect(self, words: Words) -> AsyncIterator[Any]:
        """The streams of messages to and from the server; it is stopped on leaving, kindly, then by force."""
        from mcp.client.stdio import StdioServerParameters, stdio_client

        command = [self.program(), *self.args]
        if sys.platform == "linux" and sys.executable:
            command = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
        cwd = None if self.cwd is None else os.fspath(self.cwd)
        parameters = StdioServerParameters(
            command=command[0], args=command[1:], env=dict(self.env), cwd=cwd, encoding_error_handler="replace"
        )
        async with words.pipe() as errors, stdio_client(parameters, errors) as streams:
            yield streams


@dataclass(frozen=True, slots=True)
class Http:
    """A server that is reached over streamable HTTP.

    Attributes:
        url: Endpoint of the server.
        headers: Sent with every request, such as ``Authorization``; never shown.

    Raises:
        InputError: If it is no http or https URL.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:
            raise InputError(f"that is no URL of an MCP server: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{self.label!r} is not an http or https URL of an MCP server")

    @property
    def label(self) -> str:
        """Its name until the server gives its own."""
        return urlsplit(self.url).hostname or "http"

    @asynccontextmanager
    async def connect(self, words: Words) -> AsyncIterator[Any]:
        """The streams of messages to and from the server."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async def noted(response: Any) -> None:
            failed = response.status_code >= 400
            words.note(f"HTTP {response.status_code} {response.reason_phrase}" if failed else "")
            asked = response.request
            if response.status_code == 404 and asked.method == "POST" and "mcp-session-id" in asked.headers:
                written = "json" in response.headers.get("content-type", "")
                words.ended = _session_gone(await response.aread() if written else b"") or words.ended

        # A call has a time limit of its own, so a quiet stream of answers is no reason to give up.
        patience = httpx2.Timeout(30.0, read=None)
        hooks = {"response": [noted]}
        async with (
            httpx2.AsyncClient(headers=dict(self.headers), timeout=patience, event_hooks=hooks) as client,
            streamable_http_client(self.url, http_client=client) as streams,
        ):
            yield streams


def _session_gone(body: bytes) -> tuple[int, str] | None:
    """The error that a request gets whose answer was 404 with this body; None where only its method is unknown."""
    from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND, ErrorData, JSONRPCError

    try:
        error = JSONRPCError.model_validate_json(body).error
    except ValueError:  # what the SDK then says
        error = ErrorData(code=INVALID_REQUEST, message="Session terminated")
    return None if error.code == METHOD_NOT_FOUND else (error.code, error.message)
