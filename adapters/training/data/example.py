"""The transcripts of training and evaluation: turns with the system message in front, as an agent writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER

Part = Literal["train", "valid", "test"]
CONTRACTS = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The part of a tool that a transcript shows."""

    name: str
    description: str
    parameters: dict[str, Any]


def estimate(*texts: str) -> int:
    """Tokens of some texts, from their characters (English and JSON: about 3.6 a token)."""
    return round(sum(len(text) for text in texts) / 3.6) + 4 * len(texts)


def system_content(instructions: str = "", tools: Sequence[Mapping[str, Any]] = (), header: str = CALLS_HEADER) -> str:
    """Content of the system message: instructions, then the tools block; empty if there is neither.

    Args:
        instructions: Text of the application.
        tools: Tools as `{name, description, parameters}`.
        header: Stands above the tools; see `Prompting.tools_header`.
    """
    from loraloop.tool_schemas.tools.render import render_tools

    shown: list[Any] = [
        _Shown(t["name"], t.get("description") or "", t.get("parameters") or {"type": "object", "properties": {}})
        for t in tools
    ]
    return "\n\n".join(part for part in (instructions, render_tools(shown, header) if shown else "") if part)


def instructions_of(content: str) -> str:
    """The instructions in a system message that lists tools, under any header."""
    blocks = [*re.finditer(r"(?:\A|\n\n)# Tools\n", content)]
    return content[: blocks[-1].start()] if blocks else content


def transcript(
    turns: Iterable[Message],
    instructions: str = "",
    tools: Sequence[Mapping[str, Any]] = (),
    header: str = CALLS_HEADER,
) -> tuple[Message, ...]:
    """Turns with the system message in front, where there is something for it to say.

    Args:
        turns: The messages after it.
        instructions: What it begins with.
        tools: Name, description and parameters of each tool that it lists.
        header: What the listing of tools begins with.
    """
    content = system_content(instructions, tools, header)
    return (Message("system", content), *turns) if content else tuple(turns)
