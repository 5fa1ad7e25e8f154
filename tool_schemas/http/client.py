"""The client of HTTP tools: one pool of guarded connections; redirects, retries, deadlines and size limits."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import random
import re
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError, ToolError
from loraloop.tool_schemas.http.auth import Auth, Credentials, Redactor, gather
from loraloop.tool_schemas.http.body import read
from loraloop.tool_schemas.http.places import encode
from loraloop.tool_schemas.http.policy import NetworkPolicy, port_of
from loraloop.tool_schemas.http.request import HttpRequest

if TYPE_CHECKING:
    import httpcore
    import httpx

    from loraloop.tool_schemas.http.transport import Deadline, Resolver

_REDIRECTS = (301, 302, 303, 307, 308)
_LINGER = 0.1  # seconds in which a complete body has to come to its end
_AGENT = ("User-Agent", "loraloop")


@dataclass(frozen=True, slots=True)
class Retries:
    """The rules by which a request is sent again.

    Attributes:
        count: The most further tries; 0 for none.
        backoff: Seconds before the first of them, doubled each time; a random part of up to half is taken off.
        longest: The most seconds to wait, also where the server asks for more: the call then fails and says so.
        statuses: Answers after which to try again.
        methods: Methods that may be repeated after they have been sent; others only if no connection was made.
    """

    count: int = 2
    backoff: float = 0.5
    longest: float = 10.0
    statuses: tuple[int, ...] = (429, 502, 503, 504)
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")

    def __post_init__(self) -> None:
        if self.count < 0 or self.backoff < 0 or self.longest < 0:
            raise InputError("count, backoff and longest of Retries must be 0 or more")

    def wait(self, tried: int, asked: float | None) -> float:
        """Seconds to wait after the try with this number (from 0), `asked` being what the server wants."""
        if asked is not None:
            return asked
        return min(self.backoff * 2.0**tried, self.longest) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer of a server.

    Attributes:
        status: HTTP status.
        headers: Fields, names in lower case; the last one where several have a name.
        content: The body, decoded from its transfer and content encodings.
        hide: Takes out the credentials that were sent, should the server echo them.
    """

    status: int
    headers: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    hide: Redactor


@dataclass(frozen=True, slots=True)
class Sending:
    """Settings for sending one tool's requests.

    Attributes:
        auth: Ways to authenticate, all of them used.
        retries: When to try again.
        timeout: Seconds for everything: name resolution, redirects, retries, reading.
        connect: Seconds until a connection is made.
        read: Seconds between two pieces of the answer.
        max_bytes: The most bytes of an answer, after decompression.
    """

    auth: tuple[Auth, ...] = ()
    retries: Retries = Retries()
    timeout: float = 30.0
    connect: float = 5.0
    read: float = 20.0
    max_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if min(self.timeout, self.connect, self.read, self.max_bytes) <= 0:
            raise InputError("timeouts and max_bytes must be above 0")


