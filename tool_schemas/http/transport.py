"""Connections that end where the network policy says: names resolved once, checked, and their address connected to.

Whoever looks a name up a second time may be told another address (DNS rebinding). Here the address that was checked is
the one that the socket is opened to, while the Host header and TLS keep the name.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import httpcore
import httpx

from loraloop.tool_schemas.errors import ToolError, file_errors
from loraloop.tool_schemas.http.addresses import Address
from loraloop.tool_schemas.http.policy import NetworkPolicy

Resolver = Callable[[str, int], Iterable[str]]

_CONNECTIONS = 20
_KEPT_SECONDS = 30.0


class Deadline(threading.local):
    """When the request of the current thread has to be over (seconds of `monotonic`)."""

    end: float = float("inf")

    def left(self, timeout: float | None = None) -> float:
        """Seconds that one operation may take.

        Raises:
            httpcore.ReadTimeout: If there are none left.
        """
        left = min(self.end - monotonic(), float("inf") if timeout is None else timeout)
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole request is over")
        return min(left, 3600.0)


class _Stream(httpcore.NetworkStream):
    """A stream whose operations end with the request's deadline, however slowly the server drips."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), 65536):
            self._inner.write(bytes(view[start : start + 65536]), self._deadline.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Opens sockets to addresses that a policy allows.

    Args:
        policy: Judges each address.
        deadline: Deadline of the request that the thread makes.
        resolver: Gives the addresses of a host; the system's where None.
    """

    def __init__(self, policy: NetworkPolicy, deadline: Deadline, resolver: Resolver | None = None) -> None:
        self._policy = policy
        self._deadline = deadline
        self._resolver = resolver or system_resolver
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolves, checks, connects.

        Args:
            host: A name, which is resolved here and nowhere else, or an address.
            port: Port of the host.
            timeout: Seconds that the caller allows; the request's deadline shortens them. None: only the deadline
                counts.
            local_address: Address of this machine to connect from; None for any.
            socket_options: Options that are set on the socket; None for none.

        Raises:
            ToolError: If none of the host's addresses may be connected to.
            httpcore.ConnectError: If none of those that may answers.
        """
        failure: Exception = httpcore.ConnectError(f"{host!r} has no address")
        for address in self._addresses(host, port, self._deadline.left(timeout)):
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, self._deadline.left(timeout), local_address, socket_options
                )
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuses.

        Raises:
            ToolError: Always.
        """
        raise ToolError("HTTP tools connect to hosts, not to sockets of this machine")

    def _addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        try:
            found: list[Address] = [ipaddress.ip_address(host)]
        except ValueError:
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in self._resolved(host, port, timeout)]
        refused = [(address, self._policy.refusal(address)) for address in dict.fromkeys(found)]
        allowed = [address for address, problem in refused if problem is None]
        if refused and not allowed:
            raise ToolError(f"host {host!r}: {refused[0][1]}")
        return allowed

    def _resolved(self, host: str, port: int, timeout: float) -> list[str]:
        """Resolves in a thread of its own: the system's call cannot be given a timeout."""
        done: queue.Queue[tuple[list[str], Exception | None]] = queue.Queue()

        def work() -> None:
            try:
                done.put((list(self._resolver(host, port)), None))
            except Exception as error:
                done.put(([], error))

        threading.Thread(target=work, daemon=True, name="loraloop-resolve").start()
        try:
            found, error = done.get(timeout=timeout)
        except queue.Empty:
            raise httpcore.ConnectTimeout(f"resolving {host!r} took longer than {timeout:.1f} s") from None
        if error is not None:
            raise httpcore.ConnectError(f"{host!r} cannot be resolved: {error}") from None
        return found


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a host as the system knows them, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for family, _, _, _, sockaddr in found if family in (socket.AF_INET, socket.AF_INET6)]


def make_pool(policy: NetworkPolicy, deadline: Deadline, resolver: Resolver | None = None) -> httpcore.ConnectionPool:
    """A pool of connections under a policy; the environment's proxies play no part in it."""
    return httpcore.ConnectionPool(
        ssl_context=_tls(policy),
        max_connections=_CONNECTIONS,
        max_keepalive_connections=_CONNECTIONS,
        keepalive_expiry=_KEPT_SECONDS,
        network_backend=GuardedBackend(policy, deadline, resolver),
    )


def make_proxied(policy: NetworkPolicy, proxy: str) -> httpcore.ConnectionPool:
    """A pool of connections through a proxy."""
    url = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
    if url.scheme not in ("http", "https"):
        raise ToolError(f"the environment names a {url.scheme} proxy; only http and https proxies are used")
    login = (url.username.encode(), url.password.encode()) if url.userinfo else None
    return httpcore.ConnectionPool(
        ssl_context=_tls(policy),
        proxy=httpcore.Proxy(str(url.copy_with(userinfo=b"")), auth=login),
        max_connections=_CONNECTIONS,
        keepalive_expiry=_KEPT_SECONDS,
    )


def environment_proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host, if there is one."""
    import urllib.request

    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


def _tls(policy: NetworkPolicy) -> ssl.SSLContext:
    if policy.ca_file is not None:
        with file_errors(f"cannot read the certificates {policy.ca_file}", kind=ToolError):
            return ssl.create_default_context(cafile=policy.ca_file)
    return httpx.create_ssl_context(trust_env=policy.trust_env)
