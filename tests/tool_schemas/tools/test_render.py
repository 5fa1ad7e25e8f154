import json

import pydantic

from loraloop.tool_schemas import Tool, dumps, render_tools
from loraloop.tool_schemas.tools.render import signature


def lines(parameters: dict, description: str = "") -> list[str]:
    return signature(Tool("f", description, parameters)).splitlines()


def one(schema: dict, **root: object) -> str:
    line = lines({"type": "object", "properties": {"a": schema}, "required": ["a"], **root})[1]
    assert line.startswith("- a: ")
    return line[len("- a: ") :]


WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name of\n  the city"},
        "unit": {
            "type": "string",
            "enum": ["celsius", "fahrenheit"],
            "default": "celsius",
            "description": "Temperature unit",
        },
    },
    "required": ["city"],
}


def test_the_form_of_the_block() -> None:
    tool = Tool("get_weather", "Current weather of a city.", WEATHER)
    block = (
        "get_weather: Current weather of a city.\n"
        "- city: string - Name of the city\n"
        '- unit?: "celsius"|"fahrenheit" = "celsius" - Temperature unit'
    )
    header = "# Tools\nYou can use these tools. `?` marks an argument that may be left out.\n\n"
    assert render_tools([tool]) == header + block
    assert render_tools([tool, Tool("stop")]) == header + block + "\n\nstop"
    assert render_tools([]) == render_tools([], "# Other") == ""
    assert render_tools([tool], "# Other") == "# Other\n\n" + block


def test_notation() -> None:
    assert one({"type": ["string", "null"]}) == "string|null"
    assert one({"type": "array", "items": {"type": "integer"}}) == "integer[]"
    assert one({"type": "array", "items": {"enum": ["a|b", "c"]}}) == '("a|b"|"c")[]'
    assert one({"type": "array"}) == "any[]"
    assert one({"const": 3}) == "3"
    assert one({}) == "any"
    nested = {
        "type": "object",
        "properties": {
            "x": {"type": "number", "description": "Left"},
            "the y": {"type": "number", "default": 0},
        },
        "required": ["x"],
    }
    assert one(nested) == '{x: number /* Left */, "the y"?: number = 0}'
    assert one({"type": "object", "additionalProperties": {"type": "integer"}}) == "{[key]: integer}"
    assert one({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}) == "string|null = null"
    assert one({"allOf": [{"type": "string"}]}) == "string"


def test_what_has_no_notation_is_json() -> None:
    assert one({"type": "integer", "minimum": 0, "maximum": 9}) == "integer(minimum=0, maximum=9)"
    assert one({"type": "string", "format": "date"}) == "string(YYYY-MM-DD)"
    assert one({"enum": ["a", "b"], "type": "string", "pattern": "a"}) == '("a"|"b")(pattern="a")'
    assert one({"type": "object", "additionalProperties": True}) == "object(additionalProperties=true)"
    closing = lines({"type": "object", "properties": {}, "minProperties": 1, "required": ["z"]})[-1]
    assert closing == '- required=["z"], minProperties=1' or closing == '- minProperties=1, required=["z"]'


def test_definitions() -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    assert one({"$ref": "#/$defs/Point"}, **{"$defs": {"Point": point}}) == "{x: integer}"
    node = {
        "type": "object",
        "properties": {"v": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
        "required": ["v"],
    }
    shown = lines({"type": "object", "properties": {"a": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}})
    assert shown[1:] == ["- a?: Node", "  Node = {v: string, next?: Node}"]


def test_a_schema_that_refers_to_itself() -> None:
    parameters = {"type": "object", "properties": {"v": {"type": "string"}, "sub": {"$ref": "#"}}}
    assert lines(parameters)[2:] == ["- sub?: arguments", "  arguments = {all the arguments of this tool}"]


def test_definitions_keep_their_descriptions() -> None:
    point = {"type": "object", "description": "A */ point", "properties": {"x": {"type": "integer"}}}
    both = {"type": "array", "items": {"$ref": "#/$defs/Point"}}
    assert one(both, **{"$defs": {"Point": point}}) == "({x?: integer} /* A * / point */)[]"


def test_tuples() -> None:
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2}
    assert one({**pair, "maxItems": 2}) == one({**pair, "items": False}) == "[integer, string]"
    assert one(pair) == 'any[](prefixItems=[{"type":"integer"},{"type":"string"}], minItems=2)'


def test_definitions_that_double_stay_small() -> None:
    definitions: dict = {"d0": {"type": "string"}}
    for level in range(1, 40):
        inner = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"type": "object", "properties": {"l": inner, "r": inner}}
    shown = lines({"type": "object", "properties": {"a": {"$ref": "#/$defs/d39"}}, "$defs": definitions})
    assert sum(map(len, shown)) < 10_000


def test_no_keyword_is_lost() -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string", "minLength": 17}, "maxItems": 23}},
        "minProperties": 1,
    }
    text = "\n".join(lines(parameters))
    assert "17" in text and "23" in text and "minProperties" in text


def test_dumps() -> None:
    assert dumps({"a": [1, "é", None]}) == '{"a":[1,"é",null]}'
    assert dumps({"a": float("nan"), "b": [float("inf")]}) == '{"a":null,"b":[null]}'
    assert json.loads(dumps({"d": {1, 2}, "b": b"x", "o": object})) is not None
    dumps("\ud800").encode()
    model = pydantic.create_model("Photo", data=bytes, name=str)
    assert dumps([model(data=b"\xff\xd8", name="a")]) == '[{"data":"_9g=","name":"a"}]'
