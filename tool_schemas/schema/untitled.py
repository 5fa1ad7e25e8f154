"""What pydantic says of types and values: JSON Schemas without made-up titles, and the first thing that is wrong."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.schema.places import json_path

if TYPE_CHECKING:
    import pydantic


def untitled_schema(make: Callable[..., dict[str, Any]], **options: Any) -> dict[str, Any]:
    """The schema of a model or an adapter, without titles; what has no JSON form is left out.

    Decimals are numbers, and times of day have no offset.

    Args:
        make: `model_json_schema` of a model, or `json_schema` of an adapter.
        options: Keyword arguments of `make`.
    """
    from pydantic.json_schema import GenerateJsonSchema
    from pydantic_core import PydanticSerializationError

    class Untitled(GenerateJsonSchema):
        def decimal_schema(self, schema: Any) -> Any:
            # The standard form is number or text with a look-around, which no grammar can decode.
            bounds = {key: float(schema[key]) for key in ("ge", "gt", "le", "lt") if schema.get(key) is not None}
            plain: Any = {"type": "float", **bounds}
            return self.float_schema(plain)

        def time_schema(self, schema: Any) -> Any:
            return {"type": "string", "format": "time-local"}  # as people write it, and what `time(9)` compares with

        def datetime_schema(self, schema: Any) -> Any:
            naive = schema.get("tz_constraint") == "naive"
            return {"type": "string", "format": "date-time-local" if naive else "date-time"}

        def encode_default(self, dft: Any) -> Any:
            encoded = super().encode_default(dft)
            try:
                json.dumps(encoded, allow_nan=False)
            except ValueError as error:  # an infinity, or not a number
                raise PydanticSerializationError(str(error)) from error
            return encoded

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that has no JSON form is left out
        return make(schema_generator=Untitled, **options)


def first_problem(error: pydantic.ValidationError) -> tuple[str, str]:
    """Where the first wrong value stands, as a JSON path, and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    return json_path(first["loc"]), first["msg"]
