"""Requests to an OpenAI-compatible server: bounded, sent again where that is safe, closed where nobody waits."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from loraloop.tool_schemas.errors import BaseModelError, ContextLengthError, InputError
from loraloop.tool_schemas.http.client import Retries, retry_after

if TYPE_CHECKING:
    from concurrent.futures import Future

    import httpx

T = TypeVar("T")

TICK = 0.05
"""Seconds between two looks at whether a run was cancelled, while the server is silent."""


class RefusedError(BaseModelError):
    """A server answered with an error, or refused to write on.

    Attributes:
        status: The status of its answer.
        text: What it said.
    """

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(f"the server at {url} answered {status}: {text}")
        self.status, self.text = status, text


class RemoteServer:
    """Requests to one OpenAI-compatible server. Thread-safe.

    Args:
        url: Where its `/v1` is.
        key: Sent as a bearer token, without blanks and line ends around it, if it is not empty.
        concurrency: Requests in flight at most; further ones wait for their turn.
        connect: Seconds until a connection is made.
        read: Seconds between two pieces of an answer.
        retries: When a request is sent again of which no answer came. Writing a text has no effect, so it is safe.

    Raises:
        InputError: The address is none, or the key cannot be sent.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        concurrency: int = 16,
        connect: float = 5.0,
        read: float = 120.0,
        retries: Retries | None = None,
    ) -> None:
        import httpx

        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise InputError(f"the server's address is {url!r}: give the address of an API, such as https://host/v1")
        self.url = url.rstrip("/")
        self.requests = 0
        self._retries = retries or Retries()
        headers = {"Authorization": f"Bearer {key}"} if (key := key.strip()) else {}
        if not (key.isascii() and key.isprintable()):
            raise InputError(f"the key for {url} has characters that no header can hold: give it as it was issued")
        timeout = httpx.Timeout(read, connect=connect)
        self._options: dict[str, Any] = {"headers": headers, "timeout": timeout, "trust_env": False}
        self._concurrency = concurrency
        self._begin()

    def _begin(self) -> None:
        """No thread holds connections: as at first, and in a child process that was forked."""
        self._process = os.getpid()
        self._starting = threading.Lock()
        self._client: httpx.AsyncClient | None = None

    def get(self, path: str) -> Any:
        """The JSON at a path; a path that begins with `/` is not under `/v1`.

        Raises:
            BaseModelError: There is no answer, or none of use.
            InputError: The server refuses the key.
        """
        answer = self._request("GET", path)
        try:
            return answer.json()
        except ValueError as error:
            raise BaseModelError(f"{answer.url} is no JSON: give the address of an OpenAI-compatible server") from error

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Has the server do something; for paths and errors see `get`."""
        self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        url = f"{self.url.removesuffix('/v1')}{path}" if path.startswith("/") else f"{self.url}/{path}"
        try:
            answer = httpx.request(method, url, **options, **self._options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if answer.status_code != 200:
            raise self._refused(answer.status_code, answer.text)
        return answer

    def stream(self, body: dict[str, Any], gone: Callable[[], object]) -> Iterator[dict[str, Any]]:
        """The chunks of a chat completion. The request is closed where `gone` says so, or the iterator is closed.

        Raises:
            BaseModelError: The server does not answer, or breaks off.
            ContextLengthError: The messages are too long for the server.
            InputError: The server refuses the key.
        """
        return self._pieces(self._answer("chat/completions", body, _events), gone)

    def ask(self, path: str, body: dict[str, Any], gone: Callable[[], object]) -> str:
        """What the server answers to a request without effects; empty where `gone` says so. For errors see `stream`."""
        return "".join(self._pieces(self._answer(path, body, _whole), gone))

    def _pieces(self, answer: AsyncIterator[T], gone: Callable[[], object]) -> Iterator[T]:
        """The pieces of an answer, which is closed where `gone` says so, or the iterator is closed."""
        pieces: queue.Queue[T | BaseException | None] = queue.Queue()
        task = self._submit(answer, pieces)
        try:
            while not gone():
                try:
                    piece = pieces.get(timeout=TICK)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            task.cancel()

    def _submit(self, answer: AsyncIterator[Any], pieces: queue.Queue[Any]) -> Future[None]:
        """Begins a request in the thread that holds the connections, until nobody has this server any more."""
        import httpx

        if self._process != os.getpid():
            self._begin()
        with self._starting:
            if self._client is None:
                self._loop = asyncio.new_event_loop()
                limits = httpx.Limits(max_connections=self._concurrency)
                self._client = httpx.AsyncClient(limits=limits, **self._options)
                self._turns = asyncio.Semaphore(self._concurrency)
                target, arguments = _hold_connections, (self._loop, self._client)
                threading.Thread(target=target, args=arguments, name="loraloop-remote", daemon=True).start()
                weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop).atexit = False
            self.requests += 1

        async def read() -> None:
            try:
                async with self._turns:
                    async for piece in answer:
                        pieces.put(piece)
                pieces.put(None)
            except Exception as error:
                pieces.put(self._unreachable(error) if isinstance(error, httpx.HTTPError) else error)

        return asyncio.run_coroutine_threadsafe(read(), self._loop)

    async def _answer(
        self, path: str, body: dict[str, Any], read: Callable[[httpx.Response], AsyncIterator[T]]
    ) -> AsyncIterator[T]:
        """An answer in pieces; the request is sent again while nothing came of it and its failure may pass."""
        import httpx

        assert self._client is not None
        begun, tried = False, 0
        while True:
            wait: float | None = None
            try:
                async with self._client.stream("POST", f"{self.url}/{path}", json=body) as answer:
                    if answer.status_code == 200:
                        async for piece in read(answer):
                            begun = True
                            yield piece
                        return
                    text = (await answer.aread()).decode(errors="replace")
                    if answer.status_code not in self._retries.statuses or tried >= self._retries.count:
                        raise self._refused(answer.status_code, text)
                    wait = retry_after(answer.headers.get("retry-after", ""))
                    if wait is not None and wait > self._retries.longest:
                        raise self._refused(answer.status_code, f"it asks to wait {wait:g} s; {text}")
            except httpx.TransportError:
                if begun or tried >= self._retries.count:
                    raise
            await asyncio.sleep(self._retries.wait(tried, wait))
            tried += 1

    def _unreachable(self, error: Exception) -> BaseModelError:
        return BaseModelError(f"the server at {self.url} does not answer ({type(error).__name__}): see that it runs")

    def _refused(self, status: int, text: str) -> Exception:
        """The error of an answer that is none."""
        if status in (401, 403):
            give = "give key=…, or --connect-key-env (to a fallback key_env=…, or --fallback-key-env)"
            return InputError(f"the server at {self.url} refuses the key ({status}): {give}")
        try:
            found = json.loads(text)
            text = str((found.get("error") or found).get("message") or found["error_message"])
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        if status in (400, 413) and re.search(r"context|too long|maximum.*length", text, re.IGNORECASE):
            return ContextLengthError(f"the server at {self.url} finds the messages too long: {text[:500]}")
        return RefusedError(self.url, status, text[:500])


def _hold_connections(loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
    """Runs the loop of a server's requests until it is stopped, then closes the connections."""
    loop.run_forever()
    loop.run_until_complete(client.aclose())
    loop.close()


