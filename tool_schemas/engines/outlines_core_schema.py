"""A JSON Schema as one regular expression, or its refusal, for the outlines_core engine.

outlines_core's own translation ignores most keywords in silence, writes `allOf` as a concatenation and puts patterns
into strings unescaped; so ours is used, and outlines_core gets the finished expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from loraloop.tool_schemas.engines.outlines_core_formats import FORMATS
from loraloop.tool_schemas.engines.outlines_core_numbers import decimals, integers
from loraloop.tool_schemas.engines.outlines_core_pattern import ANY, quoted
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.dialect import Bounds
from loraloop.tool_schemas.schema.exclusion import disjoint, tag, tagged
from loraloop.tool_schemas.schema.formats import FREE, NUMERIC, RANGES
from loraloop.tool_schemas.schema.keywords import Finding
from loraloop.tool_schemas.schema.normal import Parts
from loraloop.tool_schemas.schema.references import place_of
from loraloop.tool_schemas.schema.validation import check_value, json_path

# fmt: off
ENFORCED = frozenset({
    "type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref", "items", "prefixItems", "minItems", "maxItems",
    "properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
})
"""Keywords that are enforced where a regular expression can say them; where not, `Unsupported` names the place."""
# fmt: on
_KINDS = ("null", "boolean", "number", "integer", "string", "array", "object")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

_WAYS = "use the engine 'llguidance', or register the tool with on_unsupported='check'"
_DEPTH = 2  # times that a reference may lie inside itself
_MOST_TEXT = 2_000_000  # characters written in all
_MOST_PLACES = 20_000  # sub-schemas written
_MOST_COUNT = 2000  # repetitions


class Unsupported(Exception):
    """A keyword that no regular expression can enforce.

    Attributes:
        finding: Which one, where and why.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.reason)
        self.finding = finding


def schema_regex(schema: dict[str, Any], bounds: Bounds | None) -> str:
    """The compact JSON texts that fit a normalised schema.

    Of `bounds`, numbers are bounded as they say; that they are given at all lets recursion end after a few levels and
    leaves out properties that the schema does not name. Texts and arrays stay open, because every further character
    or item would be a state of the automaton.

    Raises:
        Unsupported: A keyword cannot be enforced exactly.
        SchemaError: Nothing fits, or it grows too large.
    """
    try:
        text = Writer(schema, bounds).write(schema, (), ())
    except RecursionError:
        raise SchemaError("is nested too deeply; flatten the schema", "$") from None
    if text is None:
        raise SchemaError("nothing fits it; give one that something fits", "$")
    return text


