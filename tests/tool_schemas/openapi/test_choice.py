"""Which operations become tools, and what is refused by name."""

from __future__ import annotations

import contextlib
import copy
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.tool_schemas import ApiKey, OpenApiTools, load_openapi, tools_from_openapi
from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError, UnknownNameError
from loraloop.tool_schemas.openapi.document import OpenApiDocument
from loraloop.tool_schemas.openapi.selection import operations

STRING = {"type": "string"}
BASE = "https://api.test"


def document(paths: dict[str, Any], **root: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, **root}


def names(made: OpenApiTools) -> list[str]:
    return [tool.name for tool in made.tools]


# --- selection -------------------------------------------------------------------------------------------------------

PATHS: dict[str, Any] = {
    "/pets": {
        "get": {"operationId": "listPets", "tags": ["pets", "public"]},
        "post": {"operationId": "addPet", "tags": ["pets"]},
    },
    "/pets/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": STRING}],
        "get": {"operationId": "getPet", "tags": ["pets"]},
        "delete": {"operationId": "dropPet", "deprecated": True},
    },
    "/shops": {"get": {"tags": ["shops"]}},
    "/files": {"post": {"operationId": "upload", "requestBody": {"content": {"multipart/form-data": {}}}}},
}


@pytest.mark.parametrize(
    ("include", "exclude", "found"),
    [
        (["listPets"], [], ["listPets"]),
        ("*Pet", [], ["addPet", "getPet"]),
        (["tag:pets"], ["POST"], ["listPets", "getPet"]),
        (["GET"], [], ["listPets", "getPet", "get_shops"]),
        (["GET /pets*"], [], ["listPets", "getPet"]),
        (["/pets/{id}"], [], ["getPet"]),
        (["/pets/*", "/shops"], [], ["getPet", "get_shops"]),
        (["get_shops"], [], ["get_shops"]),
        (None, ["/files", "tag:shops"], ["listPets", "addPet", "getPet"]),
    ],
)
def test_patterns(include: Any, exclude: Any, found: list[str]) -> None:
    assert names(load_openapi(document(PATHS), base_url=BASE, include=include, exclude=exclude)) == found


def test_a_pattern_without_a_meaning() -> None:
    with pytest.raises(UnknownNameError, match="'listPets'"):
        load_openapi(document(PATHS), base_url=BASE, include=["listPet"])
    with pytest.raises(UnknownNameError):
        load_openapi(document(PATHS), base_url=BASE, exclude=["PATCH /pets"])


def test_the_report() -> None:
    with pytest.raises(
        SchemaError, match=r"POST /files \(upload\): refused, \$\.paths\[\"/files\"\]\.post\.requestBody"
    ):
        load_openapi(document(PATHS), base_url=BASE)
    made = load_openapi(document(PATHS), base_url=BASE, on_refused="skip", exclude=["tag:shops"])
    assert made.report.tools == {"listPets": "GET /pets", "addPet": "POST /pets", "getPet": "GET /pets/{id}"}
    assert {each.name: each.why for each in made.report.omitted} == {
        "upload": "refused",
        "dropPet": "deprecated",
        "get_shops": "excluded",
    }
    (refused,) = made.report.refused
    assert refused.path.endswith(".content") and "'multipart/form-data'" in refused.reason
    assert "GET /pets (listPets)" in str(made.report) and "deprecated" in str(made.report)
    assert "dropPet" in names(load_openapi(document(PATHS), base_url=BASE, on_refused="skip", deprecated=True))
    with pytest.raises(InputError):
        load_openapi(document(PATHS), base_url=BASE, on_refused="ignore")  # type: ignore[arg-type]


def test_names_are_unique_and_short() -> None:
    long = "a" * 80
    paths = {
        f"/{number}": {"get": {"operationId": identifier}}
        for number, identifier in enumerate(["x.y", "x/y", "x_y", long, long + "b", "é", "", "  "])
    }
    paths["/a/{b}/c"] = {"get": {}}
    found = [operation.name for operation in operations(OpenApiDocument(document(paths)))]
    assert found[:3] == ["x_y", "x_y_2", "x_y_3"] and found[-1] == "get_a_b_c"
    assert len(set(found)) == len(found) and all(0 < len(name) <= 64 and name.isascii() for name in found)


