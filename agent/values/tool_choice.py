"""Whether a run has to call tools, and which: `auto`, `required`, `none` or one tool, as OpenAI's `tool_choice`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.grammar.grammar import Term
from loraloop.tool_schemas.tools.call_format import CallFormat
from loraloop.tool_schemas.tools.calls import calls_term
from loraloop.tool_schemas.tools.tool import Tool

WORDS = ("auto", "required", "none")
_FORMS = "give 'auto', 'required', 'none', a tool's name, or {'type': 'function', 'function': {'name': …}}"


def choice_of(choice: str | Mapping[str, Any]) -> str:
    """A tool choice as one of `WORDS`, or as the name of a tool.

    Args:
        choice: One of `WORDS`, a tool's name, or OpenAI's mapping form of a tool: ``{"type": "function", "function":
            {"name": …}}``, or ``{"type": "function", "name": …}`` as its Responses API writes it.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(choice, Mapping):
        inner = choice.get("function", choice)
        name = inner.get("name") if isinstance(inner, Mapping) and choice.get("type") == "function" else None
        if not isinstance(name, str) or name in WORDS:
            raise InputError(f"tool_choice is {dict(choice)!r}: {_FORMS}")
        return name
    if not isinstance(choice, str) or not choice.strip():
        raise InputError(f"tool_choice is {choice!r}: {_FORMS}")
    return choice


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form of a step that writes calls.

    Attributes:
        tools: The tools that it may call.
        least: Calls that it must write; 0 lets it write none.
        most: Calls that it may write.
        required: Whether the caller asked for a call, so that the run has failed without one.
        ask: Whether `null` may stand in the place of required arguments that the user has not given.
        format: The base's own format of calls, if it writes in that.
    """

    tools: tuple[Tool, ...]
    least: int = 0
    most: int = 8
    required: bool = False
    ask: bool = False
    format: CallFormat | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(tool.name for tool in self.tools)

    @property
    def term(self) -> Term:
        """Grammar of the calls that the choice allows."""
        if self.format is not None:
            return self.format.term(self.tools, self.least)
        return calls_term(self.tools, self.least, self.most, self.ask)

    def without(self, names: Collection[str]) -> CallForm:
        """The form without some tools; with none left, a step can only write an empty list of calls."""
        left = tuple(tool for tool in self.tools if tool.name not in names)
        return replace(self, tools=left, least=self.least if left else 0)


def forms_of(tools: Sequence[Tool], choice: str, least: int = 0, most: int = 8) -> tuple[CallForm, CallForm]:
    """The form of the run's first choice under a tool choice, and the form of every later one.

    Args:
        tools: The tools of the run.
        choice: One of `WORDS`, or a tool's name; see `choice_of`.
        least: Calls that a step with calls must write; the first one must write at least one where a call is required.
        most: Calls that a step may write.
    """
    later = CallForm(tuple(tools), least, most)
    if choice in ("auto", "none"):
        return later, later
    named = tuple(tool for tool in tools if choice in ("required", tool.name))
    return CallForm(named, max(1, least), most, True), later


def strict_form(form: CallForm) -> CallForm:
    """The form with every tool's schema enforced or checked while decoding, if that can be done."""
    return replace(form, tools=tuple(map(_strict, form.tools)))


def _strict(tool: Tool) -> Tool:
    if tool.strict:
        return tool
    try:
        return replace(tool, strict=True, on_unsupported="check")
    except SchemaError:  # it holds what cannot even be checked
        return tool


def check_names_free(tools: Sequence[Tool]) -> None:
    """Checks that no tool has a name that `tool_choice` takes for a word of its own.

    Raises:
        InputError: If one has.
    """
    for tool in tools:
        if tool.name in WORDS:
            raise InputError(f"a tool is called {tool.name!r}, which is a value of tool_choice: rename the tool")
