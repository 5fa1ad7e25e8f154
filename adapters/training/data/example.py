"""One training or evaluation example: a transcript up to the step, and the step's text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import Passage

Part = Literal["train", "valid", "test"]
SKILLS = ("tools", "code", "retrieval", "safety")
CONTRACTS = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict"}


@dataclass(frozen=True, slots=True)
class Example:
    """A step of one skill.

    Attributes:
        skill: Name of the skill the step belongs to.
        kind: What the example exercises, such as `single`, `parallel`, `none`; for reports and balance.
        id: Unique among the examples of its source.
        messages: Transcript that the step follows; a system message only if tools or instructions exist.
        completion: The step's text, as decoding must produce it. Closing tokens are not part of it.
        source: Where the record comes from.
        license: Licence of the source.
        tools: Tools shown in the system message, as `{name, description, parameters}`.
        passages: Passages shown in the last message.
        gold: What scoring needs beyond the completion (calls, accepts, answers, tests, label).
    """

    skill: str
    kind: str
    id: str
    messages: tuple[Message, ...]
    completion: str
    source: str
    license: str
    tools: tuple[dict[str, Any], ...] = ()
    passages: tuple[Passage, ...] = ()
    gold: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.skill not in SKILLS:
            raise ValueError(f"unknown skill {self.skill!r}: use one of {', '.join(SKILLS)}")
        if not self.messages:
            raise ValueError(f"example {self.id} has no messages: a step follows at least one")

    @property
    def contract(self) -> str:
        """Name of the output contract."""
        return CONTRACTS[self.skill]


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


def transcript(
    turns: Iterable[Message],
    instructions: str = "",
    tools: Sequence[Mapping[str, Any]] = (),
    header: str = CALLS_HEADER,
) -> tuple[Message, ...]:
    """Turns with the system message in front, where there is something for it to say."""
    content = system_content(instructions, tools, header)
    return (Message("system", content), *turns) if content else tuple(turns)
