"""Schemas of every draft in one form: 2020-12, each reference a local pointer, nothing shared and nothing fetched."""

from __future__ import annotations

import functools
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import levels
from loraloop.tool_schemas.schema.places import Parts, every, json_path, pointer, subschemas

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
_DEEPEST_JSON = 200  # levels of objects and lists, also in defaults and examples
LONGEST = 500_000  # characters of its JSON text

_DRAFTS = {"draft-04": 4, "draft-06": 6, "draft-07": 7, "2019-09": 2019, "2020-12": 2020}
_URIS = {
    **{draft: f"http://json-schema.org/draft-0{draft}/schema#" for draft in (4, 6, 7)},
    **{draft: f"https://json-schema.org/draft/{name}/schema" for name, draft in _DRAFTS.items() if draft > 7},
}


def draft_of(schema: dict[str, Any]) -> int:
    """The draft that a schema names: 4, 6, 7, 2019 or 2020 (also where it names none).

    Raises:
        SchemaError: If it names another one.
    """
    named = schema.get("$schema")
    if named is None:
        return 2020
    if isinstance(named, str):
        for name, draft in _DRAFTS.items():
            if re.fullmatch(rf"https?://json-schema\.org/(?:draft/)?{name}/schema#?", named):
                return draft
        if re.fullmatch(r"https?://json-schema\.org/schema#?", named):  # the newest one
            return 2020
    raise SchemaError(
        f"draft {named!r} is not supported; use 2020-12, 2019-09, draft-07, draft-06 or draft-04", "$.$schema"
    )


@functools.cache
def draft_validator(draft: int) -> type[Validator]:
    """jsonschema's validator of a draft, as `draft_of` names it."""
    import jsonschema

    made = jsonschema.validators.validator_for({"$schema": _URIS[draft]})
    assert made is not None
    return made


def check_form(schema: Any, draft: int, start: str = "$") -> None:
    """Checks a schema against the schema of its draft.

    Raises:
        SchemaError: With the JSON path of the first keyword that is wrong.
    """
    import jsonschema

    try:
        draft_validator(draft).check_schema(schema)
    except jsonschema.SchemaError as error:
        message = f"{error.message}; correct the schema"
        if error.validator == "anyOf" and error.absolute_path and error.absolute_path[-1] == "type":
            names = "'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'"
            message = f"{error.instance!r} is not a type; use {names}, or a list of these"
        raise SchemaError(message, json_path(error.absolute_path, start)) from None
    except RecursionError:
        raise SchemaError("is nested too deeply; flatten the schema", start) from None
    except OverflowError as error:  # of a pattern
        raise SchemaError(f"holds a pattern that is not a regular expression ({error}); correct it", start) from None