class Writer:
    """Writes one schema; see `schema_regex`."""

    def __init__(self, root: dict[str, Any], bounds: Bounds | None) -> None:
        self.root = root
        self.bounds = bounds
        self._left = [_MOST_PLACES, _MOST_TEXT]

    def write(self, schema: Any, parts: Parts, refs: tuple[str, ...]) -> str | None:
        """The texts that fit a sub-schema, as a group; None if none does.

        Args:
            parts: Where it stands.
            refs: References that were followed to get here.
        """
        text: str | None
        self._left[0] -= 1
        if schema is True or schema == {}:
            text = self._any(parts)
        elif schema is False:
            return None
        else:
            text = self._place(schema, parts, refs)
        self._left[1] -= len(text or "")
        if min(self._left) < 0:
            raise SchemaError("grows too large for this engine; use the engine 'llguidance' or a smaller schema", "$")
        return text

    def _refuse(self, parts: Parts, keyword: str, reason: str) -> Unsupported:
        return Unsupported(
            Finding(parts, keyword, f"{reason} cannot be enforced by the engine 'outlines_core'; {_WAYS}")
        )

    def _place(self, schema: dict[str, Any], parts: Parts, refs: tuple[str, ...]) -> str | None:
        says = {key: value for key, value in schema.items() if key in ENFORCED}
        if "const" in says or "enum" in says:
            return self._literals(says, schema, parts)
        applied = [key for key in ("$ref", "anyOf", "oneOf", "allOf") if key in says]
        if applied:
            if len(says) > 1:
                raise self._refuse(parts, applied[0], f"'{applied[0]}' beside '{_other(says, applied[0])}'")
            return self._applied(applied[0], schema, parts, refs)
        if not says:
            return self._any(parts)
        kinds = says.get("type", _KINDS)
        names = [kinds] if isinstance(kinds, str) else list(kinds)
        return _either(
            self._kind(name, says, parts, refs) for name in names if name != "integer" or "number" not in names
        )

    def _literals(self, says: dict[str, Any], schema: dict[str, Any], parts: Parts) -> str | None:
        beside = [key for key in says if key in ("$ref", "anyOf", "oneOf", "allOf")]
        if beside:
            raise self._refuse(parts, beside[0], f"'{beside[0]}' beside literals")
        keyword = "const" if "const" in says else "enum"
        values = [says["const"]] if keyword == "const" else says["enum"]
        rest = {key: value for key, value in says.items() if key != keyword}
        if rest:
            values = [value for value in values if _fits(value, rest)]
        return _either(re.escape(dumps(value)) for value in values)

    def _applied(self, keyword: str, schema: dict[str, Any], parts: Parts, refs: tuple[str, ...]) -> str | None:
        value = schema[keyword]
        if keyword == "$ref":
            return self._reference(value, parts, refs)
        if keyword == "allOf":
            if len(value) != 1:
                raise self._refuse(parts, keyword, "several schemas for one value cannot be one regular expression")
            return self.write(value[0], (*parts, keyword, 0), refs)
        members = value
        if keyword == "oneOf":
            members = [tagged(self.root, member, tag(schema)) for member in value]
            for index, first in enumerate(members):
                if not all(disjoint(self.root, first, second) for second in members[index + 1 :]):
                    raise self._refuse(parts, keyword, "its branches could both fit one value")
        return _either(self.write(member, (*parts, keyword, index), refs) for index, member in enumerate(members))

    def _reference(self, reference: str, parts: Parts, refs: tuple[str, ...]) -> str | None:
        target = place_of(self.root, reference)
        if target is None:
            raise SchemaError(f"{reference!r} is not in the schema", json_path((*parts, "$ref")))
        if reference in refs:
            if self.bounds is None:
                raise SchemaError("recursion without bounds is not regular; give bounds", json_path((*parts, "$ref")))
            if refs.count(reference) >= _DEPTH:
                return None
        return self.write(target[1], target[0], (*refs, reference))

    def _any(self, parts: Parts) -> str:
        """Any value; two levels of containers at most."""
        if self.bounds is None:
            raise SchemaError(
                "any value, without bounds, is not regular; say what it is, or give bounds", json_path(parts)
            )
        scalar = text = rf'(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|"{ANY}*")'
        for _ in range(2):
            items = rf"\[(?:{text}(?:,{text})*)?\]"
            members = rf'\{{(?:"{ANY}+":{text}(?:,"{ANY}+":{text})*)?\}}'
            text = f"(?:{scalar}|{items}|{members})"
        return text

    def _kind(self, kind: str, says: dict[str, Any], parts: Parts, refs: tuple[str, ...]) -> str | None:
        if kind == "null":
            return "null"
        if kind == "boolean":
            return "(?:true|false)"
        if kind == "integer":
            return self._integer(says, parts)
        if kind == "number":
            return self._number(says, parts)
        if kind == "string":
            return self._string(says, parts)
        return self._array(says, parts, refs) if kind == "array" else self._object(says, parts, refs)

    def _string(self, says: dict[str, Any], parts: Parts) -> str | None:
        least, most = says.get("minLength", 0), says.get("maxLength")
        form = says.get("format")
        pattern = says.get("pattern", FORMATS.get(form) if isinstance(form, str) else None)
        if form is not None and form not in FORMATS and form not in FREE and form not in NUMERIC:
            raise self._refuse(parts, "format", f"the format {form!r}")
        if pattern is not None:
            for keyword in ("minLength", "maxLength"):
                if keyword in says:
                    raise self._refuse(parts, keyword, "a length beside a pattern or format")
            if "pattern" in says and form in FORMATS:
                raise self._refuse(parts, "format", "a format beside a pattern")
            try:
                return quoted(pattern)
            except ValueError as error:
                raise self._refuse(parts, "pattern", f"{pattern!r} {error}") from error
        for keyword in ("minLength", "maxLength"):
            if says.get(keyword, 0) > _MOST_COUNT:
                raise self._refuse(parts, keyword, f"counting beyond {_MOST_COUNT}")
        if most is not None and least > most:
            return None
        return f'"{ANY}{{{int(least)},{"" if most is None else int(most)}}}"'

    def _limits(self, says: dict[str, Any]) -> tuple[Any, Any]:
        """The stricter lower and upper bound, each with whether it is excluded."""
        lows = [(says[key], key != "minimum") for key in ("minimum", "exclusiveMinimum") if key in says]
        highs = [(says[key], key == "maximum") for key in ("maximum", "exclusiveMaximum") if key in says]
        if says.get("format") in RANGES:
            lows.append((RANGES[says["format"]][0], False))
            highs.append((RANGES[says["format"]][1], True))
        high = min(highs, default=None)
        return max(lows, default=None), None if high is None else (high[0], not high[1])

    def _integer(self, says: dict[str, Any], parts: Parts) -> str | None:
        low, high = self._limits(says)
        least = None if low is None else int(low[0] // 1) + (1 if low[1] or low[0] % 1 else 0)
        most = None if high is None else int(-(-high[0] // 1)) - (1 if high[1] or high[0] % 1 else 0)
        if self.bounds is not None:
            limit = int(self.bounds.number)
            least = min(-limit, limit if most is None else most) if least is None else least
            most = max(limit, least) if most is None else most
        return integers(least, most)

    def _number(self, says: dict[str, Any], parts: Parts) -> str | None:
        low, high = self._limits(says)
        for keyword in _LIMITS:
            if says.get(keyword, 0) % 1:
                raise self._refuse(parts, keyword, "a bound of a number that is not whole")
        if self.bounds is None:
            if low is None and high is None:
                return r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
            if low is None or high is None:
                raise self._refuse(
                    parts, next(key for key in _LIMITS if key in says), "one bound alone, without bounds"
                )
        limit = int(self.bounds.number) if self.bounds is not None else 0
        if low is None and high is None:
            return rf"-?(?:0|[1-9][0-9]{{0,{len(str(limit)) - 2}}})(?:\.[0-9]+)?"
        least, above = (-limit, False) if low is None else (int(low[0]), low[1])
        most, below = (limit, False) if high is None else (int(high[0]), high[1])
        if low is None:
            least = min(least, most - 1)
        if high is None:
            most = max(most, least + 1)
        return decimals(least, most, above, below)

    def _array(self, says: dict[str, Any], parts: Parts, refs: tuple[str, ...]) -> str | None:
        fixed = says.get("prefixItems", [])
        least, most = int(says.get("minItems", 0)), says.get("maxItems")
        most = None if most is None else int(most)
        if max(least, most or 0) > _MOST_COUNT:
            raise self._refuse(
                parts, "minItems" if least > _MOST_COUNT else "maxItems", f"counting beyond {_MOST_COUNT}"
            )
        if most is not None and least > most:
            return None
        rest = (
            self.write(says.get("items", True), (*parts, "items"), refs) if most is None or most > len(fixed) else None
        )
        items = [self.write(item, (*parts, "prefixItems", index), refs) for index, item in enumerate(fixed)]
        if most is not None:
            items = items[:most]
        if None in items:
            items, rest = items[: items.index(None)], None
        if rest is None and least > len(items):
            return None
        tail = ""
        if rest is not None:
            count = f"{{{max(least - len(items), 0)},{'' if most is None else most - len(items)}}}"
            if items:
                tail = f"(?:,{rest}){count}"
            else:
                more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
                tail = f"(?:{rest}(?:,{rest}){more}){'' if least else '?'}"
        for index in reversed(range(len(items))):
            tail = f"{',' if index else ''}{items[index]}{tail}"
            if index >= least:
                tail = f"(?:{tail})?"
        return rf"\[{tail}\]"

    def _object(self, says: dict[str, Any], parts: Parts, refs: tuple[str, ...]) -> str | None:
        required = list(says.get("required", ()))
        named = {
            **says.get("properties", {}),
            **{name: True for name in required if name not in says.get("properties", {})},
        }
        least, most = says.get("minProperties", 0), says.get("maxProperties")
        if named:
            return self._named(named, required, says, parts, refs)
        if len(says.get("patternProperties", ())) > 1:
            raise self._refuse(parts, "patternProperties", "several patterns for one name")
        key, value = f"{ANY}+", says.get("additionalProperties", True)
        place: Parts = (*parts, "additionalProperties")
        for pattern, inner in says.get("patternProperties", {}).items():
            if self.bounds is None and value is not False:
                raise self._refuse(parts, "patternProperties", "names that do not fit a pattern, without bounds")
            try:
                key = quoted(pattern) or ""
            except ValueError as error:
                raise self._refuse(parts, "patternProperties", f"{pattern!r} {error}") from error
            key, value, place = key[1:-1], inner, (*parts, "patternProperties", pattern)
        text = self.write(value, place, refs) if key and most != 0 else None
        if text is None:
            return None if least else r"\{\}"
        if least > 1:
            raise self._refuse(parts, "minProperties", "more than one unnamed property")
        if most is not None and most > _MOST_COUNT:
            raise self._refuse(parts, "maxProperties", f"counting beyond {_MOST_COUNT}")
        member = f'"{key}":{text}'
        more = f"{{0,{'' if most is None else int(most) - 1}}}"
        return rf"\{{(?:{member}(?:,{member}){more}){'' if least else '?'}\}}"

    def _named(
        self, named: dict[str, Any], required: list[str], says: dict[str, Any], parts: Parts, refs: tuple[str, ...]
    ) -> str | None:
        if says.get("patternProperties"):
            raise self._refuse(parts, "patternProperties", "patterns beside named properties")
        if self.bounds is None and says.get("additionalProperties", True) is not False:
            keyword = "additionalProperties" if "additionalProperties" in says else "properties"
            raise self._refuse(parts, keyword, "properties that are not named, without bounds")
        undefined = [name for name in required if name not in says.get("properties", {})]
        members: list[tuple[str, bool]] = []
        for name, inner in named.items():
            if name in undefined:
                inner = says.get("additionalProperties", True)
            text = self.write(inner, (*parts, "properties", name), refs)
            if text is None and name in required:
                return None
            if text is not None:
                members.append((f"{re.escape(dumps(name))}:{text}", name in required))
        if says.get("minProperties", 0) > sum(needed for _, needed in members):
            raise self._refuse(parts, "minProperties", "more properties than are required")
        if says.get("maxProperties", len(members)) < len(members):
            raise self._refuse(parts, "maxProperties", "fewer properties than are named")
        return rf"\{{{_members(members)}\}}"


def _members(members: list[tuple[str, bool]]) -> str:
    """Members in their order, the needed ones at least, with commas between."""
    after = ""
    options: list[str] = []
    # From the last to the first: `after` is what may follow a member, with its comma.
    for text, needed in reversed(members):
        options = [f"{text}{after}"] if needed else [f"{text}{after}", *options]
        after = f",{text}{after}" if needed else f"(?:,{text})?{after}"
    empty = "" if any(needed for _, needed in members) else "?"
    return f"(?:{'|'.join(options)}){empty}" if options else ""


def _other(says: dict[str, Any], keyword: str) -> str:
    return next(key for key in says if key != keyword)


def _either(options: Iterable[str | None]) -> str | None:
    some = list(dict.fromkeys(option for option in options if option is not None))
    return f"(?:{'|'.join(some)})" if some else None


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    try:
        check_value(value, schema)
    except SchemaError:
        return False
    return True
