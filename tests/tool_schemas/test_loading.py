"""Tools from files of every form, folders and Python modules, and out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.tool_schemas import Tool, load_tools, openai_tools, python_tools
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PLAIN = Tool("weather", "The weather.", CITY)
UNIQUE = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}

FORMS: dict[str, Any] = {
    "one": {"name": "weather", "description": "The weather.", "parameters": CITY},
    "list": [{"name": "weather", "description": "The weather.", "parameters": CITY}],
    "tools": {"tools": [{"name": "weather", "description": "The weather.", "parameters": CITY}]},
    "chat": {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}},
    "chat request": {
        "model": "m",
        "messages": [],
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "The weather.", "parameters": CITY, "strict": True},
            }
        ],
    },
    "old functions": {"functions": [{"name": "weather", "description": "The weather.", "parameters": CITY}]},
    "responses": [
        {"type": "function", "name": "weather", "description": "The weather.", "parameters": CITY, "strict": None}
    ],
    "anthropic": [
        {
            "name": "weather",
            "description": "The weather.",
            "input_schema": CITY,
            "type": "custom",
            "cache_control": {"type": "ephemeral"},
        }
    ],
}
MCP = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {
        "tools": [
            {"name": "weather", "title": "The weather.", "inputSchema": CITY, "annotations": {"readOnlyHint": True}},
            {"name": "pick", "description": "d", "inputSchema": UNIQUE, "outputSchema": CITY, "_meta": {}, "icons": []},
        ],
        "nextCursor": "x",
    },
}


def write(folder: Path, document: Any, name: str = "tools.json") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str, tmp_path: Path) -> None:
    assert load_tools(write(tmp_path, FORMS[form])) == (PLAIN,)
    text = yaml.safe_dump(FORMS[form], sort_keys=False)
    assert load_tools(write(tmp_path, text, "tools.yaml")) == (PLAIN,)


def test_mcp_lists_are_checked_rather_than_refused(tmp_path: Path) -> None:
    weather, pick = load_tools(write(tmp_path, MCP))
    assert weather.description == "The weather." and weather.parameters == CITY
    assert pick.on_unsupported == "check" and pick.returns == CITY
    with pytest.raises(SchemaError, match=r"tools\.json, tool 1.*uniqueItems") as caught:
        load_tools(tmp_path / "tools.json", on_unsupported="refuse")
    assert caught.value.path == "$.properties.a.uniqueItems"
    own = write(tmp_path, {"name": "pick", "parameters": UNIQUE})
    with pytest.raises(SchemaError, match="uniqueItems"):
        load_tools(own)
    assert load_tools(own, on_unsupported="check")[0].on_unsupported == "check"


def test_out_and_in_again(tmp_path: Path) -> None:
    tools = (PLAIN, Tool("loose", "", {"type": "object", "properties": {}}, strict=False))
    for form in ("chat", "responses"):
        assert load_tools(write(tmp_path, openai_tools(tools, form))) == tools
    chat, flat = openai_tools(tools)[0], openai_tools(tools, "responses")[0]
    assert chat["function"]["name"] == flat["name"] == "weather" and flat["type"] == chat["type"] == "function"
    assert openai_tools(tools)[1]["function"]["strict"] is False
    with pytest.raises(InputError, match="'chat'"):
        openai_tools(tools, "old")  # type: ignore[arg-type]


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
schemas = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(
            names, st.sampled_from([{"type": "string"}, {"enum": [1, "a", None]}, {"type": ["integer", "null"]}])
        ),
    }
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(names, st.text(max_size=20), schemas), min_size=1, max_size=3, unique_by=lambda it: it[0]))
def test_any_tools_survive_the_way_through_openais_forms(listed: list[tuple[str, str, dict[str, Any]]]) -> None:
    tools = [Tool(*each) for each in listed]
    chat = json.loads(json.dumps(openai_tools(tools)))
    assert [Tool.from_schema(each) for each in chat] == tools


def test_a_folder_that_cannot_be_listed(unlisted: Path) -> None:
    with pytest.raises(InputError, match="all/shut cannot be listed"):
        load_tools(unlisted)


def test_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"name": "b"}, "b.json")
    write(tmp_path, [{"name": "a"}, {"name": "c"}], "a/list.JSON")
    write(tmp_path, "name: d\nparameters: {}\n", "c.yml")
    write(tmp_path, "{", ".hidden/no.json")
    write(tmp_path, "none", "README.md")
    assert [tool.name for tool in load_tools(tmp_path)] == ["a", "c", "b", "d"]
    write(tmp_path, {"name": "c"}, "z.json")
    with pytest.raises(SchemaError, match=r"two tools are called 'c' \(.*list\.JSON, tool 1 and .*z\.json, tool 0\)"):
        load_tools(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SchemaError, match=r"holds no \.json"):
        load_tools(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON.*line 1"),
        ('{"name": "a", "name": "b"}', "the key 'name' twice"),
        ('{"name": "a", "result": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("3", "holds no tools"),
        ('{"tools": {}}', r"\$\.tools: .*must be a list"),
        ('{"name": "a", "requires_aproval": true}', "did you mean 'requires_approval'"),
        ('[{"name": "a"}, {"nam": "b"}]', "tool 1: no field of a tool is called 'nam'; did you mean 'name'"),
        ('[{"type": "web_search_20250305", "name": "web_search"}]', "runs at the maker of a model"),
        ('{"name": "a", "parameters": {"type": "object", "properties": {"x": {"type": "strin"}}}}', r"properties\.x"),
    ],
)
def test_bad_json(text: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SchemaError, match=message) as caught:
        load_tools(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "&a [*a]",
        "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
        "!!python/object/apply:os.system ['true']",
    ],
    ids=["broken", "itself", "bomb", "code"],
)
def test_bad_yaml(text: str, tmp_path: Path) -> None:
    file = write(tmp_path, text, "tools.yaml")
    with pytest.raises(SchemaError, match=r"tools\.yaml"):
        load_tools(file)


def test_yaml_means_what_json_means(tmp_path: Path) -> None:
    text = "name: f\nparameters:\n  type: object\n  properties:\n    on: {enum: [no, 2024-01-01, 1, true]}\n"
    assert load_tools(write(tmp_path, text, "t.yaml"))[0].parameters["properties"] == {
        "on": {"enum": ["no", "2024-01-01", 1, True]}
    }


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot read"):
        load_tools(tmp_path / "none.json")
    file = tmp_path / "latin.json"
    file.write_bytes(b'{"name": "\xe9"}')
    with pytest.raises(SchemaError, match="no UTF-8"):
        load_tools(file)
    file.write_bytes(b"\xef\xbb\xbf" + b'{"name": "a"}')
    assert load_tools(file)[0].name == "a"


SERVICE = {
    "openapi": "3.1.0",
    "info": {"title": "Rooms", "version": "1"},
    "servers": [{"url": "https://rooms.example.com"}],
    "paths": {
        "/rooms/{room}": {
            "get": {
                "operationId": "get_room",
                "parameters": [{"name": "room", "in": "path", "required": True, "schema": {"type": "integer"}}],
                "responses": {"200": {"description": "ok"}},
            }
        }
    },
}


def test_an_openapi_document_among_other_files(tmp_path: Path) -> None:
    write(tmp_path, SERVICE, "a.json")
    write(tmp_path, {"name": "weather"}, "b.json")
    room, weather = load_tools(tmp_path)
    assert room.name == "get_room" and room.source == "http" and room.on_unsupported == "check"
    assert room.parameters["properties"]["room"]["type"] == "integer" and weather.source == ""
    write(tmp_path, {**SERVICE, "openapi": "2.0"}, "a.json")
    with pytest.raises(SchemaError, match=r"a\.json: .*2\.0"):
        load_tools(tmp_path)


MODULE = """
from __future__ import annotations
import dataclasses
from pydantic import BaseModel
from loraloop import tool

