"""Values against schemas, by jsonschema, with formats checked and nothing fetched from anywhere."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def json_path(parts: Any, start: str = "$") -> str:
    """Writes the keys and indices that lead to a place, such as ``$.items[0].name``."""
    path = start
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if part.isidentifier() or part.startswith("$") else f"[{dumps(part)}]"
    return path


@functools.lru_cache(maxsize=512)
def _validator(schema_text: str) -> Validator:
    import jsonschema
    from referencing.jsonschema import EMPTY_REGISTRY

    schema = json.loads(schema_text)
    made = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    validator: Validator = made(schema, registry=EMPTY_REGISTRY, format_checker=made.FORMAT_CHECKER)
    return validator


def check_schema(schema: dict[str, Any], start: str = "$") -> None:
    """Checks that a schema is a valid JSON Schema of the draft it names (2020-12 if it names none).

    Raises:
        SchemaError: With the JSON path of the first keyword that is wrong.
    """
    import jsonschema

    made = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        made.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SchemaError(f"{error.message}; correct the schema", json_path(error.absolute_path, start)) from None
    except RecursionError:
        raise SchemaError("is nested too deeply; flatten the schema", start) from None


def check_value(value: Any, schema: dict[str, Any], start: str = "$") -> None:
    """Checks a value against a schema.

    Args:
        value: JSON data.
        schema: A valid schema whose references are all local.
        start: How the path in an error begins.

    Raises:
        SchemaError: With the JSON path of what does not fit.
    """
    import jsonschema
    from referencing.exceptions import Unresolvable

    try:
        error = jsonschema.exceptions.best_match(_validator(dumps(schema)).iter_errors(value))
    except RecursionError:
        raise SchemaError("is nested too deeply to be checked; flatten the value", start) from None
    except Unresolvable as missing:
        raise SchemaError(f"the schema refers to {missing.ref!r}, which is not in it; add it", start) from None
    if error is not None:
        raise SchemaError(error.message, json_path(error.absolute_path, start))
