"""Keywords of jsonschema that are checked otherwise here: patterns in bounded time, steps in exact decimals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from jsonschema import ValidationError

SECONDS = 0.5  # for one search


def found(pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in a text; None if the search takes longer than `SECONDS`.

    Python's own `re` cannot be stopped, and a hostile pattern keeps it busy for ever.
    """
    import regex

    try:
        return regex.search(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        return None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "string"):
        fits = found(pattern, value)
        if fits is None:
            yield ValidationError(f"{pattern!r} takes too long on {value[:40]!r}; simplify the pattern")
        elif not fits:
            yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for name, member in value.items():
                if found(pattern, name) is not False:
                    yield from validator.descend(member, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, said: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in value if name not in known and not any(found(each, name) for each in patterns)]
    if validator.is_type(said, "object"):
        for name in extra:
            yield from validator.descend(value[name], said, path=name)
    elif said is False and extra:
        listed = ", ".join(map(repr, extra[:5]))
        yield ValidationError(f"Additional properties are not allowed ({listed} unexpected)")


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "number"):
        try:
            fits = Decimal(repr(value)) % Decimal(repr(step)) == 0
        except InvalidOperation:  # more digits than decimals hold
            fits = value % step == 0
        if not fits:
            yield ValidationError(f"{value!r} is not a multiple of {step}")


KEYWORDS: Mapping[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
}
"""For `jsonschema.validators.extend`."""
