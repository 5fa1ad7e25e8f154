"""Whether predicted calls are right: exactly, or by the leaderboard's rule (`leaderboard`); and if not, why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loraloop.adapters.training.scoring.leaderboard import MISTAKES, Call, schema_of, unaccepted


def same_calls(predicted: Sequence[Call], gold: Sequence[Call], tools: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two lists hold the same calls in any order.

    Text is compared without case and repeated spaces, numbers by value; an optional argument that equals the
    schema's default counts as left out, on both sides.
    """
    return sorted(_canonical(c, tools) for c in predicted) == sorted(_canonical(c, tools) for c in gold)


def mistake(
    predicted: Sequence[Call] | None,
    gold: Sequence[Call],
    accepts: Sequence[Mapping[str, Mapping[str, Any]]] | None,
    tools: Sequence[Mapping[str, Any]],
) -> str:
    """Why calls are wrong; empty if they are right.

    Args:
        predicted: Calls made; None: the text was no list of calls.
        gold: Calls wanted.
        accepts: What the leaderboard accepts instead of `gold`, where it is known.
        tools: Tools that were offered.

    Returns:
        `no list of calls`, `should have abstained`, `should have called`, `wrong count`, or one of `MISTAKES`.
    """
    if predicted is None:
        return "no list of calls"
    if accepts:
        return "should have called" if not predicted else unaccepted(predicted, accepts, tools)
    if same_calls(predicted, gold, tools):
        return ""
    if not gold or not predicted:
        return "should have called" if gold else "should have abstained"
    if len(predicted) != len(gold):
        return "wrong count"
    free, missed = [_canonical(call, tools) for call in predicted], []
    for wanted in (_canonical(call, tools) for call in gold):
        if wanted in free:
            free.remove(wanted)
        else:
            missed.append(wanted)
    return min((_difference(call, missed[0]) for call in free), key=MISTAKES.index)


def _difference(call: str, wanted: str) -> str:
    """How one call, in its canonical form, differs from another."""
    (name, values), (wanted_name, arguments) = json.loads(call), json.loads(wanted)
    if name != wanted_name:
        return "wrong function"
    if arguments.keys() - values.keys():
        return "missing argument"
    return "unexpected argument" if values.keys() - arguments.keys() else "wrong value"


def _canonical(call: Call, tools: Sequence[Mapping[str, Any]]) -> str:
    schema = schema_of(call["name"], tools)
    required, properties = schema.get("required", []), schema.get("properties", {})
    kept = {
        name: _plain(value)
        for name, value in call["arguments"].items()
        if name in required or _plain(value) != _plain(_default(properties.get(name)))
    }
    return json.dumps([call["name"], kept], sort_keys=True)


def _default(schema: Any) -> Any:
    """The default of an argument; a schema may also be true."""
    return schema.get("default") if isinstance(schema, Mapping) else None


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.lower().split())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
