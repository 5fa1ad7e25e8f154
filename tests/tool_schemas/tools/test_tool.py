import asyncio
import dataclasses
import datetime
import decimal
import enum
import functools
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from loraloop.tool_schemas import Tool, load_tools, render_tools, tool
from loraloop.tool_schemas.errors import SchemaError, ToolError, UnknownNameError
from loraloop.tool_schemas.tools.context import Context

EXAMPLES = Path(__file__).parents[3] / "tool_schemas" / "examples"


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A place on the map."""

    x: float = Field(description="Left")
    y: float = 0


@dataclasses.dataclass
class Size:
    width: int


@tool
def draw(
    where: Point,
    when: datetime.date,
    color: Color = Color.RED,
    kind: Literal["dot", "ring"] = "dot",
    count: Annotated[int, Field(ge=0, description="How many")] = 3,
    label: Optional[str] = None,  # noqa: UP045
    sizes: list[Size] | None = None,
    weight: decimal.Decimal = decimal.Decimal("1.5"),
    schema: str = "plain",
    alpha: float = Field(0.5, le=1),
) -> dict[str, Any]:
    """Draws something.

    Slowly.

    Args:
        where: The place.
        kind: What it looks
            like.
        count: Ignored, because the annotation says more.
    """
    return dict(locals())


def test_a_typed_function() -> None:
    properties = draw.parameters["properties"]
    assert draw.name == "draw" and draw.description == "Draws something.\nSlowly."
    assert draw.parameters["required"] == ["where", "when"]
    assert list(properties)[:3] == ["where", "when", "color"]
    assert properties["kind"] == {
        "default": "dot",
        "description": "What it looks\nlike.",
        "enum": ["dot", "ring"],
        "type": "string",
    }
    assert properties["count"]["description"] == "How many" and properties["count"]["minimum"] == 0
    assert "title" not in json.dumps(draw.parameters)
    assert '- kind?: "dot"|"ring" = "dot" - What it looks like.' in render_tools([draw])


def test_arguments_become_the_declared_types() -> None:
    got = draw.call({"where": {"x": 1}, "when": "2024-02-29", "color": "blue", "sizes": [{"width": 2}]})
    assert got["where"] == Point(x=1) and got["when"] == datetime.date(2024, 2, 29)
    assert got["color"] is Color.BLUE and got["sizes"] == [Size(2)]
    assert got["weight"] == decimal.Decimal("1.5") and got["alpha"] == 0.5 and got["label"] is None


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"where": {"x": "a"}, "when": "2024-02-03"}, "$.where.x"),
        ({"where": {"x": 1}, "when": "2024-02-30"}, "$.when"),
        ({"where": {"x": 1}, "when": "2024-02-03", "alpha": 2}, "$.alpha"),
        ({"where": {"x": 1}}, "$"),
        ({"where": {"x": 1}, "when": "2024-02-03", "size": 1}, "$"),
    ],
)
def test_wrong_arguments_never_reach_the_function(arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        draw.call(arguments)
    assert caught.value.path == path


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(le=9)
    home: dict[str, int] = {}


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


@pytest.mark.parametrize(
    ("pet", "why"),
    [
        ({"kind": "cat", "lives": 12}, "$.pet.lives: 12 is greater than"),
        ({"kind": "cat"}, "$.pet: 'lives' is a required property"),
        ({"kind": "dog", "lives": 3, "home": {"a": "b"}}, "$.pet: 'name' is a required property"),
        ({"kind": "cow", "lives": 3}, "$.pet: .*not valid under any"),
    ],
)
@pytest.mark.parametrize("union", [Cat | Dog, Annotated[Cat | Dog, Field(discriminator="kind")]])
def test_what_is_wrong_is_told_of_the_alternative_whose_constant_the_value_has(
    pet: dict[str, Any], why: str, union: Any
) -> None:
    def keep(pet: Any) -> None:
        """Keeps a pet."""

    keep.__annotations__["pet"] = union
    with pytest.raises(SchemaError, match=why.replace("$", r"^\$")):
        Tool.from_function(keep).call({"pet": pet})


def test_async_positional_only_and_failures() -> None:
    @tool(name="divide", description="Divides.")
    async def divide(a: int, /, b: int = 2) -> int:
        return a // b

    assert asyncio.run(divide.call({"a": 9})) == 4
    with pytest.raises(ToolError, match="ZeroDivisionError"):
        asyncio.run(divide.call({"a": 9, "b": 0}))

    @tool
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(ToolError, match="KeyError"):
        fails.call({})


def test_functions_that_no_schema_can_say() -> None:
    class Odd:
        pass

    def untyped(x):
        return x

    def many(*values: int) -> None: ...
    def odd(value: Odd) -> None: ...

    for function, word in ((untyped, "annotate"), (many, "any number"), (odd, "pydantic")):
        with pytest.raises(SchemaError, match=word):
            Tool.from_function(function)


def test_a_model_is_a_tool_without_a_function() -> None:
    made, model = Tool.from_function(Point), Tool.from_model(Point)
    assert (made.name, made.parameters, made.function) == (model.name, model.parameters, None)
    assert tool(name="place")(Point).name == "place"


def test_a_model() -> None:
    made = Tool.from_model(Point, lambda point: point.x + point.y)
    assert made.name == "Point" and made.description == "A place on the map."
    assert made.call({"x": 2, "y": 0.5}) == 2.5


def test_a_raw_schema_with_and_without_an_implementation() -> None:
    schema = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    assert Tool.from_schema(schema, lambda a: a + 1).call({"a": 1}) == 2
    silent = Tool.from_schema(schema)
    assert not silent.executable
    with pytest.raises(ToolError, match="no implementation"):
        silent.call({"a": 1})
    fixed = Tool.from_schema({**schema, "result": None})
    assert fixed.executable and fixed.call({"a": 1}) is None
    with pytest.raises(SchemaError):
        fixed.call({"a": "1"})


CITY: dict[str, Any] = {
    "name": "f",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def _awaited(city: str, days: int = 1) -> str:
    return city


@functools.wraps(_awaited)
def _wrapped(*arguments: Any, **named: Any) -> Any:
    return _awaited(*arguments, **named)


def _with_db(db: str, city: str, days: int = 1) -> str:
    return db + city


@pytest.mark.parametrize(
    "function",
    [
        _awaited,
        _wrapped,
        functools.partial(_with_db, "db"),
        functools.partial(_with_db, db="db"),
        lambda **named: named,
        lambda days=1, *, city, unit="C": city,
        lambda city, days: city,  # a call without days is told that it lacks
        dict,  # whose signature nobody can read
        Tool.from_function(_awaited),
    ],
)
def test_a_function_that_takes_what_its_schema_says(function: Any) -> None:
    assert Tool.from_schema(CITY, function).function is function


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda city: city, "has no parameter 'days', which the schema has"),
        (lambda town, days: town, "has no parameter 'city', which the schema has"),
        (lambda city, days, unit: city, "needs 'unit', which no property"),
        (lambda city, /, days: city, "has no parameter 'city', which the schema has"),
        (lambda unit, /, **rest: rest, "needs 'unit'"),
        (_with_db, "needs 'db'"),
    ],
)
def test_a_function_that_does_not_take_what_its_schema_says_is_refused(function: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=f"^tool 'f': the function {says}"):
        Tool.from_schema(CITY, function)
    Tool.from_schema({"name": "f", "parameters": {"type": "object", "additionalProperties": True}}, lambda x: x)
    Tool.from_schema({"name": "f", "parameters": {"$ref": "#/$defs/A", "$defs": {"A": {}}}}, lambda x: x)


def test_openai_and_mcp_forms() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    plain = Tool("f", "d", parameters)
    assert Tool.from_schema(plain.to_openai()) == plain
    assert Tool.from_schema({"name": "f", "description": "d", "inputSchema": parameters}) == plain
    assert Tool.from_schema({"name": "f"}).parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"type": "array"}, "$.type"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "$.properties.a.type"),
        ({"type": "object", "properties": {"a b": {"minimum": "1"}}}, '$.properties["a b"].minimum'),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}}, "$.properties.a.pattern"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}, "$.properties.a.$ref"),
    ],
)
def test_a_bad_schema_is_refused_with_its_path(parameters: dict[str, Any], path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Tool("f", "", parameters)
    assert caught.value.path == path and "'f'" in str(caught.value)


def test_bad_names_and_fields() -> None:
    for name in ("", " ", "a\nb", "x" * 129, "a\x00"):
        with pytest.raises(SchemaError, match="name"):
            Tool(name)
    with pytest.raises(UnknownNameError, match="'parameters'"):
        Tool.from_schema({"name": "f", "paramaters": {}})
    with pytest.raises(SchemaError, match="name"):
        Tool.from_schema({"description": "d"})


def test_the_example_files_load() -> None:
    names = [each.name for file in sorted(EXAMPLES.glob("*.json")) for each in load_tools(file)]
    assert names == [
        "create_event",
        "list_events",
        "convert_units",
        "search_products",
        "get_weather",
        "get_forecast",
    ]


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    with pytest.raises(SchemaError, match="cannot read"):
        load_tools(file)
    file.write_text("{")
    with pytest.raises(SchemaError, match="not valid JSON"):
        load_tools(file)
    file.write_text('[{"name": "a"}, {"name": "a"}]')
    with pytest.raises(SchemaError, match="two tools"):
        load_tools(file)
    file.write_text('{"tools": [{"name": "a", "parameters": {"type": "object", "not": {}}}]}')
    with pytest.raises(SchemaError, match=r"tool 0.*'not'"):
        load_tools(file)


def test_a_decorated_function_can_still_be_called() -> None:
    @tool
    def middle(context: Context[int], dates: list[datetime.date], *, half: decimal.Decimal) -> Any:
        """Finds what lies in the middle."""
        return context.deps, dates[len(dates) // 2], half

    day = datetime.date(2026, 3, 1)
    assert middle(Context(3), [day], half=decimal.Decimal("0.5")) == (3, day, decimal.Decimal("0.5"))
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
        middle(Context(3), [day])
    with pytest.raises(ToolError, match="'stop' has no implementation"):
        Tool("stop")()


@pytest.mark.parametrize("kind", ["int", ["str", "null"]])
def test_a_type_that_is_none_is_told_those_that_are(kind: Any) -> None:
    parameters = {"type": "object", "properties": {"count": {"type": kind}}}
    with pytest.raises(SchemaError, match=r"^\$\.properties\.count\.type: .* is not a type; use 'array', .* or a list"):
        Tool("count", "", parameters)
