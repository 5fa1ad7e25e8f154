"""Tool calls: the schema of a list of them, and reading them back from text."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.errors import InputError, SchemaError, unknown
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.jsontext import strict_loads
from loraloop.tool_schemas.schema.keywords import object_schema
from loraloop.tool_schemas.schema.normal import normalised
from loraloop.tool_schemas.schema.places import every, pointer
from loraloop.tool_schemas.schema.validation import check_value
from loraloop.tool_schemas.single_flight import SingleFlight
from loraloop.tool_schemas.tools.tool import Tool, check_names

MOST_ASKED = 4
"""The most arguments that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: its name and its arguments (JSON data).

    Attributes:
        name: The tool's.
        arguments: By parameter.
    """

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """Calls that lack values which the user has not given: ``null`` stands in their places.

    Attributes:
        arguments: Names of the required arguments that are missing, each once, at most `MOST_ASKED`.
    """

    arguments: tuple[str, ...]


def calls_schema(tools: Sequence[Tool], min_calls: int = 0, max_calls: int = 8, ask: bool = False) -> dict[str, Any]:
    """The JSON Schema of ``[{"name": …, "arguments": {…}}, …]`` over the given tools.

    Args:
        tools: At least one, unless `min_calls` is 0: then only ``[]`` fits.
        min_calls: The least number of calls.
        max_calls: The largest number of calls.
        ask: Whether ``null`` may stand for a required argument: the user has not given its value. See `askable`.

    Returns:
        A schema that stands for itself: the schema of a tool with references lies under its own entry of ``$defs``, and
        its references lead there, so that what they lead to takes no ``null``. The arguments of a tool that is not
        strict are any object.

    Raises:
        SchemaError: If two tools share a name.
        InputError: If the bounds contradict each other, or calls are required where there is no tool.
    """
    check_names(tuple(tools))
    if not 0 <= min_calls <= max_calls:
        raise InputError(f"min_calls={min_calls}, max_calls={max_calls}: need 0 <= min_calls <= max_calls")
    if not tools:
        if min_calls:
            raise InputError("a call is required but there is no tool; give a tool or set min_calls=0")
        return {"type": "array", "maxItems": 0}
    definitions: dict[str, Any] = {}
    choices = []
    for index, tool in enumerate(tools):
        place = f"#/$defs/t{index}"
        parameters = normalised(tool.parameters) if tool.strict else {"type": "object"}
        moved, refers = _moved(parameters, place)
        if refers:
            definitions[f"t{index}"] = moved
        arguments = {"$ref": place} if refers else moved
        if ask and (names := askable(parameters)):
            arguments = _with_nulls(moved, names)
        choices.append(object_schema({"name": {"const": tool.name}, "arguments": arguments}))
    items = choices[0] if len(choices) == 1 else {"anyOf": choices}
    schema: dict[str, Any] = {"type": "array", "items": items, "minItems": min_calls, "maxItems": max_calls}
    return {**schema, "$defs": definitions} if definitions else schema


def askable(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The required arguments of a schema for which ``null`` says that the user has not given their value.

    Those are the ones whose own schema does not take ``null``.
    """
    required = [name for name in parameters.get("required", ()) if name in parameters.get("properties", {})]
    if not required:
        return ()
    moved = {"$defs": {"t": _moved(normalised(dict(parameters)), "#/$defs/t")[0]}}
    return tuple(name for name in required if not _takes_null(name, moved))


def _takes_null(name: str, moved: Mapping[str, Any]) -> bool:
    """Whether the schema of an argument takes ``null``; `moved` holds that of all arguments as its definition `t`."""
    try:
        check_value(None, {**moved, "$ref": pointer(("$defs", "t", "properties", name))})
    except SchemaError:
        return False
    return True


