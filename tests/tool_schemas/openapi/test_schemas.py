"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12: what they accept stays what they say."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.openapi.document import OpenApiDocument
from loraloop.tool_schemas.openapi.schema import SchemaWriter


def written(schema: Any, version: str = "3.0.3", **components: Any) -> dict[str, Any]:
    root = {"openapi": version, "paths": {}, "components": {"schemas": components}}
    writer = SchemaWriter(OpenApiDocument(root))
    out = writer.write(schema, ("x",))
    out = {**out, **({"$defs": definitions} if (definitions := writer.definitions()) else {})}
    jsonschema.Draft202012Validator.check_schema(out)
    return out


def fits(value: Any, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}),
        ({"type": "string", "example": "Paris"}, {"type": "string", "examples": ["Paris"]}),
        ({"type": "object", "example": {"a": 1}}, {"type": "object"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "phone-number"}, {"type": "string"}),
        ({"type": "integer", "format": "int64"}, {"type": "integer", "format": "int64"}),
        (
            {"type": "string", "xml": {"name": "x"}, "externalDocs": {}, "x-y": 1, "deprecated": True},
            {"type": "string"},
        ),
        (
            {"type": "array", "items": {"type": "string", "nullable": True}},
            {"type": "array", "items": {"type": ["string", "null"]}},
        ),
        ({"enum": ["nullable", "example"]}, {"enum": ["nullable", "example"]}),
        ({"default": {"nullable": True}}, {"default": {"nullable": True}}),
        ({"properties": {"nullable": {"type": "string"}}}, {"properties": {"nullable": {"type": "string"}}}),
        ({"not": {"type": "string", "nullable": True}}, {"not": {"type": ["string", "null"]}}),
    ],
)
def test_keywords_of_3_0(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert written(old) == new


def test_3_1_is_json_schema_already() -> None:
    schema = {
        "type": ["object", "null"],
        "properties": {"a": {"const": 1}, "b": {"exclusiveMinimum": 0, "type": "number"}, "c": True},
        "if": {"required": ["a"]},
        "then": {"required": ["b"]},
        "dependentRequired": {"a": ["c"]},
        "patternProperties": {"^x-": {"type": "integer"}},
    }
    assert written(schema, "3.1.0") == schema
    assert written({"$ref": "#/components/schemas/A", "minLength": 2}, "3.1.0", A={"type": "string"}) == {
        "$ref": "#/$defs/A",
        "minLength": 2,
        "$defs": {"A": {"type": "string"}},
    }
    old = written({"$ref": "#/components/schemas/A", "minLength": 2}, "3.0.0", A={"type": "string"})
    assert "minLength" not in old  # beside a reference, 3.0 ignores everything


def test_base64() -> None:
    schema = written({"type": "string", "format": "byte"})
    assert [fits(text, schema) for text in ("", "YQ==", "YWI=", "YWJj", "a", "YQ=", "Y$==")] == [True] * 4 + [False] * 3


def test_recursion_and_names() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/A~1B c"}, "n": {"type": "integer"}}}
    schema = written({"$ref": "#/components/schemas/A~1B c"}, **{"A/B c": node})
    assert fits({"next": {"next": {"n": 1}}}, schema) and not fits({"next": {"next": {"n": "1"}}}, schema)
    inner = {"$ref": "#/components/schemas/A/properties/deep/items"}
    schema = written(inner, A={"properties": {"deep": {"items": {"type": "boolean"}}}})
    assert fits(True, schema) and not fits(1, schema)


def test_read_only_properties_are_left_out() -> None:
    user = {
        "type": "object",
        "required": ["id", "name", "password"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "name": {"type": "string"},
            "password": {"type": "string", "writeOnly": True},
            "since": {"$ref": "#/components/schemas/Since"},
        },
    }
    since = {"type": "string", "readOnly": True}
    asked = written(user, Since=since)
    assert list(asked["properties"]) == ["name", "password"] and asked["required"] == ["name", "password"]


def test_what_is_read_only_in_one_part_is_not_required_by_another() -> None:
    base = {"type": "object", "properties": {"id": {"type": "integer", "readOnly": True}, "name": {"type": "string"}}}
    whole = {"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id", "name"]}]}
    schema = written(whole, Base=base)
    assert fits({"name": "x"}, schema) and not fits({}, schema)


