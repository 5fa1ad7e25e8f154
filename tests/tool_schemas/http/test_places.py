"""Arguments in their places: OpenAPI's styles, and no value that changes what a request is."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop.tool_schemas import Place, http_tool
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, UnknownNameError
from loraloop.tool_schemas.http.request import Template

LIST = ["blue", "black", "brown"]
OBJECT = {"R": 100, "G": 200, "B": 150}


@pytest.mark.parametrize(
    ("where", "style", "explode", "value", "written"),
    [  # the table of the specification (3.1.1, "Style Examples"), percent-encoded
        ("path", "matrix", False, "blue", ";color=blue"),
        ("path", "matrix", False, LIST, ";color=blue,black,brown"),
        ("path", "matrix", True, LIST, ";color=blue;color=black;color=brown"),
        ("path", "matrix", False, OBJECT, ";color=R,100,G,200,B,150"),
        ("path", "matrix", True, OBJECT, ";R=100;G=200;B=150"),
        ("path", "label", False, "blue", ".blue"),
        ("path", "label", False, LIST, ".blue,black,brown"),
        ("path", "label", True, LIST, ".blue.black.brown"),
        ("path", "label", False, OBJECT, ".R,100,G,200,B,150"),
        ("path", "label", True, OBJECT, ".R=100.G=200.B=150"),
        ("path", "", None, "blue", "blue"),
        ("path", "simple", False, LIST, "blue,black,brown"),
        ("path", "simple", False, OBJECT, "R,100,G,200,B,150"),
        ("path", "simple", True, OBJECT, "R=100,G=200,B=150"),
        ("query", "", None, "blue", "?color=blue"),
        ("query", "form", False, LIST, "?color=blue,black,brown"),
        ("query", "", None, LIST, "?color=blue&color=black&color=brown"),
        ("query", "form", False, OBJECT, "?color=R,100,G,200,B,150"),
        ("query", "form", True, OBJECT, "?R=100&G=200&B=150"),
        ("query", "spaceDelimited", False, LIST, "?color=blue%20black%20brown"),
        ("query", "spaceDelimited", False, OBJECT, "?color=R%20100%20G%20200%20B%20150"),
        ("query", "pipeDelimited", False, LIST, "?color=blue%7Cblack%7Cbrown"),
        ("query", "deepObject", True, OBJECT, "?color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
        ("query", "", None, [], ""),
        ("query", "", None, None, ""),
        ("query", "", None, True, "?color=true"),
        ("query", "", None, 2.0, "?color=2"),
        ("query", "", None, "a&b=c#d+e", "?color=a%26b%3Dc%23d%2Be"),
    ],
)
def test_the_styles_of_the_specification(
    where: Any, style: str, explode: bool | None, value: Any, written: str
) -> None:
    url = "https://h.example/x/{color}" if where == "path" else "https://h.example/x/"
    template = Template("GET", url, {"color": Place(where, "", style, explode)})
    assert template.fill({"color": value}).url == "https://h.example/x/" + written


def test_headers_cookies_and_bodies() -> None:
    places = {
        "h": Place("header", "X-List"),
        "o": Place("header", "X-Object", explode=True),
        "j": Place("query", json=True),
        "c": Place("cookie", "session"),
        "b": Place("body", "weight"),
    }
    made = Template("POST", "https://h.example/x?fixed=1", places, body="application/json").fill(
        {"h": LIST, "o": OBJECT, "j": {"a": 1}, "c": "x; y=z", "b": {"kg": 1}}
    )
    headers = dict(made.headers)
    assert headers["X-List"] == "blue,black,brown" and headers["X-Object"] == "R=100,G=200,B=150"
    assert made.url == "https://h.example/x?fixed=1&j=%7B%22a%22%3A1%7D"
    assert made.cookies == (("session", "x%3B%20y%3Dz"),)
    assert made.content == b'{"weight":{"kg":1}}' and headers["Content-Type"] == "application/json"


def test_whole_bodies_forms_and_text(service: Any, local: Any) -> None:
    def made(where: Any, value: Any) -> Any:
        schema = {"type": "object", "properties": {"b": {}}}
        http_tool("f", "", schema, "POST", service.url, places={"b": where}, policy=local).call({"b": value})
        return service.seen[-1]

    assert made("json", [1, "é"]).json == [1, "é"]
    form = made("form", ["a b", "c&d"])
    assert form.body == b"b=a%20b&b=c%26d" and form.headers["Content-Type"] == "application/x-www-form-urlencoded"
    text = made("text", "plain")
    assert text.body == b"plain" and text.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "value",
    [
        "..",
        ".",
        "../x",
        "a/../b",
        "..\\x",
        "%2e%2e",
        "%2E%2E%2Fx",
        "%252e%252e%252fx",
        "",
        None,
        "a\r\nb",
        "a\x00",
        [],
        {},
    ],
)
def test_what_would_leave_its_segment_is_refused(value: Any) -> None:
    template = Template("GET", "https://h.example/a/{id}/b", {"id": Place("path")})
    with pytest.raises(ToolError, match="'id'"):
        template.fill({"id": value})


def test_dots_that_stay_inside_are_fine() -> None:
    template = Template("GET", "https://h.example/a/{id}.json", {"id": Place("path")})
    assert template.fill({"id": "v1.2...x"}).url == "https://h.example/a/v1.2...x.json"
    assert template.fill({"id": "a/b?c#d;e"}).url == "https://h.example/a/a%2Fb%3Fc%23d%3Be.json"
    with pytest.raises(ToolError, match="has to be given"):
        template.fill({})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "Zürich", ["a", "b\r\n"]])
def test_no_argument_makes_a_header(value: Any) -> None:
    with pytest.raises(ToolError, match="one line of ASCII"):
        Template("GET", "https://h.example/", {"h": Place("header", "X-A")}).fill({"h": value})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "Host"}, InputError),
        ({"url": "ftp://h.example/"}, InputError),
        ({"url": "https://{a}.example/"}, InputError),
        ({"url": "https://u:p@h.example/"}, InputError),
        ({"url": "https://h.example/{b}"}, InputError),
        ({"url": "https://h.example/?q={a}"}, InputError),
        ({"url": "https://h.example/ x"}, InputError),
        ({"method": "TRACE"}, InputError),
        ({"places": {"b": "query"}}, UnknownNameError),
        ({"places": {"a": "quary"}}, UnknownNameError),
        ({"name": "a b"}, InputError),
        ({"headers": {"X-A": "1\r\n2"}}, InputError),
        ({"headers": {"Content-Length": "1"}}, InputError),
        ({"headers": {"a": "1"}, "places": {"a": "header"}}, InputError),
        ({"parameters": {"type": "object", "properties": {"a": {}}, "additionalProperties": True}}, SchemaError),
    ],
)
def test_definitions_that_cannot_be_meant(options: dict[str, Any], error: type[Exception]) -> None:
    definition = {
        "method": "GET",
        "url": "https://h.example/",
        "parameters": {"type": "object", "properties": {"a": {}}},
    }
    name = options.pop("name", None)
    definition |= options
    with pytest.raises(error):
        if name:
            Place("header", name)
        http_tool("f", "", definition.pop("parameters"), definition.pop("method"), definition.pop("url"), **definition)


TEXT = st.text(max_size=12) | st.lists(st.sampled_from("./\\?#%&=;:@+ \r\n\t\x00é~25e2Ff"), max_size=10).map("".join)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segment=TEXT, query=TEXT, header=TEXT, cookie=TEXT, key=TEXT)
def test_no_value_changes_segments_parameters_or_headers(
    service: Any, local: Any, segment: str, query: str, header: str, cookie: str, key: str
) -> None:
    if not hasattr(service, "tool"):
        names = ("segment", "query", "header", "cookie", "deep")
        places = {
            "header": Place("header", "X-Said"),
            "cookie": Place("cookie", "said"),
            "deep": Place("query", style="deepObject"),
        }
        service.gives("/", b"{}")
        service.tool = http_tool(
            "f",
            "",
            {"type": "object", "properties": {name: {} for name in names}},
            "GET",
            service.url + "/start/{segment}/end",
            places=places,
            policy=local,
        )
        service.tool.call({"segment": "x", "header": "x", "cookie": "x"})
    usual = {name.lower() for name in service.seen[0].headers}
    arguments = {"segment": segment, "query": query, "header": header, "cookie": cookie, "deep": {key: query}}
    before = len(service.seen)
    try:
        service.tool.call(arguments)
    except ToolError:
        assert len(service.seen) == before
        return
    (seen,) = service.seen[before:]
    parts = urlsplit("http://h" + seen.target)
    assert parts.path.split("/")[1::2] == ["start", "end"] and len(parts.path.split("/")) == 4
    assert unquote(parts.path.split("/")[2]) == segment and not parts.fragment
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    assert pairs == [("query", query), (f"deep[{key}]", query)]
    assert {name.lower() for name in seen.headers} == usual
    assert seen.headers["X-Said"] == header.strip(" \t")
    assert ";" not in seen.headers["Cookie"] and unquote(seen.headers["Cookie"]).removeprefix("said=") == cookie


@pytest.mark.parametrize(
    "text", ["..;", "..;x=1", ".. ", " ..", ".;a", "\uff0e\uff0e", "\u2025", "a\uff0f..", "%2e%2e;", "x\u2215.."]
)
def test_what_some_servers_take_for_the_folder_above_is_not_sent(text: str) -> None:
    template = Template("GET", "https://h/a/{p}/b", {"p": Place("path")})
    with pytest.raises(ToolError, match="'p'"):
        template.fill({"p": text})
    beside = Template("GET", "https://h/a/.{p}/b", {"p": Place("path")})
    for tail in (";x", ".", " "):
        with pytest.raises(ToolError, match="'p'"):
            beside.fill({"p": tail})


@pytest.mark.parametrize(
    ("first", "second"), [("%2", "e%2e"), ("%252e%", "252e"), (".%2", "e"), ("%", "2e."), ("", "")]
)
def test_two_arguments_of_one_segment_do_not_lead_out_together(first: str, second: str) -> None:
    template = Template("GET", "https://h/a/{p}{q}/b", {"p": Place("path"), "q": Place("path")})
    with pytest.raises(ToolError, match="'p'"):
        template.fill({"p": first, "q": second})


@pytest.mark.parametrize("text", ["a..b", "...", "v1.2;x", "..a", "日本", "a b"])
def test_dots_inside_a_value_are_sent(text: str) -> None:
    from urllib.parse import quote

    template = Template("GET", "https://h/a/{p}", {"p": Place("path")})
    assert template.fill({"p": text}).url == f"https://h/a/{quote(text, safe='')}"