def _with_nulls(moved: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A schema of arguments, whose references lead elsewhere, in which some of them may be ``null`` too."""
    properties = {
        name: {"anyOf": [schema, {"type": "null"}]} if name in names else schema
        for name, schema in moved["properties"].items()
    }
    kept = {keyword: value for keyword, value in moved.items() if keyword not in ("$defs", "definitions")}
    return {**kept, "properties": properties}


def _lacking(parameters: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The schema of arguments of which some may be ``null`` too, standing for itself."""
    moved, _ = _moved(normalised(parameters), "#/$defs/t")
    return {**_with_nulls(moved, names), "$defs": {"t": moved}}


def calls_term(tools: Sequence[Tool], min_calls: int = 0, max_calls: int = 8, ask: bool = False) -> JsonSchema:
    """The grammar source of a list of calls; see `calls_schema`.

    Keywords that decoding cannot enforce are checked if one of the tools asks for that; the others have none. The last
    ones are kept: an agent asks for the same in each of its runs.

    Args:
        tools: The tools that may be called; what is kept is known by these objects, not by what they say.
        min_calls: Calls that the list has at least.
        max_calls: Calls that the list has at most.
        ask: Whether ``null`` may stand in the place of required arguments that the user has not given.
    """

    def made() -> tuple[JsonSchema, tuple[Tool, ...]]:
        checked = any(tool.strict and tool.on_unsupported == "check" for tool in tools)
        schema = calls_schema(tools, min_calls, max_calls, ask)
        return JsonSchema(schema, on_unsupported="check" if checked else "refuse"), tuple(tools)

    return _terms.get((*map(id, tools), min_calls, max_calls, ask), made)[0]


# Holds the tools, so that their ids stay theirs.
_terms: SingleFlight[tuple[JsonSchema, tuple[Tool, ...]]] = SingleFlight(64)


def _moved(schema: dict[str, Any], place: str) -> tuple[dict[str, Any], bool]:
    """The schema with its references led to where it will stand, and whether there are any."""
    copy: dict[str, Any] = json.loads(json.dumps(schema))
    referring = [each for _, each in every(copy) if isinstance(each.get("$ref"), str)]
    for each in referring:
        each["$ref"] = place + each["$ref"][1:]
    return copy, bool(referring)


def parse_step(text: str, tools: Sequence[Tool]) -> tuple[Call, ...] | Ask:
    """Reads what a model wrote under ``calls_schema(tools, …, ask=True)``: a list of calls, or what they lack.

    Raises:
        SchemaError: If the text is neither; see `parse_calls`.
    """
    missing = dict[str, None]()
    calls = _calls(_loaded(text), tools, missing)
    return Ask(tuple(missing)[:MOST_ASKED]) if missing else calls


def parse_calls(text: str, tools: Sequence[Tool]) -> tuple[Call, ...]:
    """Reads a list of calls and validates every one against its tool's schema.

    Args:
        text: What the model wrote.
        tools: The tools that may be called.

    Returns:
        The calls in order; none for ``[]``.

    Raises:
        SchemaError: If the text is no such list, names no known tool, or arguments do not fit their schema.
    """
    return _calls(_loaded(text), tools)


def _loaded(text: str) -> Any:
    try:
        return strict_loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the calls are not valid JSON ({error}); expected [{{'name':…,'arguments':…}}]") from None


def _calls(data: Any, tools: Sequence[Tool], missing: dict[str, None] | None = None) -> tuple[Call, ...]:
    """The calls; with `missing`, ``null`` may stand for a required argument, whose name is put there."""
    if not isinstance(data, list):
        raise SchemaError("expected a JSON list of calls", "$")
    known = {tool.name: tool for tool in tools}
    calls = []
    for index, entry in enumerate(data):
        if not isinstance(entry, dict) or set(entry) != {"name", "arguments"}:
            raise SchemaError("a call is an object with 'name' and 'arguments', nothing else", f"$[{index}]")
        name, arguments = entry["name"], entry["arguments"]
        if not isinstance(name, str) or name not in known:
            raise SchemaError(str(unknown("tool", str(name), known)), f"$[{index}].name")
        if not isinstance(arguments, dict):
            raise SchemaError("must be an object", f"$[{index}].arguments")
        parameters, place = known[name].parameters, f"$[{index}].arguments"
        absent: list[str] = []
        if missing is not None and None in arguments.values():
            absent = [each for each in askable(parameters) if arguments.get(each, ...) is None]
            missing |= dict.fromkeys(absent)
        check_value(arguments, _lacking(parameters, absent) if absent else parameters, place)
        calls.append(Call(name, arguments))
    return tuple(calls)
