"""Values against schemas, by jsonschema, with formats checked and nothing fetched from anywhere."""

from __future__ import annotations

import functools
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps, levels
from loraloop.tool_schemas.schema.formats import PATTERNS, too_many_repeats
from loraloop.tool_schemas.schema.normal import check_form, copied, draft_of, draft_validator
from loraloop.tool_schemas.schema.places import DEEPEST, every, json_path

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.protocols import Validator


@functools.cache
def format_checker() -> FormatChecker:
    """Checks every format of the newest draft, whatever draft a schema names.

    Internationalized references are mapped to plain ones first (RFC 3987, section 3.1): the package that jsonschema has
    for them takes a second to import.
    """
    import copy

    import jsonschema
    from rfc3986_validator import validate_rfc3986

    newest: FormatChecker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    checker = copy.copy(newest)  # a new one would read "time" as draft 3 did
    checker.checkers = dict(newest.checkers)
    template, raises = newest.checkers["uri-template"]  # whose time grows faster than the text
    checker.checkers["regex"] = (newest.checkers["regex"][0], (re.error, OverflowError, RecursionError))
    checker.checkers["uri-template"] = (lambda value: len(str(value)) <= 4096 and template(value), raises)

    def checks(rule: str) -> Callable[[object], bool]:
        return lambda value: not isinstance(value, str) or bool(validate_rfc3986(_mapped(value), rule=rule))

    def fits(pattern: str) -> Callable[[object], bool]:
        return lambda value: not isinstance(value, str) or bool(re.fullmatch(pattern, value))

    for name, rule in (("iri", "URI"), ("iri-reference", "URI_reference")):
        checker.checkers[name] = (checks(rule), ())
    for name in ("time-local", "date-time-local"):
        checker.checkers[name] = (fits(PATTERNS[name]), ())
    return checker


def _mapped(text: str) -> str:
    """An internationalized reference with what lies beyond ASCII percent-encoded."""
    return "".join(character if character < "\x80" else quote(character) for character in text)


SECONDS = 0.5  # for one search
DEEPEST_VALUE = 100  # levels, so that it can be stored and read again
WORK = 1_000_000
"""Searches of patterns that the check of one value may take. A reference counts for ten, one given up for 50 000."""
_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


def _spend(work: int) -> None:
    """Raises TimeoutError where a check has no work left. Schemas can ask for more than any machine can do."""
    left = _left.get()
    if left is not None:
        left[0] -= work
        if left[0] < 0:
            raise TimeoutError


