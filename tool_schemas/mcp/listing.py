"""Lists of tools, without the entries that are no tools of MCP: the SDK refuses a whole list for one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.jsontext import fold, shortened


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tool of a server that is not offered, because its schema is refused.

    Attributes:
        name: What the server calls it.
        path: JSON path in its schema; empty where the schema is not the reason.
        reason: What is wrong, and what could be done.
    """

    name: str
    path: str
    reason: str


class Sieve:
    """Takes what is no tool of MCP out of the lists that a server sends.

    Attributes:
        version: Of the protocol, once it is known; it says what a tool is.
        taken: What was taken out.
    """

    def __init__(self) -> None:
        self.version = ""
        self.taken: list[LeftOut] = []

    @asynccontextmanager
    async def over(self, transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        """The streams of a transport; what is read from it passes here."""
        async with transport as (reader, writer):
            yield _Sifted(reader, self), writer

    def sift(self, message: Any) -> Any:
        """The message; a list of tools in it keeps those that the SDK takes."""
        result = getattr(getattr(message, "message", None), "result", None)
        if self.version and isinstance(result, dict) and isinstance(result.get("tools"), list):
            result["tools"] = [entry for entry in result["tools"] if self._fits(entry, result)]
        return message

    def _fits(self, entry: Any, result: dict[str, Any]) -> bool:
        from mcp_types.methods import parse_server_result
        from pydantic import ValidationError

        try:
            parse_server_result("tools/list", self.version, {**result, "tools": [entry]})
        except ValidationError as error:
            wrong = [each for each in error.errors() if each["loc"][:1] == ("tools",)]  # else the SDK says it
            if not wrong:
                return True
            place = ".".join(map(str, wrong[0]["loc"][2:]))
            why = f"{place}: {wrong[0]['msg']}" if place else wrong[0]["msg"]
            name = fold(str(entry.get("name", "") if isinstance(entry, dict) else entry))
            self.taken.append(LeftOut(shortened(name, 64), "", f"no tool as MCP has it ({why}); correct the server"))
            return False
        return True


class _Sifted:
    """A stream of messages, each sifted."""

    def __init__(self, stream: Any, sieve: Sieve) -> None:
        self._stream = stream
        self._sieve = sieve

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> _Sifted:
        return self

    async def __anext__(self) -> Any:
        return self._sieve.sift(await self._stream.__anext__())

    async def __aenter__(self) -> _Sifted:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)
