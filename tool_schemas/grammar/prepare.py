"""Schemas made ready for llguidance: in its own form, and what it does not take is found and left to be checked."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.closing import Closers, Closing
from loraloop.tool_schemas.grammar.effort import check_going_on
from loraloop.tool_schemas.grammar.grammar import Choice, Lark, Regex
from loraloop.tool_schemas.grammar.splitting import Splitter
from loraloop.tool_schemas.schema.dialect import Bounds, Dialect
from loraloop.tool_schemas.schema.findings import WAYS, OnUnsupported, PreparedSchema, SchemaFinding, relaxed, sifted
from loraloop.tool_schemas.schema.keywords import ENFORCED
from loraloop.tool_schemas.schema.places import Parts, json_path, place_of, subschemas
from loraloop.tool_schemas.schema.validation import check_schema

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_OPTIONS = {
    "whitespace_flexible": False,
    # Without \u escapes no key can be spelled a second way, and no half of a surrogate pair appears.
    "json_allowed_escapes": 'nrbtf\\"',
}
_PROBE = 256  # bytes that are tried when a tool is registered
_TRIALS = 400  # compilations that the search for a culprit may take
_ROUNDS = 24  # culprits that one schema may have
_SUSPECTS = (  # in the order in which they are left out
    *("pattern", "format", "patternProperties", "minProperties", "maxProperties", "multipleOf"),
    *("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("allOf", "oneOf", "anyOf", "$ref", "additionalProperties", "enum", "const", "required"),
    *("prefixItems", "items", "properties", "type"),
)


def prepared(schema: dict[str, Any], on_unsupported: OnUnsupported = "refuse") -> PreparedSchema:
    """Makes a schema ready for the default engine, and asks that whether it takes it.

    Args:
        schema: A schema of any draft.
        on_unsupported: Whether what the engine cannot enforce is refused or left to be checked.

    Raises:
        SchemaError: If the schema is invalid, or cannot be enforced in this way; with the JSON path.
        LimitError: If who asked for it wants it no longer (`effort.stopping`).
    """
    check_schema(schema)
    plan = sifted(schema, on_unsupported)
    trials = _Trials()
    for _ in range(_ROUNDS):
        if not trials.problem(plan.schema, plan.schema):
            if why := costs_of(plan.schema):
                raise SchemaError(f"costs too much to be decoded ({why}); simplify it", "$")
            return plan
        culprit = trials.culprit(plan.schema)
        if on_unsupported == "refuse":
            raise culprit.error()
        plan = PreparedSchema(relaxed(plan.schema, [culprit]), plan.normal, (*plan.findings, culprit))
    raise SchemaError(f"has more than {_ROUNDS} places that cannot be decoded; simplify it", "$")


class _Trials:
    """Looks for what an engine does not take, in a bounded number of compilations."""

    def __init__(self) -> None:
        self._left = _TRIALS

    def problem(self, root: dict[str, Any], place: dict[str, Any]) -> str:
        check_going_on()
        self._left -= 1
        return problem_of(root, place)

    def culprit(self, root: dict[str, Any]) -> SchemaFinding:
        """The keyword of the smallest sub-schema that fails by itself."""
        parts, place, why = self._smallest(root)
        impossible = "unsatisfiable" in why.lower()
        if not impossible:
            for keyword in _SUSPECTS:
                if keyword in place and self._left > 0:
                    rest = {key: value for key, value in place.items() if key != keyword}
                    if not self.problem(root, rest):
                        return SchemaFinding(parts, keyword, f"cannot be decoded: {why}; {WAYS}")
            keyword = next((each for each in _SUSPECTS if each in place), "")
            if keyword:
                return SchemaFinding(parts, keyword, f"cannot be decoded: {why}; {WAYS}")
        raise SchemaError(f"cannot be decoded: {why}; correct the schema", json_path(parts))

    def _smallest(self, root: dict[str, Any]) -> tuple[Parts, dict[str, Any], str]:
        parts: Parts = ()
        place, why = root, self.problem(root, root)
        seen = {id(root)}
        while self._left > 0:
            inner: list[tuple[Parts, Any]] = [((*parts, *steps), each) for steps, each in subschemas(place, ENFORCED)]
            target = place_of(root, place["$ref"]) if isinstance(place.get("$ref"), str) else None
            for steps, each in [*inner, *([] if target is None else [target])]:
                if not isinstance(each, dict) or id(each) in seen or self._left <= 0:
                    continue
                seen.add(id(each))
                problem = self.problem(root, each)
                if problem:
                    parts, place, why = steps, each, problem
                    break
            else:
                break
        return parts, place, why


def problem_of(root: dict[str, Any], place: dict[str, Any]) -> str:
    """Why the engine takes a schema object neither within bounds nor exactly; empty if it takes it.

    Args:
        root: A normalised schema.
        place: A schema object in it, or one made of one.
    """
    bounded = _problem(root, place, Bounds())
    return bounded and _problem(root, place, None) and bounded


def _problem(root: dict[str, Any], place: dict[str, Any], bounds: Bounds | None) -> str:
    from llguidance import LLMatcher

    try:
        failed, messages = LLMatcher.validate_grammar_with_warnings(json_source(root, place, bounds))
    except SchemaError as error:
        return error.reason
    return reason_of(messages[0]) if failed else ""


def costs_of(root: dict[str, Any]) -> str:
    """Why a schema that compiles cannot be followed to an end: the engine bounds what one token may cost."""
    from llguidance import LLMatcher

    tokenizer, closers = _bytes()
    matcher = LLMatcher(tokenizer, json_source(root, root, Bounds()), log_level=0)
    walk = Closing(closers, True, _PROBE)
    walk.find(matcher, b"", attempts=1)
    return reason_of(walk.error) if walk.error else ""


@functools.cache
def _bytes() -> tuple[LLTokenizer, Closers]:
    """A tokenizer of single bytes."""
    from llguidance import LLTokenizer

    tokenizer = LLTokenizer("byte")
    return tokenizer, Closers(tokenizer, Splitter(tokenizer))


def reason_of(message: str) -> str:
    """The engine's message on one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].endswith(":") and len(lines) > 1:
        return f"{lines[0]} {lines[-1]}"[:300]
    return lines[0][:300] if lines else "unknown error"


