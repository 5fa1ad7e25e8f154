"""`loraloop tools check` and `render`: files, folders, modules and servers; exit codes; what is said."""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loraloop.cli.main import run_command
from loraloop.tool_schemas import load_tools, openai_tools, render_tools
from loraloop.tool_schemas.errors import SchemaError

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "tool_schemas" / "examples"
UNIQUE = {
    "name": "pick",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "uniqueItems": True}},
        "required": ["a"],
    },
}


@pytest.fixture
def bytes_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine that has never loaded the base; quicker, too."""
    monkeypatch.setenv("LORALOOP_CACHE", str(tmp_path / "cache"))


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run_command(["tools", "check", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_good_files(capsys: pytest.CaptureFixture[str], bytes_only: None) -> None:
    code, told = checked(capsys, str(EXAMPLES))
    assert code == 0 and told["tokenizer"] == "bytes" and told["unreadable"] == []
    tools = {tool.name: tool for tool in load_tools(EXAMPLES)}
    assert [report["name"] for report in told["tools"]] == list(tools)
    for report in told["tools"]:
        for kind in ("shortest", "random"):
            jsonschema.validate(report[kind], tools[report["name"]].parameters)
        assert report["compile_ms_p50"] > 0


def test_against_the_base_where_it_is_here(capsys: pytest.CaptureFixture[str], base: Any) -> None:
    code, told = checked(capsys, str(EXAMPLES / "weather.json"))
    assert code == 0 and told["tokenizer"] == "smollm2-135m"
    assert run_command(["tools", "check", str(EXAMPLES / "weather.json")]) == 0
    shown = capsys.readouterr().out
    assert "get_forecast" in shown and "2 tools, 0 refused; compiled for smollm2-135m" in shown
    assert 'short call:  {"city":"a"}' in shown and "annotation only: default, description (2)" in shown


def test_refused_and_checked(capsys: pytest.CaptureFixture[str], bytes_only: None, tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([UNIQUE, {"name": "fine"}, {"name": "fine"}]))
    code, told = checked(capsys, str(file))
    first, second, third = told["tools"]
    assert code == 1 and not second["refused"] and "another tool" in third["refused"][0]["reason"]
    assert first["refused"][0]["path"] == "$.properties.a.uniqueItems" and first["random"] is None
    assert run_command(["tools", "check", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "pick" in shown and "refused" in shown and "$.properties.a.uniqueItems: 'uniqueItems' cannot" in shown
    file.write_text(json.dumps(UNIQUE))
    code, told = checked(capsys, str(file), "--on-unsupported", "check")
    assert code == 0 and told["tools"][0]["checked"][0]["path"] == "$.properties.a.uniqueItems"
    assert len(set(told["tools"][0]["random"]["a"])) >= 2
    assert run_command(["tools", "check", str(file), "--on-unsupported", "check"]) == 0
    assert "checked when the value closes" in capsys.readouterr().out


def test_input_that_cannot_be_read(capsys: pytest.CaptureFixture[str], bytes_only: None, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    code, told = checked(capsys, str(bad), str(tmp_path / "none.json"), "no_such_module:x", str(EXAMPLES))
    assert code == 2 and len(told["unreadable"]) == 3 and len(told["tools"]) == 6
    assert run_command(["tools", "check", str(bad)]) == 2
    assert "not valid JSON" in capsys.readouterr().err
    assert run_command(["tools", "check"]) == 2
    assert run_command(["tools", "check", "--mcp", "no-such-program-anywhere"]) == 2
    assert run_command(["tools", "check", "--mcp", "'"]) == 2
    assert run_command(["tools", "check", "--mcp", ""]) == 2


def test_python_tools_and_an_mcp_server(
    capsys: pytest.CaptureFixture[str], bytes_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "cli_desk.py"
    module.write_text("def f(a: int = 3): ...\ndef g(a): ...\nBOTH = [f, g]\n")
    monkeypatch.chdir(tmp_path)
    code, told = checked(capsys, "cli_desk:BOTH", "cli_desk.py:f")
    assert code == 1 and [bool(each["refused"]) for each in told["tools"]] == [False, True, False]
    assert "annotate" in told["tools"][1]["refused"][0]["reason"]
    checked_set = "def h(a: Annotated[list[str], Field(json_schema_extra={'uniqueItems': True})]): 'Picks.'\n"
    (tmp_path / "cli_set.py").write_text(f"from typing import Annotated\nfrom pydantic import Field\n{checked_set}")
    assert checked(capsys, "cli_set:h")[0] == 1
    code, told = checked(capsys, "cli_set:h", "--on-unsupported", "check")
    assert code == 0 and told["tools"][0]["checked"][0]["path"] == "$.properties.a.uniqueItems"
    code, told = checked(capsys, "--mcp", f"{sys.executable} {ROOT / 'examples' / 'mcp_server.py'}")
    assert code == 0 and {each["place"] for each in told["tools"]} == {"mcp:city-desk"}


def test_an_openapi_document(capsys: pytest.CaptureFixture[str], bytes_only: None, tmp_path: Path) -> None:
    number = {"name": "n", "in": "query", "schema": {"type": "integer", "not": {"const": 3}}}
    broken = {"name": "n", "in": "query", "schema": {"$ref": "#/components/schemas/None"}}
    responses = {"responses": {"200": {"description": "ok"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://example.com"}],
        "paths": {
            "/a": {"get": {"operationId": "a", "parameters": [number], **responses}},
            "/b": {"get": {"operationId": "b", "parameters": [broken], **responses}},
        },
    }
    file = tmp_path / "service.json"
    file.write_text(json.dumps(document))
    code, told = checked(capsys, str(file))
    first, second = told["tools"]
    assert code == 1 and not first["refused"] and first["checked"] and "GET /a" in first["place"]
    assert second["name"] == "b" and second["refused"] and "GET /b" in second["place"]
    del document["paths"]["/b"]
    file.write_text(json.dumps(document))
    assert checked(capsys, str(file))[0] == 0
    assert checked(capsys, str(file), "--on-unsupported", "refuse")[0] == 1
    file.write_text(json.dumps({**document, "servers": [{"url": "/api/v3"}]}))
    assert checked(capsys, str(file))[0] == 0  # where the service is does not matter here
    assert [tool.name for tool in load_tools(file, base_url="https://example.com")] == ["a"]
    with pytest.raises(SchemaError, match=r"service\.json"):
        load_tools(file)


def test_render(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(["tools", "render", str(EXAMPLES)]) == 0
    assert capsys.readouterr().out == render_tools(load_tools(EXAMPLES)) + "\n"
    (tmp_path / "render_desk.py").write_text("def f(a: int = 3):\n    'Does it.'\n")
    monkeypatch.chdir(tmp_path)
    assert run_command(["tools", "render", "render_desk:f"]) == 0
    assert "f: Does it.\n- a?: integer = 3" in capsys.readouterr().out
    assert run_command(["tools", "render", "--mcp", f"{sys.executable} {ROOT / 'examples' / 'mcp_server.py'}"]) == 0
    assert "get_weather: Current weather of a city." in capsys.readouterr().out
    assert run_command(["tools", "render", str(EXAMPLES / "weather.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tools"] == openai_tools(load_tools(EXAMPLES / "weather.json")) and "get_forecast" in told["rendered"]
    assert run_command(["tools", "render", str(EXAMPLES), str(EXAMPLES)]) == 2
    assert f"({EXAMPLES} and {EXAMPLES}); rename one" in capsys.readouterr().err
    server = f"{sys.executable} {ROOT / 'examples' / 'mcp_server.py'}"
    assert run_command(["tools", "render", "--mcp", server, "--mcp", server]) == 2
    told = capsys.readouterr().err
    assert f"'get_weather' (--mcp {server!r} and" in told and "Python with a prefix=" in told
    (tmp_path / "other.py").write_text(
        "from loraloop import McpServer\n"
        f"server = McpServer.stdio(*{server.split()[:1]!r}, {server.split()[1:]!r}, prefix='b_')\n"
        "tools = server.__enter__().tools\n"
    )
    assert run_command(["tools", "render", "--mcp", server, f"{tmp_path / 'other.py'}:tools"]) == 0
    assert "b_get_weather: Current" in capsys.readouterr().out


def test_a_service_of_this_machine(capsys: pytest.CaptureFixture[str], bytes_only: None, tmp_path: Path) -> None:
    operation = {"get": {"operationId": "a", "responses": {"200": {"description": "ok"}}}}
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/a": operation}}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    serving = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serving) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        try:
            assert run_command(["tools", "check", f"http://{place}/openapi.json"]) == 2
            assert "is not a public address" in capsys.readouterr().err
            code, told = checked(capsys, f"http://{place}/openapi.json", "--allow-local", place)
            assert code == 0 and [each["name"] for each in told["tools"]] == ["a"]
            assert run_command(["tools", "render", f"http://{place}/openapi.json", "--allow-local", place]) == 0
        finally:
            server.shutdown()
