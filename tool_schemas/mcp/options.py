"""The options of an MCP server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.tool_schemas.schema.findings import OnUnsupported
    from loraloop.tool_schemas.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class McpOptions:
    """What is the same for every kind of server.

    Attributes:
        name: What the server is called in the trace; its own name where empty.
        prefix: Put before each of its tools' names, so that several servers can be used together.
        include: Only these of its tools, by the server's names.
        on_unsupported: See `Tool`.
        on_refused: What to do about a tool whose schema is refused: ``"leave_out"`` it, so that it appears in
            `McpServer.left_out` and in a warning on opening, or ``"raise"`` a SchemaError.
        timeout: Seconds that one call may take.
        start_timeout: Seconds for the server to start, shake hands and list its tools.
        max_bytes: Most bytes of a result as JSON; a larger one is an error.
        on_change: Called with the new tools when the server says that they changed; in the session's thread, so it
            must not wait for a call.
        trusted: Whether its results may be followed, and its ``readOnlyHint``s believed; see `Tool`. Only for servers
            of your own: nothing that another server says is proven.
    """

    name: str = ""
    prefix: str = ""
    include: Collection[str] | None = None
    on_unsupported: OnUnsupported = "check"
    on_refused: Literal["leave_out", "raise"] = "leave_out"
    timeout: float = 60.0
    start_timeout: float = 30.0
    max_bytes: int = 1 << 20
    on_change: Callable[[tuple[Tool, ...]], None] | None = None
    trusted: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.include, str):
            raise InputError(f"include={self.include!r}: give a list of names")
        if self.on_refused not in ("leave_out", "raise"):
            raise InputError(f"on_refused={self.on_refused!r}: use 'leave_out' or 'raise'")
        if not (self.timeout > 0 and self.start_timeout > 0 and self.max_bytes > 0):
            raise InputError("timeout and start_timeout are seconds above 0, max_bytes is a number of bytes above 0")


class McpOptionsDict(TypedDict, total=False):
    """The options as keyword arguments."""

    name: str
    prefix: str
    include: Collection[str] | None
    on_unsupported: OnUnsupported
    on_refused: Literal["leave_out", "raise"]
    timeout: float
    start_timeout: float
    max_bytes: int
    on_change: Callable[[tuple[Tool, ...]], None] | None
    trusted: bool


def options_of(options: McpOptionsDict) -> McpOptions:
    """Options from keywords.

    Raises:
        UnknownNameError: If one means nothing; it names the nearest.
        InputError: If one is unusable.
    """
    for name in options:
        if name not in McpOptions.__dataclass_fields__:
            raise unknown("option of an MCP server", name, McpOptions.__dataclass_fields__)
    return McpOptions(**cast(Mapping[str, Any], options))
