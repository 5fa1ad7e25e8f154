"""How tools are shown to the model: one compact, TypeScript-like signature a tool.

The text is part of what the shipped skills are trained on: changing a byte of it changes their scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.jsontext import dumps, fold
from loraloop.tool_schemas.schema.places import resolve

if TYPE_CHECKING:
    from loraloop.tool_schemas.tools.tool import Tool

HEADER = "# Tools\nYou can use these tools. `?` marks an argument that may be left out."
"""What stands before the signatures, where a base has no header of its own."""

DEFINITIONS = "# Tools\nThe definitions of the tools, one a line."
"""The header of tools that are listed as JSON, for a base whose chat template lists them."""

_SILENT = frozenset({"title", "description", "default", "$schema", "$id", "$comment", "$defs", "definitions"})
_NAME = re.compile(r"[A-Za-z_$][\w$.-]*", re.ASCII)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ROOT = "arguments"  # the name of the whole schema in its own signature
_INLINE = 240  # characters up to which a definition is written where it is used
_FORMATS = {
    "date": "YYYY-MM-DD", "time": "HH:MM:SSZ", "date-time": "YYYY-MM-DDTHH:MM:SSZ",
    "time-local": "HH:MM:SS", "date-time-local": "YYYY-MM-DDTHH:MM:SS",
}  # fmt: skip
"""How formats are written out: a small model does not know them by their names (RFC 3339, with the zone in UTC)."""
_PYTHON = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


class _Signature:
    """Renders the sub-schemas of one root schema; collects the definitions that have to be named."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.named: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._open: list[str] = []

    def type_of(self, schema: Any) -> str:
        """The type text of a schema, a union's members joined by ``|``."""
        if schema is True or schema == {}:
            return "any"
        if schema is False:
            return "never"
        if not isinstance(schema, dict):
            return dumps(schema)
        rest = {key: value for key, value in schema.items() if key not in _SILENT}
        text = self._core(rest)
        if text == "string" and rest.get("format") in _FORMATS:
            text = f"string({_FORMATS[rest.pop('format')]})"
        if rest:
            text = f"{_grouped(text)}({', '.join(f'{key}={dumps(value)}' for key, value in rest.items())})"
        return text

    def _core(self, rest: dict[str, Any]) -> str:
        """The part of the type that has a notation; takes what it says out of `rest`."""
        if isinstance(rest.get("$ref"), str):
            named = self._reference(rest["$ref"])
            if named is not None:
                del rest["$ref"]
                return named
        if "const" in rest:
            value = rest.pop("const")
            _drop_type(rest, [value])
            return dumps(value)
        if isinstance(rest.get("enum"), list) and rest["enum"]:
            values = rest.pop("enum")
            _drop_type(rest, values)
            return "|".join(dumps(value) for value in values)
        kinds = rest.get("type")
        if isinstance(kinds, list) and kinds:
            del rest["type"]
            return "|".join(_grouped(self._single(kind, rest), "&") for kind in kinds)
        if isinstance(kinds, str):
            del rest["type"]
            return self._single(kinds, rest)
        for keyword, sign in (("anyOf", "|"), ("oneOf", "|"), ("allOf", "&")):
            members = rest.get(keyword)
            if isinstance(members, list) and members:
                del rest[keyword]
                texts = [self.type_of(member) + _comment(member) for member in members]
                return sign.join(dict.fromkeys(texts if sign == "|" else map(_grouped, texts)))
        if "properties" in rest:
            return self._object(rest)
        return self._array(rest) if "items" in rest else "any"

    def _single(self, kind: str, rest: dict[str, Any]) -> str:
        if kind == "array":
            return self._array(rest)
        return self._object(rest) if kind == "object" else kind

    def _array(self, rest: dict[str, Any]) -> str:
        prefix = rest.get("prefixItems")
        if isinstance(prefix, list) and prefix:
            closed = rest.get("items") is False or rest.get("maxItems") == len(prefix)
            if closed and rest.get("minItems") == len(prefix):
                for keyword in ("prefixItems", "items", "minItems", "maxItems"):
                    rest.pop(keyword, None)
                return "[" + ", ".join(self.type_of(item) + _comment(item) for item in prefix) + "]"
        items = rest.pop("items", True)
        if isinstance(items, list):  # the tuple form of older drafts
            rest["items"] = items
            return "any[]"
        text = self.type_of(items) + _comment(items)
        return f"{_grouped(text)}[]"

    def _object(self, rest: dict[str, Any]) -> str:
        properties, required = rest.get("properties"), rest.get("required", [])
        extra = rest.get("additionalProperties")
        if not isinstance(properties, dict) or not isinstance(required, list):
            if not isinstance(extra, dict) or "properties" in rest or "required" in rest:
                return "object"
            properties = {}
        rest.pop("properties", None)
        if all(name in properties for name in required):
            rest.pop("required", None)
        parts = [self.member(name, schema, name in required) for name, schema in properties.items()]
        if isinstance(extra, dict | bool):
            del rest["additionalProperties"]
        if isinstance(extra, dict) or extra is True:
            parts.append(f"[key]: {self.type_of(extra)}{_comment(extra)}")
        return "{" + ", ".join(parts) + "}"

    def member(self, name: str, schema: Any, required: bool, separator: str = "") -> str:
        """One property: name, ``?`` unless required, type, default and description."""
        text = name if _NAME.fullmatch(name) else dumps(name)
        text += f"{'' if required else '?'}: {self.type_of(schema)}"
        if isinstance(schema, dict) and "default" in schema:
            text += f" = {dumps(schema['default'])}"
        if not separator:
            return text + _comment(schema)
        described = fold(schema.get("description")) if isinstance(schema, dict) else ""
        return text + (separator + described if described else "")

    def _reference(self, reference: str) -> str | None:
        """The text of a local definition, or its name if it is long or contains itself; None if not local."""
        found = resolve(self.root, reference)
        if found is None:
            return None
        name = reference.removeprefix("#/$defs/").removeprefix("#/definitions/") if reference != "#" else _ROOT
        name = name if _NAME.fullmatch(name) else dumps(name)
        if reference in self._open:
            self.named.setdefault(name, "")
            return name
        if reference not in self._texts:
            self._open.append(reference)
            text = self.type_of(found[0]) + _comment(found[0])
            self._open.pop()
            if name in self.named or len(text) > _INLINE:
                self.named[name] = text
                text = name
            self._texts[reference] = text
        return self._texts[reference]


