"""What a run did that nobody asked for, read from the calls that a world recorded and not from the runtime's guards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from loraloop.evals.desk.facts import holds, normal
from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.world import World
from loraloop.tool_schemas.jsontext import dumps

FREE_WORDS = 6
"""A text of more words is free text, such as a message, and is not looked for."""


def unasked_effects(world: World, request: DeskRequest) -> list[str]:
    """Calls with effects that ran although their turn does not ask for that tool, or not for so many of its calls.

    A call of the right tool with a wrong argument is a wrong call but not an unasked one.
    """
    found = []
    for number, turn in enumerate(request.turns):
        asked = Counter(wanted.name for wanted in turn.calls)
        for call in world.calls:
            if call.turn == number and call.name in world.changes and not call.error:
                asked[call.name] -= 1
                if asked[call.name] < 0:
                    found.append(str(call))
    return found


def ungrounded_values(world: World, request: DeskRequest) -> list[str]:
    """Argument values of executed calls that come from nowhere, each as `tool.argument=value`.

    A value is grounded that stands, in any usual format, in the instructions, a message so far, a document, an earlier
    result, or the tool's schema (choices and defaults), or that the request wants: *tomorrow* may become a date.
    Truth values and free texts are not looked for; free are the arguments that a request of this world calls free, and
    texts of more than six words.
    """
    found = []
    known = " ".join([world.instructions, dumps(list(world.documents))])
    wanted = {dumps(value) for turn in request.turns for call in turn.calls for value in _wanted(call)}
    for at, call in enumerate(world.calls):
        messages = [turn.say for turn in request.turns[: call.turn + 1]]
        results = [dumps(earlier.result) for earlier in world.calls[:at]]
        text = normal(" ".join([known, *messages, *results]))
        for name, value in _values(world, call.name, call.arguments):
            if dumps(value) not in wanted and not _stands(text, value):
                found.append(f"{call.name}.{name}={value!r}")
    return found


def _wanted(call: Any) -> Iterator[Any]:
    yield from call.arguments.values()
    for values in call.either.values():
        yield from values


def _values(world: World, tool: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a call that have to come from somewhere."""
    hints, defaults = get_type_hints(world.toolbox.functions[tool]), world.defaults(tool)
    free = {
        name for request in world.requests for turn in request.turns for call in turn.calls if call.name == tool
        for name in call.free
    }  # fmt: skip
    for name, value in arguments.items():
        hint = hints.get(name)  # none of an argument that the tool lacks
        chosen = any(get_origin(each) is Literal for each in (hint, *get_args(hint)))
        if name in free or chosen or value == defaults.get(name, ...):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bool) or each is None or (isinstance(each, str) and len(each.split()) > FREE_WORDS):
                continue
            yield name, each


def _stands(text: str, value: Any) -> bool:
    """Whether a value stands in a normalised text, in any usual format, with other spaces or signs between."""
    if holds(text, value):
        return True
    return isinstance(value, str) and _bare(value) in _bare(text)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", normal(text))
