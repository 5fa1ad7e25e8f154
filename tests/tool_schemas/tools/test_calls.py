import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import Ask, Call, GrammarCompiler, Tool, calls_schema, dumps, parse_calls, parse_step
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.tools.calls import calls_term

Takes: TypeAlias = Callable[..., bool]

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


def lacks(*names: str) -> str:
    """A step with null for these arguments of ``book``."""
    return dumps([{"name": "book", "arguments": {name: None if name in names else 1 for name in ("day", "room")}}])


@pytest.fixture(scope="module")
def takes(compiler: GrammarCompiler, tokenizer: Tokenizer) -> Takes:
    """Whether the grammar of a step over some tools takes a text."""

    def taken(text: str, tools: Sequence[Tool], ask: bool = True) -> bool:
        state = compiler.compile(calls_term(tools, ask=ask)).start()
        try:
            state.accept(tokenizer.encode(text, add_special_tokens=False).ids)
        except InputError:
            return False
        return state.can_stop

    return taken


def test_null_stands_for_required_arguments_alone(takes: Takes) -> None:
    tools = [BOOK, ADD, SEND]
    check = jsonschema.Draft202012Validator(calls_schema(tools, ask=True))
    for text, meant in (
        (lacks("day"), Ask(("day",))),
        (lacks("room", "day"), Ask(("day", "room"))),
        (lacks(), (Call("book", {"day": 1, "room": 1}),)),
        ("[]", ()),
        ('[{"name":"add","arguments":{"b":1}},{"name":"send","arguments":{"to":null,"day":2}}]', Ask(("to",))),
        ('[{"name":"add","arguments":{"b":1}}]', (Call("add", {"b": 1}),)),
        ('[{"name":"add","arguments":{"b":null}}]', None),  # an argument that may be left out
        ('[{"name":"book","arguments":{"day":null}}]', None),  # one that is left out, and may not be
        ('[{"name":"book","arguments":null}]', None),
        ('[{"name":null,"arguments":{"day":1,"room":1}}]', None),
        ('{"ask":["day"]}', None),
    ):
        fits = meant is not None
        assert (check.is_valid(json.loads(text)), takes(text, tools)) == (fits, fits), text
        if fits:
            assert parse_step(text, tools) == meant
        else:
            with pytest.raises(SchemaError):
                parse_step(text, tools)


def test_no_null_is_taken_where_asking_is_not_allowed(takes: Takes) -> None:
    check = jsonschema.Draft202012Validator(calls_schema([BOOK]))
    for text, fits in ((lacks(), True), (lacks("day"), False), (lacks("day", "room"), False)):
        assert (check.is_valid(json.loads(text)), takes(text, [BOOK], ask=False)) == (fits, fits)
    with pytest.raises(SchemaError, match="None is not of type 'integer'"):
        parse_calls(lacks("day"), [BOOK])
    assert calls_schema([ADD], ask=True) == calls_schema([ADD]), "nothing is required"
    assert calls_schema([], ask=True) == calls_schema([])
    assert calls_term([BOOK], ask=True) != calls_term([BOOK])


def test_no_more_than_four_arguments_are_asked_for_at_once() -> None:
    names = [f"n{at}" for at in range(6)]
    one, two = Tool("one", "", required(*names)), Tool("two", "", required("other", "n0"))
    nothing = {"name": "one", "arguments": dict.fromkeys(reversed(names))}
    assert parse_step(dumps([nothing]), [one]) == Ask(("n0", "n1", "n2", "n3"))
    some = {"name": "one", "arguments": dict.fromkeys(names, 1) | {"n5": None}}
    other = {"name": "two", "arguments": {"other": None, "n0": None}}
    assert parse_step(dumps([other, some, nothing]), [one, two]) == Ask(("other", "n0", "n5", "n1"))


