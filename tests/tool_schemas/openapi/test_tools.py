"""Operations as tools, called against a real server."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from loraloop.tool_schemas import Bearer, HttpClient, NetworkPolicy, Sending, Tool, load_openapi, tools_from_openapi
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, UnknownNameError

STRING = {"type": "string"}
PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}, {"name": "lang", "in": "query", "schema": STRING}],
            "get": {
                "operationId": "getPet",
                "summary": "Look up a pet",
                "description": "Says everything.\n\nAt length.",
                "parameters": [
                    {
                        "name": "lang",
                        "in": "query",
                        "required": True,
                        "description": "Language",
                        "schema": {"enum": ["de", "en"]},
                    },
                    {"name": "Accept", "in": "header", "schema": STRING},
                    {"name": "X-Trace", "in": "header", "schema": STRING},
                    {"name": "seen", "in": "cookie", "schema": {"type": "integer"}},
                    {
                        "name": "filter",
                        "in": "query",
                        "style": "deepObject",
                        "schema": {"type": "object", "properties": {"a": STRING}},
                    },
                    {"name": "tags", "in": "query", "explode": False, "schema": {"type": "array", "items": STRING}},
                    {"name": "where", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
                },
            },
            "put": {
                "operationId": "putPet",
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
                "responses": {"204": {"description": "done"}},
            },
            "delete": {"operationId": "dropPet", "deprecated": True, "responses": {}},
        },
        "/pets": {
            "post": {
                "tags": ["admin"],
                "operationId": "pets.add/new",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
                "responses": {"201": {"description": "made"}},
            },
            "get": {"responses": {"200": {"description": "all"}}},
        },
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": STRING}},
        "requestBodies": {
            "Pet": {
                "description": "What to keep",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
            }
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["id", "name"],
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "example": "Rex"},
                    "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
                },
            }
        },
    },
}


def load(service: Any, document: Any = PETS, **options: Any) -> dict[str, Tool]:
    options = {"base_url": service.url + "/v1/", "policy": NetworkPolicy(networks=("loopback",))} | options
    return {tool.name: tool for tool in load_openapi(document, **options).tools}


def one(operation: dict[str, Any], path: str = "/x", method: str = "get", **root: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {path: {method: {"operationId": "op", **operation}}}, **root}


def test_parameters_go_where_they_belong(service: Any) -> None:
    tools = load(service)
    assert list(tools) == ["getPet", "putPet", "get_pets", "pets_add_new"]
    tool = tools["getPet"]
    assert tool.description == "Look up a pet. Says everything." and tool.source == "http"
    assert list(tool.parameters["properties"]) == ["id", "lang", "filter", "tags", "where", "X-Trace", "seen"]
    assert tool.parameters["required"] == ["id", "lang"]
    assert tool.parameters["properties"]["lang"] == {"enum": ["de", "en"], "description": "Language"}
    assert tool.parameters["properties"]["id"] == {"type": "string", "minLength": 1}
    arguments = {"id": "a/b", "lang": "de", "filter": {"a": "1"}, "tags": ["x", "y"], "where": {"z": 1}}
    answer = tool.call({**arguments, "X-Trace": "t", "seen": 3})
    assert answer["target"] == "/v1/pets/a%2Fb?lang=de&filter%5Ba%5D=1&tags=x,y&where=%7B%22z%22%3A1%7D"
    assert answer["headers"]["X-Trace"] == "t" and answer["headers"]["Cookie"] == "seen=3"
    assert answer["headers"]["Accept"].startswith("application/json")
    with pytest.raises(SchemaError):
        tool.call({**arguments, "other": 1})


def test_bodies(service: Any) -> None:
    tools = load(service)
    add = tools["pets_add_new"]
    assert list(add.parameters["properties"]) == ["name", "friends"] and add.parameters["required"] == ["name"]
    add.call({"name": "Rex", "friends": [{"name": "Tom"}]})
    assert service.seen[-1].json == {"name": "Rex", "friends": [{"name": "Tom"}]}
    assert service.seen[-1].target == "/v1/pets" and service.seen[-1].headers["Content-Type"] == "application/json"
    put = tools["putPet"]  # an optional body whose fields are required stays one argument
    assert (
        put.parameters["required"] == ["id"] and put.parameters["properties"]["body"]["description"] == "What to keep"
    )
    put.call({"id": "1", "body": {"name": "Rex"}})
    assert service.seen[-1].json == {"name": "Rex"}
    put.call({"id": "1"})
    assert service.seen[-1].body == b"" and "Content-Type" not in service.seen[-1].headers
    with pytest.raises(SchemaError):
        put.call({"id": "1", "body": {}})


@pytest.mark.parametrize(
    ("body", "arguments", "sent"),
    [
        ({"application/json": {"schema": {"type": "array", "items": STRING}}}, {"body": ["a"]}, b'["a"]'),
        ({"application/json": {"schema": {"type": "object"}}}, {"body": {"a": 1}}, b'{"a":1}'),
        ({"application/json": {}}, {"body": None}, b"null"),
        ({"application/merge-patch+json": {"schema": {"properties": {"a": STRING}}}}, {"a": "1"}, b'{"a":"1"}'),
        (
            {
                "application/json-patch+json": {"schema": {"type": "array"}},
                "application/json": {"schema": {"properties": {"a": STRING}}},
            },
            {"a": "1"},
            b'{"a":"1"}',
        ),
        ({"application/json": {"schema": {"properties": {"a": STRING}}}}, {}, b"{}"),
        (
            {"application/json": {"schema": {"properties": {"a": STRING}, "additionalProperties": True}}},
            {"body": {"b": 1}},
            b'{"b":1}',
        ),
        (
            {"application/json": {"schema": {"properties": {"a": STRING}, "minProperties": 1}}},
            {"body": {"a": "x"}},
            b'{"a":"x"}',
        ),
        (
            {"application/json": {"schema": {"anyOf": [{"properties": {"a": STRING}}]}}},
            {"body": {"a": "x"}},
            b'{"a":"x"}',
        ),
        (
            {
                "application/json": {
                    "schema": {
                        "allOf": [{"properties": {"a": STRING}}, {"properties": {"b": STRING}, "required": ["b"]}]
                    }
                }
            },
            {"a": "1", "b": "2"},
            b'{"a":"1","b":"2"}',
        ),
        (
            {
                "application/x-www-form-urlencoded": {
                    "schema": {"properties": {"a": STRING, "n": {"type": "array", "items": STRING}}}
                }
            },
            {"a": "x y", "n": ["1", "2"]},
            b"a=x%20y&n=1&n=2",
        ),
        (
            {
                "application/x-www-form-urlencoded": {
                    "schema": {"properties": {"o": {"type": "object"}, "j": {"type": "object"}}},
                    "encoding": {"o": {"style": "deepObject"}, "j": {"contentType": "application/json"}},
                }
            },
            {"o": {"k": 1}, "j": {"k": 1}},
            b"o%5Bk%5D=1&j=%7B%22k%22%3A1%7D",
        ),
        ({"text/plain; charset=utf-8": {"schema": STRING}}, {"body": "hé"}, "hé".encode()),
        ({"text/plain": {"schema": STRING}}, {"body": "hé"}, "hé".encode()),
        ({"text/json": {"schema": {"type": "array"}}}, {"body": [1]}, b"[1]"),
        (
            {"multipart/form-data": {}, "application/json": {"schema": {"properties": {"a": STRING}}}},
            {"a": "1"},
            b'{"a":"1"}',
        ),
    ],
)
def test_kinds_of_bodies(service: Any, body: dict[str, Any], arguments: dict[str, Any], sent: bytes) -> None:
    document = one({"requestBody": {"required": True, "content": body}}, method="post")
    tool = load(service, document)["op"]
    tool.call(arguments)
    assert service.seen[-1].body == sent
    media = list(body)[-1]
    plain = media == "text/plain"  # without a charset it would be ISO-8859-1 to some servers
    assert service.seen[-1].headers["Content-Type"] == (f"{media}; charset=utf-8" if plain else media)


def test_names_that_meet_are_told_apart(service: Any) -> None:
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": STRING},
        {"name": "id", "in": "query", "schema": STRING},
        {"name": "limit", "in": "query", "schema": STRING},
    ]
    body = {
        "required": True,
        "content": {"application/json": {"schema": {"properties": {"id": STRING, "name": STRING}}}},
    }
    tool = load(service, one({"parameters": parameters, "requestBody": body}, "/x/{id}", "post"))["op"]
    assert list(tool.parameters["properties"]) == ["path_id", "query_id", "limit", "body_id", "name"]
    tool.call({"path_id": "p", "query_id": "q", "body_id": "b", "name": "n"})
    assert service.seen[-1].target == "/v1/x/p?id=q" and service.seen[-1].json == {"id": "b", "name": "n"}


def test_a_union_by_discriminator_is_one_argument(service: Any) -> None:
    schemas = {
        "Pet": {"type": "object", "properties": {"kind": STRING}, "discriminator": {"propertyName": "kind"}},
        "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"properties": {"lives": {"type": "integer"}}}]},
    }
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
    tool = load(service, one({"requestBody": body}, method="post", components={"schemas": schemas}))["op"]
    tool.call({"body": {"kind": "Cat", "lives": 9}})
    with pytest.raises(SchemaError):
        tool.call({"body": {"kind": "Dog"}})


# --- documents -------------------------------------------------------------------------------------------------------

YAML = """
openapi: 3.1.0
paths:
  /x:
    get:
      operationId: op
      parameters:
        - {name: country, in: query, schema: {enum: [no, de, on]}}
        - {name: day, in: query, schema: {type: string, example: 2024-01-01}}
      responses:
        200: {description: fine}
