"""Extra prompt text that only the current step sees: it never enters the transcript."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import Prompting
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.values.step import Step
from loraloop.tool_schemas.jsontext import fold, loads_or
from loraloop.tool_schemas.tools.tool import Tool

K = TypeVar("K")
_MOST = 6
_TITLES = 6
"""Most documents that are named."""
_TRUSTED, _UNTRUSTED = (8, 64), (3, 32)
"""Most words and characters of a result that is named, from trusted and from untrusted tools."""
_PLAIN = re.compile(r"[\w .,:/+°%€$£'()-]*")


def extra_prompt(texts: Sequence[str], error: str = "") -> list[list[Message]]:
    """The extra prompt text of one step as messages, the longest version first; a step uses the first one that fits.

    Args:
        texts: What the caller of `Agent.iter` or the guard says, the base's cue, the form of the answer; or nothing.
        error: What was wrong with the text that is written again.
    """
    asked = "\n".join(filter(None, texts))
    first = [Message("user", asked)] if asked else []
    if not error:
        return [first] if first else []
    # The invalid text itself is left out: a small model that sees its own call copies it.
    repair = [Message("user", f"That is not valid: {error}\nWrite it again.")]
    return [[*first, *repair], repair]


def cue_of(
    prompting: Prompting,
    messages: Sequence[Message],
    ask: Sequence[str] = (),
    tools: Sequence[Tool] = (),
    steps: Sequence[Step] = (),
    passages: Sequence[Passage] = (),
) -> str:
    """The extra prompt text of a step in which the base writes to the user; empty for none.

    Args:
        prompting: Extra prompt text of the base.
        messages: The transcript.
        ask: Arguments for which the base should ask the user.
        tools: The tools that describe these arguments.
        steps: The run's steps so far.
        passages: The run's passages.
    """
    if ask:
        return prompting.ask.replace("{arguments}", _listed([describe_argument(name, tools) for name in ask]))
    if messages[-1].role == "tool":
        cue = prompting.after_result
        results = results_in_words(messages) if cue and prompting.name_results else ""
        return f"{cue} {results}" if results else cue
    found = {step.outcome for step in steps}
    if "not_answerable" in found:
        return prompting.no_answer.replace("{titles}", _listed(titles_of(passages) or ["the documents"]))
    return prompting.no_call if "no_call" in found else ""


def closing_fact(
    messages: Sequence[Message], ask: Sequence[str], steps: Sequence[Step], passages: Sequence[Passage] = ()
) -> str | None:
    """Extra prompt text for a skill that closes runs, in one fixed form for each case.

    Args:
        messages: The transcript; only the last message counts.
        ask: Arguments for which it asks the user.
        steps: The run's steps so far.
        passages: The run's passages.

    Returns:
        Empty where the last message is a result, which says all. None where there is nothing to close: the run has no
        result, and nothing in it failed, so the base talks.
    """
    if ask:
        return f"Missing: {', '.join(ask)}"
    if messages[-1].role == "tool":
        return ""
    outcomes = {step.outcome for step in steps}
    if "not_answerable" in outcomes:
        titles = titles_of(passages)
        return f"Not in the documents: {', '.join(titles)}" if titles else "Not in the documents"
    return "Not done" if "invalid" in outcomes else None


def titles_of(passages: Sequence[Passage]) -> list[str]:
    """The names of the documents that some passages are from: their titles or sources, the first few, each once."""
    names = list(dict.fromkeys(fold(passage.title or passage.source) for passage in passages))
    named = [name for name in names if name]
    return named if len(named) <= _TITLES else [*named[:_TITLES], f"{len(named) - _TITLES} more"]


def describe_argument(name: str, tools: Sequence[Tool]) -> str:
    """An argument in words, with its description by the first tool that requires it: *the zone (where to park)*."""
    for tool in tools:
        if name in tool.parameters.get("required", ()):
            schema = tool.parameters.get("properties", {}).get(name)
            about = fold(schema.get("description")) if isinstance(schema, dict) else ""
            return f"the {_words(name)} ({about.rstrip('.')})" if about else f"the {_words(name)}"
    return f"the {_words(name)}"


def results_in_words(messages: Sequence[Message]) -> str:
    """A sentence that names the results of the calls since the user's last message; empty where they are too many.

    Results come from outside, and this sentence stands in the user's place. So a text is named only if it is short and
    of plain characters; that of an untrusted tool only if it has at most three words. And the step that reads the
    sentence can only write prose.

    Args:
        messages: The transcript.
    """
    start = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1) + 1
    found: list[tuple[str, str, str]] = []  # name, arguments, value
    calls: list[dict[str, Any]] = []
    for message in messages[start:]:
        if message.role == "assistant":
            calls = [call for call in _read(message.content, list) if isinstance(call, dict)]
        elif message.role == "tool":
            call = calls.pop(0) if calls else {}
            result = _read(message.content, dict)
            if "error" in result or "retry" in result:
                continue
            value = _value(_news(result.get("result"), call), _TRUSTED if message.trusted else _UNTRUSTED)
            if value is None:
                return ""
            found.append((_words(str(result.get("name", "result"))), _arguments(result, call), value))
    if not found or len(found) > _MOST:
        return ""
    if len(found) == 1:
        return f"The result is {found[0][2]}."
    names = [name for name, _, _ in found]
    parts = [f"{n}{arguments if names.count(n) > 1 else ''}: {value}" for n, arguments, value in found]
    return f"The results are {_listed(parts)}."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _read(content: str, kind: type[K]) -> K:
    """The JSON of a message; an empty one where it is none, or of another kind."""
    found = loads_or(content)
    return found if isinstance(found, kind) else kind()


def _news(result: Any, call: dict[str, Any]) -> Any:
    """A result without the properties that only repeat the call's arguments, unless nothing else is left."""
    arguments = call.get("arguments")
    if not isinstance(result, dict) or not isinstance(arguments, dict):
        return result
    news = {name: value for name, value in result.items() if value not in arguments.values()}
    return news or result


def _value(result: Any, limits: tuple[int, int]) -> str | None:
    """A value in words; None where it is not short and plain."""
    if isinstance(result, dict) and 0 < len(result) <= 3:
        values = {name: _value(value, limits) for name, value in result.items() if not isinstance(value, dict)}
        if len(values) < len(result) or any(value is None for value in values.values()):
            return None
        if len(values) == 1:
            return next(iter(values.values()))
        return ", ".join(f"{_words(name)} {value}" for name, value in values.items())
    if isinstance(result, list | dict) or result is None:
        return None
    text = json.dumps(result) if not isinstance(result, str) else result.strip()
    short = 0 < len(text) <= limits[1] and len(text.split()) <= limits[0]
    return text if short and _PLAIN.fullmatch(text) else None


def _arguments(result: dict[str, Any], call: dict[str, Any]) -> str:
    """Up to two short arguments of a call, in brackets."""
    arguments = call.get("arguments") if call.get("name") == result.get("name") else None
    values = arguments.values() if isinstance(arguments, dict) else ()
    shown = [_value(value, _UNTRUSTED) for value in values if not isinstance(value, dict | bool)]
    short = [value for value in shown if value is not None][:2]
    return f" ({', '.join(short)})" if short else ""


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[^A-Za-z0-9]+", spaced)).strip().lower()
