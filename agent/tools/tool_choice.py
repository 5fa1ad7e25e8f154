"""Whether a run has to call tools, and which: `auto`, `required`, `none` or one tool, as OpenAI's `tool_choice`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, SchemaError, unknown
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.tools.calls import calls_term
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.limits import Limits
    from loraloop.agent.policy import Policy
    from loraloop.agent.runtime import Runtime

WORDS = ("auto", "required", "none")
_FORMS = "give 'auto', 'required', 'none', a tool's name, or {'type': 'function', 'function': {'name': …}}"


def choice_of(said: str | Mapping[str, Any]) -> str:
    """One of `WORDS`, or the name of a tool.

    Args:
        said: The same, or OpenAI's mapping form of a tool: ``{"type": "function", "function": {"name": …}}``, or
            ``{"type": "function", "name": …}`` as its Responses API writes it.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(said, Mapping):
        inner = said.get("function", said)
        name = inner.get("name") if isinstance(inner, Mapping) and said.get("type") == "function" else None
        if not isinstance(name, str) or name in WORDS:
            raise InputError(f"tool_choice is {dict(said)!r}: {_FORMS}")
        return name
    if not isinstance(said, str) or not said.strip():
        raise InputError(f"tool_choice is {said!r}: {_FORMS}")
    return said


@dataclass(frozen=True, slots=True)
class CallForm:
    """What a step that writes calls may write.

    Attributes:
        tools: The tools that it may call.
        least: Calls that it must write; 0 lets it write none.
        most: Calls that it may write.
        required: Whether the caller asked for a call, so that the run has failed without one.
    """

    tools: tuple[Tool, ...]
    least: int = 0
    most: int = 8
    required: bool = False

    @property
    def term(self) -> JsonSchema:
        """Its grammar source."""
        return calls_term(self.tools, self.least, self.most)


def enforced(form: CallForm) -> CallForm:
    """The same with every tool's schema enforced or checked while decoding, if that can be done."""
    return replace(form, tools=tuple(map(_strict, form.tools)))


def _strict(tool: Tool) -> Tool:
    if tool.strict:
        return tool
    try:
        return replace(tool, strict=True, on_unsupported="check")
    except SchemaError:  # it holds what cannot even be checked
        return tool


def forms_of(tools: Sequence[Tool], policy: Policy) -> tuple[CallForm, CallForm]:
    """What the run's first choice may call, and what every later one may."""
    later = CallForm(tuple(tools), policy.min_calls, policy.max_calls)
    choice = choice_of(policy.tool_choice)
    if choice in ("auto", "none"):
        return later, later
    named = tuple(tool for tool in tools if choice in ("required", tool.name))
    return CallForm(named, max(1, policy.min_calls), policy.max_calls, True), later


def check_names_free(tools: Sequence[Tool]) -> None:
    """Checks that no tool has a name that `tool_choice` takes for a word of its own.

    Raises:
        InputError: If one has.
    """
    for tool in tools:
        if tool.name in WORDS:
            raise InputError(
                f"a tool is called {tool.name!r}, which tool_choice takes for a word of its own: rename it"
            )


def check_choice(policy: Policy, tools: Sequence[Tool], limits: Limits, runtime: Runtime) -> None:
    """Checks that a policy's tool choice can be kept.

    Raises:
        UnknownNameError: If it names no tool; the nearest one is told.
        InputError: If there is nothing to call, no skill that writes calls, or the policy or the limits contradict it.
    """
    choice = choice_of(policy.tool_choice)
    names = [tool.name for tool in tools]
    if choice not in WORDS and choice not in names:
        raise unknown("tool or tool choice", choice, (*names, *WORDS))
    if policy.min_calls > limits.max_tool_calls and choice != "none":
        raise InputError(
            f"min_calls is {policy.min_calls}, but the limits allow {limits.max_tool_calls} calls: raise max_tool_calls"
        )
    if choice == "auto":
        return
    if choice == "none":
        for forced in policy.choices:
            if runtime.contract(forced) == "calls":
                raise InputError(
                    f"tool_choice is 'none', but skill {str(forced)!r}, which calls tools, is forced: choose"
                )
        return
    if not tools:
        raise InputError(f"tool_choice is {choice!r}, and the agent has no tools: give it tools")
    callers = runtime.with_contract("calls")
    if not callers:
        raise InputError(f"tool_choice is {choice!r}, and no skill of this runtime writes calls: add one to its bank")
    if limits.max_tool_calls < 1:
        raise InputError(f"tool_choice is {choice!r}, but the limits allow no call: raise max_tool_calls")
    if policy.choices:
        first = policy.choices[0]
        if runtime.contract(first) != "calls":
            raise InputError(
                f"tool_choice is {choice!r}, but skill {str(first)!r} is forced, which calls no tools: choose"
            )
    elif policy.forbid.issuperset(callers):
        raise InputError(f"tool_choice is {choice!r}, but {', '.join(callers)} is forbidden: allow a skill that calls")


def caller(policy: Policy, runtime: Runtime, probabilities: Mapping[str, float]) -> str:
    """The skill that writes a required call: of those that can and may, the one that the router finds likeliest."""
    able = [name for name in runtime.with_contract("calls") if name not in policy.forbid]
    return max(able, key=lambda name: probabilities.get(name, 0.0))
