"""An operation's parameters and request body as the arguments of a tool, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.errors import LoraloopError, SchemaError
from loraloop.tool_schemas.http.body import bare, is_json
from loraloop.tool_schemas.http.places import STYLES, Place, Where, check_header_name
from loraloop.tool_schemas.openapi.document import OpenApiDocument, Parts
from loraloop.tool_schemas.openapi.schema import Flat, SchemaWriter
from loraloop.tool_schemas.openapi.selection import Operation
from loraloop.tool_schemas.schema.places import json_path

_FORM = "application/x-www-form-urlencoded"
_MEDIA = re.compile(r"[\w.+-]+/[\w.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)
_IGNORED = ("accept", "content-type", "authorization")  # header parameters that OpenAPI says mean nothing
_TELLING = {"minLength", "pattern", "enum", "const", "format"}  # keywords that say enough about a text
_PLACES: tuple[Where, ...] = ("path", "query", "header", "cookie")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument before it has its final name.

    Attributes:
        place: Where it goes; its name there is set.
        schema: Already written.
        required: Whether it has to be given.
    """

    place: Place
    schema: Any
    required: bool


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of an operation.

    Attributes:
        schema: JSON Schema of the arguments.
        places: Where each goes.
        body: Media type of the body; empty if there is none.
        always_body: Whether an empty object or form is sent too.
    """

    schema: dict[str, Any]
    places: dict[str, Place]
    body: str
    always_body: bool


_BODIES: tuple[tuple[str, Callable[[str], bool]], ...] = (  # kinds of bodies, the first that is offered is taken
    ("json", lambda media: media == "application/json"),
    ("json", is_json),
    ("form", lambda media: media == _FORM),
    ("text", lambda media: media == "text/plain"),
    ("json", lambda media: media in ("*/*", "application/*")),
)


def arguments_of(document: OpenApiDocument, operation: Operation, taken: Collection[tuple[str, str]]) -> Arguments:
    """The arguments of one operation.

    Args:
        document: Holds it.
        operation: The operation.
        taken: Parameters, as (place, name), that authentication fills in.

    Raises:
        SchemaError: With the path of what cannot be translated.
    """
    writer = SchemaWriter(document)
    found = list(_parameters(writer, operation, taken))
    body, always = "", False
    if "requestBody" in operation.node:
        node, there = document.followed(operation.node["requestBody"], (*operation.parts, "requestBody"))
        body, inside = _body(writer, node, there)
        always = node.get("required") is True and all(each.place.where in ("body", "form") for each in inside)
        found += inside
    named = dict(zip(_named(found), found, strict=True))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: argument.schema for name, argument in named.items()},
        "required": [name for name, argument in named.items() if argument.required],
        "additionalProperties": False,
    }
    if definitions := writer.definitions():
        schema["$defs"] = definitions
    return Arguments(schema, {name: argument.place for name, argument in named.items()}, body, always)


def _named(found: list[Argument]) -> list[str]:
    """A name for each; where two would have one, all of them get their place in front."""
    plain = [argument.place.name for argument in found]
    names: list[str] = []
    for argument in found:
        name = argument.place.name
        if plain.count(name) > 1:
            where = "body" if argument.place.where in ("json", "form", "text") else argument.place.where
            name = f"{where}_{name}"
        while name in names or (name in plain and name != argument.place.name):
            name += "_"
        names.append(name)
    return names


# --- parameters ------------------------------------------------------------------------------------------------------


def _parameters(writer: SchemaWriter, operation: Operation, taken: Collection[tuple[str, str]]) -> Iterator[Argument]:
    parts = operation.parts
    listed: dict[tuple[Where, str], tuple[dict[str, Any], Parts]] = {}
    for holder, where in ((operation.item, (*parts[:-1], "parameters")), (operation.node, (*parts, "parameters"))):
        entries = holder.get("parameters", [])
        if not isinstance(entries, list):
            raise SchemaError("must be a list", json_path(where))
        for index, entry in enumerate(entries):
            parameter, there = writer.document.followed(entry, (*where, index))
            name, kind = parameter.get("name"), parameter.get("in")
            if not isinstance(name, str) or kind not in _PLACES or not name:
                raise SchemaError(
                    "a parameter needs a 'name' and an 'in' (path, query, header, cookie)", json_path(there)
                )
            listed[kind, name] = parameter, there
    variables = re.findall(r"\{([^{}]*)\}", operation.path)
    for name in variables:
        if ("path", name) not in listed:
            raise SchemaError(f"the path's variable {name!r} is not a parameter; declare it", json_path(parts))
    for (kind, name), (parameter, there) in sorted(listed.items(), key=lambda entry: _PLACES.index(entry[0][0])):
        lowered = name.lower() if kind == "header" else name
        if (kind == "header" and lowered in _IGNORED) or (kind, lowered) in taken:
            continue
        if kind == "path" and name not in variables:
            raise SchemaError(f"parameter {name!r} is not in the path; correct one of them", json_path(there))
        try:
            if kind in ("header", "cookie"):
                check_header_name(name, kind)
            yield _parameter(writer, kind, name, parameter, there)
        except SchemaError:
            raise
        except LoraloopError as error:
            raise SchemaError(str(error), json_path(there)) from error


def _parameter(writer: SchemaWriter, kind: Where, name: str, parameter: dict[str, Any], parts: Parts) -> Argument:
    style, explode = _style(parameter, parts)
    content = parameter.get("content")
    if isinstance(content, dict) and content:
        media, described = next(iter(content.items()))
        if not is_json(media) or len(content) > 1:
            raise SchemaError(f"a parameter as {media!r} is not supported; JSON is", json_path((*parts, "content")))
        where: Parts = (*parts, "content", media, "schema")
        node = described.get("schema", True) if isinstance(described, dict) else True
        place = Place(kind, name, json=True)
    else:
        where = (*parts, "schema")
        if "schema" not in parameter:
            raise SchemaError("a parameter needs a 'schema' or a 'content'", json_path(parts))
        node = parameter["schema"]
        place = Place(kind, name, style, explode)
        check_style(writer.document, node, where, place)
    schema = writer.write(node, where)
    if kind == "path" and isinstance(schema, dict) and schema.get("type") == "string":
        schema = schema if _TELLING & schema.keys() else {**schema, "minLength": 1}  # an empty one is another path
    description = parameter.get("description")
    if isinstance(description, str) and description.strip() and schema is not False:
        schema = {**(schema if isinstance(schema, dict) else {}), "description": description.strip()}
    return Argument(place, schema, parameter.get("required") is True or kind == "path")


def _style(parameter: dict[str, Any], parts: Parts) -> tuple[str, bool | None]:
    style, explode = parameter.get("style", ""), parameter.get("explode")
    if not isinstance(style, str) or not isinstance(explode, bool | None):
        raise SchemaError("'style' must be text and 'explode' true or false", json_path(parts))
    return style, explode


def check_style(document: OpenApiDocument, node: Any, parts: Parts, place: Place) -> None:
    """Checks that a style says how every value that fits a schema is written.

    Args:
        document: Resolves references in the schema.
        node: The schema of the parameter.
        parts: Where the schema stands in the document, for messages.
        place: The kind of parameter, its style and whether it is exploded; without a style, the kind's default counts.

    Raises:
        SchemaError: If OpenAPI leaves it open, as for lists in lists.
    """
    style = place.style or STYLES[place.where][0]
    kinds = _kinds(document, node, parts)
    if style == "deepObject":
        bad = sorted(kinds & {"scalar", "list"} | {kind for kind in kinds if "list" in kind.split(" of ")})
        if bad:
            raise SchemaError(f"style 'deepObject' does not say how a {bad[0]} is written", json_path(parts))
        return
    if nested := sorted(kind for kind in kinds if " of " in kind):
        raise SchemaError(f"style {style!r} does not say how a {nested[0]} is written", json_path(parts))
    if place.where == "cookie" and kinds & {"list", "object"} and place.exploded:
        raise SchemaError("a cookie cannot hold a list or an object with 'explode'; set it to false", json_path(parts))
    if style in ("spaceDelimited", "pipeDelimited") and "object" in kinds and place.exploded:
        raise SchemaError(f"style {style!r} does not say how an object is written with 'explode'", json_path(parts))


def _kinds(document: OpenApiDocument, node: Any, parts: Parts) -> set[str]:
    """What values of a schema are: ``scalar``, ``list``, ``object``, ``list of object`` … where that is said."""
    return _kinds_at(document, node, parts, 0, {})


def _kinds_at(
    document: OpenApiDocument, node: Any, parts: Parts, depth: int, known: dict[tuple[str, int], set[str]]
) -> set[str]:
    """See `_kinds`; `known` are those of references at some depth, which a schema that contains itself asks often."""
    if depth > 12 or not isinstance(node, dict):
        return set()
    if "$ref" in node:
        target, there = document.target(node["$ref"], parts)
        at = (node["$ref"], depth)
        if at not in known:
            known[at] = _kinds_at(document, target, there, depth + 1, known)
        return known[at]

    def inside(inner: Any) -> set[str]:
        return _kinds_at(document, inner, parts, depth + 1, known)

    found: set[str] = set()
    for key in ("anyOf", "oneOf", "allOf"):
        for member in node.get(key, ()) if isinstance(node.get(key), list) else ():
            found |= inside(member)
    types = node.get("type", [])
    kinds = {str(kind) for kind in (types if isinstance(types, list) else [types])}
    if kinds & {"string", "number", "integer", "boolean"}:
        found.add("scalar")
    if "array" in kinds or "items" in node:
        found.add("list")
        found |= {f"list of {kind}" for kind in inside(node.get("items")) - {"scalar"}}
    if "object" in kinds or "properties" in node:
        found.add("object")
        properties = node.get("properties")
        inner = list(properties.values()) if isinstance(properties, dict) else []
        for each in [*inner, node.get("additionalProperties")]:
            found |= {f"object of {kind}" for kind in inside(each) - {"scalar"}}
    return found


# --- body ------------------------------------------------------------------------------------------------------------


def _body(writer: SchemaWriter, body: dict[str, Any], parts: Parts) -> tuple[str, list[Argument]]:
    """The body's media type and the arguments that it is made of."""
    content = body.get("content")
    if not isinstance(content, dict) or not content:
        raise SchemaError("a request body needs a 'content'", json_path(parts))
    chosen = next(((kind, media) for kind, fits in _BODIES for media in content if fits(bare(media))), None)
    if chosen is None:
        raise SchemaError(
            f"a body as {', '.join(map(repr, content))} is not supported; JSON, forms and plain text are",
            json_path((*parts, "content")),
        )
    kind, media = chosen
    there = (*parts, "content", media, "schema")
    sent = {"text/plain": "text/plain; charset=utf-8"}.get(media, "application/json" if "*" in media else media)
    if not _MEDIA.fullmatch(sent):
        raise SchemaError(f"{media!r} is not a media type", json_path((*parts, "content")))
    described = content[media] if isinstance(content[media], dict) else {}
    node = described.get("schema", {"type": "string"} if kind == "text" else True)
    required = body.get("required") is True
    if kind == "text":
        if _kinds(writer.document, node, there) - {"scalar"}:
            raise SchemaError("a list or an object cannot be sent as plain text", json_path(there))
        return sent, [_whole(writer.write(node, there), "text", body)]
    flat = writer.flat(node, there) if isinstance(node, dict) and not writer.has_heirs(node, there) else None
    if kind == "form":
        if flat is None:
            raise SchemaError("a form has to be an object with properties, without alternatives", json_path(there))
        return sent, list(_form(writer, flat, described.get("encoding", {}), parts))
    fields = None if flat is None or flat.extra not in (None, False) else _fields(writer, flat, required)
    return sent, fields or [_whole(writer.write(node, there), "json", body)]