CAT = {
    "type": "object",
    "properties": {"kind": {"type": "string"}, "lives": {"type": "integer"}},
    "required": ["lives"],
}
DOG = {"type": "object", "properties": {"kind": {"type": "string"}, "tail": {"type": "boolean"}}}
EITHER = [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_a_discriminator_decides(keyword: str) -> None:
    told = {"propertyName": "kind", "mapping": {"tom": "#/components/schemas/Cat", "puss": "Cat"}}
    schema = written({keyword: EITHER, "discriminator": told}, Cat=CAT, Dog=DOG)
    for value, fine in (
        ({"kind": "tom", "lives": 9}, True),
        ({"kind": "puss", "lives": 9}, True),
        ({"kind": "Dog", "tail": True}, True),
        ({"kind": "Cat", "lives": 9}, False),
        ({"kind": "tom", "tail": True}, False),
        ({"lives": 9}, False),
        ({"kind": "Dog", "tail": 1}, False),
    ):
        assert fits(value, schema) is fine, value
    assert "discriminator" not in str(schema)


def test_branches_that_build_on_a_common_base() -> None:
    pet = {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"type": "string"}, "name": {"type": "string"}},
        "discriminator": {"propertyName": "kind"},
    }
    cat = {
        "allOf": [
            {"$ref": "#/components/schemas/Pet"},
            {"type": "object", "properties": {"lives": {"type": "integer"}}},
        ]
    }
    lion = {"allOf": [{"$ref": "#/components/schemas/Cat"}, {"properties": {"mane": {"type": "boolean"}}}]}
    odd = {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"minProperties": 3}]}
    schema = written({"$ref": "#/components/schemas/Pet"}, Pet=pet, Cat=cat, Lion=lion, Odd=odd)
    for value, fine in (
        ({"kind": "Cat", "lives": 9, "name": "x"}, True),
        ({"kind": "Cat", "lives": "9"}, False),
        ({"kind": "Lion", "lives": 1, "mane": True}, True),
        ({"kind": "Lion", "mane": 1}, False),
        ({"kind": "Odd", "a": 1, "b": 2}, True),
        ({"kind": "Odd"}, False),
        ({"kind": "Pet"}, False),
        ({"name": "x"}, False),
    ):
        assert fits(value, schema) is fine, value


def test_a_discriminator_of_literals_is_kept() -> None:
    one = {"type": "object", "properties": {"kind": {"enum": ["a"]}}}
    two = {"type": "object", "properties": {"kind": {"const": "b"}}}
    union = {"oneOf": [{"$ref": "#/components/schemas/One"}, {"$ref": "#/components/schemas/Two"}]}
    schema = written({**union, "discriminator": {"propertyName": "kind"}}, "3.1.0", One=one, Two=two)
    assert fits({"kind": "a"}, schema) and fits({"kind": "b"}, schema)
    assert not fits({"kind": "One"}, schema) and not fits({}, schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "other.yaml#/A"}, "$.x.$ref"),
        ({"$ref": "https://example.com/a.json"}, "$.x.$ref"),
        ({"$ref": "#/components/schemas/None"}, "$.x.$ref"),
        ({"properties": {"a": {"$id": "https://x"}}}, "$.x.properties.a.$id"),
        ({"items": {"$dynamicRef": "#node"}}, "$.x.items"),
        ({"properties": {"a": {"items": [1]}}}, "$.x.properties.a.items"),
        ({"allOf": {"type": "object"}}, "$.x.allOf"),
        ({"required": True}, "$.x.required"),
        (
            {
                "oneOf": [{"$ref": "#/components/schemas/A"}],
                "discriminator": {"propertyName": "k", "mapping": {"a": "b.json"}},
            },
            "$.x",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused_with_its_path(schema: Any, path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        written(schema, "3.1.0", A={"type": "object"})
    assert caught.value.path.startswith(path)


def test_hostile_schemas_end() -> None:
    circle = {"allOf": [{"$ref": "#/components/schemas/A"}]}
    schema = written({"$ref": "#/components/schemas/A"}, A=circle)
    assert schema["$defs"]["A"] == {"allOf": [{"$ref": "#/$defs/A"}]}
    doubled = {f"A{n}": {"allOf": [{"$ref": f"#/components/schemas/A{n + 1}"}] * 2} for n in range(40)}
    with pytest.raises(SchemaError, match="nested too often"):
        written({"$ref": "#/components/schemas/A0"}, **doubled, A40={"type": "object", "properties": {}})