def normalised(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy in one form, with the same structure and the same meaning.

    Boolean exclusive bounds (draft 4), the tuple form of `items` (up to 2019-09) and `dependencies` (up to draft 7)
    become their 2020-12 forms. What stands beside a ``$ref`` counts only from 2019-09 on. Anchors and identifiers are
    resolved, so that each ``$ref`` leads to a place of the copy; they and ``$schema`` are left out.

    Args:
        schema: JSON data.

    Raises:
        SchemaError: If it is no JSON, too large, too deep, of an unknown draft, or refers to something outside it.
    """
    copy, places = copied(schema)
    draft = draft_of(copy)
    references: dict[int, Any] = {}
    _check_texts(places, draft)
    if any(isinstance(place.get("$ref"), str) for _, place in places):
        references = _references(copy, places, draft)
        places = list(every(copy))
    identifier = _identifier(draft)
    for parts, place in places:
        _modernise(place, draft, json_path(parts))
        for key in ("$schema", "$anchor", "$recursiveAnchor", identifier):
            if isinstance(place.get(key), str | bool):
                del place[key]
    if references:
        places = list(every(copy))
        found = {id(place): parts for parts, place in places}
        for _, place in places:
            target = references.get(id(place))
            if isinstance(target, bool):
                del place["$ref"]
                if not target:
                    place["not"] = {}
            elif target is not None:
                place["$ref"] = pointer(found[id(target)])
    if draft != 2020:  # keywords of later drafts count too
        check_form(copy, 2020)
    return copy


def copied(schema: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Parts, dict[str, Any]]]]:
    """A copy of a schema in which nothing is shared, and its schema objects; see `every`.

    Raises:
        SchemaError: If it is no JSON, or too large or too deep.
    """
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        if len(text) > LONGEST:
            raise SchemaError(f"has more than {LONGEST} characters; leave out what the model need not see", "$")
        text.encode()
        copy: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise SchemaError("is nested too deeply; flatten the schema", "$") from None
    except UnicodeEncodeError:
        raise SchemaError("holds half of a surrogate pair, which no text can hold; correct it", "$") from None
    except (TypeError, ValueError) as error:
        raise SchemaError(f"is no JSON: {error}", "$") from error
    if levels(copy) > _DEEPEST_JSON:
        raise SchemaError(f"is nested more than {_DEEPEST_JSON} levels deep; flatten the schema", "$")
    return copy, list(every(copy))


def with_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with ``null`` among the types of what OpenAPI 3.0 calls `nullable`; a copy where it says that.

    Beside no `type` it says nothing, as in OpenAPI 3.0.3.

    Raises:
        SchemaError: If it is no JSON, or too large or too deep.
    """
    copy, places = copied(schema)
    marked = [place for _, place in places if isinstance(place.get("nullable"), bool)]
    for place in marked:
        if place.pop("nullable") and isinstance(place.get("type"), str):
            place["type"] = [place["type"], "null"]
    return copy if marked else schema


def _identifier(draft: int) -> str:
    return "id" if draft == 4 else "$id"


def _check_texts(places: list[tuple[Parts, dict[str, Any]]], draft: int) -> None:
    """Checks that references and identifiers are texts, also where the schema of the draft does not look."""
    for parts, place in places:
        for key in ("$ref", _identifier(draft)):
            if not isinstance(place.get(key, ""), str):
                raise SchemaError("must be text", f"{json_path(parts)}.{key}")


def _references(root: dict[str, Any], places: list[tuple[Parts, dict[str, Any]]], draft: int) -> dict[int, Any]:
    """What each reference leads to, by the identity of the schema object that refers.

    A definition that stands where no schema is expected, such as under ``components``, is checked and moved under
    ``$defs``.
    """
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable, Unretrievable
    from referencing.jsonschema import specification_with

    specification = specification_with(_URIS[draft])
    resource: Resource[Any] = specification.create_resource(root)
    base = resource.id() or ""
    registry: Registry[Any] = Registry().with_resource(base, resource).crawl()
    found: dict[int, Any] = {}
    known = {id(place) for _, place in places}
    pending: list[tuple[Parts, Any, Any]] = [((), root, registry.resolver(base))]
    while pending:
        parts, place, resolver = pending.pop()
        if not isinstance(place, dict):
            continue
        if parts:
            resolver = resolver.in_subresource(specification.create_resource(place))
        reference = place.get("$ref")
        if isinstance(reference, str):
            path = f"{json_path(parts)}.$ref"
            try:
                resolved = resolver.lookup(reference)
            except (Unresolvable, Unretrievable, ValueError, LookupError, TypeError, AttributeError):
                reason = "is not in the schema" if reference.startswith("#") else "lies outside the schema"
                raise SchemaError(f"{reference!r} {reason}; put the definition under $defs", path) from None
            target = found[id(place)] = resolved.contents
            if isinstance(target, dict) and id(target) not in known:
                check_form(target, draft, path)  # where it stands, nothing has looked at it
                definitions = root.setdefault("$defs", {})
                if not isinstance(definitions, dict):  # before 2019-09 it means nothing, and nothing has looked at it
                    raise SchemaError("must be an object", "$.$defs")
                name = next(f"ref{n}" for n in itertools.count() if f"ref{n}" not in definitions)
                definitions[name] = target
                inside = list(every(target))
                _check_texts(inside, draft)
                known |= {id(inner) for _, inner in inside}
                pending.append((("$defs", name), target, resolved.resolver))
            elif not isinstance(target, dict | bool):
                raise SchemaError(f"{reference!r} leads to something that is not a schema; correct it", path)
        pending += [((*parts, *steps), inner, resolver) for steps, inner in subschemas(place)]
    return found


def _modernise(place: dict[str, Any], draft: int, path: str) -> None:
    """Rewrites one schema object in place."""
    if draft <= 7 and isinstance(place.get("$ref"), str):
        for key in [key for key in place if key not in ("$ref", "$defs", "definitions", "$id", "id")]:
            del place[key]
        return
    if draft == 4:
        for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            value = place.get(exclusive)
            if isinstance(value, bool):
                del place[exclusive]
                if value and bound in place:
                    place[exclusive] = place.pop(bound)
    for key in _COUNTS:
        if isinstance(place.get(key), float):  # 2.0 is a whole number
            place[key] = int(place[key])
    if isinstance(place.get("items"), list):
        rest = place.pop("additionalItems", None)
        place["prefixItems"] = place.pop("items")
        if not place["prefixItems"]:
            del place["prefixItems"]
        if rest is not None:
            place["items"] = rest
    elif "additionalItems" in place:  # means nothing where `items` is no list
        del place["additionalItems"]
    dependencies = place.get("dependencies")
    if isinstance(dependencies, dict):
        del place["dependencies"]
        for keyword, kind in (("dependentRequired", list), ("dependentSchemas", dict | bool)):
            value = {name: each for name, each in dependencies.items() if isinstance(each, kind)}
            if value and keyword in place:
                raise SchemaError(f"says both 'dependencies' and {keyword!r}; use one", path)
            if value:
                place[keyword] = value