def json_source(root: dict[str, Any], place: dict[str, Any], bounds: Bounds | None) -> str:
    """A schema object in llguidance's own form."""
    from llguidance import LLMatcher

    schema = Dialect(root, bounds).schema(place)
    if schema is False:
        raise SchemaError("nothing fits the schema; give one that something fits", "$")
    text = json.dumps({} if schema is True else schema)
    try:
        return LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)  # type: ignore[arg-type]
    except ValueError as error:
        raise SchemaError(f"cannot be decoded: {error}", "$") from error


def embedded(schema: dict[str, Any], on_unsupported: OnUnsupported, options: dict[str, str]) -> dict[str, Any]:
    """A schema as llguidance takes it in the middle of a Lark grammar.

    Args:
        schema: A schema of any draft.
        on_unsupported: Whether what the engine cannot enforce is refused or left out.
        options: The engine's options besides ours, such as its separators.

    Raises:
        SchemaError: It cannot be decoded.
    """
    plan = sifted(schema, on_unsupported)
    if problem_of(plan.schema, plan.schema):
        plan = prepared(schema, on_unsupported)
    # A bound can contradict the schema, such as a pattern that only fits long texts.
    bounds = None if _problem(plan.schema, plan.schema, Bounds()) else Bounds()
    return {**Dialect(plan.schema, bounds).schema(), "x-guidance": {**_OPTIONS, **options}}


def source_of(term: Regex | Choice | Lark) -> str:
    """Any other term in llguidance's own form."""
    from llguidance import LLMatcher

    if isinstance(term, Regex):
        return LLMatcher.grammar_from_regex(term.pattern)
    if isinstance(term, Choice):
        if not term.options or not all(term.options):
            raise SchemaError("a choice needs at least one option, and none may be empty")
        options = " | ".join(json.dumps(each) for each in term.options)
        return LLMatcher.grammar_from_lark(f"start: OPTION\nOPTION: {options}")  # a rule may have 2 000 alternatives
    return LLMatcher.grammar_from_lark(term.grammar)
