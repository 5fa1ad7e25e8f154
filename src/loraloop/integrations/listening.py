"""An address that a server listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from loraloop.tool_schemas.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of addresses that only this machine reaches."""


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens while the block runs, and its URL.

    Args:
        host: The address.
        port: The port; 0 for a free one.

    Raises:
        InputError: The address or the port cannot be had.
    """
    six = ":" in host
    try:
        made = socket.create_server((host, port), family=socket.AF_INET6 if six else socket.AF_INET)
    except OSError as error:
        raise InputError(f"{host}:{port} cannot be listened on ({error}): choose another port, or 0") from None
    with made:
        yield made, f"http://{f'[{host}]' if six else host}:{made.getsockname()[1]}"
