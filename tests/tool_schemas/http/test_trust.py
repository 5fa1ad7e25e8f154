"""Servers that send elsewhere or repeat the secret: credentials stay with whom they are for, and are seen nowhere."""

from __future__ import annotations

import dataclasses
import html
import json
import logging
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop.tool_schemas import ApiKey, Basic, Bearer, NetworkPolicy, Place, http_tool
from loraloop.tool_schemas.errors import InputError, ToolError
from loraloop.tool_schemas.http.auth import REDACTED, Redactor
from loraloop.tool_schemas.http.client import _trusted

SECRET = "s3cr3t/Token+42=&x"


# --- redirects -------------------------------------------------------------------------------------------------------


def test_redirects_on_one_host_keep_credentials(service: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    service.gives("/x", status=302, Location="/y?page=2")
    answer = make(auth=Bearer("TOKEN")).call({})
    assert answer["target"] == "/y?page=2" and service.seen[1].headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT")],
)
def test_methods_after_a_redirect(service: Any, make: Any, status: int, method: str, then: str) -> None:
    service.gives("/x", status=status, Location="/y")
    make(method=method).call({"q": "1"})
    last = service.seen[-1]
    assert last.method == then and last.body == (b'{"q":"1"}' if then == method else b"")
    assert ("Content-Type" in last.headers) == (then == method)