WHOLE: dict[str, Any] = {
    **document(copy.deepcopy(PATHS)),
    "servers": [{"url": "https://{r}.test/v1", "variables": {"r": {"default": "a", "enum": ["a", "b"]}}}],
    "security": [{"key": []}, {}],
    "components": {
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
            "o": {"$ref": "#/components/securitySchemes/key"},
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": STRING},
                "discriminator": {"propertyName": "kind"},
            },
            "Cat": {
                "allOf": [
                    {"$ref": "#/components/schemas/Pet"},
                    {"properties": {"n": {"type": "integer", "readOnly": True}}},
                ]
            },
            "Any": {
                "oneOf": [{"$ref": "#/components/schemas/Cat"}],
                "discriminator": {"propertyName": "kind", "mapping": {"c": "Cat"}},
            },
        },
        "parameters": {
            "P": {
                "name": "p",
                "in": "query",
                "style": "deepObject",
                "explode": True,
                "schema": {"properties": {"a": STRING}},
            }
        },
    },
}
for _name in ("Pet", "Any", "Cat"):
    WHOLE["paths"][f"/of/{_name}"] = {
        "put": {
            "operationId": _name,
            "parameters": [
                {"$ref": "#/components/parameters/P"},
                {"name": "c", "in": "cookie", "content": {"application/json": {"schema": {}}}},
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name}"}}},
            },
            "responses": {
                "200": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name}"}}}}
            },
        }
    }
WHOLE["paths"]["/form"] = {
    "post": {
        "requestBody": {
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {"properties": {"a": STRING, "o": {"type": "object"}}},
                    "encoding": {"o": {"style": "deepObject", "explode": True}},
                }
            }
        }
    }
}


def test_names_of_a_hostile_document_are_made_in_bounded_time() -> None:
    get = {"responses": {"200": {"description": "Fine."}}}
    paths = {f"/p{number}": {"get": {**get, "operationId": "a" * 70}} for number in range(6_000)}
    paths["/long"] = {"get": {**get, "operationId": "_" * 100_000}}
    whole, start = OpenApiDocument(document(paths)), time.thread_time()
    names = [each.name for each in operations(whole)]
    assert len(set(names)) == len(paths) and max(map(len, names)) <= 64 and time.thread_time() - start < 1


def test_the_tools_alone() -> None:
    document = {"openapi": "3.1.0", "info": {}, "paths": {"/a": {"get": {"operationId": "a", "responses": {}}}}}
    both = (
        load_openapi(document, base_url="https://h.test").tools,
        tools_from_openapi(document, base_url="https://h.test"),
    )
    assert [[tool.name for tool in tools] for tools in both] == [["a"], ["a"]]


# --- refusals --------------------------------------------------------------------------------------------------------


def parameter(**fields: Any) -> dict[str, Any]:
    return {"parameters": [{"name": "p", "in": "query", "schema": STRING, **fields}]}


LISTS = {"type": "array", "items": {"type": "array", "items": STRING}}


@pytest.mark.parametrize(
    ("operation", "path", "word"),
    [
        (parameter(schema=None), ".parameters[0].schema", "must be a schema"),
        (parameter(**{"in": "body"}), ".parameters[0]", "'in'"),
        (parameter(**{"in": "path"}), ".parameters[0]", "not in the path"),
        (parameter(style="matrix"), ".parameters[0]", "style 'matrix'"),
        (parameter(schema=LISTS), ".parameters[0].schema", "list of list"),
        (parameter(schema={"type": "array", "items": {"type": "object"}}), ".parameters[0].schema", "list of object"),
        (parameter(style="deepObject"), ".parameters[0].schema", "deepObject"),
        (
            parameter(style="deepObject", schema={"properties": {"a": {"type": "array"}}}),
            ".parameters[0].schema",
            "deepObject",
        ),
        (parameter(**{"in": "cookie"}, schema={"type": "array"}), ".parameters[0].schema", "explode"),
        (parameter(**{"in": "header"}, name="Host"), ".parameters[0]", "'Host'"),
        (parameter(**{"in": "header"}, name="a b"), ".parameters[0]", "'a b'"),
        (parameter(content={"application/xml": {}}), ".parameters[0].content", "application/xml"),
        (parameter(schema={"$ref": "x.yaml"}), ".parameters[0].schema.$ref", "bundle"),
        ({"parameters": [{"$ref": "#/components/parameters/P"}]}, ".parameters[0].$ref", "not in the document"),
        ({"parameters": {}}, ".parameters", "a list"),
        ({"requestBody": {}}, ".requestBody", "'content'"),
        ({"requestBody": {"content": {"application/xml": {}}}}, ".requestBody.content", "application/xml"),
        (
            {"requestBody": {"content": {"text/plain": {"schema": {"type": "object"}}}}},
            '.requestBody.content["text/plain"].schema',
            "plain text",
        ),
        ({"requestBody": {"content": {"a\r\nb/c+json": {}}}}, ".requestBody.content", "not a media type"),
        ({"$ref": "other.yaml"}, ".$ref", "another document"),
        ({"servers": [{}]}, ".servers[0]", "'url'"),
        ({"security": [{"none": []}]}, ".security", "'none'"),
    ],
)
def test_what_is_refused(operation: dict[str, Any], path: str, word: str) -> None:
    base = None if "servers" in operation else BASE
    made = load_openapi(document({"/x": {"get": operation}}), base_url=base, on_refused="skip")
    (refused,) = made.report.refused
    assert not made.tools and word in refused.reason
    assert refused.path == '$.paths["/x"].get' + path
    fine = load_openapi(document({"/x": {"get": operation, "put": {}}}), base_url=BASE, include=["PUT"])
    assert names(fine) == ["put_x"]