async def _whole(answer: httpx.Response) -> AsyncIterator[str]:
    """The text of an answer, in one piece."""
    await answer.aread()
    yield answer.text


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The data of server-sent events.

    Raises:
        RemoteProtocolError: They ended before their end was said.
    """
    import httpx

    async for line in _lines(answer):
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data == "[DONE]":
            return
        if data:
            yield _chunk_of(data)
    raise httpx.RemoteProtocolError("the stream ended before its end")


async def _lines(answer: httpx.Response) -> AsyncIterator[str]:
    """The lines of an answer. Those of httpx end at U+2028 and U+0085 too, which stand in JSON as they are."""
    rest = b""
    async for piece in answer.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    yield rest.decode(errors="replace")


def _chunk_of(data: str) -> dict[str, Any]:
    """A chunk of a chat completion, whose parts that are read are of OpenAI's form.

    Raises:
        BaseModelError: It is none, or says that something failed.
    """
    try:
        chunk = json.loads(data)
        usage, choices = chunk.get("usage") or {}, chunk.get("choices") or ()
        texts = [(choice.get("delta") or {}).get("content") or "" for choice in choices]
        counts = [usage.get("prompt_tokens"), (usage.get("prompt_tokens_details") or {}).get("cached_tokens")]
        fits = all(isinstance(each, str) for each in texts) and all(isinstance(each, int | None) for each in counts)
    except (ValueError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise BaseModelError(f"the server sent no chunk of a chat completion: {data[:200]!r}")
    if "error" in chunk:
        raise BaseModelError(f"the server broke off: {str(chunk['error'])[:500]}")
    made: dict[str, Any] = chunk
    return made
