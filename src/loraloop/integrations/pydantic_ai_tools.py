"""Which tools a request of pydantic-ai offers, and whether one of them has to be called."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic_ai import UserError
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ToolOrOutput
from pydantic_ai.tools import ToolDefinition

Choice = Literal["auto", "required", "none"]


def offered(choice: Any, parameters: ModelRequestParameters) -> tuple[Choice, list[ToolDefinition]]:
    """The tool choice as a run knows it, and the tools that may be called.

    Args:
        choice: The setting `tool_choice`: `auto`, `none`, `required`, names, or a `ToolOrOutput`.
        parameters: The request's.

    Raises:
        UserError: A call is required and there is nothing to call, or a name is unknown.
    """
    functions, outputs = parameters.declared_function_tools, parameters.output_tools
    free: Choice = "auto" if parameters.allow_text_output else "required"
    if choice is None or choice == "auto":
        found = [*functions, *outputs]
    elif isinstance(choice, ToolOrOutput):
        found = [*_named(choice.function_tools, functions), *outputs]
    elif choice in ("none", []):
        found = list(outputs)
    elif choice == "required":
        if not functions:
            raise UserError("tool_choice is 'required', and there are no function tools: give the agent tools")
        return "required", functions
    else:
        return "required", _named(choice, [*functions, *outputs])
    return (free if found else "none"), found


def _named(names: Collection[str], tools: list[ToolDefinition]) -> list[ToolDefinition]:
    known = [tool.name for tool in tools]
    missing = sorted(set(names).difference(known))
    if missing:
        raise UserError(
            f"tool_choice names {missing[0]!r}, which is not a tool here: {', '.join(known) or 'there is none'}"
        )
    return [tool for tool in tools if tool.name in names]
