"""What of a schema the grammar cannot enforce exactly, and what stands for it in the grammar."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.formats import ENGINE, FREE, NUMERIC, PATTERNS, WIDER, pattern_problem
from loraloop.tool_schemas.schema.keywords import ANNOTATIONS, CHECKED, ENFORCED, IDLE, NEEDS
from loraloop.tool_schemas.schema.normal import normalised
from loraloop.tool_schemas.schema.places import Parts, applied, followed, json_path, literals, resolve
from loraloop.tool_schemas.schema.validation import format_checker

OnUnsupported = Literal["refuse", "check"]
"""What to do about a keyword that cannot be enforced while decoding."""

WAYS = (
    "remove it and check it in the tool, or register the tool with on_unsupported='check' "
    "(in a file, write the tool with inputSchema, as MCP does)"
)
_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_EXACT = 2**53  # integers beyond it are not exact as doubles, which is what the engine computes in
_DECIMALS = 6  # decimals of a step that the engine follows exactly, together with 2**53
_OPTIONAL = 1000  # properties of one object that may be left out; the engine keeps a place for each
_TYPES = {"string", "number", "integer", "boolean", "null", "array", "object"}


Instead = Callable[[dict[str, Any]], dict[str, Any]]
"""Given a schema object, the keywords that stand for one of its keywords in the grammar."""


def _fixed(stands: dict[str, Any]) -> Instead:
    return lambda place: stands


_nothing = _fixed({})


@dataclass(frozen=True, slots=True)
class SchemaFinding:
    """A keyword, or a value of one, that the engine cannot enforce.

    Attributes:
        parts: The keys that lead to the schema object that says it.
        keyword: The keyword.
        reason: Why, and what to do.
        checkable: Whether a schema that says it can be used in check mode.
        checked: Whether jsonschema then checks it; if not, it is an annotation, such as an unknown format.
        instead: Given the schema object, the keywords that stand for it in the grammar, which then allows all that it
            allows, and more.
    """

    parts: Parts
    keyword: str
    reason: str
    checkable: bool = True
    checked: bool = True
    instead: Instead = _nothing

    @property
    def path(self) -> str:
        """The JSON path of the keyword."""
        return json_path((*self.parts, self.keyword))

    def error(self) -> SchemaError:
        """The refusal."""
        return SchemaError(self.reason, self.path)


@dataclass(frozen=True, slots=True)
class PreparedSchema:
    """A schema made ready.

    Attributes:
        schema: For the grammar: normalised, without what was found.
        normal: Normalised, with everything it says.
        findings: What the grammar does not enforce; empty where nothing has to be checked.
    """

    schema: dict[str, Any]
    normal: dict[str, Any]
    findings: tuple[SchemaFinding, ...]


def sifted(schema: dict[str, Any], on_unsupported: OnUnsupported = "refuse") -> PreparedSchema:
    """Normalises a schema and finds what cannot be enforced of it.

    The engine is not asked: it may still not take what comes out.

    Args:
        schema: A valid schema of any draft.
        on_unsupported: Whether what the engine cannot enforce is refused or left to be checked.

    Raises:
        SchemaError: If a keyword cannot be enforced in this way; with the JSON path.
    """
    normal = normalised(schema)
    found: list[SchemaFinding] = []
    for each in findings(normal):
        if on_unsupported == "refuse" or not each.checkable:
            raise each.error()
        found.append(each)
    check_finite(normal)
    return PreparedSchema(relaxed(normal, found) if found else normal, normal, tuple(found))


def relaxed(schema: dict[str, Any], found: Iterable[SchemaFinding]) -> dict[str, Any]:
    """A copy of a normalised schema that leaves out what was found.

    What lies deeper is left out first: what stands for a keyword may take the place of all that lies under it.
    """
    out: dict[str, Any] = json.loads(json.dumps(schema))
    for each in sorted(found, key=lambda each: -len(each.parts)):
        place: Any = out
        for part in each.parts:
            place = place[part]
        stands = json.loads(json.dumps(each.instead(place)))
        place.pop(each.keyword, None)
        place.update(stands)
    return out


def findings(schema: dict[str, Any]) -> Iterator[SchemaFinding]:
    """What the engine cannot enforce of a normalised schema."""
    for parts, place in applied(schema):
        yield from _keywords(schema, place, parts)
        yield from _numbers(place, parts)
        yield from _literals(place, parts)
        yield from _patterns(place, parts)
        yield from _formats(place, parts)
        yield from _one_of(schema, place, parts)
        yield from _counts(place, parts)


def _keywords(root: dict[str, Any], place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    for keyword, value in place.items():
        if keyword in ENFORCED or keyword in ANNOTATIONS or keyword.startswith(("x-", "_")):
            continue
        if keyword in CHECKED:
            idle = any(value == nothing and type(value) is type(nothing) for nothing in IDLE.get(keyword, ()))
            if not idle and NEEDS.get(keyword, keyword) in place:
                reason = f"'{keyword}' cannot be enforced while decoding; {WAYS}"
                yield SchemaFinding(parts, keyword, reason, instead=_implied(root, keyword))
            continue
        near = difflib.get_close_matches(keyword, ENFORCED.keys() | CHECKED.keys(), n=1, cutoff=0.85)
        if _misplaced(place, value):
            reason = f"'{keyword}' is not a keyword; list it under 'properties'"
            yield SchemaFinding(parts, keyword, reason, checked=False)
        elif near:
            reason = f"'{keyword}' is not a keyword; did you mean {near[0]!r}?"
            yield SchemaFinding(parts, keyword, reason, checked=False)


def _misplaced(place: dict[str, Any], value: Any) -> bool:
    """Whether the value of an unknown keyword is the schema of a property, in an object that lists no properties."""
    kinds = value.get("type") if isinstance(value, dict) else None
    listed = kinds if isinstance(kinds, list) else [kinds]
    return (
        place.get("type", "object") == "object"
        and not place.keys() & ENFORCED.keys() - {"type", "required", "additionalProperties"}
        and all(isinstance(kind, str) and kind in _TYPES for kind in listed)
    )


def _implied(root: dict[str, Any], keyword: str) -> Instead:
    """What follows from a keyword and can be enforced."""

    def unique(place: dict[str, Any]) -> dict[str, Any]:
        choices = literals(followed(root, place.get("items")))
        if choices is None or "prefixItems" in place:
            return {}
        return {"maxItems": min(len(choices), place.get("maxItems", len(choices)))}

    def contains(place: dict[str, Any]) -> dict[str, Any]:
        return {} if "minContains" in place else {"minItems": max(1, place.get("minItems", 0))}

    def names(place: dict[str, Any]) -> dict[str, Any]:
        schema = followed(root, place["propertyNames"])
        if {"properties", "patternProperties"} & place.keys() or not isinstance(schema, dict):
            return {}
        rest = place.get("additionalProperties", True)
        if isinstance(schema.get("pattern"), str) and not pattern_problem(schema["pattern"]):
            return {"patternProperties": {schema["pattern"]: rest}, "additionalProperties": False}
        listed = literals(schema)
        if listed is not None and all(isinstance(name, str) for name in listed):
            return {"properties": dict.fromkeys(listed, rest), "additionalProperties": False}
        return {}

    return {"uniqueItems": unique, "contains": contains, "propertyNames": names}.get(keyword, _nothing)


def _numbers(place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    step = place.get("multipleOf")
    if step is not None and (abs(step) > _EXACT or Decimal(repr(step)) != round(Decimal(repr(step)), _DECIMALS)):
        reason = f"{step!r} cannot be enforced exactly (more than {_DECIMALS} decimals, or beyond 2**53); round it"
        yield SchemaFinding(parts, "multipleOf", reason)
    for keyword, reach in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
        value = place.get(keyword)
        if value is not None and value * reach > _EXACT:
            reason = f"no number that fits {value} can be decoded exactly (beyond 2**53); choose another bound"
            yield SchemaFinding(parts, keyword, reason, checkable=False)
    above, below = place.get("exclusiveMinimum"), place.get("exclusiveMaximum")
    low, high = place.get("minimum", above), place.get("maximum", below)
    # The engine forgets a whole exclusive bound if the other one is less than one away (llguidance 1.9).
    if place.get("type") == "integer" or low is None or high is None or abs(Fraction(high) - Fraction(low)) >= 1:
        return
    for keyword, bound in (("exclusiveMinimum", above), ("exclusiveMaximum", below)):
        if bound is not None and bound == int(bound):
            closed = keyword[9:].lower()
            reason = f"cannot be enforced exactly in so narrow an interval; use '{closed}' with the nearest number"
            stands = {} if closed in place else {closed: bound}
            yield SchemaFinding(parts, keyword, f"{reason} that is allowed", instead=_fixed(stands))


def _literals(place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    """Literals that cannot be written: the others remain, if there are any."""
    wrong = (
        (_too_large, "is too large to be decoded exactly (beyond 2**53)"),
        (_unwritable, "holds a control character, which cannot be decoded"),
    )
    for keyword in ("const", "enum"):
        values = place.get(keyword, []) if keyword == "enum" else [place[keyword]] if keyword in place else []
        for test, reason in wrong:
            bad = next((value for value in values if test(value)), None) if isinstance(values, list) else None
            if bad is not None:
                rest = [value for value in values if not _too_large(value) and not _unwritable(value)]
                problem = f"{str(bad)[:40]!r} {reason}; leave it out"
                stands = {"enum": rest} if rest else {}
                yield SchemaFinding(parts, keyword, problem, checkable=bool(rest), instead=_fixed(stands))


def _too_large(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_too_large, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and abs(value) > _EXACT


def _unwritable(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_unwritable, (*value, *value.values())))
    return any(map(_unwritable, value)) if isinstance(value, list) else bool(_UNWRITABLE.search(str(value)))


def _patterns(place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    listed = [("pattern", place["pattern"])] if isinstance(place.get("pattern"), str) else []
    for keyword, pattern in [*listed, *(("patternProperties", key) for key in place.get("patternProperties", ()))]:
        wrong = pattern_problem(pattern)
        if wrong:
            wider = {} if wrong.wider is None or keyword != "pattern" else {"pattern": wrong.wider}
            reason = f"{pattern!r} {wrong.reason}"
            yield SchemaFinding(parts, keyword, reason, wrong.checkable, instead=_fixed(wider))
            return


def _formats(place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    form, kinds = place.get("format"), place.get("type", [])
    textual = not kinds or "string" in ([kinds] if isinstance(kinds, str) else kinds)
    known = PATTERNS.keys() | ENGINE | FREE | NUMERIC
    if not isinstance(form, str) or not textual or form in known:
        return
    near = difflib.get_close_matches(form, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "use a 'pattern', or remove it and check it in the tool"
    checked = form in format_checker().checkers
    problem = "cannot be enforced while decoding" if checked else "is not known, so that nothing checks it"

    def wider(place: dict[str, Any]) -> dict[str, Any]:
        return {"pattern": WIDER[form]} if form in WIDER and "pattern" not in place else {}

    yield SchemaFinding(parts, "format", f"format {form!r} {problem}; {hint}", checked=checked, instead=wider)


def _one_of(root: dict[str, Any], place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    name = tag(place)
    members = [tagged(root, each, name) for each in place.get("oneOf", ())]
    if name is not None:  # a union inside it is taken at its word
        members = [each for each in members if not {"anyOf", "oneOf"} & set(followed(root, each) or ())]
    if not all(disjoint(root, first, second) for first, second in combinations(members, 2)):
        reason = (
            "its branches could both fit one value, which decoding cannot rule out; use 'anyOf', or give "
            "them a required property with different constants"
        )
        yield SchemaFinding(parts, "oneOf", reason, instead=lambda place: {"oneOf": place["oneOf"]})


def _counts(place: dict[str, Any], parts: Parts) -> Iterator[SchemaFinding]:
    required = set(place.get("required", ()))
    if len(place.get("properties", {}).keys() - required) > _OPTIONAL:
        reason = f"more than {_OPTIONAL} properties that may be left out cost too much to decode; split the object"
        yield SchemaFinding(parts, "properties", reason, checkable=False)
    least = place.get("minProperties", 0)
    if least - len(required) > 1:
        reason = (
            "more than one unnamed property cannot be enforced while decoding (keys could repeat); "
            "list them under 'required'"
        )
        yield SchemaFinding(parts, "minProperties", reason, instead=_fixed({"minProperties": len(required) + 1}))


def tag(place: dict[str, Any]) -> str | None:
    """The property that tells the branches of a discriminated union apart (OpenAPI), if there is one."""
    discriminator = place.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return name if isinstance(name, str) else None


def tagged(root: dict[str, Any], branch: Any, name: str | None) -> Any:
    """A branch of a union with the property that tells it apart required; as it is if there is none."""
    target = followed(root, branch)
    if name is None or not isinstance(target, dict) or name not in target.get("properties", {}):
        return branch
    return {**target, "required": list(dict.fromkeys((*target.get("required", ()), name)))}


def disjoint(root: dict[str, Any], first: Any, second: Any) -> bool:
    """Whether it is certain that no value fits both schemas."""
    first, second = followed(root, first), followed(root, second)
    if first is False or second is False:
        return True
    if not isinstance(first, dict) or not isinstance(second, dict):
        return False
    if not _kinds(first) & _kinds(second):
        return True
    left, right = literals(first), literals(second)
    if left is not None and right is not None:
        return not any(one == other for one in left for other in right)
    if _kinds(first) & _kinds(second) != {"object"}:
        return False
    required = {*first.get("required", ()), *second.get("required", ())}
    shared = first.get("properties", {}).keys() & second.get("properties", {}).keys() & required
    pairs = [[literals(followed(root, each["properties"][name])) for each in (first, second)] for name in shared]
    return any(one is not None and two is not None and not any(a == b for a in one for b in two) for one, two in pairs)


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", _TYPES)
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | {"integer"} if "number" in found else found


def check_finite(root: dict[str, Any]) -> None:
    """Checks that a value can come to an end: that the schema does not require itself.

    Raises:
        SchemaError: With the JSON path of a definition that requires itself.
    """
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
