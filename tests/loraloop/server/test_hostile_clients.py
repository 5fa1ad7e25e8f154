"""Clients that misbehave: they drip, they do not read, they bring the keys of others; and what a failure tells them."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest
from torch import Tensor

from loraloop import Agent, Limits, Policy
from loraloop.adapters.base import Base, Message
from loraloop.agent.engine.cache.sequence import QueueFullError
from loraloop.agent.runtime import Runtime
from loraloop.router.decision import Route, RouterState, ScreenResult
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.testing import ScriptedRuntime, calls

CHAT: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "Hi"}]}
PREDICATE = {"type": "predicate", "instructions": "It is a greeting."}


def wire(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlparse(url).port or 0), timeout=10)


def head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


def idle(url: str, headers: Mapping[str, str] | None = None) -> None:
    """Waits until no request runs."""
    for _ in range(500):
        if httpx.get(f"{url}/v1/load", headers=headers).json()["running"] == 0:
            return
        time.sleep(0.02)
    raise AssertionError("a turn was not given back")


def test_a_body_that_drips_is_given_up(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime("x"), ServerSettings(limits=ServerLimits(transfer_seconds=0.6)))
    with wire(url) as dripping:
        dripping.sendall(head("/v1/chat/completions", 1000))
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 8:
                dripping.sendall(b" ")
                dripping.settimeout(0.1)
                try:
                    response = dripping.recv(4096)
                except TimeoutError:
                    continue
                dripping.settimeout(5)
                while b"too_slow" not in response and (more := dripping.recv(4096)):
                    response += more
                assert response.startswith(b"HTTP/1.1 408 ") and b"too_slow" in response
                raise OSError("answered")
    assert time.monotonic() - start < 5 and httpx.get(f"{url}/health").text == "ok"


def test_a_stream_that_nobody_reads_is_left(serving: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    limits = ServerLimits(concurrency=1, max_tokens=200_000, transfer_seconds=0.5)
    url = serving(
        ScriptedRuntime(" ".join(map(str, range(30_000))), "Hello."), ServerSettings(limits=limits), send_buffer=4096
    )
    asked = json.dumps({**CHAT, "stream": True, "max_completion_tokens": 150_000}).encode()
    caplog.set_level(logging.INFO, "loraloop.server")
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", urlparse(url).port or 0))
        lazy.sendall(head("/v1/chat/completions", len(asked)) + asked)
        assert lazy.recv(12) == b"HTTP/1.1 200"
        idle(url)
        assert httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=10).status_code == 200
    assert "did not take" in caplog.text and "Traceback" not in caplog.text


def test_ten_thousand_headers_are_refused(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime())
    lines = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
    with wire(url) as many:  # 400 where they come in pieces, 431 where the server reads them all at once
        many.sendall(lines + b"\r\n")
        assert many.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431")


def test_huge_lists_of_tools(serving: Callable[..., str], base: Base) -> None:
    url = serving(Runtime.load(base), ServerSettings(limits=ServerLimits(max_bytes=1_000_000)))

    def offered(count: int, **fields: Any) -> httpx.Response:
        parameters = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(20)}}
        tools = [
            {"type": "function", "function": {"name": f"tool_{n}", "parameters": parameters, **fields}}
            for n in range(count)
        ]
        body = {**CHAT, "tools": tools, "max_completion_tokens": 4}
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)

    many = offered(513)
    assert many.status_code == 400 and many.json()["error"]["param"] == "tools" and "512" in many.text
    full = offered(512)
    assert full.status_code == 400 and full.json()["error"]["code"] == "context_length_exceeded"
    assert re.search(r"\d{4,}", full.json()["error"]["message"]), "it says the numbers"
    assert offered(500, description="x" * 3000).status_code == 413
    assert offered(2).status_code == 200


@pytest.mark.parametrize(
    "brought",
    [
        "Bearer first-key-and-more", "Bearer first-ke", "Bearer FIRST-KEY", "Bearer", "Basic Zmlyc3Qta2V5",
        "Bearer Bearer first-key", "Bearer \u00e9", "Bearer first-key,second-key", "Bearer " + "x" * 20_000, "",
    ],
)  # fmt: skip
def test_what_is_no_key_opens_nothing(serving: Callable[..., str], brought: str) -> None:
    url = serving(ScriptedRuntime("x"), ServerSettings(keys=frozenset(("first-key", "second-key"))))
    headers = [(b"authorization", brought.encode("latin-1"))]
    document = httpx.get(f"{url}/openapi.json", headers={"Authorization": "Bearer first-key"}).json()
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert len(routes) > 12
    with httpx.Client(headers=headers) as client:
        for method, path in [*routes, ("get", "/openapi.json")]:
            status = client.request(method, url + re.sub(r"\{\w+\}", "auto", path), json=CHAT).status_code
            assert (status == 401) == (path not in ("/health", "/ready")), (method, path, status)


def test_no_answer_crosses_to_another_client(serving: Callable[..., str], base: Base) -> None:
    """Eight clients at once, each with a key and a word of its own; some leave in the middle of a stream."""
    words = ("apple", "bridge", "castle", "dragon", "engine", "forest", "garden", "hammer")
    runtime = Runtime.load(base)
    settings = ServerSettings(keys=frozenset(f"key-of-{word}" for word in words))
    url = serving(runtime, settings, {"one": HostedAgent("one", Agent(runtime, limits=Limits(step_tokens=12)))})

    def client(word: str) -> str:
        """All that a client was told."""
        told, text = [], f"My word is {word}. Which word is mine?"
        schema = {
            "type": "object", "properties": {"word": {"const": word}}, "required": ["word"],
            "additionalProperties": False,
        }  # fmt: skip
        form = {"type": "json_schema", "json_schema": {"name": "word", "schema": schema}}
        asked = {"model": "base", "messages": [{"role": "user", "content": text}], "max_completion_tokens": 12}
        headers = {"Authorization": f"Bearer key-of-{word}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as http:
            for _ in range(2):
                answer = http.post("/v1/chat/completions", json={**asked, "response_format": form}).json()
                assert json.loads(answer["choices"][0]["message"]["content"]) == {"word": word}
                with http.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as stream:
                    for number, line in enumerate(stream.iter_lines()):
                        told.append(line)
                        if len(word) % 2 and number == 4:
                            break
                question = {"type": "choice", "instructions": "Which?", "choices": [{"value": word}, {"value": "none"}]}
                decided = http.post("/v1/decisions", json={"model": "base", "input": text, "questions": [question]})
                told.append(decided.text)
                told.append(
                    http.post("/v1/responses", json={"model": "base", "input": text, "max_output_tokens": 8}).text
                )
                told.append(http.post("/v1/agents/one/runs", json={"input": text, "skill": "none"}).text)
            runs = http.get("/v1/runs").json()["runs"]
            assert len(runs) == 2 and all(word in run["prompt"] for run in runs)
        return "\n".join(told)

    with ThreadPoolExecutor(len(words)) as pool:
        for word, told in zip(words, pool.map(client, words), strict=True):
            assert word in told and "server_error" not in told
            assert not [other for other in words if other != word and re.search(rf"\b{other}\b", told)]
    idle(url, {"Authorization": "Bearer key-of-apple"})


class Failing:
    """A router with a fault."""

    layers = (0,)
    screens = False

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message]) -> Any:
        return None

    def screen(self, features: Any) -> ScreenResult:
        raise ZeroDivisionError("a secret of the machine")

    def choose(self, features: Any, state: RouterState) -> Route:
        raise ZeroDivisionError("a secret of the machine")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {**CHAT, "model": "auto"}, 500),
        ("/v1/chat/completions", {**CHAT, "model": "auto", "stream": True}, 500),
        ("/v1/chat/completions", {**CHAT, "model": "one"}, 500),
        ("/v1/responses", {"model": "auto", "input": "Hi"}, 500),
        ("/v1/responses", {"model": "auto", "input": "Hi", "stream": True}, 500),
        (
            "/v1/decisions",
            {"model": "router", "input": "Hi", "questions": [{"type": "predicate", "instructions": "x"}]},
            500,
        ),
        ("/v1/agents/one/runs", {"input": "Hi"}, 200),
    ],
)
def test_a_failure_has_an_id_that_the_log_has_too(
    serving: Callable[..., str], caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any], status: int
) -> None:
    runtime = ScriptedRuntime("x", router=Failing())
    url = serving(runtime, agents={"one": HostedAgent("one", Agent(runtime))})
    with caplog.at_level(logging.INFO, "loraloop.server"):
        answer = httpx.post(url + path, json=body, timeout=30)
    assert answer.status_code == status and "secret" not in answer.text
    found = re.search(r"the server's log has it under (\w{12})", answer.text)
    assert found and f"log id {found[1]}" in caplog.text and "a secret of the machine" in caplog.text
    idle(url)


def test_after_a_failure_the_connection_serves_the_next_request(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime("x", router=Failing()))
    body, headers = json.dumps({**CHAT, "model": "auto"}), {"Content-Type": "application/json"}
    there = http.client.HTTPConnection("127.0.0.1", urlparse(url).port, timeout=30)
    there.connect()
    there.auto_open = 0  # type: ignore[assignment]  # no other connection takes its place
    for _ in range(3):
        there.request("POST", "/v1/chat/completions", body, headers)
        answer = there.getresponse()
        assert answer.status == 500 and len(answer.headers["x-request-id"]) == 12 and answer.read()


def test_requests_of_a_key_at_once_are_bounded(serving: Callable[..., str]) -> None:
    hold = threading.Event()

    def wait() -> str:
        """Waits."""
        hold.wait(20)
        return "done"

    runtime = ScriptedRuntime(calls(wait={}), calls(wait={}), "Done.", "Done.", "ok")
    settings = ServerSettings(keys=frozenset(("first-key", "second-key")), limits=ServerLimits(per_key=2))
    url = serving(
        runtime, settings, {"slow": HostedAgent("slow", Agent(runtime, [wait], policy=Policy(skills=("tools",))))}
    )
    mine, other = ({"Authorization": f"Bearer {key}-key"} for key in ("first", "second"))
    path, asked = f"{url}/v1/agents/slow/runs", {"input": "x"}
    with ThreadPoolExecutor(2) as pool:
        going = [pool.submit(httpx.post, path, json=asked, headers=mine, timeout=30) for _ in range(2)]
        while httpx.get(f"{url}/v1/load", headers=other).json()["running"] < 2:
            time.sleep(0.02)
        refused = httpx.post(path, json=asked, headers=mine)
        hold.set()
        assert all(each.result().status_code == 200 for each in going)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "too_many_requests"
    assert httpx.post(path, json=asked, headers=mine).status_code == 200, "there is room again"


def test_a_client_whose_request_no_queue_has_room_for_comes_back(
    serving: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = ScriptedRuntime("x")

    def full(*_: Any) -> None:
        raise QueueFullError("4096 requests wait for the base")

    monkeypatch.setattr(runtime.engine, "step", full)
    refused = httpx.post(f"{serving(runtime)}/v1/chat/completions", json=CHAT)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error"


def test_requests_of_a_key_in_a_minute_are_bounded(serving: Callable[..., str]) -> None:
    keys = frozenset(("first-key", "second-key"))
    url = serving(ScriptedRuntime(*["ok"] * 9), ServerSettings(keys=keys, limits=ServerLimits(per_minute=3)))

    def post(key: str) -> httpx.Response:
        return httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers={"Authorization": f"Bearer {key}-key"})

    assert [post("first").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = post("first")
    assert refused.json()["error"] | {"message": ""} == {
        "message": "", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"
    }  # fmt: skip
    assert 1 <= int(refused.headers["retry-after"]) <= 20 and "3 requests per minute" in refused.text
    assert post("second").status_code == 200, "others are not held up"
    reading = httpx.get(f"{url}/v1/load", headers={"Authorization": "Bearer first-key"})
    assert reading.status_code == 200, "what only reads is not counted"
    assert httpx.post(f"{url}/v1/chat/completions", json=CHAT).status_code == 401, "nor is who has no key"


def test_a_bucket_fills_steadily(monkeypatch: pytest.MonkeyPatch) -> None:
    from loraloop.server.state import RateLimit

    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RateLimit(60)
    assert [limit.take("a") for _ in range(61)] == [0] * 60 + [1]
    now += 0.5
    assert limit.take("a") == 1 and limit.take("b") == 0
    now += 0.6
    assert limit.take("a") == 0 and limit.take("a") == 1
    assert not any(RateLimit(0).take("a") for _ in range(1000))


def test_many_at_once_are_each_answered_once(serving: Callable[..., str]) -> None:
    limits = ServerLimits(concurrency=2, queue=4, per_key=64)
    url = serving(ScriptedRuntime(*["ok"] * 200), ServerSettings(limits=limits))
    statuses: list[int] = []

    def ask() -> None:
        for _ in range(5):
            statuses.append(httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30).status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 80 and set(statuses) <= {200, 429} and 200 in statuses
    idle(url)


def test_a_body_with_two_lengths_is_refused(serving: Callable[..., str]) -> None:
    """Where two readers disagree about the end of a body, what is behind it is another request to one of them."""
    url = serving(ScriptedRuntime("x"))
    with wire(url) as both:
        both.sendall(head("/v1/chat/completions", 4)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        both.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: both.recv(65536), b""))
    assert response.startswith(b"HTTP/1.1 400 ") and b"two_lengths" in response and response.count(b"HTTP/1.1") == 1