"""


def test_yaml_says_what_yaml_1_2_says(service: Any, tmp_path: Any) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(YAML)
    tool = load(service, file)["op"]
    assert tool.parameters["properties"]["country"] == {"enum": ["no", "de", "on"]}
    assert tool.parameters["properties"]["day"]["examples"] == ["2024-01-01"]
    assert load(service, str(file)).keys() == {"op"}


def test_documents_that_are_none(tmp_path: Any) -> None:
    file = tmp_path / "x.yaml"
    cases = {
        "a: [": "not valid YAML",
        "[1]": "no OpenAPI document",
        "{": "not valid JSON",
        "swagger: '2.0'": "convert it",
        "openapi: 4.0.0": "not supported",
        "openapi: 3.1.0\njsonSchemaDialect: https://json-schema.org/draft-07/schema": "dialect",
        "openapi: 3.1\npaths: [1]": "must be an object",
        "!!python/object/apply:os.getcwd []": "not valid YAML",
        "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        + "".join(
            f"{chr(n + 1)}: &{chr(n + 1)} [{', '.join([f'*{chr(n)}'] * 9)}]\n" for n in range(98, 110)
        ): "more than",
        "a: &a [*a]": "more than",
    }
    for text, word in cases.items():
        file.write_text(text)
        with pytest.raises(SchemaError, match=word):
            load_openapi(file)
    with pytest.raises(SchemaError, match="cannot read"):
        load_openapi(tmp_path / "none.json")


def test_a_document_that_contains_itself() -> None:
    circle: dict[str, Any] = {"openapi": "3.1.0", "paths": {}}
    circle["paths"]["/x"] = circle
    with pytest.raises(SchemaError, match="no JSON data"):
        load_openapi(circle)


def test_a_document_from_a_url(service: Any, serve: Any) -> None:
    local = NetworkPolicy(networks=("loopback",))
    document = {**copy.deepcopy(PETS), "servers": [{"url": "../v2"}]}
    service.gives("/api/openapi.json", document)
    url = service.url + "/api/openapi.json"
    tools = {tool.name: tool for tool in tools_from_openapi(url, policy=local)}
    assert tools["get_pets"].call({})["target"] == "/v2/pets"
    with pytest.raises(ToolError, match="loopback"):
        load_openapi(url)
    other = serve()
    service.gives("/api/openapi.json", {**document, "servers": [{"url": other.url}]})
    with pytest.raises(SchemaError, match=r"host '127\.0\.0\.1' at port .* is not allowed"):
        load_openapi(url, policy=local)
    hosts = (f"127.0.0.1:{other.port}",)
    assert load_openapi(url, policy=NetworkPolicy(hosts=hosts, networks=("loopback",))).tools
    assert load_openapi(url, policy=local, base_url=other.url).tools
    service.gives("/api/openapi.json", b"{}", status=404)
    with pytest.raises(ToolError, match="HTTP 404"):
        load_openapi(url, policy=local)


def test_servers(service: Any) -> None:
    def url(**document: Any) -> str:
        made = {**one({}), **document}
        options = made.pop("options", {})
        (tool,) = load_openapi(made, **options).tools
        return tool.function.template.url  # type: ignore[union-attr]

    variables = {"region": {"default": "eu", "enum": ["eu", "us"]}, "v": {"default": 2}}
    servers = [{"url": "https://{region}.api.test/v{v}/", "variables": variables}, {"url": "https://second.test"}]
    assert url(servers=servers) == "https://eu.api.test/v2/x"
    assert url(servers=servers, options={"server_variables": {"region": "us"}}) == "https://us.api.test/v2/x"
    assert url(servers=servers, options={"base_url": "https://mine.test/a"}) == "https://mine.test/a/x"
    asked = url(servers=servers, options={"base_url": "https://mine.test/a?version=2"})
    assert asked == "https://mine.test/a/x?version=2"
    own = {
        "/x": {
            "get": {"operationId": "op", "servers": [{"url": "https://own.test"}]},
            "servers": [{"url": "https://path.test"}],
        }
    }
    assert url(servers=servers, paths=own) == "https://own.test/x"
    for document, word in (
        ({"servers": [{"url": "/v1"}]}, "base_url"),
        ({}, "base_url"),
        ({"servers": [{"url": "https://{x}.test"}]}, "no default"),
        ({"servers": servers, "options": {"server_variables": {"region": "mars"}}}, "cannot be 'mars'"),
        ({"servers": servers, "options": {"server_variables": {"regio": "us"}}}, "did you mean 'region'"),
        ({"servers": [{"url": "http://169.254.169.254/"}]}, "link-local"),
        ({"servers": [{"url": "https://u:p@a.test/"}]}, "user name or password"),
    ):
        with pytest.raises((SchemaError, InputError, UnknownNameError), match=word):
            url(**document)


def test_a_client_of_ones_own(service: Any) -> None:
    policy = NetworkPolicy(networks=("loopback",))
    with HttpClient(policy.allowing(service.url)) as client:
        made = load_openapi(PETS, base_url=service.url, client=client, sending=Sending(timeout=3.0))
        assert made.client is client and made.tools[0].timeout == 4.0
        with pytest.raises(InputError, match="not both"):
            load_openapi(PETS, client=client, policy=policy)
    with load_openapi(PETS, base_url=service.url, policy=policy) as made:
        tool = next(tool for tool in made.tools if tool.name == "get_pets")
        assert tool.call({})["target"] == "/pets"
    with pytest.raises(ToolError, match="closed"):
        tool.call({})


def test_an_auth_for_everything(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "abc-secret")
    tools = load(service, auth=Bearer("TOKEN"))
    assert tools["get_pets"].call({})["headers"]["Authorization"] == "Bearer [redacted]"
    assert "abc-secret" not in repr(tools)