@dataclasses.dataclass
class Size:
    width: int

@tool
def grow(size: Size) -> int:
    return size.width + 1

def shrink(size: Size) -> int:
    return size.width - 1

class Order(BaseModel):
    item: str

ALL = [grow, shrink, Order]
NUMBER = 3
"""


def test_python_tools(tmp_path: Path) -> None:
    file = write(tmp_path, MODULE, "desk_tools.py")
    for reference in ("desk_tools:ALL", f"{file}:ALL"):
        tools = python_tools(reference, tmp_path)
        assert [tool.name for tool in tools] == ["grow", "shrink", "Order"]
        assert tools[1].call({"size": {"width": 3}}) == 2 and not tools[2].executable
    assert python_tools("desk_tools:grow", tmp_path)[0].call({"size": {"width": 3}}) == 4
    with pytest.raises(UnknownNameError, match="'grow'"):
        python_tools("desk_tools:grwo", tmp_path)
    with pytest.raises(SchemaError, match="is 3"):
        python_tools("desk_tools:NUMBER", tmp_path)
    with pytest.raises(SchemaError, match="cannot import"):
        python_tools("no_such_module_here:a")
    for reference in ("json", ":a", "a:", ".json:dumps", "..:a"):
        with pytest.raises(SchemaError, match="module:attribute"):
            python_tools(reference)


def test_a_python_file_needs_the_name_of_what_it_holds(tmp_path: Path) -> None:
    (file := tmp_path / "tools.py").write_text("def look() -> None: ...")
    with pytest.raises(SchemaError, match=r"tools\.py is Python: say what of it, such as .*tools\.py:NAME"):
        load_tools(file)


def test_what_is_said_of_a_keyword_in_a_file_can_be_done_in_the_file(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    file = tmp_path / "tools.json"
    file.write_text(json.dumps({"name": "f", "description": "F.", "parameters": schema}))
    with pytest.raises(SchemaError, match=r"'uniqueItems' .*in a file, write the tool with inputSchema"):
        load_tools(file)
    file.write_text(json.dumps({"name": "f", "description": "F.", "inputSchema": schema}))
    assert load_tools(file)[0].on_unsupported == "check"
