"""What a server is started with, and what it refuses to be started with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.integrations.listening import LOOPBACK
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.sessions.sessions import Sessions


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of requests.

    Attributes:
        concurrency: Requests that run at the same time.
        queue: Requests that may wait for their turn; one more is answered with 429.
        per_key: Requests of one key, or without keys of one address, that may run and wait.
        per_minute: Requests of one key in a minute, other than those that only read; 0 for no bound.
        max_bytes: Bytes of a request's body.
        max_tokens: Tokens that a request may ask for.
        max_prompt: Tokens that the conversation of a request may have; 0 for as many as the context holds and can be
            read within `seconds`.
        seconds: Seconds that a request may wait for its turn, and then run.
        preparation: Seconds of a processor that the schemas and the conversation of a request may take to be read.
        transfer_seconds: Seconds in which a body has to come, and in which a client has to take an event of a stream.
    """

    concurrency: int = 16
    queue: int = 64
    per_key: int = 32
    per_minute: int = 0
    max_bytes: int = 4_000_000
    max_tokens: int = 4096
    max_prompt: int = 0
    seconds: float = 300.0
    preparation: float = 10.0
    transfer_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Address, keys, hosts and limits of a server.

    Attributes:
        host: The address.
        port: The port; 0 for a free one.
        keys: Keys of which requests bring one as a bearer token; empty for no keys.
        admin_key: What requests bring that change skills; empty: nobody can change them.
        hosts: More names under which the server may be asked.
        origins: Origins of pages that may ask it, besides its own.
        limits: What requests may take.
        folder: Where conversations and runs are kept, in the file `sessions.db`, so that they go on after a restart.
        sessions: Another place for them: a file, or the URL of a PostgreSQL database, which servers share.

    Raises:
        InputError: Others can reach the address and there is no key, or a key is too short or not ASCII; or there are a
            folder and another place for sessions.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: frozenset[str] = frozenset()
    admin_key: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: ServerLimits = ServerLimits()
    folder: Path | None = None
    sessions: str = ""

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.keys:
            raise InputError(
                f"{self.host} can be reached by others: put keys into a variable and name it with --key-env, or listen "
                "on 127.0.0.1"
            )
        if any(len(key) < 8 or not key.isascii() for key in (*self.keys, self.admin_key) if key):
            raise InputError("a key has less than 8 characters, or one that is not ASCII: take a long random one")
        if self.folder is not None and self.sessions:
            raise InputError("--state and --sessions both say where conversations are kept: give one of them")

    def open_sessions(self) -> Sessions | None:
        """Where conversations and runs are kept; None for nowhere.

        Raises:
            SessionError: It cannot be opened.
        """
        from loraloop.agent.sessions.sessions import Sessions

        place = self.sessions or (self.folder and self.folder / "sessions.db")
        return Sessions(place) if place else None

    def knows_host(self, host: str) -> bool:
        """Whether a `Host` header names this server: without its port where it is one of the loopback's names."""
        parts = re.fullmatch(r"(\[[0-9a-fA-F.:]*:[0-9a-fA-F.:]*\]|[^][:/?#@\\]+)(:\d*)?", host, re.ASCII)
        name = parts[1].strip("[]") if parts else ""
        return name in LOOPBACK or name == self.host or host in self.hosts or name in self.hosts

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may ask: one of the server's own address, or one that is allowed."""
        return origin in self.origins or origin.partition("://")[2] == host


def need_extra() -> None:
    """Raises InputError where the packages of the server are not installed."""
    try:
        import fastapi  # noqa: F401
        import opentelemetry  # noqa: F401
        import prometheus_client  # noqa: F401
        import sse_starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"the server needs {error.name}: pip install 'loraloop[serve]'") from None
