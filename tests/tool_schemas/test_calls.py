import jsonschema
import pytest

from loraloop.tool_schemas import Call, Tool, calls_schema, dumps, parse_calls
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.tools.calls import calls_term

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ADD = Tool("add", "", {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}})
MOVE = Tool(
    "move",
    "",
    {
        "type": "object",
        "properties": {"to": {"$ref": "#/$defs/Point"}, "back": {"$ref": "#"}, "mode": {"const": {"$ref": "#/x"}}},
        "required": ["to"],
        "$defs": {"Point": POINT},
    },
)
TURN = Tool(
    "turn",
    "",
    {
        "type": "object",
        "properties": {"by": {"$ref": "#/definitions/Point"}},
        "definitions": {"Point": {"type": "number"}},
        "$schema": "http://json-schema.org/draft-07/schema#",
    },
)


def test_the_schema_of_a_list_of_calls() -> None:
    schema = calls_schema([ADD], max_calls=2)
    assert schema["items"]["properties"] == {"name": {"const": "add"}, "arguments": ADD.parameters}
    assert schema["items"]["required"] == ["name", "arguments"]
    assert (schema["minItems"], schema["maxItems"]) == (0, 2)
    assert list(schema["items"]["properties"]["arguments"]["properties"]) == ["b", "a"]


def test_definitions_of_several_tools_do_not_meet() -> None:
    schema = calls_schema([MOVE, TURN, ADD])
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good = [
        {"name": "move", "arguments": {"to": {"x": 1}, "back": {"to": {"x": 2}}, "mode": {"$ref": "#/x"}}},
        {"name": "turn", "arguments": {"by": 0.5}},
    ]
    assert check.is_valid(good)
    assert not check.is_valid([{"name": "turn", "arguments": {"by": {"x": 1}}}])
    assert not check.is_valid([{"name": "move", "arguments": {"to": {"x": 1}, "back": {}}}])
    assert not check.is_valid([{"name": "add", "arguments": {}, "more": 1}])
    assert parse_calls(dumps(good), [MOVE, TURN, ADD])[1] == Call("turn", {"by": 0.5})


def test_a_property_may_be_called_like_a_keyword() -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "default": {"type": "string"}},
        "dependentSchemas": {"default": {"$ref": "#/$defs/with_a"}},
        "$defs": {"with_a": {"required": ["a"]}},
    }
    check = jsonschema.Draft202012Validator(calls_schema([Tool("f", "", parameters, on_unsupported="check")]))
    assert check.is_valid([{"name": "f", "arguments": {"default": "x", "a": 1}}])
    assert not check.is_valid([{"name": "f", "arguments": {"default": "x"}}])


def test_bounds_and_names() -> None:
    assert calls_schema([]) == {"type": "array", "maxItems": 0}
    for tools, least, most in (([], 1, 2), ([ADD], 3, 2), ([ADD], -1, 2)):
        with pytest.raises(InputError):
            calls_schema(tools, least, most)
    with pytest.raises(SchemaError, match="two tools"):
        calls_schema([ADD, ADD])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[", ""),
        ("[NaN]", ""),
        ("{}", "$"),
        ('["add"]', "$[0]"),
        ('[{"name":"add"}]', "$[0]"),
        ('[{"name":"add","arguments":{}},{"name":"ad","arguments":{}}]', "$[1].name"),
        ('[{"name":"add","arguments":[]}]', "$[0].arguments"),
        ('[{"name":"add","arguments":{"a":"1"}}]', "$[0].arguments.a"),
        ("[" * 100_000, ""),
        ('[{"name":"add","arguments":{"a":' + "9" * 10_000 + "}}]", ""),
    ],
)
def test_what_is_no_call_is_an_error_with_its_path(text: str, path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_calls(text, [ADD])
    assert caught.value.path == path


def test_no_calls() -> None:
    assert parse_calls("[]", [ADD]) == ()
    with pytest.raises(SchemaError, match="did you mean 'add'"):
        parse_calls('[{"name":"adds","arguments":{}}]', [ADD])


def test_the_term_of_the_same_tools_is_made_once() -> None:
    one, two = Tool("one"), Tool("two")
    assert calls_term([one, two]) is calls_term((one, two))
    assert calls_term([one, two]) is not calls_term([two, one])
    assert calls_term([one], 1) != calls_term([one], 0)
    for at in range(200):
        calls_term([Tool(f"t{at}")])
    assert calls_term([one, two]) == calls_term([one, two])
