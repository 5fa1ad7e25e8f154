"""What servers do: fail for a while, drip, never end, send elsewhere, repeat the secret."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from loraloop.tool_schemas import (
    ApiKey,
    Basic,
    Bearer,
    HttpClient,
    HttpError,
    NetworkPolicy,
    Place,
    Retries,
    Tool,
    http_tool,
)
from loraloop.tool_schemas.errors import InputError, ToolError

ARGUMENTS = {"type": "object", "properties": {"q": {"type": "string"}}}
QUICK = Retries(count=2, backoff=0.01)
SECRET = "s3cr3t/Token+42=&x"


@pytest.fixture
def make(service: Any, local: NetworkPolicy) -> Callable[..., Tool]:
    def made(path: str = "/x", method: str = "GET", **options: Any) -> Tool:
        options = {"policy": local, "retries": QUICK, "timeout": 5.0} | options
        if "client" in options:
            del options["policy"]
        return http_tool("f", "", ARGUMENTS, method, service.url + path, **options)

    return made


def failing(times: int, status: int = 503, **headers: str) -> Callable[[Any, Any], None]:
    left = [times]

    def act(handler: Any, _: Any) -> None:
        left[0] -= 1
        handler.reply(b"busy" if left[0] >= 0 else b"done", status if left[0] >= 0 else 200, **headers)

    return act


# --- results ---------------------------------------------------------------------------------------------------------


def test_results(service: Any, make: Any) -> None:
    service.gives("/json", {"a": [1, None]})
    service.gives("/problem", {"a": 1}, Content_Type="application/vnd.x+json; charset=utf-8")
    service.gives("/text", "Zürich")
    service.gives("/latin", "Zürich".encode("latin-1"), Content_Type="text/plain; charset=latin-1")
    service.gives("/empty", b"", status=204)
    service.gives("/image", b"\x89PNG\x00\xff", Content_Type="image/png")
    service.gives("/broken", b'{"a": NaN}', Content_Type="application/json")
    service.gives("/deep", b"[" * 100_000, Content_Type="application/json")
    assert make("/json").call({}) == {"a": [1, None]}
    assert make("/problem").call({}) == {"a": 1}
    assert make("/json", result="text").call({}) == '{"a": [1, null]}'
    assert make("/text").call({}) == make("/latin").call({}) == "Zürich"
    assert make("/empty").call({}) is None
    assert make("/json", "HEAD").call({}) == {"status": 200}
    for path, word in (("/image", "image/png"), ("/broken", "no valid JSON"), ("/deep", "no valid JSON")):
        with pytest.raises(ToolError, match=word):
            make(path).call({})


def test_an_error_says_its_status_and_a_part_of_the_body(service: Any, make: Any) -> None:
    service.gives("/no", {"error": "no such\ncity " + "x" * 5000}, status=404)
    service.gives("/page", b"<html><style>p{}</style><p>Not <b>here</b>", status=500, Content_Type="text/html")
    with pytest.raises(ToolError) as caught:
        make("/no").call({})
    said = str(caught.value)
    assert "HTTP 404 Not Found" in said and "no such" in said and "\n" not in said and len(said) < 600
    assert isinstance(caught.value, HttpError) and caught.value.status == 404
    with pytest.raises(ToolError, match=r"HTTP 500 Internal Server Error: Not here$"):
        make("/page").call({})


# --- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(service: Any, make: Any, status: int) -> None:
    service.on("/x", failing(2, status))
    assert make().call({}) == "done" and len(service.seen) == 3


def test_retries_end(service: Any, make: Any) -> None:
    service.gives("/x", "busy", status=503)
    with pytest.raises(ToolError, match="HTTP 503"):
        make().call({})
    assert len(service.seen) == 3


def test_only_what_may_be_repeated_is(service: Any, make: Any) -> None:
    service.on("/x", failing(1))
    with pytest.raises(ToolError, match="HTTP 503"):
        make(method="POST").call({})
    assert len(service.seen) == 1
    service.on("/x", failing(1))
    assert make(method="POST", retries=Retries(1, 0.01, methods=("POST",))).call({}) == "done"
    service.gives("/x", "no", status=500)
    with pytest.raises(ToolError, match="HTTP 500"):
        make().call({})
    assert len(service.seen) == 4


def test_a_post_whose_answer_is_lost_is_not_sent_again(service: Any, make: Any) -> None:
    service.on("/x", lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR))
    with pytest.raises(ToolError, match="cannot get an answer"):
        make(method="POST").call({})
    assert len(service.seen) == 1
    with pytest.raises(ToolError, match="cannot get an answer"):
        make().call({})
    assert len(service.seen) == 4


def test_a_refused_connection_is_tried_again_by_any_method(local: NetworkPolicy) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = f"http://api.test:{port}/"
    client = HttpClient(local.allowing(url), resolver=resolver)
    with pytest.raises(ToolError, match=r"cannot connect to api\.test"):
        http_tool("f", "", ARGUMENTS, "POST", url, client=client, retries=QUICK).call({})
    assert len(asked) == 3


def test_retry_after_is_honoured(service: Any, make: Any) -> None:
    service.on("/x", failing(1, 429, Retry_After="1"))
    start = time.monotonic()
    assert make().call({}) == "done"
    assert 0.9 < time.monotonic() - start < 3


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_wait_that_is_too_long_is_told(service: Any, make: Any, after: str) -> None:
    service.gives("/x", "slow down", status=429, Retry_After=after)
    start = time.monotonic()
    with pytest.raises(ToolError, match="HTTP 429"):
        make().call({})
    assert time.monotonic() - start < 1 and len(service.seen) == 1


def test_waits_grow_and_vary() -> None:
    waits = [[Retries(backoff=1).wait(tried, None) for tried in range(6)] for _ in range(20)]
    assert all(0.5 <= each[0] <= 1 and 1 <= each[1] <= 2 and each[5] <= 10 for each in waits)
    assert len({each[0] for each in waits}) > 1
    assert Retries().wait(0, 7.0) == 7.0


# --- time and size ---------------------------------------------------------------------------------------------------


def drip(first: bytes, piece: bytes) -> Callable[[Any, Any], None]:
    def act(handler: Any, _: Any) -> None:
        handler.wfile.write(first)
        while True:
            handler.wfile.write(piece)
            time.sleep(0.05)

    return act


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_a_drip_ends_with_the_deadline(service: Any, make: Any, first: bytes, piece: bytes) -> None:
    service.on("/x", drip(first, piece))
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"no answer within 0\.4 s"):
        make(timeout=0.4).call({})
    assert 0.3 < time.monotonic() - start < 1.5


def test_a_silent_server_meets_the_read_timeout(service: Any, make: Any) -> None:
    service.on("/x", lambda *_: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(ToolError, match="timed out"):
        make(read_timeout=0.2, retries=0).call({})
    assert time.monotonic() - start < 1


def test_a_name_that_does_not_resolve_in_time(local: NetworkPolicy) -> None:
    hang = threading.Event()
    client = HttpClient(local.allowing("http://api.test/"), resolver=lambda *_: ["::1"] if hang.wait(5) else [])
    start = time.monotonic()
    with pytest.raises(ToolError, match="timed out"):
        http_tool("f", "", ARGUMENTS, "GET", "http://api.test/", client=client, retries=0, connect_timeout=0.2).call({})
    hang.set()
    assert time.monotonic() - start < 1


def test_a_body_without_end_is_not_read(service: Any, make: Any) -> None:
    sent = [0]

    def act(handler: Any, _: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while sent[0] < 200 << 20:
            sent[0] += handler.wfile.write(b"x" * 65536)

    service.on("/x", act)
    with pytest.raises(ToolError, match="larger than 1048576 bytes"):
        make().call({})
    time.sleep(0.05)
    assert sent[0] < 50 << 20


def test_an_announced_size_is_believed(service: Any, make: Any) -> None:
    service.on("/x", lambda handler, _: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"))
    with pytest.raises(ToolError, match="larger than"):
        make().call({})


def test_compressed_answers(service: Any, make: Any) -> None:
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(b"hello"),
        "deflate": zlib.compress(b"hello"),
        "raw": raw.compress(b"hello") + raw.flush(),
    }
    for name, body in bodies.items():
        service.gives("/" + name, body, Content_Encoding="deflate" if name == "raw" else name)
        assert make("/" + name).call({}) == "hello"
    service.gives("/bomb", gzip.compress(bytes(100 << 20), 1), Content_Encoding="gzip")
    service.gives("/lie", b"hello", Content_Encoding="gzip")
    service.gives("/cut", gzip.compress(b"hello" * 1000)[:-10], Content_Encoding="gzip")
    service.gives("/br", b"hello", Content_Encoding="br")
    for path, word in (("/bomb", "larger than"), ("/lie", "is not"), ("/cut", "cut off"), ("/br", "not asked for")):
        with pytest.raises(ToolError, match=word):
            make(path).call({})


# --- connections -----------------------------------------------------------------------------------------------------


def test_connections_are_kept_shared_and_closed(service: Any, make: Any, local: NetworkPolicy) -> None:
    client = HttpClient(local.allowing(service.url))
    one, two = make("/a", client=client), make("/b", client=client)
    for _ in range(3):
        one.call({})
        two.call({})
    assert len({seen.connection for seen in service.seen}) == 1
    threads = [threading.Thread(target=one.call, args=({},)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.seen) == 14
    client.close()
    with pytest.raises(ToolError, match="closed"):
        one.call({})


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


def test_redirects_are_checked_and_counted(service: Any, serve: Any, make: Any) -> None:
    other = serve()
    cases = {
        "/host": (other.url, "not allowed"),
        "/metadata": ("http://169.254.169.254/latest", "not allowed"),
        "/file": ("file:///etc/passwd", "only http and https"),
        "/login": (service.url.replace("//", "//user:pw@"), "user name or password"),
        "/loop": ("/loop", "more than 5 redirects"),
        "/odd": ("http://[::1", "no address"),
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
    assert SECRET not in repr(tool) and "TOKEN" in repr(tool)
    assert service.seen[0].headers != {} and any(
        SECRET in value or "dXNlci1uYW1lO" in value or "key=" in service.seen[0].target
        for value in service.seen[0].headers.values()
    )
    tool = make("/echo", auth=way)
    said = repr(tool.call({"q": "1"}))
    assert "[redacted]" in said
    for spelling in spellings():
        service.gives("/json", {f"k {spelling}": [spelling, {"a": f"<{spelling}>"}], "n": 1})
        service.gives("/text", f"You said {spelling}, yes")
        service.gives("/fail", {"error": f"bad key {spelling}"}, status=401)
        service.gives("/bad", '{"a": ' + spelling, Content_Type="application/json")
        said += repr(make("/json", auth=way).call({})) + make("/text", auth=way).call({})
        for path in ("/fail", "/bad"):
            with pytest.raises(ToolError) as caught:
                make(path, auth=way).call({})
            said += str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert said.count("[redacted]") >= 5 * len(spellings())
    for spelling in spellings():
        assert spelling.lower() not in said.lower()


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