class _Failed(Exception):
    """A try that gave no answer; `sent`: whether the server may have seen the request."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class HttpClient:
    """Sends requests under a network policy; for any number of threads.

    Connections are kept and used again until `close`, or until nobody holds the client. It is a context manager.

    Args:
        policy: Where it may connect.
        resolver: Gives the addresses of a host, given its name and port; the system's where None.
    """

    def __init__(self, policy: NetworkPolicy | None = None, *, resolver: Resolver | None = None) -> None:
        self.policy = policy if policy is not None else NetworkPolicy()
        self._resolver = resolver
        self._lock = threading.Lock()
        self._pools: dict[str, httpcore.ConnectionPool] = {}
        self._deadline: Deadline | None = None
        self._closed = False
        self._finalizer = weakref.finalize(self, _close, self._pools)

    def __repr__(self) -> str:
        return f"HttpClient({self.policy!r})"

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; the client cannot be used any more."""
        with self._lock:
            self._closed = True
            self._finalizer()

    def send(self, request: HttpRequest, sending: Sending) -> HttpAnswer:
        """Sends a request, following redirects and trying again as told.

        Returns:
            The answer, whatever its status.

        Raises:
            ToolError: If the policy refuses, no answer comes in time, or it is too large. Secrets are redacted.
        """
        credentials = gather(sending.auth)
        hide = Redactor(credentials.secrets)
        end = time.monotonic() + sending.timeout
        for tried in range(sending.retries.count + 1):
            last = tried == sending.retries.count
            asked = None
            try:
                answer = self._follow(request, credentials, hide, sending, end)
                if last or answer.status not in sending.retries.statuses:
                    return answer
                if request.method not in sending.retries.methods:
                    return answer
                asked = retry_after(answer.headers.get("retry-after", ""))
                problem = ""
            except _Failed as error:
                problem = hide.text(str(error))
                if last or (error.sent and request.method not in sending.retries.methods):
                    raise ToolError(problem) from None
            except ToolError as error:
                raise ToolError(hide.text(str(error))) from None
            wait = sending.retries.wait(tried, asked)
            if (asked is not None and wait > sending.retries.longest) or time.monotonic() + wait >= end:
                if problem:
                    raise ToolError(problem)
                return answer
            time.sleep(wait)
        raise AssertionError  # the last try returns or raises

    def _follow(
        self, request: HttpRequest, credentials: Credentials, hide: Redactor, sending: Sending, end: float
    ) -> HttpAnswer:
        """One try: the request and the redirects that it meets."""
        import httpx

        try:
            origin = url = httpx.URL(request.url)
        except httpx.InvalidURL as error:
            raise ToolError(f"the arguments do not make a valid URL: {error}") from None
        headers = list(request.headers)
        cookies = [*request.cookies, *((name, encode(value)) for name, value in credentials.cookies)]
        if cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in cookies)))
        headers += credentials.headers
        query = credentials.query
        for _ in range(self.policy.redirects + 1):
            self.policy.check_url(url)
            if not _trusted(origin, url):  # from here on; what arguments put into headers may be confidential as well
                headers = [(name, value) for name, value in headers if name.lower() in ("accept", "content-type")]
                query = ()
            request = replace(request, headers=tuple(headers))
            answer = self._once(request, url, _target(url, query), sending, end, hide=hide)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            try:
                target = url.join(location)
            except (httpx.InvalidURL, ValueError):
                raise ToolError(f"HTTP {answer.status}: redirects to an invalid URL") from None
            if url.scheme == "https" and target.scheme == "http":
                raise ToolError("redirected from https to plain http, which is refused")
            if not _trusted(origin, target) and hide.finds(str(target)):
                raise ToolError("redirected to another host with a credential in the address, which is refused")
            if answer.status == 303 or (answer.status in (301, 302) and request.method == "POST"):
                request = replace(request, method="HEAD" if request.method == "HEAD" else "GET", content=None)
                headers = [(name, value) for name, value in headers if name != "Content-Type"]
            url = target.copy_with(fragment=None)
        raise ToolError(f"more than {self.policy.redirects} redirects")

    def _once(
        self, request: HttpRequest, url: httpx.URL, target: bytes, sending: Sending, end: float, *, hide: Redactor
    ) -> HttpAnswer:
        """Sends a request to one address, where `target` is its path with the credentials that go there."""
        import httpcore

        method, content, headers = request.method, request.content, request.headers
        pool, deadline = self._pool(url)
        connecting = True

        def trace(event: str, _: object) -> None:
            nonlocal connecting
            connecting = connecting and not event.endswith("send_request_headers.started")

        fields = [("Host", url.netloc.decode("ascii")), ("Accept-Encoding", "gzip, deflate"), *headers]
        if not any(name.lower() == "user-agent" for name, _ in headers):
            fields.append(_AGENT)
        if content or method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(content or b""))))
        left = max(end - time.monotonic(), 0.001)
        timeouts = {"connect": min(sending.connect, left), "read": sending.read, "write": sending.read, "pool": left}
        wire = httpcore.Request(
            method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
            headers=fields,
            content=content or b"",
            extensions={"timeout": timeouts, "trace": trace},
        )
        deadline.end = end
        try:
            response = pool.handle_request(wire)
            try:
                received = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                moved = response.status in _REDIRECTS and "location" in received
                stream = iter(response.iter_stream())
                body = b"" if method == "HEAD" or moved else read(stream, received, sending.max_bytes, end)
                deadline.end = min(end, time.monotonic() + _LINGER)
                with contextlib.suppress(Exception):  # the end, after which the connection can be used again
                    next(stream, None)
            finally:
                response.close()
            return HttpAnswer(response.status, received, body, hide)
        except (httpcore.TimeoutException, TimeoutError):
            what = f"no answer within {sending.timeout:g} s" if time.monotonic() >= end else "timed out"
            place = "connecting" if connecting else "reading"
            raise _Failed(f"{what} ({place}) from {url.host}", not connecting) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            what = "connect to" if connecting else "get an answer from"
            raise _Failed(f"cannot {what} {url.host}: {error or type(error).__name__}", not connecting) from None
        finally:
            deadline.end = float("inf")

    def _pool(self, url: httpx.URL) -> tuple[httpcore.ConnectionPool, Deadline]:
        from loraloop.tool_schemas.http.transport import Deadline, environment_proxy, make_pool, make_proxied

        proxy = environment_proxy(url.scheme, url.host) if self.policy.trust_env else None
        with self._lock:
            if self._closed:
                raise ToolError("the HTTP client of this tool is closed; load its tools again")
            if self._deadline is None:
                self._deadline = Deadline()
            key = proxy or ""
            if key not in self._pools:
                self._pools[key] = (
                    make_proxied(self.policy, proxy)
                    if proxy
                    else make_pool(self.policy, self._deadline, self._resolver)
                )
            return self._pools[key], self._deadline


def _close(pools: dict[str, httpcore.ConnectionPool]) -> None:
    for pool in pools.values():
        pool.close()


def _trusted(origin: httpx.URL, url: httpx.URL) -> bool:
    """Whether credentials for one address may be sent to another: the same origin, or its https form."""
    if url.host != origin.host:
        return False
    ports = [port_of(origin), port_of(url)]
    if url.scheme == origin.scheme:
        return ports[0] == ports[1]
    return (origin.scheme, url.scheme, *ports) == ("http", "https", 80, 443)


def _target(url: httpx.URL, query: Sequence[tuple[str, str]]) -> bytes:
    """Path and query, with the credentials that go there; no log of URLs ever sees these."""
    if not query:
        return url.raw_path
    joint = b"&" if b"?" in url.raw_path else b"?"
    return url.raw_path + joint + "&".join(f"{encode(name)}={encode(value)}" for name, value in query).encode()


def retry_after(text: str) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110, 10.2.3): a number or a date."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max((when - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)