def test_another_host_gets_no_credentials(
    service: Any, serve: Any, make: Any, local: NetworkPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOKEN", "KEY", "COOKIE", "QUERY"):
        monkeypatch.setenv(name, SECRET + name)
    other = serve()
    service.gives("/x", status=307, Location=other.url + "/there")
    other.gives("/there", status=307, Location=service.url + "/back")
    policy = NetworkPolicy(hosts=(f"127.0.0.1:{other.port}",), networks=("loopback",))
    ways = (Bearer("TOKEN"), ApiKey("KEY"), ApiKey("COOKIE", "c", "cookie"), ApiKey("QUERY", "k", "query"))
    places = {"q": Place("header", "X-Mine")}
    make(policy=policy, auth=ways, headers={"X-Static": "1"}, places=places).call({"q": "1"})
    first, there, back = service.seen[0], other.seen[0], service.seen[1]
    assert {"Authorization", "X-API-Key", "Cookie", "X-Static", "X-Mine"} <= set(first.headers) and "k=" in first.target
    for seen in (there, back):
        assert set(seen.headers) <= {"Host", "User-Agent", "Accept-Encoding", "Accept"}
        assert "?" not in seen.target


@pytest.mark.parametrize(
    ("origin", "other", "kept"),
    [
        ("http://a.test/x", "http://a.test/y", True),
        ("http://a.test/x", "https://a.test/x", True),
        ("http://a.test:80/x", "https://a.test:443/x", True),
        ("http://a.test/x", "http://b.test/x", False),
        ("https://a.test/x", "https://a.test.b.test/x", False),
        ("http://a.test:8000/x", "http://a.test:8001/x", False),
        ("http://a.test:8000/x", "https://a.test:8000/x", False),
        ("http://a.test/x", "https://a.test:8443/x", False),
        ("http://a.test:8000/x", "https://a.test/x", False),
        ("https://a.test/x", "http://a.test/x", False),
    ],
)
def test_credentials_stay_with_their_origin(origin: str, other: str, kept: bool) -> None:
    assert _trusted(httpx.URL(origin), httpx.URL(other)) is kept


def test_another_host_at_the_same_port_gets_no_credentials(
    serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    first = serve("127.0.0.1")
    other = serve("127.0.0.2", first.port)
    first.gives("/x", status=307, Location=f"http://127.0.0.2:{first.port}/there")
    policy = NetworkPolicy(hosts=(f"127.0.0.2:{first.port}",), networks=("loopback",))
    url = f"http://127.0.0.1:{first.port}/x"
    http_tool("f", "", {"type": "object"}, "GET", url, policy=policy, auth=Bearer("TOKEN")).call({})
    assert "Authorization" in first.seen[0].headers and "Authorization" not in other.seen[0].headers


def test_redirects_are_checked_and_counted(service: Any, serve: Any, make: Any) -> None:
    other = serve()
    cases = {
        "/host": (other.url, "not allowed"),
        "/metadata": ("http://169.254.169.254/latest", "not allowed"),
        "/file": ("file:///etc/passwd", "only http and https"),
        "/login": (service.url.replace("//", "//user:pw@"), "user name or password"),
        "/loop": ("/loop", "more than 5 redirects"),
        "/odd": ("http://[::1", "an invalid URL"),
    }
    for path, (location, word) in cases.items():
        service.gives(path, status=302, Location=location)
        with pytest.raises(ToolError, match=word):
            make(path).call({})
    assert not other.seen
    service.gives("/bare", status=302)
    with pytest.raises(ToolError, match=r"HTTP 302 Found \(a redirect"):
        make("/bare").call({})


# --- secrets ---------------------------------------------------------------------------------------------------------


def spellings() -> list[str]:
    from base64 import b64encode
    from html import escape
    from urllib.parse import quote, quote_plus

    return [
        SECRET,
        SECRET.upper(),
        quote(SECRET, safe=""),
        quote_plus(SECRET).lower(),
        escape(SECRET),
        SECRET.replace("/", "\\/"),
        b64encode(SECRET.encode()).decode(),
    ]


@pytest.mark.parametrize(
    "way", [Bearer("TOKEN"), ApiKey("TOKEN"), ApiKey("TOKEN", "key", "query"), Basic("U", "TOKEN")]
)
def test_a_secret_is_seen_nowhere(
    service: Any, make: Any, way: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("U", "user-name")
    caplog.set_level(logging.DEBUG)
    service.on("/quiet", lambda handler, _: handler.reply({"ok": True}))
    tool = make("/quiet", auth=way)
    assert tool.call({"q": "1"}) == {"ok": True}
    assert SECRET not in caplog.text and SECRET not in repr(service.seen[0].target)
    fields = repr([getattr(tool, field.name) for field in dataclasses.fields(tool)])
    assert SECRET not in repr(tool) and SECRET not in fields and "TOKEN" in fields
    assert service.seen[0].headers != {} and any(
        SECRET in value or "dXNlci1uYW1lO" in value or "key=" in service.seen[0].target
        for value in service.seen[0].headers.values()
    )
    tool = make("/echo", auth=way)
    seen = repr(tool.call({"q": "1"}))
    assert "[redacted]" in seen
    for spelling in spellings():
        service.gives("/json", {f"k {spelling}": [spelling, {"a": f"<{spelling}>"}], "n": 1})
        service.gives("/text", f"You said {spelling}, yes")
        service.gives("/fail", {"error": f"bad key {spelling}"}, status=401)
        service.gives("/bad", '{"a": ' + spelling, Content_Type="application/json")
        seen += repr(make("/json", auth=way).call({})) + make("/text", auth=way).call({})
        for path in ("/fail", "/bad"):
            with pytest.raises(ToolError) as caught:
                make(path, auth=way).call({})
            seen += str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert seen.count("[redacted]") >= 5 * len(spellings())
    for spelling in spellings():
        assert spelling.lower() not in seen.lower()


SPELLED = [
    lambda text: text,
    lambda text: "".join(f"\\u{ord(each):04X}" for each in text),
    lambda text: "".join(f"&#{ord(each)};" for each in text),
    lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: html.escape(text),
    lambda text: b64encode(text.encode()).decode(),
    lambda text: urlsafe_b64encode(text.encode()).decode(),
]
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=20)
AROUND = st.text(st.sampled_from("абвгд"), max_size=9)  # what is around a secret has none of its letters


@pytest.mark.parametrize("spelled", SPELLED)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_any_secret_is_taken_out(spelled: Callable[[str], str], secret: str, before: str, after: str) -> None:
    hide, spelling = Redactor([secret]), spelled(secret)
    clean = re.compile(rf"{before}\s?{re.escape(REDACTED)}=*\s?{after}")  # base64 may leave its padding
    assert clean.fullmatch(hide.text(f"{before} {spelling} {after}"))
    ((key, (inner,)),) = hide.value({spelling: [{"a": f"{before}{spelling}{after}"}]}).items()
    assert key.rstrip("=") == REDACTED and clean.fullmatch(inner["a"])
    assert repr(hide) == "Redactor()"


def test_a_secret_in_the_names_that_html_has_for_characters() -> None:
    named = {"/": "&sol;", "+": "&plus;", "=": "&equals;", ".": "&period;", ":": "&colon;", "_": "&lowbar;"}
    secret = "u_ser:pa/ss+w=rd."
    escaped = "".join(named.get(each, each) for each in secret)
    assert Redactor([secret]).text(f"<b>{escaped}</b>") == f"<b>{REDACTED}</b>"


@pytest.mark.parametrize("before", ["", "a", "ab"])
@pytest.mark.parametrize("coded", [b64encode, urlsafe_b64encode])
def test_a_secret_inside_something_longer_in_base64(before: str, coded: Any) -> None:
    text = coded(f"{before}{SECRET}, he said".encode()).decode()
    left = Redactor([SECRET]).text(text)
    assert REDACTED in left and len(left.replace(REDACTED, "")) < len(text) - len(SECRET)


def test_a_secret_in_the_type_of_an_answer(service: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-token-42")
    service.gives("/x", b"\x00\xff\xfe", Content_Type="application/s3cr3t-token-42")
    with pytest.raises(ToolError, match="not text but") as caught:
        make(auth=Bearer("TOKEN")).call({})
    assert "s3cr3t" not in str(caught.value) and REDACTED in str(caught.value)


def test_a_secret_at_the_edge_of_an_excerpt(service: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    for before in range(380, 402, 3):
        service.gives("/x", "y" * before + SECRET, status=400)
        with pytest.raises(ToolError) as caught:
            make(auth=Bearer("TOKEN")).call({})
        assert SECRET[:6] not in str(caught.value)


def test_a_number_that_is_the_secret(service: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "12345678")
    service.gives("/x", {"pin": 12345678, "n": 7})
    assert make(auth=ApiKey("TOKEN")).call({}) == {"pin": "[redacted]", "n": 7}


def test_a_redirect_does_not_carry_a_secret_away(
    service: Any, serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    other = serve()
    policy = NetworkPolicy(hosts=(f"127.0.0.1:{other.port}",), networks=("loopback",))
    service.on("/x", lambda handler, seen: handler.reply(status=302, Location=other.url + seen.target))
    with pytest.raises(ToolError, match="credential"):
        make(policy=policy, auth=ApiKey("TOKEN", "key", "query")).call({})
    assert not other.seen


def test_variables_are_read_when_called(service: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    tool = make(auth=Bearer("TOKEN"))
    with pytest.raises(ToolError, match="TOKEN is not set"):
        tool.call({})
    for value in ("one", "two"):
        monkeypatch.setenv("TOKEN", value)
        tool.call({})
        assert service.seen[-1].headers["Authorization"] == f"Bearer {value}"
    monkeypatch.setenv("TOKEN", "a\r\nX-Evil: 1")
    with pytest.raises(ToolError, match="TOKEN holds characters") as caught:
        tool.call({})
    assert "Evil" not in str(caught.value) and len(service.seen) == 2


def test_credentials_that_cannot_be_meant(make: Any) -> None:
    with pytest.raises(InputError, match="not the secret itself") as caught:
        Bearer("sk-live-123")
    assert "sk-live" not in str(caught.value)
    with pytest.raises(InputError, match="where the credential goes"):
        make(auth=ApiKey("TOKEN", "q", "query"))
    with pytest.raises(InputError, match="Bearer"):
        make(auth=("TOKEN",))
