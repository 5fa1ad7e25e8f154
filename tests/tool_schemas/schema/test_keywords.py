from typing import Any

import pytest

from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.schema.formats import portable

NODE = {"type": "object", "properties": {"n": {"$ref": "#/$defs/Node"}}, "required": ["n"]}
TAGGED = {"type": "object", "properties": {"k": {"const": "same"}}, "required": ["k"]}
REFUSED = [
    ({"uniqueItems": True}, "uniqueItems"),
    ({"contains": {"type": "string"}}, "contains"),
    ({"not": {"type": "string"}}, "not"),
    ({"if": {}, "then": {"type": "string"}}, "if"),
    ({"propertyNames": {"maxLength": 3}}, "propertyNames"),
    ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ({"dependencies": {"a": ["b"]}}, "dependentRequired"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"$dynamicRef": "#x"}, "$dynamicRef"),
    ({"type": "string", "maxLenght": 3}, "maxLenght"),
    ({"type": "string", "format": "iri"}, "format"),
    ({"type": "string", "pattern": r"\bword"}, "pattern"),
    ({"type": "string", "pattern": "("}, "pattern"),
    ({"type": "number", "multipleOf": 1e-9}, "multipleOf"),
    ({"type": "number", "exclusiveMinimum": 1, "maximum": 1.5}, "exclusiveMinimum"),
    ({"const": 2**60}, "const"),
    ({"enum": ["a\x01"]}, "enum"),
    ({"type": "object", "minProperties": 2}, "minProperties"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
    ({"discriminator": {"propertyName": "k"}, "oneOf": [TAGGED, TAGGED]}, "oneOf"),
    ({"$ref": "https://example.com/schema.json"}, "$ref"),
    ({"$id": "https://example.com/", "$ref": "elsewhere.json"}, "$ref"),
]


@pytest.mark.parametrize(("schema", "keyword"), REFUSED)
def test_what_decoding_cannot_enforce_is_refused_by_its_path(schema: dict[str, Any], keyword: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Tool("f", "", {"type": "object", "properties": {"a": {"type": "array", "items": schema}}})
    assert caught.value.path == f"$.properties.a.items.{keyword}"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": False},
        {"type": "string", "format": "password", "nullable": True, "x-order": 3, "unit": "m"},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "integer", "format": "int32", "multipleOf": 5},
        {"type": "string", "default": 3, "examples": [{"not": 1}]},
        {"enum": [{"$ref": "x", "uniqueItems": True}]},
    ],
)
def test_what_constrains_nothing_is_left_alone(schema: dict[str, Any]) -> None:
    Tool("f", "", {"type": "object", "properties": {"a": schema}})


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"city": {"type": "string", "description": "Its name."}}, "city"),
        ({"num": {"type": "integer"}}, "num"),
        ({"type": "object", "city": {"type": "string"}, "required": ["city"]}, "city"),
        ({"type": "object", "properties": {"at": {"type": "object", "zip": {"type": ["string", "null"]}}}}, "zip"),
    ],
)
def test_an_argument_that_stands_outside_properties_is_refused(parameters: dict[str, Any], name: str) -> None:
    with pytest.raises(SchemaError, match=f"'{name}' is not a keyword; list it under 'properties'") as caught:
        Tool("f", "", parameters)
    assert caught.value.path.endswith(f".{name}")


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {}, "form": {"type": "object"}},
        {"type": "object", "form": {"layout": "wide"}, "widget": {"type": "textarea"}},
        {"$ref": "#/parts/a", "parts": {"type": "object", "a": {"type": "object"}}},
    ],
)
def test_a_keyword_of_another_program_is_left_alone(parameters: dict[str, Any]) -> None:
    Tool("f", "", parameters)


def test_what_the_engine_does_not_take_is_refused_with_advice() -> None:
    with pytest.raises(SchemaError, match="on_unsupported='check'"):
        prepared({"type": "string", "pattern": r"^(a)\1$"})
    with pytest.raises(SchemaError, match="correct the schema"):
        prepared({"type": "array", "minItems": 3, "maxItems": 2})


def test_a_schema_without_end_is_refused() -> None:
    with pytest.raises(SchemaError, match="without end"):
        prepared({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}})
    with pytest.raises(SchemaError, match="without end"):
        prepared({"$ref": "#"})
    ends = {**NODE, "properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Node"}]}}}
    prepared({"$ref": "#/$defs/Node", "$defs": {"Node": ends}})


def test_an_old_draft_is_refused() -> None:
    with pytest.raises(SchemaError, match="draft"):
        prepared({"$schema": "http://json-schema.org/draft-03/schema#"})


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaError):
        Tool("f", "", {"type": "object", "properties": {"a": schema}})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^\d+$", r"^\d+$"),
        (r"\W", r"[\x00-/:-@\[-\^`{-\x7f]"),
        (r"[\D_]", r"[\x00-/:-\x7f_]"),
        (r"[^\w-]", r"[^\w\-\x{80}-\x{10ffff}]"),
        (r"[^a]", r"[^a]"),
        (r"[]a]\\W", r"[\]a]\\W"),
        ("[a-z&&b~~c]", r"[a-z\&\&b\~\~c]"),
        ("[+--a-]", r"[+-\-a\-]"),
        ("[^-a-z-9]", r"[^\-a-z\-9]"),
    ],
)
def test_patterns_mean_the_same_to_engine_and_validator(pattern: str, expected: str) -> None:
    assert portable(pattern) == expected