def test_the_path_of_what_a_reference_leads_to() -> None:
    broken = {"name": "a", "in": "query", "schema": {"type": "string", "$id": "x"}}
    paths = {
        "/x": {"get": {"parameters": [broken]}},
        "/y": {"get": {"parameters": [{"$ref": "#/paths/~1x/get/parameters/0"}]}},
    }
    made = load_openapi(document(paths), base_url=BASE, on_refused="skip")
    assert [each.path for each in made.report.refused] == ['$.paths["/x"].get.parameters[0].schema.$id'] * 2


def test_parameters_that_contain_themselves() -> None:
    again = {f"p{n}": {"$ref": "#/components/schemas/N"} for n in range(40)}
    whole = document({"/x": {"get": parameter(schema={"$ref": "#/components/schemas/N"})}})
    whole["components"] = {"schemas": {"N": {"type": "object", "properties": again}}}
    (refused,) = load_openapi(whole, base_url=BASE, on_refused="skip").report.refused
    assert "object of object" in refused.reason


def test_a_variable_that_is_no_parameter() -> None:
    made = load_openapi(document({"/x/{id}": {"get": {}}}), base_url=BASE, on_refused="skip")
    assert "'id' is not a parameter" in made.report.refused[0].reason
    made = load_openapi(document({"/x": {"trace": {}}}), base_url=BASE, on_refused="skip")
    assert "TRACE" in made.report.refused[0].reason


def test_what_cannot_be_read_spoils_only_itself() -> None:
    paths = {"/a": {"$ref": "a.yaml"}, "/b": [], "/c": {"get": 1}, "/d": {"get": {}, "put": {"security": [{"s": []}]}}}
    schemes = {"securitySchemes": {"s": {"$ref": "s.yaml"}}}
    made = load_openapi(document(paths, components=schemes), base_url=BASE, on_refused="skip")
    assert names(made) == ["get_d"]
    assert {each.operation: each.path for each in made.report.refused} == {
        "ANY /a": '$.paths["/a"].$ref',
        "ANY /b": '$.paths["/b"]',
        "GET /c": '$.paths["/c"].get',
        "PUT /d": "$.components.securitySchemes.s.$ref",
    }
    assert names(load_openapi(document(paths, components=schemes), base_url=BASE, include=["GET /d"])) == ["get_d"]
    with pytest.raises(SchemaError, match="bundle"):
        load_openapi(document(paths), base_url=BASE, include=["/a", "/d"])


def test_a_server_that_has_no_address_spoils_only_its_operation() -> None:
    broken = {"get": {"operationId": "broken", "servers": [{"url": "http://["}]}, "put": {"operationId": "fine"}}
    whole = {**document({"/x": broken}), "servers": [{"url": BASE}]}
    made = load_openapi(whole, on_refused="skip")
    assert names(made) == ["fine"] and "is not a host" in made.report.refused[0].reason
    with pytest.raises(InputError, match="is not a host"):
        load_openapi(whole, base_url="http://[")


def test_a_keyword_that_cannot_be_decoded() -> None:
    body = {"required": True, "content": {"application/json": {"schema": {"properties": {"a": {"not": {"const": 1}}}}}}}
    paths = {"/x": {"post": {"requestBody": body}}}
    made = load_openapi(document(paths), base_url=BASE, on_refused="skip", on_unsupported="refuse")
    assert "$.properties.a.not" in made.report.refused[0].reason and made.report.refused[0].path == '$.paths["/x"].post'
    assert load_openapi(document(paths), base_url=BASE).tools[0].on_unsupported == "check"


JUNK = st.sampled_from(
    [None, True, 0, -1.5, "", "x", "#/components", "#/paths", [], [[]], {}, {"$ref": "#"}, {"type": []}, ["a", 1]]
)


def nodes(value: Any, parts: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [parts, *(path for key, each in inner for path in nodes(each, (*parts, key)))]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_document_is_refused_and_never_a_crash(data: st.DataObject) -> None:
    damaged = copy.deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([parts for parts in nodes(damaged) if parts]))
        place = damaged
        for key in path:
            place = place[key]
        place[last] = copy.deepcopy(data.draw(JUNK))
    with contextlib.suppress(LoraloopError):
        load_openapi(damaged, base_url=BASE, on_refused="skip", deprecated=True, auth=ApiKey("TEST_KEY"))
    with contextlib.suppress(LoraloopError):
        load_openapi(damaged, on_refused="skip", on_unsupported="refuse", auth={"key": "TEST_KEY"})