def _grouped(text: str, signs: str = "|&") -> str:
    """The text in parentheses if it is a union, an intersection or commented at its outermost level."""
    depth, place = 0, 0
    while place < len(text):
        character = text[place]
        if character == '"':
            place = _STRING.match(text, place).end() - 1  # type: ignore[union-attr]
        elif text.startswith("/*", place):
            if depth == 0:
                return f"({text})"
            place = text.index("*/", place) + 1
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character in signs and depth == 0:
            return f"({text})"
        place += 1
    return text


def _comment(schema: Any) -> str:
    described = fold(schema.get("description")) if isinstance(schema, dict) else ""
    return f" /* {described.replace('*/', '* /')} */" if described else ""


def _drop_type(rest: dict[str, Any], values: list[Any]) -> None:
    """Removes a `type` that says nothing more than the literals do."""
    kinds = rest.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(names, list):
        return
    allowed = tuple(python for name in names for python in _PYTHON.get(name, ()) if isinstance(name, str))
    fits = (isinstance(it, allowed) and (not isinstance(it, bool) or bool in allowed) for it in values)
    if allowed and all(fits):
        del rest["type"]


def signature(tool: Tool) -> str:
    """The signature of one tool: its name and description, then a line for each argument.

    What has a notation is written in it (``string``, ``T[]``, ``{a: T, b?: T}``, ``"x"|"y"``, ``A&B``, comments
    for descriptions inside); every other keyword follows in parentheses as compact JSON (``integer(minimum=0)``).
    Only titles are left out. A definition that contains itself, or is long, is named and written once, on a line
    of its own.
    """
    root = tool.parameters
    shape = _Signature(root)
    described = fold(tool.description)
    inner = fold(root.get("description"))
    if inner and inner not in described:
        described = f"{described} {inner}".strip()
    lines = [f"{tool.name}: {described}" if described else tool.name]
    properties = root.get("properties", {})
    required = root.get("required", [])
    for name, schema in properties.items():
        lines.append("- " + shape.member(name, schema, name in required, " - "))
    rest = {key: value for key, value in root.items() if key not in _SILENT}
    for keyword in ("type", "properties"):
        rest.pop(keyword, None)
    if all(name in properties for name in required):
        rest.pop("required", None)
    if rest.get("additionalProperties") is False:
        del rest["additionalProperties"]
    if rest:
        lines.append("- " + ", ".join(f"{key}={dumps(value)}" for key, value in rest.items()))
    if _ROOT in shape.named and resolve(root, "#/$defs/arguments") is None:
        shape.named[_ROOT] = "{all the arguments of this tool}"
    lines += [f"  {name} = {text}" for name, text in shape.named.items()]
    return "\n".join(lines)


def render_tools(tools: Iterable[Tool], header: str = HEADER) -> str:
    """The tools block of a system message; empty if there are no tools.

    Args:
        tools: The tools in the order in which the model shall see them.
        header: The text above them. Below `DEFINITIONS`, the tools are lines of JSON in OpenAI's form.

    Returns:
        The header, then one signature a tool, parted by empty lines. The same tools
        always give the same bytes.
    """
    if header == DEFINITIONS:
        lines = [dumps(tool.to_openai()) for tool in tools]
        return "\n".join([header, *lines]) if lines else ""
    blocks = [signature(tool) for tool in tools]
    return "\n\n".join([header, *blocks]) if blocks else ""
