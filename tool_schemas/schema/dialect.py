"""A schema in the part of JSON Schema that the engine decodes exactly, with everything bounded if asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.schema.few_names import few_names
from loraloop.tool_schemas.schema.findings import tag, tagged
from loraloop.tool_schemas.schema.formats import ENGINE, PATTERNS, RANGES, SHORT, portable
from loraloop.tool_schemas.schema.keywords import ENFORCED
from loraloop.tool_schemas.schema.places import followed, resolve

_EXACT = 2**53  # integers beyond it are not exact as doubles, which is what the engine computes in
_SAFE = _EXACT - 1
_APPLICATORS = ("anyOf", "oneOf", "allOf", "$ref")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What decoding adds where a schema sets no bound, so that no value can run on.

    Whatever is decoded within these bounds still fits the schema: they only leave values out.

    Attributes:
        text: Characters of a text.
        items: Items of an array.
        keys: Properties of an object that lists none.
        key: Characters of such a property's name.
        number: Absolute value of a number; also takes away the exponent form, and bounds the digits after the point.
    """

    text: int = 256
    items: int = 32
    keys: int = 16
    key: int = 64
    number: float = 1e15

    def __post_init__(self) -> None:
        if min(self.text, self.items, self.keys, self.key, self.number) < 1:
            raise ValueError("every bound must be at least 1")


