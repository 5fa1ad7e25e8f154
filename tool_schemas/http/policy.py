"""Where an HTTP tool may connect: an allow-list of hosts and the kinds of addresses they may have."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, ToolError, unknown
from loraloop.tool_schemas.http.addresses import KINDS, Address, Network, kind_of, parts

if TYPE_CHECKING:
    import httpx

PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_ENTRY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}|\*))?")


def port_of(url: httpx.URL) -> int | None:
    """The port that a URL means; None if it names none and its scheme has none here."""
    return PORTS.get(url.scheme) if url.port is None else url.port


def canonical(host: str) -> str:
    """A host as comparisons use it: lower case, ASCII, no trailing dot, an IPv6 address without brackets.

    Raises:
        InputError: If it is none, or an IPv4 address in a spelling that programs read differently (``127.1``,
            ``0x7f.0.0.1``, ``2130706433``).
    """
    text = host.strip("[]").lower()
    if text.endswith("."):
        text = text[:-1]
    try:
        return str(ipaddress.IPv6Address(text)) if ":" in text and "%" not in text else _named(text)
    except ValueError:
        raise InputError(f"{host!r} is not a host; use a name or an IP address in its usual form") from None


def _named(text: str) -> str:
    if not text.isascii():
        import idna

        try:
            text = idna.encode(text, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError(str(error)) from None
    if not _NAME.fullmatch(text) or len(text) > 253:
        raise ValueError
    try:
        socket.inet_aton(text)  # whatever a resolver would read as an IPv4 address
    except OSError:
        if re.fullmatch(r"\d+|0x[0-9a-f]*", text.rsplit(".", 1)[-1]):
            raise ValueError from None
        return text
    return str(ipaddress.IPv4Address(text))


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The addresses that HTTP tools may reach. A tool's own base URL is allowed without being listed; nothing else is.

    Attributes:
        hosts: Further hosts: ``"api.example.com"``, ``"*.example.com"`` (every name below it, not itself), each with
            ``:PORT`` or ``:*`` where another port than 80 and 443 is meant.
        networks: Addresses that may be reached although they are not public: networks (``"10.1.0.0/16"``) and kinds
            (``"loopback"``, ``"private"``, ``"link-local"``, ``"shared"`` …; see
            `loraloop.tool_schemas.http.addresses.KINDS`).
        redirects: The most redirects that a request follows. Each is checked like the first address.
        https_only: Refuse plain http altogether.
        trust_env: Use the proxies that the environment names (``HTTPS_PROXY``, ``NO_PROXY`` …). A proxy resolves names
            by itself, so that only the allow-list holds there, and addresses that are written as such.
        ca_file: Certificates (PEM) to trust instead of the usual ones.

    Raises:
        InputError: If an entry is no host, network or kind, or `redirects` is negative.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    redirects: int = 5
    https_only: bool = False
    trust_env: bool = False
    ca_file: str | None = None
    _entries: tuple[tuple[str, tuple[int, ...] | None], ...] = field(init=False, repr=False, compare=False)
    _allowed: tuple[str | Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("hosts", "networks"):
            value: Any = getattr(self, name)
            if isinstance(value, str):
                raise InputError(f"{name} is {value!r}: give a tuple, such as ({value!r},)")
            object.__setattr__(self, name, tuple(value))
        if self.redirects < 0:
            raise InputError(f"redirects is {self.redirects}: it must be 0 or more")
        object.__setattr__(self, "_entries", tuple(map(_entry, self.hosts)))
        object.__setattr__(self, "_allowed", tuple(map(_network, self.networks)))

    def allowing(self, *urls: str) -> NetworkPolicy:
        """A copy of the policy that also allows the hosts of base URLs, at their ports (80 brings 443 along).

        Raises:
            InputError: If one of them is no usable URL.
        """
        import httpx

        added = list(self.hosts)
        for text in urls:
            try:
                url = httpx.URL(text)
                host = canonical(url.raw_host.decode("ascii"))
            except (httpx.InvalidURL, TypeError) as error:
                raise InputError(f"{text!r} is no URL ({error})") from None
            if url.scheme not in PORTS:
                raise InputError(f"{text!r} is not an http or https URL")
            host = f"[{host}]" if ":" in host else host
            port = port_of(url)
            added += [f"{host}:{each}" for each in ((80, 443) if port == 80 else (port,))]
        return replace(self, hosts=tuple(dict.fromkeys(added)))

    @classmethod
    def local(cls, *services: str) -> NetworkPolicy:
        """A policy under which some services of this machine or of the local network may be reached too.

        Their names are resolved now, and just these addresses are allowed.

        Args:
            services: Each ``HOST`` or ``HOST:PORT``, such as ``"localhost:8000"``; without a port, any port.

        Raises:
            InputError: If one is no host, or has no address.
        """
        hosts, networks = [], list[str]()
        for each in services:
            host, ports = _entry(each)
            hosts.append(each if ports != tuple(PORTS.values()) else f"{each}:*")
            try:
                networks += [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
            except OSError as error:
                raise InputError(f"{each!r} has no address: {error}") from None
        return cls(hosts=tuple(hosts), networks=tuple(dict.fromkeys(networks)))

    def check_url(self, url: httpx.URL) -> None:
        """Checks everything about a URL that can be known without resolving its host.

        Raises:
            ToolError: Saying what is refused, and how to allow it.
        """
        if url.scheme not in PORTS:
            raise ToolError(f"{url.scheme or 'no'} scheme in the address: only http and https are used")
        if self.https_only and url.scheme != "https":
            raise ToolError(f"plain http to {url.host!r} is refused by the network policy (https_only)")
        if url.userinfo:
            raise ToolError("the address holds a user name or password; give them as 'auth'")
        try:
            host = canonical(url.raw_host.decode("ascii"))  # what is connected to, in ASCII
        except InputError as error:
            raise ToolError(str(error)) from None
        port = port_of(url)
        if not any(_fits(host, pattern) and (ports is None or port in ports) for pattern, ports in self._entries):
            raise ToolError(
                f"host {host!r} at port {port} is not allowed; add it to NetworkPolicy(hosts=…) if it should be"
            )
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        problem = self.refusal(address)
        if problem:
            raise ToolError(problem)

    def refusal(self, address: Address) -> str | None:
        """The reason why an address must not be connected to; None if it may."""
        for part in parts(address):
            kind = kind_of(part)
            if kind is None or any(
                allowed == kind if isinstance(allowed, str) else part.version == allowed.version and part in allowed
                for allowed in self._allowed
            ):
                continue
            inside = f" (it stands for {part})" if part != address else ""
            return (
                f"{address}{inside} is not a public address but a {kind} one; allow it with "
                f"NetworkPolicy(networks=({kind!r},)), or --allow-local {address}, if it should be reached"
            )
        return None


def _entry(text: str) -> tuple[str, tuple[int, ...] | None]:
    """The pattern of a host and its ports; None for any port."""
    if text.count(":") > 1 and "[" not in text:
        return canonical(text), tuple(PORTS.values())
    found = _ENTRY.fullmatch(text)
    if not found:
        raise InputError(f"{text!r} is not a host; write 'api.example.com', '*.example.com' or 'host:8080'")
    host, port = found["host"], found["port"]
    host = "*." + canonical(host[2:]) if host.startswith("*.") else canonical(host)
    return host, tuple(PORTS.values()) if port is None else None if port == "*" else (int(port),)


def _network(text: str) -> str | Network:
    if text in KINDS:
        return text
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        if re.search(r"[\d:]", text):
            raise InputError(f"{text!r} is not a network; write '10.1.0.0/16' or 'fd00::/8'") from None
        raise unknown("kind of network", text, KINDS) from None


def _fits(host: str, pattern: str) -> bool:
    if not pattern.startswith("*."):
        return host == pattern
    return host.endswith(pattern[1:]) and len(host) >= len(pattern)
