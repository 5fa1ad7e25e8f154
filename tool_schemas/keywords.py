"""Which JSON Schema keywords decoding enforces exactly; every other one is refused, by JSON path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.formats import ENGINE, FREE, NUMERIC, PATTERNS, pattern_problem
from loraloop.tool_schemas.references import resolve
from loraloop.tool_schemas.validation import json_path

# fmt: off
ENFORCED = frozenset({
    "type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref",
    "items", "additionalItems", "prefixItems", "minItems", "maxItems",
    "properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
})
ANNOTATIONS = frozenset({
    "$defs", "definitions", "$schema", "$id", "$comment", "$anchor", "title", "description", "default", "examples",
    "example", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema",
    "discriminator", "nullable", "xml", "externalDocs",
})
# fmt: on
_REFUSED: dict[str, tuple[Any, ...]] = {  # keyword: the value with which it constrains nothing
    "uniqueItems": (False,),
    "contains": (True, {}),
    "minContains": (0, 1),
    "maxContains": (),
    "not": (False,),
    "if": (),
    "then": (),
    "else": (),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
    "$dynamicRef": (),
    "$dynamicAnchor": (),
    "$recursiveRef": (),
    "$recursiveAnchor": (),
    "$vocabulary": (),
}
_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_DRAFTS = ("draft-07", "2019-09", "2020-12")
_EXACT = 2**53  # integers beyond it are not exact as doubles, which is what the engine computes in
_TYPES = {"string", "number", "integer", "boolean", "null", "array", "object"}


def places(root: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every sub-schema that a value can be judged by, with its JSON path; each referenced one once.

    Raises:
        SchemaError: If a reference is remote or leads nowhere.
    """
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    followed: set[str] = set()
    while pending:
        parts, schema = pending.pop()
        path = json_path(parts)
        yield path, schema
        if not isinstance(schema, dict):
            continue
        found: list[tuple[tuple[str | int, ...], Any]] = []
        for key, value in schema.items():
            if key in ("properties", "patternProperties") and isinstance(value, dict):
                found += [((*parts, key, name), inner) for name, inner in value.items()]
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems", "items") and isinstance(value, list):
                found += [((*parts, key, index), inner) for index, inner in enumerate(value)]
            elif key in ("items", "additionalItems", "additionalProperties"):
                found.append(((*parts, key), value))
            elif key == "$ref" and isinstance(value, str):
                target = resolve(root, value)
                if target is None:
                    reason = "is not in the schema" if value.startswith("#") else "lies outside the schema"
                    raise SchemaError(f"{value!r} {reason}; put the definition under $defs", f"{path}.$ref")
                if value not in followed and value != "#":
                    followed.add(value)
                    steps = [int(p) if p.isdigit() else p for p in value.split("/")[1:]]
                    found.append((tuple(steps), target[0]))
        pending += reversed(found)


def check_enforceable(schema: dict[str, Any]) -> None:
    """Checks that every keyword of a schema is one that decoding enforces exactly.

    A keyword that JSON Schema does not know is an annotation and is left alone, unless it looks like a
    misspelling of one that it knows.

    Args:
        schema: A valid schema.

    Raises:
        SchemaError: With the JSON path of the first keyword that would not be enforced, and what to do.
    """
    draft = schema.get("$schema")
    if isinstance(draft, str) and not any(name in draft for name in _DRAFTS):
        raise SchemaError(f"draft {draft!r} is not supported; use 2020-12, 2019-09 or draft-07", "$.$schema")
    for path, place in places(schema):
        if isinstance(place, dict):
            _check_place(place, path)
            _check_numbers(place, path)
            _check_text(place, path)
            _check_one_of(schema, place, path)
    _check_finite(schema)


def harmless(keyword: str, value: Any) -> bool:
    """Whether a keyword that cannot be enforced constrains nothing with this value."""
    return any(value == idle and type(value) is type(idle) for idle in _REFUSED.get(keyword, ()))


def _check_place(place: dict[str, Any], path: str) -> None:
    for keyword, value in place.items():
        if keyword in ENFORCED or keyword in ANNOTATIONS or keyword.startswith("x-"):
            continue
        if keyword in _REFUSED:
            if not harmless(keyword, value):
                raise SchemaError(
                    f"'{keyword}' cannot be enforced while decoding; remove it and check it in the tool",
                    f"{path}.{keyword}",
                )
            continue
        known = difflib.get_close_matches(keyword, ENFORCED | set(_REFUSED), n=1, cutoff=0.85)
        if known:
            raise SchemaError(f"'{keyword}' is no keyword; did you mean {known[0]!r}?", f"{path}.{keyword}")
    if path != "$" and isinstance(place.get("$id"), str) and not place["$id"].startswith("#"):
        raise SchemaError("an '$id' inside a schema changes what references mean; remove it", f"{path}.$id")
    least = place.get("minProperties", 0)
    if isinstance(least, int) and least - len(place.get("required", ())) > 1:
        raise SchemaError(
            "more than one unnamed property cannot be enforced while decoding (keys could repeat); "
            "list them under 'required'",
            f"{path}.minProperties",
        )