class Dialect:
    """Rewrites one schema for the engine; its references become flat names.

    Args:
        root: A normalised schema that says nothing but what the engine enforces.
        bounds: What to add where the schema sets no bound; None adds nothing.
    """

    def __init__(self, root: dict[str, Any], bounds: Bounds | None) -> None:
        self.root = root
        self.bounds = bounds
        self._names: dict[tuple[str, bool], str] = {}
        self._places: dict[tuple[int, bool], str] = {}
        self._definitions: dict[str, Any] = {}

    def schema(self, place: Any = None) -> Any:
        """The rewritten schema, or that of a schema object in it."""
        rewritten = self._schema(self.root if place is None else place, True)
        while pending := [key for key, name in self._names.items() if name not in self._definitions]:
            for reference, whole in pending:
                target = resolve(self.root, reference)
                self._definitions[self._names[reference, whole]] = self._schema(target[0] if target else True, whole)
        if not self._definitions or not isinstance(rewritten, dict):
            return rewritten
        return {**rewritten, "$defs": self._definitions}

    def _schema(self, schema: Any, whole: bool) -> Any:
        """Rewrites a sub-schema; `whole`: nothing beside it also judges the same value, so it may be bounded."""
        if schema is True or schema is False:
            return self._any() if schema and whole else schema
        says = {key: value for key, value in schema.items() if key in ENFORCED}
        applied = [key for key in _APPLICATORS if key in says]
        alone = whole and not (len(says) > 1 and applied) and len(applied) < 2 and len(says.get("allOf", ())) < 2
        out: dict[str, Any] = {}
        extra: list[Any] = []
        for key, value in says.items():
            if key == "properties":
                out[key] = {name: self._schema(inner, True) for name, inner in value.items()} | out.get(key, {})
            elif key == "patternProperties":
                self._patterns(value, says.get("properties", {}), out)
            elif key == "prefixItems":
                out[key] = [self._schema(inner, True) for inner in value]
            elif key in ("items", "additionalProperties"):
                out[key] = self._schema(value, True)
            elif key == "allOf":
                out[key] = [self._schema(inner, alone) for inner in value]
            elif key == "anyOf":
                out[key] = [self._schema(self._ordered(inner, says), alone) for inner in value]
            elif key == "oneOf":  # its branches exclude each other, or are checked
                branches = [tagged(self.root, inner, tag(schema)) for inner in value]
                branches = [self._schema(self._ordered(inner, says), alone) for inner in branches]
                if "anyOf" in says:
                    extra.append({"anyOf": branches})
                else:
                    out["anyOf"] = branches
            elif key == "$ref":
                out[key] = self._reference(value, alone)
            elif key == "pattern":
                out[key] = portable(value)
            elif key == "format":
                self._format(value, says, out, extra)
            elif key in ("minimum", "exclusiveMinimum"):
                out[key] = max(value, -_EXACT)
            elif key in ("maximum", "exclusiveMaximum"):
                out[key] = min(value, _EXACT)
            else:
                out[key] = value
        if extra:
            out["allOf"] = [*out.get("allOf", []), *extra]
        if not out:
            return self._any() if whole else True
        if whole and not applied and self.bounds and not ("const" in out or "enum" in out):
            self._bound(out)
        return out

    def _patterns(self, patterns: dict[str, Any], named: dict[str, Any], out: dict[str, Any]) -> None:
        """Properties in the place of patterns that fit few names: beside these the engine looks for another name."""
        judged: dict[str, list[Any]] = {}
        for pattern, inner in patterns.items():
            for name in few_names(pattern):
                judged.setdefault(name, [named[name]] if name in named else []).append(inner)
            if not few_names(pattern):
                out.setdefault("patternProperties", {})[portable(pattern)] = self._schema(inner, True)
        for name, schemas in judged.items():
            parts = [self._shared(each, len(schemas) == 1) for each in schemas]
            out.setdefault("properties", {})[name] = {"allOf": parts} if parts[1:] else parts[0]

    def _shared(self, schema: Any, whole: bool) -> Any:
        """A reference to a rewritten sub-schema, so that what many properties share is written once."""
        if isinstance(schema, bool):
            return self._schema(schema, whole)
        if (key := (id(schema), whole)) not in self._places:
            name = self._places[key] = f"s{len(self._places)}"
            self._definitions[name] = self._schema(schema, whole)
        return {"$ref": f"#/$defs/{self._places[key]}"}

    def _ordered(self, branch: Any, says: dict[str, Any]) -> Any:
        """The branch with the properties named beside the union, in their order; else its own would come first."""
        target = followed(self.root, branch)
        names = says.get("properties")
        if not names or not isinstance(target, dict) or target.get("additionalProperties", True) is not True:
            return branch
        own = target.get("properties", {})
        return {**target, "properties": {**{name: own.get(name, True) for name in names}, **own}}

    def _reference(self, reference: str, whole: bool) -> str:
        name = self._names.setdefault((reference, whole), f"r{len(self._names)}")
        return f"#/$defs/{name}"

    def _any(self) -> Any:
        """Any value; with bounds, two levels of containers at most."""
        if self.bounds is None:
            return True
        scalars: dict[str, Any] = {"type": ["null", "boolean", "number", "string"]}
        self._bound(scalars)
        inner = scalars
        for level in range(2):
            name = f"any{level}"
            if name not in self._definitions:
                listed = {"type": "array", "items": inner, "maxItems": self.bounds.items}
                mapped: dict[str, Any] = {"type": "object", "additionalProperties": inner}
                self._bound_object(mapped, self.bounds)
                self._definitions[name] = {"anyOf": [scalars, listed, mapped]}
            inner = {"$ref": f"#/$defs/{name}"}
        return inner

    def _format(self, form: str, says: dict[str, Any], out: dict[str, Any], extra: list[Any]) -> None:
        if form in ENGINE:
            out["format"] = form
            if form == "hostname":
                out["maxLength"] = min(says.get("maxLength", 253), 253)
        elif form in PATTERNS:
            if "pattern" in says:
                extra.append({"type": says.get("type", "string"), "pattern": PATTERNS[form]})
            else:
                out["pattern"] = PATTERNS[form]
        elif form in RANGES:
            low, high = RANGES[form]
            out["minimum"] = max(says.get("minimum", low), low)
            out["maximum"] = min(says.get("maximum", high), high)

    def _bound(self, out: dict[str, Any]) -> None:
        bounds = self.bounds
        if bounds is None:
            return
        kinds = out.get("type", ())
        names = {kinds} if isinstance(kinds, str) else set(kinds)
        if "string" in names and "maxLength" not in out and out.get("pattern") not in SHORT:
            out["maxLength"] = max(bounds.text, 2 * out.get("minLength", 0))  # a text that has to stop there is cut
        if names & {"integer", "number"}:
            limit = min(int(bounds.number), _SAFE)
            low = out.get("minimum", out.get("exclusiveMinimum"))
            high = out.get("maximum", out.get("exclusiveMaximum"))
            if low is None and (high is None or high > -limit):
                out["minimum"] = -limit
            if high is None and (low is None or low < limit):
                out["maximum"] = limit
        if "array" in names and "maxItems" not in out:
            out["maxItems"] = max(bounds.items, out.get("minItems", 0), len(out.get("prefixItems", ())))
            if "items" not in out:
                out["items"] = self._any()
        if "object" in names:
            self._bound_object(out, bounds)

    def _bound_object(self, out: dict[str, Any], bounds: Bounds) -> None:
        known = out.get("properties")
        if "patternProperties" in out:
            return
        if known is not None or out.get("required"):
            if "additionalProperties" not in out and out.get("minProperties", 0) <= len(known or {}):
                out["properties"] = {
                    **(known or {}),
                    **{name: self._any() for name in out.get("required", ()) if name not in (known or {})},
                }
                out["additionalProperties"] = False
            return
        value = out.pop("additionalProperties", None)
        if value is False:
            out["additionalProperties"] = False
            return
        value = self._any() if value is None or value is True else value
        out["patternProperties"] = {f"^[^\\x00-\\x1f\\x7f]{{1,{bounds.key}}}$": value}
        out["additionalProperties"] = False
        out["maxProperties"] = min(out.get("maxProperties", bounds.keys), max(bounds.keys, 1))
