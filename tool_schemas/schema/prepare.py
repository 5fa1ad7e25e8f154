"""A schema made ready for an engine: what goes into the grammar, and what is left to be checked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.finite import check_finite
from loraloop.tool_schemas.schema.keywords import ENFORCED, Finding, findings, judged, relaxed
from loraloop.tool_schemas.schema.normal import Parts, normalised
from loraloop.tool_schemas.schema.references import place_of
from loraloop.tool_schemas.schema.validation import check_schema, json_path

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.grammar import OnUnsupported

Problem = Callable[[dict[str, Any], dict[str, Any]], str]
"""(normalised schema, a schema object in it) -> why an engine cannot take the object, or an empty text."""

_TRIALS = 400  # compilations that the search for a culprit may take
_ROUNDS = 24  # culprits that one schema may have
_SUSPECTS = (  # in the order in which they are left out
    *("pattern", "format", "patternProperties", "minProperties", "maxProperties", "multipleOf"),
    *("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("allOf", "oneOf", "anyOf", "$ref", "additionalProperties", "enum", "const", "required"),
    *("prefixItems", "items", "properties", "type"),
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A schema made ready.

    Attributes:
        schema: For the grammar: normalised, without what was found.
        normal: Normalised, with everything it says.
        findings: What the grammar does not enforce; empty where nothing has to be checked.
    """

    schema: dict[str, Any]
    normal: dict[str, Any]
    findings: tuple[Finding, ...]


def prepared(schema: dict[str, Any], on_unsupported: OnUnsupported = "refuse") -> Prepared:
    """Makes a schema ready for the default engine, and asks that whether it takes it.

    Args:
        schema: Of any draft.
        on_unsupported: Whether what the engine cannot enforce is refused or left to be checked.

    Raises:
        SchemaError: If the schema is invalid, or cannot be enforced in this way; with the JSON path.
    """
    from loraloop.tool_schemas.grammar.llguidance_engine import costs_of, problem_of

    check_schema(schema)
    plan = sifted(schema, on_unsupported)
    trials = _Trials(problem_of)
    for _ in range(_ROUNDS):
        if not trials.problem(plan.schema, plan.schema):
            if why := costs_of(plan.schema):
                raise SchemaError(f"costs too much to be decoded ({why}); simplify it", "$")
            return plan
        culprit = trials.culprit(plan.schema)
        if on_unsupported == "refuse":
            raise culprit.error()
        plan = Prepared(relaxed(plan.schema, [culprit]), plan.normal, (*plan.findings, culprit))
    raise SchemaError(f"has more than {_ROUNDS} places that cannot be decoded; simplify it", "$")


def sifted(
    schema: dict[str, Any], on_unsupported: OnUnsupported = "refuse", enforced: Collection[str] = ENFORCED
) -> Prepared:
    """The same for any engine, without asking it: it may still not take what comes out. The schema is not validated.

    Args:
        schema: A valid schema of any draft.
        on_unsupported: As above.
        enforced: The keywords that the engine enforces.

    Raises:
        SchemaError: If a keyword cannot be enforced in this way; with the JSON path.
    """
    normal = normalised(schema)
    found: list[Finding] = []
    for each in findings(normal, enforced):
        if on_unsupported == "refuse" or not each.checkable:
            raise each.error()
        found.append(each)
    check_finite(normal)
    return Prepared(relaxed(normal, found) if found else normal, normal, tuple(found))


class _Trials:
    """Looks for what an engine does not take, in a bounded number of compilations."""

    def __init__(self, problem: Problem) -> None:
        self._ask = problem
        self._left = _TRIALS

    def problem(self, root: dict[str, Any], place: dict[str, Any]) -> str:
        self._left -= 1
        return self._ask(root, place)

    def culprit(self, root: dict[str, Any]) -> Finding:
        """The keyword of the smallest sub-schema that fails by itself."""
        parts, place, why = self._smallest(root)
        impossible = "unsatisfiable" in why.lower()
        if not impossible:
            for keyword in _SUSPECTS:
                if keyword in place and self._left > 0:
                    rest = {key: value for key, value in place.items() if key != keyword}
                    if not self.problem(root, rest):
                        return Finding(parts, keyword, f"cannot be decoded: {why}")
            keyword = next((each for each in _SUSPECTS if each in place), "")
            if keyword:
                return Finding(parts, keyword, f"cannot be decoded: {why}")
        raise SchemaError(f"cannot be decoded: {why}", json_path(parts))

    def _smallest(self, root: dict[str, Any]) -> tuple[Parts, dict[str, Any], str]:
        parts: Parts = ()
        place, why = root, self.problem(root, root)
        seen = {id(root)}
        while self._left > 0:
            inner: list[tuple[Parts, Any]] = [((*parts, *steps), each) for steps, each in judged(place)]
            target = place_of(root, place["$ref"]) if isinstance(place.get("$ref"), str) else None
            for steps, each in [*inner, *([] if target is None else [target])]:
                if not isinstance(each, dict) or id(each) in seen or self._left <= 0:
                    continue
                seen.add(id(each))
                told = self.problem(root, each)
                if told:
                    parts, place, why = steps, each, told
                    break
            else:
                break
        return parts, place, why