def pattern_found(pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in a text; None if the search takes longer than `SECONDS`, or too much memory.

    Python's own `re` cannot be stopped, and a hostile pattern keeps it busy for ever.
    """
    import regex

    _spend(1)
    if too_many_repeats(pattern):
        return None
    try:
        return regex.search(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        _spend(WORK // 20)
        return None


def _error(message: str) -> Exception:
    from jsonschema import ValidationError

    return ValidationError(message)


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "string"):
        fits = pattern_found(pattern, value)
        if fits is None:
            yield _error(f"{pattern!r} takes too long on {value[:40]!r}; simplify the pattern")
        elif not fits:
            yield _error(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for name, member in value.items():
                if pattern_found(pattern, name) is not False:
                    yield from validator.descend(member, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in value if name not in known and not any(pattern_found(each, name) for each in patterns)]
    if validator.is_type(allowed, "object"):
        for name in extra:
            yield from validator.descend(value[name], allowed, path=name)
    elif allowed is False and extra:
        listed = ", ".join(map(repr, extra[:5]))
        yield _error(f"Additional properties are not allowed ({listed} unexpected)")


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "number"):
        try:
            fits = Decimal(repr(value)) % Decimal(repr(step)) == 0
        except InvalidOperation:  # more digits than decimals hold, or infinity
            fits = abs(value) != float("inf") and Fraction(repr(value)) % Fraction(repr(step)) == 0
        if not fits:
            yield _error(f"{value!r} is not a multiple of {step}")


def _unique_items(validator: Any, unique: Any, value: Any, schema: Any) -> Iterator[Any]:
    if unique and validator.is_type(value, "array") and len(set(map(_alike, value))) < len(value):
        yield _error(f"{value!r} has non-unique elements")


def _enum(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
    if value not in allowed or _alike(value) not in [_alike(each) for each in allowed if each == value]:
        yield _error(f"{value!r} is not one of {allowed!r}")


def _alike(value: Any) -> Any:
    """What is the same for values that JSON Schema takes for equal, and can be looked up: 1 and 1.0, not 1 and true."""
    if isinstance(value, dict):
        return dict, frozenset((name, _alike(member)) for name, member in value.items())
    return (list, *map(_alike, value)) if isinstance(value, list) else (isinstance(value, bool), value)


def _following(keyword: Any) -> Any:
    """A keyword that follows a reference, each time for a bit of the work that a check may take."""

    def follow(validator: Any, reference: Any, value: Any, schema: Any) -> Iterator[Any]:
        _spend(10)
        yield from keyword(validator, reference, value, schema) or ()

    return follow


CHECKS: Mapping[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
    "enum": _enum,
}
"""Keywords that are checked otherwise than by jsonschema: patterns, items and values in bounded time, steps exactly."""


@functools.cache
def _class(draft: int) -> type[Validator]:
    """jsonschema's validator of a draft, with `CHECKS`, and references that are counted."""
    import jsonschema

    made = draft_validator(draft)
    own = {name: _following(rule) for name, rule in made.VALIDATORS.items() if name.endswith(("Ref", "$ref"))}
    extended: type[Validator] = jsonschema.validators.extend(made, {**CHECKS, **own})  # type: ignore[no-untyped-call]
    return extended


def validator_of(schema: dict[str, Any], formats: bool = True) -> Validator:
    """A validator that fetches nothing, and checks formats unless they are to be annotations.

    Raises:
        SchemaError: If the schema names an unknown draft.
    """
    from referencing.jsonschema import EMPTY_REGISTRY

    checker = format_checker() if formats else None
    return _class(draft_of(schema))(schema, registry=EMPTY_REGISTRY, format_checker=checker)


@functools.lru_cache(maxsize=512)
def _validator(schema_text: str, formats: bool) -> Validator:
    return validator_of(json.loads(schema_text), formats)


def check_schema(schema: dict[str, Any], start: str = "$") -> None:
    """Checks that a schema is a valid JSON Schema of the draft it names (2020-12 if it names none).

    Raises:
        SchemaError: With the JSON path of the first keyword that is wrong.
    """
    deque(every(copied(schema)[0], DEEPEST), maxlen=0)  # bounds what follows, which takes a while for each sub-schema
    check_form(schema, draft_of(schema), start)


def check_value(value: Any, schema: dict[str, Any], start: str = "$", formats: bool = True) -> None:
    """Checks a value against a schema.

    Args:
        value: JSON data.
        schema: A valid schema whose references are all local.
        start: How the path in an error begins.
        formats: Whether formats are checked too.

    Raises:
        SchemaError: With the JSON path of what does not fit.
    """
    from referencing.exceptions import Unresolvable

    if levels(value) > DEEPEST_VALUE:
        raise SchemaError(f"is nested more than {DEEPEST_VALUE} levels deep; flatten it", start)
    try:
        error = first_error(_validator(dumps(schema), formats), value, start)
    except Unresolvable as missing:
        raise SchemaError(f"the schema refers to {missing.ref!r}, which is not in it; add it", start) from None
    if error is not None:
        raise error


def first_error(validator: Validator, value: Any, start: str = "$") -> SchemaError | None:
    """Why a value does not fit, or cannot be checked; None if it fits. The work that this may take is bounded.

    Raises:
        Unresolvable: A reference leads to nothing.
    """
    from jsonschema.exceptions import best_match

    token = _left.set([WORK])
    try:
        error = best_match(map(_of_meant_branch, validator.iter_errors(value)))
    except RecursionError:
        return SchemaError("is nested too deeply to be checked; flatten the value", start)
    except TimeoutError:
        return SchemaError("takes too long to be checked; simplify the schema, or its patterns and references", start)
    finally:
        _left.reset(token)
    return None if error is None else SchemaError(error.message, json_path(error.absolute_path, start))


def _of_meant_branch(error: Any) -> Any:
    """The error; of the alternatives that failed, those stay whose constants (``"kind": "cat"``) the value has."""
    branches: dict[Any, list[Any]] = {}
    for each in map(_of_meant_branch, error.context):
        branches.setdefault(each.schema_path[0], []).append(each)
    meant = [errors for errors in branches.values() if not any(map(_is_tag, errors))]
    if meant:
        error.context = [each for errors in meant for each in errors]
    return error


def _is_tag(error: Any) -> bool:
    """Whether a property of the value is not the only one that is allowed there."""
    fixed = error.validator == "const" or (error.validator == "enum" and len(error.validator_value) == 1)
    return fixed and len(error.relative_path) == 1