NESTED: dict[str, Any] = {
    "integer": {"type": "integer"},
    "constant": {"enum": ["a", "b"]},
    "nullable": {"type": ["integer", "null"]},
    "perhaps": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
    "any": {},
    "point": {"$ref": "#/$defs/Point"},
    "again": {"$ref": "#"},
    "same": {"$ref": "#/properties/first"},
    "inner": {"$ref": "#/properties/first/properties/k"},
    "named/~%": {"$ref": "#/$defs/no~1thing"},
}
"""Schemas of arguments, by what they are called."""
GIVEN: dict[str, Any] = {
    "integer": 1,
    "constant": "a",
    "nullable": 1,
    "perhaps": {"x": 1},
    "any": [1],
    "point": {"x": 1},
    "same": {"k": 1},
    "inner": 1,
    "named/~%": "s",
}
TAKE_NULL = {"nullable", "perhaps", "any"}
FIRST = {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"], "additionalProperties": False}


@st.composite
def written_calls(draw: st.DrawFn) -> tuple[Tool, dict[str, Any], tuple[str, ...] | None]:
    """A tool, arguments of it, and which of them it asks for; None where they do not fit."""
    names = draw(st.permutations(sorted(NESTED)))[: draw(st.integers(1, 5))]
    needed = [name for name in names if draw(st.booleans()) and name != "again"]  # no value would ever end
    parameters = {
        "type": "object",
        "properties": {"first": FIRST, **{name: NESTED[name] for name in names}},
        "required": ["first", *needed],
        "$defs": {"Point": POINT, "no/thing": {"type": "string"}},
    }
    checked = draw(st.booleans())
    if checked:  # what decoding does not enforce; null counts as a property that is there
        parameters |= {"minProperties": len(needed) + 1, "dependentRequired": {"integer": ["first"]}}
    tool = Tool("f", "", parameters, strict=draw(st.booleans()), on_unsupported="check" if checked else "refuse")

    def arguments(deep: bool) -> tuple[dict[str, Any], list[str], bool]:
        found: dict[str, Any] = {"first": draw(st.sampled_from([{"k": 1}, None] if deep else [{"k": 1}]))}
        asked, fits = ["first"] if found["first"] is None else [], True
        for name in names:
            if name not in needed and draw(st.booleans()):
                continue
            null = draw(st.integers(0, 2)) == 0
            if name == "again" and not null:
                if not deep:
                    continue
                found[name], inside, good = arguments(False)
                fits = fits and good and not inside
            else:
                found[name] = None if null else GIVEN[name]
            if null and name not in TAKE_NULL:
                asked += [name] if name in needed else []
                fits = fits and name in needed
        return found, [name for name in ("first", *needed) if name in asked], fits

    found, asked, fits = arguments(True)
    return tool, found, tuple(asked) if fits else None


@given(written_calls())
@settings(max_examples=300, deadline=None)
def test_null_is_taken_where_a_required_argument_takes_none_itself_and_nowhere_else(made: Any) -> None:
    tool, arguments, asked = made
    text = dumps([{"name": "f", "arguments": arguments}])
    check = jsonschema.Draft202012Validator(calls_schema([tool], ask=True))
    assert check.is_valid(json.loads(text)) == (asked is not None or not tool.strict)
    plain = jsonschema.Draft202012Validator(calls_schema([tool]))
    assert plain.is_valid(json.loads(text)) == (asked == () or not tool.strict)
    if asked is None:
        with pytest.raises(SchemaError, match=r"\$\[0\]\.arguments"):
            parse_step(text, [tool])
        return
    meant = Ask(asked[:4]) if asked else (Call("f", arguments),)
    assert parse_step(text, [tool]) == meant
    if asked:
        with pytest.raises(SchemaError, match=r"\$\[0\]\.arguments"):
            parse_calls(text, [tool])


@given(made=written_calls())
@settings(max_examples=25, deadline=None)
def test_the_grammar_takes_null_where_the_schema_does(takes: Takes, made: Any) -> None:
    tool, arguments, asked = made
    order = [name for name in tool.parameters["properties"] if name in arguments]  # in which they are decoded
    text = dumps([{"name": "f", "arguments": {name: arguments[name] for name in order}}])
    if "again" not in arguments:
        assert takes(text, [tool]) == (asked is not None or not tool.strict)
        assert takes(text, [tool], ask=False) == (asked == () or not tool.strict)


def test_definitions_stay_reachable_beside_null() -> None:
    check = jsonschema.Draft202012Validator(calls_schema([MOVE, TURN], ask=True))
    assert check.is_valid([{"name": "move", "arguments": {"to": {"x": 1}}}])
    assert not check.is_valid([{"name": "move", "arguments": {"to": {"x": "1"}}}])
    assert check.is_valid([{"name": "move", "arguments": {"to": None, "back": {"to": {"x": 1}}}}])
    assert not check.is_valid([{"name": "move", "arguments": {"to": {"x": None}}}])
    assert not check.is_valid([{"name": "move", "arguments": {"to": {"x": 1}, "back": {"to": None}}}])
    assert not check.is_valid([{"name": "turn", "arguments": {"by": None}}])


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
