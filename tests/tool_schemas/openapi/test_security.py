"""How the tools of an OpenAPI document authenticate."""

from __future__ import annotations

from typing import Any

import pytest

from loraloop.tool_schemas import ApiKey, NetworkPolicy, load_openapi
from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, UnknownNameError

SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
    "token": {"type": "http", "scheme": "Bearer"},
    "login": {"type": "http", "scheme": "basic"},
    "oauth": {"type": "oauth2", "flows": {}},
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "https://x"},
    "digest": {"type": "http", "scheme": "digest"},
    "tls": {"type": "mutualTLS"},
}


@pytest.fixture
def secured(service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("KEY", "USER", "PASS"):
        monkeypatch.setenv(f"TEST_{name}", f"value-of-{name}")
    monkeypatch.delenv("TEST_NONE", raising=False)
    service.gives("/", {})

    def call(own: Any, auth: Any, operation: dict[str, Any] | None = None, **root: Any) -> Any:
        root = {"components": {"securitySchemes": SCHEMES}, **root}
        node = {**(operation or {}), **({} if own is None else {"security": own})}
        policy = NetworkPolicy(networks=("loopback",))
        (tool,) = load_openapi(
            {"openapi": "3.1.0", "paths": {"/x": {"get": node}}, **root},
            base_url=service.url,
            auth=auth,
            policy=policy,
        ).tools
        tool.call({})
        return service.seen[-1]

    return call


@pytest.mark.parametrize(
    ("scheme", "given", "header", "value"),
    [
        ("key", "TEST_KEY", "X-Key", "value-of-KEY"),
        ("cookie", "TEST_KEY", "Cookie", "sid=value-of-KEY"),
        ("token", "TEST_KEY", "Authorization", "Bearer value-of-KEY"),
        ("oauth", "TEST_KEY", "Authorization", "Bearer value-of-KEY"),
        ("oidc", "TEST_KEY", "Authorization", "Bearer value-of-KEY"),
        ("login", ("TEST_USER", "TEST_PASS"), "Authorization", "Basic dmFsdWUtb2YtVVNFUjp2YWx1ZS1vZi1QQVNT"),
        ("tls", ApiKey("TEST_KEY", "X-Mine"), "X-Mine", "value-of-KEY"),
    ],
)
def test_schemes(secured: Any, scheme: str, given: Any, header: str, value: str) -> None:
    assert secured([{scheme: []}], {scheme: given}).headers[header] == value
    assert secured(None, {scheme: given}, security=[{scheme: []}]).headers[header] == value
    assert header not in secured([], {scheme: given}, security=[{scheme: []}]).headers


def test_ways_to_choose_from(secured: Any) -> None:
    ways = [{"digest": []}, {"token": [], "key": []}, {"query": []}]
    assert secured(ways, {"query": "TEST_KEY"}).target == "/x?key=value-of-KEY"
    both = secured(ways, {"token": "TEST_KEY", "key": "TEST_KEY"})
    assert both.headers["X-Key"] and both.headers["Authorization"]
    assert "X-Key" not in secured([{"key": []}, {}], {}).headers
    assert secured([{}, {"key": []}], {"key": "TEST_KEY"}).headers["X-Key"]


def test_what_is_missing_is_named_when_called(secured: Any, service: Any) -> None:
    with pytest.raises(ToolError, match=r"load it with auth=\{'key': 'VARIABLE', 'login': \('USER_VARIABLE'"):
        secured([{"key": [], "login": []}], {})
    with pytest.raises(ToolError, match="TEST_NONE is not set"):
        secured([{"key": []}], {"key": "TEST_NONE"})
    with pytest.raises(SchemaError, match=r"\$\.components\.securitySchemes\.digest: authentication by 'http digest'"):
        secured([{"digest": []}], {})
    assert not service.seen


@pytest.mark.parametrize(
    ("auth", "error", "word"),
    [
        ({"kee": "TEST_KEY"}, UnknownNameError, "'key'"),
        ({"login": "TEST_USER"}, InputError, "two variables"),
        ({"key": ("A", "B")}, InputError, "one environment variable"),
        ({"key": "sk-live-1"}, InputError, "not the secret itself"),
        ({"digest": "TEST_KEY"}, SchemaError, "digest"),
    ],
)
def test_auth_that_cannot_be_meant(secured: Any, auth: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word) as caught:
        secured([{"key": []}], auth)
    assert "sk-live-1" not in str(caught.value)


def test_the_model_is_not_asked_for_a_credential(secured: Any) -> None:
    operation = {
        "parameters": [
            {"name": "x-key", "in": "header", "required": True, "schema": {"type": "string"}},
            {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}},
        ]
    }
    assert secured([{"key": []}], {"key": "TEST_KEY"}, operation).headers["X-Key"] == "value-of-KEY"
    with pytest.raises(ToolError, match="'key': 'VARIABLE'"):
        secured([{"key": []}], {}, operation)
