"""What an MCP server sends, as plain data: tools, and the content of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loraloop import __version__
from loraloop.tool_schemas.errors import ToolError
from loraloop.tool_schemas.jsontext import dumps, shortened
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    import mcp_types

    from loraloop.tool_schemas.schema.findings import OnUnsupported

_SAID = 2000  # characters of an error


def own_version() -> mcp_types.Implementation:
    """How we introduce ourselves to a server."""
    import mcp_types

    return mcp_types.Implementation(name="loraloop", version=__version__)


def tool_of(
    listed: mcp_types.Tool,
    function: Callable[..., Any],
    *,
    name: str,
    on_unsupported: OnUnsupported,
    timeout: float,
    source: str,
    trusted: bool = False,
) -> Tool:
    """The tool for an entry of a server's list; its `inputSchema` and `outputSchema` are used as they are.

    A server's word that a tool destroys something always counts, its word that a tool only reads if it is trusted.

    Args:
        listed: The entry: schemas, description and hints.
        function: Sends a call to the server.
        name: What the model calls the tool by, the prefix included.
        on_unsupported: What to do about keywords that decoding cannot enforce; see `Tool`.
        timeout: Seconds that one call may take.
        source: Where the tool comes from, for the trace: ``"mcp:NAME"``.
        trusted: Whether results may be followed like the user's own words, and the hint that a tool only reads is
            believed.

    Raises:
        SchemaError: With the JSON path of what cannot be used.
    """
    return Tool(
        name,
        listed.description or (listed.annotations and listed.annotations.title) or listed.title or "",
        listed.input_schema,
        function,
        on_unsupported=on_unsupported,
        returns=listed.output_schema,
        timeout=timeout,
        source=source,
        effects=_effects(listed, trusted),
        trusted=trusted,
    )


def _effects(listed: mcp_types.Tool, trusted: bool) -> bool | None:
    hints = listed.annotations
    if hints is not None and hints.destructive_hint is True and hints.read_only_hint is not True:
        return True
    return False if trusted and hints is not None and hints.read_only_hint is True else None


def data_of(result: mcp_types.CallToolResult) -> Any:
    """A result as data that JSON can hold. Nothing of it is run, followed or decoded.

    Structured content goes first. Texts are joined by line breaks; of images, sounds and binary resources only
    type and size are told; several kinds of content become a list.

    Raises:
        ToolError: If the server marks the result as an error; the message is the result's text.
    """
    blocks = [_plain(block) for block in result.content]
    if result.is_error:
        if not blocks and result.structured_content is not None:
            blocks = [result.structured_content]
        said = "\n".join(block if isinstance(block, str) else dumps(block) for block in blocks).strip()
        raise ToolError(shortened(said, _SAID) or "the tool failed without saying why")
    if result.structured_content is not None:
        return result.structured_content
    if all(isinstance(block, str) for block in blocks):
        return "\n".join(blocks) if blocks else None
    return blocks[0] if len(blocks) == 1 else blocks


def _plain(block: Any) -> Any:
    kind = block.type
    if kind == "text":
        return block.text
    if kind in ("image", "audio"):
        return {"type": kind, "mime": block.mime_type, "bytes": _size(block.data)}
    if kind == "resource_link":
        content = {"type": kind, "uri": str(block.uri), "name": block.name, "title": block.title}
        content |= {"description": block.description, "mime": block.mime_type, "bytes": block.size}
        return {key: value for key, value in content.items() if value is not None}
    inner = block.resource
    content = {"type": "resource", "uri": str(inner.uri), "mime": inner.mime_type}
    content |= {"text": inner.text} if hasattr(inner, "text") else {"bytes": _size(inner.blob)}
    return {key: value for key, value in content.items() if value is not None}


def _size(base64: str) -> int:
    """Bytes that a base64 text stands for."""
    return len(base64) * 3 // 4 - base64[-2:].count("=")