def _fields(writer: SchemaWriter, flat: Flat, required: bool) -> list[Argument]:
    """An object body as one argument a property; none if that would not say the same."""
    shown = [name for name, (inner, at) in flat.properties.items() if not writer.hides(inner, at)]
    needs = [name for name in flat.required if name in shown or name not in flat.properties]
    if not set(needs) <= set(shown) or (needs and not required):  # an absent body is not one without required fields
        return []
    schemas = {name: writer.write(*flat.properties[name]) for name in shown}
    return [Argument(Place("body", name), schema, name in needs) for name, schema in schemas.items()]


def _whole(schema: Any, where: Where, body: dict[str, Any]) -> Argument:
    if isinstance(description := body.get("description"), str) and description.strip():
        schema = {**(schema if isinstance(schema, dict) else {}), "description": description.strip()}
    return Argument(Place(where, "body"), schema, body.get("required") is True)


def _form(writer: SchemaWriter, flat: Flat, encoding: Any, parts: Parts) -> Iterator[Argument]:
    if flat.extra not in (None, False):
        raise SchemaError("a form with fields of any name is not supported; list its properties", json_path(parts))
    for name, (inner, at) in flat.properties.items():
        if writer.hides(inner, at):
            continue
        details = encoding.get(name, {}) if isinstance(encoding, dict) else {}
        if not isinstance(details, dict):
            raise SchemaError("must be an object", json_path((*parts, "encoding", name)))
        media = str(details.get("contentType", ""))
        if media and not is_json(media) and media != "text/plain":
            raise SchemaError(f"a form field as {media!r} is not supported", json_path((*parts, "encoding", name)))
        place = Place("form", name, *_style(details, (*parts, "encoding", name)), json=is_json(media))
        if not place.json:
            if not details.get("style") and "object" in _kinds(writer.document, inner, at):
                raise SchemaError("say with 'encoding' how this object is written in a form", json_path(at))
            check_style(writer.document, inner, at, place)
        yield Argument(place, writer.write(inner, at), name in flat.required)
