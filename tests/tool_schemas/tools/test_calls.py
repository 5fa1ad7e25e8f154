import json

import jsonschema
import pytest
from tokenizers import Tokenizer

from loraloop.tool_schemas import Ask, Call, GrammarCompiler, Tool, calls_schema, dumps, parse_calls, parse_step
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


def required(*names: str) -> dict[str, object]:
    return {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": list(names)}


BOOK, SEND = Tool("book", "", required("day", "room")), Tool("send", "", required("to", "day"))


def test_a_step_may_ask_for_required_arguments_instead_of_calling(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    tools = [BOOK, ADD, SEND]
    schema = calls_schema(tools, ask=True)
    check = jsonschema.Draft202012Validator(schema)
    grammar = compiler.compile(calls_term(tools, ask=True))
    for text, fits in (
        ('{"ask":["day"]}', True),
        ('{"ask":["room","to","day"]}', True),
        ('[{"name":"book","arguments":{"day":1,"room":2}}]', True),
        ("[]", True),
        ('{"ask":[]}', False),
        ('{"ask":["a"]}', False),  # an argument that may be left out
        ('{"ask":["day"],"more":1}', False),
        ('{"ask":["day","room","to","day","room"]}', False),
    ):
        state = grammar.start()
        try:
            state.accept(tokenizer.encode(text, add_special_tokens=False).ids)
            taken = state.can_stop
        except InputError:
            taken = False
        assert (check.is_valid(json.loads(text)), taken) == (fits, fits), text
        if fits:
            parse_step(text, tools)
        else:
            with pytest.raises(SchemaError):
                parse_step(text, tools)
    assert parse_step('{"ask":["room","day","room"]}', tools) == Ask(("room", "day"))
    assert parse_step("[]", tools) == ()
    assert parse_step('[{"name":"add","arguments":{"a":1}}]', tools) == (Call("add", {"a": 1}),)


def test_nothing_is_asked_where_nothing_is_required_or_asking_is_not_allowed() -> None:
    assert calls_schema([ADD], ask=True) == calls_schema([ADD])
    assert calls_schema([], ask=True) == calls_schema([])
    assert calls_term([BOOK], ask=True) != calls_term([BOOK])
    with pytest.raises(SchemaError, match="JSON list"):
        parse_calls('{"ask":["day"]}', [BOOK])
    with pytest.raises(SchemaError, match=r"\$\.ask\[1\].*did you mean 'room'"):
        parse_step('{"ask":["day","rom"]}', [BOOK])


def test_definitions_stay_reachable_beside_asking() -> None:
    check = jsonschema.Draft202012Validator(calls_schema([MOVE], ask=True))
    assert check.is_valid([{"name": "move", "arguments": {"to": {"x": 1}}}])
    assert not check.is_valid([{"name": "move", "arguments": {"to": {"x": "1"}}}])
    assert check.is_valid({"ask": ["to"]}) and not check.is_valid({"ask": ["x"]})


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
