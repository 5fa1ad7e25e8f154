"""Which of a text's values have to be checked, and by which part of the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.keywords import ENFORCED
from loraloop.tool_schemas.schema.places import applied, followed, literals, resolve, subschemas
from loraloop.tool_schemas.schema.validation import first_error, pattern_found, validator_of

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.reader import Frame
    from loraloop.tool_schemas.schema.findings import PreparedSchema

_UNIONS = ("anyOf", "oneOf")


class Checks:
    """What is checked of the values under one schema; shared by any number of texts.

    A value is checked by each schema object that certainly governs it and says something that the grammar leaves out,
    itself or in branches of which one must hold. Branches that the members so far rule out by their constants do not
    count, so that the arguments of a call are checked when they close and not only with the whole list of calls.

    Args:
        schema: The schema as it was given, by which the whole text is checked in the end.
        prepared: The schema as it was made ready for the engine.
    """

    def __init__(self, schema: dict[str, Any], prepared: PreparedSchema) -> None:
        self.root = prepared.normal
        self._whole = validator_of(schema)
        self._validator = validator_of(self.root)
        listed = list(applied(self.root))
        checked = {each.parts for each in prepared.findings if each.checked}
        self._own = {id(place) for parts, place in listed if parts in checked}
        self._reaching = self._closure([place for _, place in listed])
        self._judging = self._own | {
            id(place)
            for _, place in listed
            if any(id(inner) in self._reaching for union in _UNIONS for inner in place.get(union, ()))
        }

    def _closure(self, listed: list[dict[str, Any]]) -> set[int]:
        """The schema objects from which one that is checked can be reached."""
        inside = {id(place): [id(inner) for _, inner in subschemas(place, ENFORCED)] for place in listed}
        for place in listed:
            if "$ref" in place:
                inside[id(place)] += [id(target) for target in resolve(self.root, place["$ref"]) or ()]
        reaching: set[int] = set()
        more = set(self._own)
        while more:
            reaching |= more
            more = {
                place for place, inner in inside.items() if place not in reaching and not reaching.isdisjoint(inner)
            }
        return reaching

    def governing(self, frame: Frame, outer: Frame | None) -> list[dict[str, Any]]:
        """The schema objects that govern a value which begins, as far as anything under them is checked."""
        if outer is None:
            return [self.root] if id(self.root) in self._reaching else []
        inner: list[dict[str, Any]] = []
        for place in self._certain(outer.note, outer.value):
            inner += [each for each in _members(place, frame.step) if isinstance(each, dict)]
        return [each for each in inner if id(each) in self._reaching]

    def _certain(self, schemas: list[dict[str, Any]], value: Any) -> list[dict[str, Any]]:
        """The schema objects that govern a value together with these: references, conjunctions, branches left alone."""
        out: list[dict[str, Any]] = []
        pending, seen = list(schemas), set()
        while pending:
            place = pending.pop()
            if id(place) in seen or not isinstance(place, dict) or id(place) not in self._reaching:
                continue
            seen.add(id(place))
            out.append(place)
            pending += place.get("allOf", ())
            if "$ref" in place:
                pending += resolve(self.root, place["$ref"]) or ()
            for union in _UNIONS:
                left = [branch for branch in place.get(union, ()) if self._possible(branch, value)]
                pending += left if len(left) == 1 else []
        return out

    def _possible(self, branch: Any, value: Any) -> bool:
        """Whether a branch may still hold for a container of which some members are known."""
        branch = followed(self.root, branch)
        if not isinstance(branch, dict):
            return branch is not False
        kinds = branch.get("type")
        names = [kinds] if isinstance(kinds, str) else kinds
        kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else None
        if names and kind and kind not in names:
            return False
        if isinstance(value, dict):
            for name, schema in branch.get("properties", {}).items():
                wanted = literals(followed(self.root, schema)) if name in value else None
                if wanted is not None and not any(value[name] == each for each in wanted):
                    return False
        return True

    def may_fail(self, frame: Frame) -> bool:
        """Whether a value that is still open may fail a check of its own when it closes."""
        return any(id(place) in self._judging for place in self._certain(frame.note, frame.value))

    def problem(self, frame: Frame) -> SchemaError | None:
        """Why a complete value does not fit; None if it does, or nothing has to be checked."""
        for place in self._certain(frame.note, frame.value):
            if id(place) in self._judging:
                error = _error(self._validator.evolve(schema=place), frame.value)
                if error is not None:
                    return error
        return None

    def early_problem(self, outer: Frame, value: Any) -> SchemaError | None:
        """Why a container cannot fit any more with one more item; None if it may."""
        if not isinstance(outer.value, list):
            return None
        for place in self._certain(outer.note, outer.value):
            if place.get("uniqueItems") is True and id(place) in self._own:
                error = _error(self._validator.evolve(schema={"uniqueItems": True}), [*outer.value, value])
                if error is not None:
                    return error
        return None

    def whole_problem(self, value: Any) -> SchemaError | None:
        """Why the whole text does not fit the schema as it was given."""
        return _error(self._whole, value)


def _error(validator: Any, value: Any) -> SchemaError | None:
    from referencing.exceptions import Unresolvable

    try:
        return first_error(validator, value)
    except Unresolvable:  # a dynamic anchor of the schema as it was given: the whole text is checked by that
        return None


def _members(place: dict[str, Any], step: str | int | None) -> Iterator[Any]:
    """The sub-schemas that govern a member of a container."""
    if isinstance(step, int):
        prefix = place.get("prefixItems", ())
        yield prefix[step] if step < len(prefix) else place.get("items")
        return
    assert isinstance(step, str)
    known = place.get("properties", {})
    matching = [inner for key, inner in place.get("patternProperties", {}).items() if pattern_found(key, step)]
    if step in known:
        yield known[step]
    yield from matching
    if step not in known and not matching:
        yield place.get("additionalProperties")