def _check_numbers(place: dict[str, Any], path: str) -> None:
    step = place.get("multipleOf")
    if step is not None and step != int(step):
        raise SchemaError("must be a whole number to be enforced exactly; round in the tool", f"{path}.multipleOf")
    for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const", "enum"):
        value = place.get(keyword)
        for number in _numbers(value):
            if abs(number) > _EXACT:
                raise SchemaError(f"{number} is too large to be enforced exactly (beyond 2**53)", f"{path}.{keyword}")

    above, below = place.get("exclusiveMinimum"), place.get("exclusiveMaximum")
    low, high = place.get("minimum", above), place.get("maximum", below)
    # The engine forgets a whole exclusive bound if the other one is less than one away (llguidance 1.9).
    if place.get("type") != "integer" and low is not None and high is not None and abs(high - low) < 1:
        for keyword, bound in (("exclusiveMinimum", above), ("exclusiveMaximum", below)):
            if bound is not None and bound == int(bound):
                raise SchemaError(
                    f"cannot be enforced exactly in so narrow an interval; use '{keyword[9:].lower()}' with the "
                    "nearest number that is allowed",
                    f"{path}.{keyword}",
                )


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)


def _check_text(place: dict[str, Any], path: str) -> None:
    patterns = [(place["pattern"], f"{path}.pattern")] if "pattern" in place else []
    patterns += [(key, f"{path}.patternProperties") for key in place.get("patternProperties", ())]
    for pattern, where in patterns:
        problem = pattern_problem(pattern)
        if problem:
            raise SchemaError(f"{pattern!r} {problem}", where)
    for keyword in ("const", "enum"):
        for text in _texts(place.get(keyword)):
            if _UNWRITABLE.search(text):
                raise SchemaError("holds a control character, which cannot be decoded", f"{path}.{keyword}")
    form = place.get("format")
    kinds = place.get("type", [])
    textual = not kinds or "string" in ([kinds] if isinstance(kinds, str) else kinds)
    known = PATTERNS.keys() | ENGINE | FREE | NUMERIC
    if form is not None and textual and form not in known:
        near = difflib.get_close_matches(str(form), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "use a 'pattern', or remove it and check it in the tool"
        raise SchemaError(f"format {form!r} cannot be enforced while decoding; {hint}", f"{path}.format")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _check_one_of(root: dict[str, Any], place: dict[str, Any], path: str) -> None:
    members = place.get("oneOf")
    if not isinstance(members, list) or tag(place):
        return
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            if not disjoint(root, first, second):
                raise SchemaError(
                    "its branches could both fit one value, which decoding cannot rule out; use 'anyOf', or give "
                    "them a required property with different constants",
                    f"{path}.oneOf",
                )


def tag(place: dict[str, Any]) -> str | None:
    """The property that tells the branches of a discriminated union apart (OpenAPI), if there is one."""
    discriminator = place.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return name if isinstance(name, str) else None


def followed(root: dict[str, Any], schema: Any) -> Any:
    """The schema itself, or what its reference leads to."""
    for _ in range(32):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        target = resolve(root, schema["$ref"])
        schema = target[0] if target else {}
    return schema


def _literals(schema: Any) -> list[Any] | None:
    if isinstance(schema, dict) and "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema, dict) and isinstance(schema.get("enum"), list) else None


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", _TYPES)
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | {"integer"} if "number" in found else found


def disjoint(root: dict[str, Any], first: Any, second: Any) -> bool:
    """Whether it is certain that no value fits both schemas."""
    first, second = followed(root, first), followed(root, second)
    if first is False or second is False:
        return True
    if not isinstance(first, dict) or not isinstance(second, dict):
        return False
    if not _kinds(first) & _kinds(second):
        return True
    left, right = _literals(first), _literals(second)
    if left is not None and right is not None:
        return not any(one == other for one in left for other in right)
    if _kinds(first) & _kinds(second) != {"object"}:
        return False
    required = set(first.get("required", ())) | set(second.get("required", ()))
    shared = first.get("properties", {}).keys() & second.get("properties", {}).keys() & required
    return any(
        (one := _literals(followed(root, first["properties"][name]))) is not None
        and (two := _literals(followed(root, second["properties"][name]))) is not None
        and not any(a == b for a in one for b in two)
        for name in shared
    )


def _check_finite(root: dict[str, Any]) -> None:
    """Refuses a schema that requires itself without end."""
    finite: dict[str, bool] = {}

    def ends(schema: Any) -> bool:
        if not isinstance(schema, dict):
            return schema is not False
        if isinstance(schema.get("$ref"), str) and not finite.setdefault(schema["$ref"], False):
            return False
        if "const" in schema or "enum" in schema:
            return True
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema and not any(ends(member) for member in schema[keyword]):
                return False
        if not all(ends(member) for member in schema.get("allOf", ())):
            return False
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            return all(ends(properties[name]) for name in schema.get("required", ()) if name in properties)
        if schema.get("type") == "array" and schema.get("minItems", 0):
            items = schema.get("prefixItems", []) or [schema.get("items", True)]
            return all(ends(item) for item in items[: schema["minItems"]])
        return True

    before: dict[str, bool] | None = None
    while finite != before:
        before = dict(finite)
        complete = ends(root)
        for reference in before:
            target = resolve(root, reference)
            finite[reference] = target is not None and ends(target[0])
    if not complete:
        stuck = next((reference for reference, done in finite.items() if not done), "#")
        raise SchemaError(
            f"{stuck!r} requires itself without end (or nothing fits it); make the property optional",
            json_path(stuck.split("/")[1:]),
        )
