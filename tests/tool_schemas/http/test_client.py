"""What servers do: answer, fail for a while, drip, never end."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from loraloop.tool_schemas import (
    HttpClient,
    HttpError,
    NetworkPolicy,
    Retries,
    Tool,
    http_tool,
)
from loraloop.tool_schemas.errors import ToolError, UnknownNameError
from loraloop.tool_schemas.http.auth import Redactor
from loraloop.tool_schemas.http.body import excerpt

ARGUMENTS = {"type": "object", "properties": {"q": {"type": "string"}}}
QUICK = Retries(count=2, backoff=0.01)


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
    for path, word in (("/image", "image/png"), ("/broken", "not valid JSON"), ("/deep", "not valid JSON")):
        with pytest.raises(ToolError, match=word):
            make(path).call({})


def test_the_short_way_takes_the_same_options(service: Any, local: NetworkPolicy) -> None:
    tool = Tool.from_http("f", "", {"type": "object", "properties": {}}, "GET", service.url + "/x", policy=local)
    assert tool.call({})["target"] == "/x"
    assert http_tool == Tool.from_http
    with pytest.raises(UnknownNameError, match="did you mean 'timeout'"):
        Tool.from_http("f", "", {"type": "object", "properties": {}}, "GET", service.url, timeot=1)  # type: ignore[call-arg]


def test_an_error_says_its_status_and_a_part_of_the_body(service: Any, make: Any) -> None:
    service.gives("/no", {"error": "no such\ncity " + "x" * 5000}, status=404)
    service.gives("/page", b"<html><style>p{}</style><p>Not <b>here</b>", status=500, Content_Type="text/html")
    with pytest.raises(ToolError) as caught:
        make("/no").call({})
    message = str(caught.value)
    assert "HTTP 404 Not Found" in message and "no such" in message and "\n" not in message and len(message) < 600
    assert isinstance(caught.value, HttpError) and caught.value.status == 404
    with pytest.raises(ToolError, match=r"HTTP 500 Internal Server Error: Not here$"):
        make("/page").call({})


def test_fixed_headers_replace_our_own(service: Any, make: Any) -> None:
    make(headers={"user-agent": "me", "accept": "text/csv"}).call({})
    headers = {name.lower(): value for name, value in service.seen[0].headers.items()}
    assert headers["user-agent"] == "me" and headers["accept"] == "text/csv"
    assert len(headers) == len(service.seen[0].headers)


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


@pytest.mark.parametrize("after", ["\xb2", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_a_wait_that_means_nothing_is_not_waited(service: Any, make: Any, after: str) -> None:
    service.gives("/x", "slow down", status=429, Retry_After=after)
    with pytest.raises(ToolError, match="HTTP 429 Too Many Requests: slow down"):
        make().call({})
    assert len(service.seen) == 3


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


def test_what_follows_a_compressed_body_is_not_read(service: Any, make: Any) -> None:
    body, sent = gzip.compress(b"hello"), [0]

    def endless(handler: Any, _: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n" + body)
        while sent[0] < 200 << 20:
            sent[0] += handler.wfile.write(body[:4] + bytes(65536))

    service.on("/x", endless)
    service.on("/drip", drip(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + body, b"x"))
    start = time.monotonic()
    assert make("/x", timeout=5).call({}) == make("/drip", timeout=5).call({}) == "hello"
    assert time.monotonic() - start < 2 and sent[0] < 50 << 20


def test_compressed_bytes_that_say_nothing_are_bounded(service: Any, make: Any) -> None:
    def act(handler: Any, _: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10])
        while True:
            handler.wfile.write(b"\x00\x00\x00\xff\xff" * 10_000)  # empty blocks without end

    service.on("/x", act)
    start = time.monotonic()
    with pytest.raises(ToolError, match="larger than 165536 bytes"):
        make(max_bytes=100_000, timeout=20).call({})
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "unicode_escape", "rot13", "zlib", "hex"])
def test_a_server_cannot_choose_a_slow_codec(service: Any, make: Any, charset: str) -> None:
    each = r"+AGE-\x41-egbpdaj6bu4bxfgehfvwxn"  # other text in UTF-7, with escapes and in Punycode
    for text in (each, "a-" + "b9" * 200_000):
        service.gives("/x", text.encode(), Content_Type=f"text/plain; charset={charset}")
        start = time.monotonic()
        assert make(timeout=3).call({}) == text  # as UTF-8, like a charset that nobody knows
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("piece", ["<", "<script ", "<style>", "</script", "<!--", "&#", "%", "\\"])
def test_a_page_of_an_error_is_excerpted_in_bounded_time(piece: str) -> None:
    page, start = ("<b>Sorry</b> " + piece * (100_000 // len(piece))).encode(), time.thread_time()
    assert "Sorry" in excerpt(page, "text/html", Redactor(["s3cr3t/Token+42"]))
    assert time.thread_time() - start < 3


def test_markup_and_scripts_are_left_out_of_an_excerpt() -> None:
    page = b"<html><style>p { color: red }</style><SCRIPT>x < 1</script><p>Not <b>found</b>.</p><script>never closed"
    assert excerpt(page, "text/html", Redactor([])) == "Not found ."


def test_charsets_that_are_in_use(service: Any, make: Any) -> None:
    for charset in ("utf-8", "iso-8859-1", "windows-1252", "Shift_JIS", "GB18030", "utf-16", "koi8-r"):
        text = {"Shift_JIS": "日本", "GB18030": "中文", "koi8-r": "мир"}.get(charset, "é")
        service.gives("/x", text.encode(charset), Content_Type=f"text/plain; charset={charset}")
        assert make().call({}) == text


def test_an_address_has_a_longest_form(service: Any, make: Any) -> None:
    with pytest.raises(ToolError, match="do not make a valid URL"):
        make().call({"q": "x" * 70_000})


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
    service.gives("/gzip", gzip.compress(b"hello"), Content_Encoding="gzip")
    packed = make("/gzip", client=client)
    assert packed.call({}) == packed.call({}) == "hello" and service.seen[-1].connection == service.seen[-2].connection
    client.close()
    with pytest.raises(ToolError, match="closed"):
        one.call({})
