"""An MCP server of skills, and of the agent: schemas both ways, structured results, progress, cancellation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loraloop.agent.threads import awaited
from loraloop.integrations.mcp_offers import CallWatch, Offer
from loraloop.tool_schemas.errors import InputError, LoraloopError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.mcp.server import need_sdk
from loraloop.tool_schemas.tools.tool import check_names

if TYPE_CHECKING:
    import mcp_types
    from mcp.server import ServerRequestContext
    from mcp.server.lowlevel import Server

NAME = "loraloop"
SAYS = (
    "Each tool is one step of a small language model's skill on this machine, and keeps to its output schema. A tool "
    "that runs a whole agent says so. Texts to answer from, and tools to choose from, are given with each call."
)
_EVERY = 0.1  # seconds between two reports of progress
_log = logging.getLogger(__name__)


def mcp_server(offers: Sequence[Offer], name: str = NAME) -> Server[Any]:
    """A server that offers tools; `serve_stdio` and `http_app` put it on a transport.

    Each call runs in a thread of its own, and a cancelled one ends at its next token. Arguments are validated; what is
    wrong with them, and what a skill refuses, is a result that is an error, so that a model can correct itself.

    Args:
        offers: See `skill_offers` and `agent_offer`.
        name: What the server calls itself.

    Raises:
        InputError: There is nothing to offer, or the official SDK is not installed.
        SchemaError: Two tools have one name.
    """
    need_sdk()
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError

    from loraloop.tool_schemas.mcp.results import own_version

    if not offers:
        raise InputError("the server has nothing to offer: name skills, or give it an agent")
    check_names([offer.tool for offer in offers])
    known = {offer.tool.name: offer for offer in offers}
    listed = [_listed(offer) for offer in offers]

    async def list_tools(
        context: ServerRequestContext[Any], asked: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(context: ServerRequestContext[Any], asked: types.CallToolRequestParams) -> types.CallToolResult:
        if asked.name not in known:
            raise MCPError(types.INVALID_PARAMS, str(unknown("tool", asked.name, known)))
        return await _answer(known[asked.name], asked.arguments or {}, context)

    return Server(
        name,
        version=own_version().version,
        title=name,
        instructions=SAYS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _listed(offer: Offer) -> mcp_types.Tool:
    import mcp_types as types

    tool = offer.tool
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=tool.returns,
        annotations=types.ToolAnnotations(**offer.hints),
    )


async def _answer(
    offer: Offer, arguments: dict[str, Any], context: ServerRequestContext[Any]
) -> mcp_types.CallToolResult:
    import mcp_types as types

    watch, reported = CallWatch(), 0

    def work() -> tuple[dict[str, Any], dict[str, Any]]:
        offer.tool.validate(arguments)
        return offer.call(arguments, watch)

    task = asyncio.ensure_future(awaited(work, lambda: setattr(watch, "gone", True)))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to see it
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_EVERY)
            if watch.tokens > reported:
                reported = watch.tokens
                await context.session.report_progress(reported, message=watch.doing or None)
        data, about = task.result()
    except LoraloopError as error:
        return _failed(str(error))
    except Exception as error:
        _log.exception("the tool %r failed", offer.tool.name)
        return _failed(f"it failed unexpectedly ({type(error).__name__}); the server's log says more")
    finally:
        watch.gone = True
    return types.CallToolResult(
        content=[types.TextContent(text=dumps(data))], structured_content=data, _meta={"loraloop": about}
    )


def _failed(why: str) -> mcp_types.CallToolResult:
    import mcp_types as types

    return types.CallToolResult(content=[types.TextContent(text=why)], is_error=True)
