"""What of a schema no grammar can enforce exactly, place by place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any

from loraloop.tool_schemas.schema.exclusion import disjoint, followed, literals, tag
from loraloop.tool_schemas.schema.formats import (
    ENGINE,
    FREE,
    NUMERIC,
    PATTERNS,
    WIDER,
    checkable_format,
    pattern_problem,
)
from loraloop.tool_schemas.schema.keywords import ANNOTATIONS, CHECKED, ENFORCED, Finding
from loraloop.tool_schemas.schema.normal import Parts

_IDLE: dict[str, tuple[Any, ...]] = {  # keyword: the value with which it constrains nothing
    "uniqueItems": (False,),
    "not": (False,),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
}
_NEEDS = {  # keyword: without which other one it constrains nothing
    "minContains": "contains",
    "maxContains": "contains",
    "then": "if",
    "else": "if",
}
_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_EXACT = 2**53  # integers beyond it are not exact as doubles, which is what the engine computes in
_DECIMALS = 6  # decimals of a step that the engine follows exactly, together with 2**53
_OPTIONAL = 1000  # properties of one object that may be left out; the engine keeps a place for each


def findings_at(
    root: dict[str, Any], place: dict[str, Any], parts: Parts, enforced: Collection[str] = ENFORCED
) -> Iterator[Finding]:
    """What cannot be enforced of one schema object.

    Args:
        root: The normalised schema that it stands in.
        place: The schema object.
        parts: The keys that lead to it.
        enforced: The keywords that the engine enforces.
    """
    yield from _keywords(root, place, parts, enforced)
    yield from _numbers(place, parts)
    yield from _texts(place, parts)
    yield from _one_of(root, place, parts)
    optional = place.get("properties", {}).keys() - set(place.get("required", ()))
    if len(optional) > _OPTIONAL:
        reason = f"more than {_OPTIONAL} properties that may be left out cost too much to decode; split the object"
        yield Finding(parts, "properties", reason, checkable=False)
    least, named = place.get("minProperties", 0), len(set(place.get("required", ())))
    if isinstance(least, int) and least - named > 1:
        yield Finding(
            parts,
            "minProperties",
            "more than one unnamed property cannot be enforced while decoding (keys could repeat); "
            "list them under 'required'",
            instead={"minProperties": named + 1},
        )


def _keywords(
    root: dict[str, Any], place: dict[str, Any], parts: Parts, enforced: Collection[str]
) -> Iterator[Finding]:
    for keyword, value in place.items():
        if keyword in enforced or keyword in ANNOTATIONS or keyword.startswith(("x-", "_")):
            continue
        if keyword in CHECKED or keyword in ENFORCED:
            idle = any(value == nothing and type(value) is type(nothing) for nothing in _IDLE.get(keyword, ()))
            if not idle and _NEEDS.get(keyword, keyword) in place:
                reason = f"'{keyword}' cannot be enforced while decoding; {_WAYS}"
                yield Finding(parts, keyword, reason, instead=_implied(root, place, keyword, value))
            continue
        near = difflib.get_close_matches(keyword, ENFORCED | CHECKED, n=1, cutoff=0.85)
        if near:
            yield Finding(parts, keyword, f"'{keyword}' is no keyword; did you mean {near[0]!r}?", checked=False)


def _implied(root: dict[str, Any], place: dict[str, Any], keyword: str, value: Any) -> dict[str, Any]:
    """What follows from a keyword and can be enforced."""
    if keyword == "uniqueItems" and "prefixItems" not in place:
        choices = literals(followed(root, place.get("items")))
        if choices is not None:
            return {"maxItems": min(len(choices), place.get("maxItems", len(choices)))}
    if keyword == "contains" and "minContains" not in place:
        return {"minItems": max(1, place.get("minItems", 0))}
    listing = {"properties", "patternProperties"} & place.keys()
    if keyword == "propertyNames" and isinstance(value, dict) and not listing:
        names = followed(root, value)
        rest = place.get("additionalProperties", True)
        if isinstance(names.get("pattern"), str) and not pattern_problem(names["pattern"]):
            return {"patternProperties": {names["pattern"]: rest}, "additionalProperties": False}
        listed = literals(names)
        if listed is not None and all(isinstance(name, str) for name in listed):
            return {"properties": dict.fromkeys(listed, rest), "additionalProperties": False}
    return {}


_WAYS = "remove it and check it in the tool, or register the tool with on_unsupported='check'"


def _numbers(place: dict[str, Any], parts: Parts) -> Iterator[Finding]:
    step = place.get("multipleOf")
    if step is not None and (abs(step) > _EXACT or Decimal(repr(step)) != round(Decimal(repr(step)), _DECIMALS)):
        reason = f"{step!r} cannot be enforced exactly (more than {_DECIMALS} decimals, or beyond 2**53); round it"
        yield Finding(parts, "multipleOf", reason)
    for keyword, reach in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
        value = place.get(keyword)
        if value is not None and value * reach > _EXACT:
            reason = f"no number that fits {value} can be decoded exactly (beyond 2**53); choose another bound"
            yield Finding(parts, keyword, reason, checkable=False)
    for keyword in ("const", "enum"):
        yield from _without(place, parts, keyword, _too_large, "is too large to be decoded exactly (beyond 2**53)")

    above, below = place.get("exclusiveMinimum"), place.get("exclusiveMaximum")
    low, high = place.get("minimum", above), place.get("maximum", below)
    # The engine forgets a whole exclusive bound if the other one is less than one away (llguidance 1.9).
    if place.get("type") != "integer" and low is not None and high is not None and abs(high - low) < 1:
        for keyword, bound in (("exclusiveMinimum", above), ("exclusiveMaximum", below)):
            if bound is not None and bound == int(bound):
                closed = keyword[9:].lower()
                yield Finding(
                    parts,
                    keyword,
                    f"cannot be enforced exactly in so narrow an interval; use '{closed}' with the "
                    "nearest number that is allowed",
                    instead={} if closed in place else {closed: bound},
                )


def _without(place: dict[str, Any], parts: Parts, keyword: str, test: Any, reason: str) -> Iterator[Finding]:
    """Literals that cannot be written: the others remain, if there are any."""
    if keyword not in place:
        return
    values = place[keyword] if keyword == "enum" else [place[keyword]]
    values = values if isinstance(values, list) else []
    wrong = [value for value in values if test(value)]
    if wrong:
        rest = [value for value in values if value not in wrong]
        said = f"{str(wrong[0])[:40]!r} {reason}; leave it out"
        yield Finding(parts, keyword, said, bool(rest), instead={"enum": rest} if rest else {})


def _too_large(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_too_large, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and abs(value) > _EXACT


def _unwritable(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_unwritable, (*value, *value.values())))
    return any(map(_unwritable, value)) if isinstance(value, list) else bool(_UNWRITABLE.search(str(value)))


def _texts(place: dict[str, Any], parts: Parts) -> Iterator[Finding]:
    patterns = [("pattern", place["pattern"])] if isinstance(place.get("pattern"), str) else []
    patterns += [("patternProperties", key) for key in place.get("patternProperties", ())]
    for keyword, pattern in patterns:
        wrong = pattern_problem(pattern)
        if wrong:
            wider = {} if wrong.wider is None or keyword != "pattern" else {"pattern": wrong.wider}
            yield Finding(parts, keyword, f"{pattern!r} {wrong.reason}", wrong.checkable, instead=wider)
            break
    for keyword in ("const", "enum"):
        yield from _without(place, parts, keyword, _unwritable, "holds a control character, which cannot be decoded")
    form = place.get("format")
    kinds = place.get("type", [])
    textual = not kinds or "string" in ([kinds] if isinstance(kinds, str) else kinds)
    known = PATTERNS.keys() | ENGINE | FREE | NUMERIC
    if isinstance(form, str) and textual and form not in known:
        near = difflib.get_close_matches(form, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "use a 'pattern', or remove it and check it in the tool"
        checked = checkable_format(form)
        problem = "cannot be enforced while decoding" if checked else "is not known, so that nothing checks it"
        wider = {"pattern": WIDER[form]} if form in WIDER and "pattern" not in place else {}
        yield Finding(parts, "format", f"format {form!r} {problem}; {hint}", checked=checked, instead=wider)


def _one_of(root: dict[str, Any], place: dict[str, Any], parts: Parts) -> Iterator[Finding]:
    members = place.get("oneOf")
    if not isinstance(members, list) or tag(place):
        return
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            if not disjoint(root, first, second):
                yield Finding(
                    parts,
                    "oneOf",
                    "its branches could both fit one value, which decoding cannot rule out; use 'anyOf', or give "
                    "them a required property with different constants",
                    instead={"oneOf": members},
                )
                return
