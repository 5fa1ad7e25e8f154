"""What a tool says of itself besides its schema: strictness, promises, timeout, source."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from loraloop.tool_schemas import JsonSchema, Tool, calls_schema, parse_calls, tool
from loraloop.tool_schemas.errors import SchemaError, ToolError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import calls_term
from loraloop.tool_schemas.tools.render import signature

UNIQUE = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}}}


def test_strictness_comes_from_every_way_in() -> None:
    def look(tags: set[str]) -> None:
        """Looks."""

    class Look(BaseModel):
        tags: set[str]

    for make in (
        lambda **options: Tool("look", "", UNIQUE, **options),
        lambda **options: Tool.from_function(look, **options),
        lambda **options: Tool.from_model(Look, **options),
        lambda **options: tool(**options)(look),
    ):
        with pytest.raises(SchemaError, match="uniqueItems"):
            make()
        assert make(strict=False).strict is False
        made = make(on_unsupported="check", timeout=2.5)
        assert (made.on_unsupported, made.timeout, made.strict) == ("check", 2.5, True)
    assert Tool.from_schema({"name": "look", "parameters": UNIQUE}, on_unsupported="check").on_unsupported == "check"


@pytest.mark.parametrize(
    ("fields", "strict"),
    [({}, True), ({"strict": None}, True), ({"strict": True}, True), ({"strict": False}, False)],
)
def test_strictness_in_json(fields: dict[str, Any], strict: bool) -> None:
    assert Tool.from_schema({"name": "a", **fields}).strict is strict
    wrapped = Tool.from_schema({"type": "function", "function": {"name": "a", **fields}})
    assert wrapped.strict is strict
    assert Tool.from_schema(wrapped.to_openai()) == wrapped


def test_promises_in_json() -> None:
    returns = {"type": "object", "properties": {"n": {"type": "integer"}}}
    for key in ("returns", "outputSchema", "output_schema"):
        assert Tool.from_schema({"name": "a", key: returns}).returns == returns
    nothing = Tool.from_schema({"name": "a", "outputSchema": None, "trusted": None, "effects": None})
    assert nothing == Tool.from_schema({"name": "a"})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"strict": "no"}, "strict is 'no'"),
        ({"idempotent": "no"}, "idempotent is 'no'"),
        ({"on_unsupported": "ignore"}, "use 'refuse' or 'check'"),
        ({"timeout": 0}, "above 0"),
        ({"returns": [1]}, "'returns' must be a JSON Schema object"),
        ({"returns": {"type": "strin"}}, "strin"),
        ({"returns": {"$ref": "https://example.com/schema.json"}}, "example.com"),
        ({"strict": False, "parameters": {"type": "object", "properties": {"a": {"type": "strin"}}}}, "strin"),
        ({"strict": False, "parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}}, "b"),
    ],
)
def test_unusable_fields_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaError, match="tool 'a'") as caught:
        Tool("a", **fields)
    assert says in str(caught.value)


def test_the_grammar_of_a_tool_that_is_not_strict_is_any_object() -> None:
    loose = Tool("loose", "", {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, strict=False)
    schema = calls_schema([loose, Tool("other")])
    assert schema["items"]["anyOf"][0]["properties"]["arguments"] == {"type": "object"}
    with pytest.raises(SchemaError, match=r"\$\[0\]\.arguments.*'a' is a required"):
        parse_calls('[{"name":"loose","arguments":{"b":2}}]', [loose])
    assert parse_calls('[{"name":"loose","arguments":{"a":1}}]', [loose])


def test_one_tool_that_asks_for_checks_has_all_checked() -> None:
    plain, checked = Tool("plain"), Tool("checked", "", UNIQUE, on_unsupported="check")
    idle = Tool("idle", "", UNIQUE, strict=False, on_unsupported="check")
    assert calls_term([plain]) == JsonSchema(calls_schema([plain]))
    assert calls_term([plain, checked], 1, 2) == JsonSchema(
        calls_schema([plain, checked], 1, 2), on_unsupported="check"
    )
    assert calls_term([plain, idle]).on_unsupported == "refuse"  # it has nothing to check while decoding


def test_a_tools_own_error_keeps_its_words() -> None:
    import asyncio

    def fail() -> None:
        raise ToolError("no such city")

    async def fail_later() -> None:
        raise ToolError("no such city")

    def break_down() -> None:
        raise KeyError("city")

    async def fail_in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_later())

    with pytest.raises(ToolError, match=r"^no such city$"):
        asyncio.run(Tool("a", function=fail_in_a_group).call({}))
    with pytest.raises(ToolError, match=r"^no such city$"):
        Tool("a", function=fail).call({})
    with pytest.raises(ToolError, match=r"^no such city$"):
        asyncio.run(Tool("a", function=fail_later).call({}))
    with pytest.raises(ToolError, match=r"^KeyError: 'city'$"):
        Tool("a", function=break_down).call({})


def test_nobody_said_whether_a_tool_has_effects_and_it_is_not_trusted_unless_it_says_so() -> None:
    @tool(effects=False, trusted=True)
    def look() -> str:
        return "here"

    assert (look.effects, look.trusted) == (False, True)
    assert (Tool("a").effects, Tool("a").trusted) == (None, False)
    read = Tool.from_schema({"name": "a", "effects": False, "trusted": True})
    assert (read.effects, read.trusted) == (False, True)
    for field in ("effects", "trusted"):
        with pytest.raises(SchemaError, match=f"{field} is 'no'; use true or false"):
            Tool.from_schema({"name": "a", field: "no"})


def test_the_method_of_an_endpoint_says_whether_its_calls_have_effects() -> None:
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    made = {
        method: Tool.from_http("a", "", nothing, method, "https://api.example.com/a").effects
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
    }
    assert [method for method, effects in made.items() if effects is None] == ["GET", "HEAD", "OPTIONS"]
    assert all(made[method] is True for method in ("POST", "PUT", "PATCH", "DELETE"))


@pytest.mark.parametrize(
    ("hints", "trusted", "effects"),
    [
        (None, True, None),
        ({"readOnlyHint": True}, False, None),
        ({"readOnlyHint": True}, True, False),
        ({"destructiveHint": True}, False, True),
        ({"destructiveHint": False}, True, None),
        ({"readOnlyHint": True, "destructiveHint": True}, False, None),
    ],
)
def test_what_an_mcp_server_says_of_effects(hints: dict[str, bool] | None, trusted: bool, effects: bool | None) -> None:
    import mcp_types

    from loraloop.tool_schemas.mcp.results import tool_of

    listed = mcp_types.Tool.model_validate({"name": "a", "inputSchema": {"type": "object"}, "annotations": hints})
    options: dict[str, Any] = {"name": "a", "on_unsupported": "refuse", "timeout": 1.0, "source": "mcp:x"}
    assert tool_of(listed, lambda: None, trusted=trusted, **options).effects is effects


def test_what_openapi_calls_nullable_takes_null_wherever_it_is_said() -> None:
    text = {"type": "string", "nullable": True}
    parameters = {
        "type": "object",
        "nullable": True,  # of all the arguments it says nothing
        "properties": {"owner": text, "tags": {"type": "array", "items": text}, "nullable": {"type": "boolean"}},
        "required": ["owner"],
        "$defs": {"Any": {"nullable": True}},
    }
    given = json.dumps(parameters)
    made = Tool("f", "", parameters, returns=text)
    assert json.dumps(parameters) == given
    assert signature(made) == "f\n- owner: string|null\n- tags?: (string|null)[]\n- nullable?: boolean"
    assert '"nullable":true' not in dumps(made.to_openai())
    made.validate({"owner": None, "tags": ["a", None]})
    made.check_result(None)
    with pytest.raises(SchemaError, match="not of type"):
        made.validate({"owner": 1})
    check = jsonschema.Draft202012Validator(calls_schema([made]))  # the grammar
    assert check.is_valid([{"name": "f", "arguments": {"owner": None}}])
    assert not check.is_valid([{"name": "f", "arguments": None}])
