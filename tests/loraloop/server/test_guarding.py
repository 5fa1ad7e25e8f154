"""Who may ask, and how much: keys, hosts, origins, sizes, the queue; health, metrics and skills."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from loraloop import Agent
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.server.app import FILES, PAGE, serve
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.state import ServerState
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}


def test_another_address_needs_a_key() -> None:
    with pytest.raises(InputError, match="--key-env"):
        ServerSettings(host="0.0.0.0")
    with pytest.raises(InputError, match="not ASCII"):
        ServerSettings(admin_key="geheimnis-öffnet-tor")
    with pytest.raises(InputError, match="8 characters"):
        ServerSettings(keys=frozenset(("short",)))
    assert ServerSettings(host="0.0.0.0", keys=frozenset(("long-enough",)))


def test_keys_hosts_and_origins(serving: Callable[..., str]) -> None:
    settings = ServerSettings(keys=frozenset(("long-enough",)), origins=("https://chat.example",))
    url = serving(ScriptedRuntime("a", "b"), settings)
    path, key = f"{url}/v1/models", {"Authorization": "Bearer long-enough"}
    assert httpx.get(path).status_code == 401 and httpx.get(path).headers["www-authenticate"] == "Bearer"
    assert httpx.get(path, headers=key).status_code == 200
    for scheme in ("bearer", "BEARER"):  # case says nothing in it
        assert httpx.get(path, headers={"Authorization": f"{scheme} long-enough"}).status_code == 200
    assert httpx.get(path, headers={**key, "Host": "evil.example"}).status_code == 421
    assert httpx.get(path, headers={**key, "Origin": "https://evil.example"}).status_code == 403
    assert httpx.get(path, headers={**key, "Origin": "null"}).status_code == 403
    assert httpx.get(path, headers={**key, "Origin": "https://chat.example"}).status_code == 200
    assert httpx.get(path, headers={**key, "Origin": url}).status_code == 200
    assert "access-control-allow-origin" not in httpx.get(path, headers={**key, "Origin": url}).headers
    assert httpx.get(f"{url}/health").text == "ok" and httpx.get(f"{url}/ready").status_code == 200
    assert httpx.get(f"{url}/metrics").status_code == 401


def test_whoever_looks_whether_the_server_is_there_may_ask_for_the_head_alone(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime(), ServerSettings(keys=frozenset(("long-enough",))))
    with httpx.Client(base_url=url) as client:
        for path, length in (("/health", "2"), ("/ready", "5")):
            answer = client.head(path)
            assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, length, b"")
        assert client.head("/").status_code == 200 and client.head("/v1/models").status_code == 401
        known = {"Authorization": "Bearer long-enough"}
        assert client.head("/v1/models", headers=known).status_code == 200
        assert client.head("/v1/chat/completions", headers=known).status_code == 405
        assert client.get("/health").text == "ok", "the connection goes on"


def test_the_page_is_its_named_files_and_nothing_else(serving: Callable[..., str]) -> None:
    """Paths lead to no other file beside them, above them or of the machine, however they are spelled."""
    url, page = serving(ScriptedRuntime()), PAGE.resolve()
    up = "../" * len(page.parts)
    assert (page.parent / "settings.py").is_file() and (page / "index.html").is_file()
    assert (page / "vendor" / "LICENSES.txt").is_file()
    above = ("/../settings.py", "/%2e%2e/settings.py", "/..%2fsettings.py", "/app.js/../../settings.py")
    beside = ("/index.html", "/./app.js", "/vendor", "/vendor/", "/vendor/LICENSES.txt", "/vendor/../index.html")
    for path in (*above, *beside, f"/{up}etc/passwd", f"//{page}/app.js", "/..\\settings.py"):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            response = b"".join(iter(lambda: client.recv(65536), b""))
        assert response.startswith(b"HTTP/1.1 404 "), (path, response[:200])
    own = ("api", "app", "chat", "elements", "overview", "run", "runs")
    libraries = ("highlight", "markdown-it", "purify")
    named = {f"/{name}.js": page / f"{name}.js" for name in own}
    named |= {f"/vendor/{name}.min.js": page / "vendor" / f"{name}.min.js" for name in libraries}
    named |= {"/": page / "index.html", "/style.css": page / "style.css"}
    assert FILES.keys() == named.keys()
    for path, file in named.items():
        got = httpx.get(url + path)
        assert (got.status_code, got.content) == (200, file.read_bytes()), path


def test_a_host_is_a_name_and_a_port() -> None:
    """Nothing else: parts of an address in it would be taken for the path that is asked for."""
    settings = ServerSettings(hosts=("gpu.example:9",))
    for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]", "[::1]:8000", "::1", "gpu.example:9"):
        assert settings.knows_host(host) == (host != "::1"), host
    odd = (
        "[127.0.0.1]",
        "[localhost]:80",
        "",
        "127.0.0.1:/health?",
        "localhost/health",
        "localhost:1/health?",
        "localhost#",
        "x@localhost:1",
        "[::1",
    )
    for host in (*odd, "evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "localhost:1:evil"):
        assert not settings.knows_host(host), host


def test_a_body_that_is_no_json_is_told_so(serving: Callable[..., str]) -> None:
    path = f"{serving(ScriptedRuntime())}/v1/chat/completions"
    broken = httpx.post(path, content='{"model": ', headers={"Content-Type": "application/json"}).json()["error"]
    assert broken["code"] == "invalid_json" and "the body is not JSON" in broken["message"]
    form = httpx.post(path, data={"model": "auto"}).json()["error"]
    assert "Content-Type: application/json" in form["message"]


def test_how_the_server_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert server.config.http == "h11", "the other parser that uvicorn may take does not bound headers"
        assert not server.config.proxy_headers, "X-Forwarded-For does not choose whose runs are shown"
        assert server.config.timeout_keep_alive > 60, "the pools of clients keep idle connections for a minute at most"
        with socket.create_connection(sockets[0].getsockname()), sockets[0].accept()[0] as connection:
            seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    seen = list[int]()
    monkeypatch.setattr("uvicorn.Server.run", run)
    serve(ServerState(ScriptedRuntime(), ServerSettings(port=0), {}))
    assert seen == [1], "an answer does not wait for the client to confirm its first packet"


def test_metrics_count_what_was_done(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime("Hello."))
    assert httpx.post(f"{url}/v1/chat/completions", json=ASKED).status_code == 200
    text = httpx.get(f"{url}/metrics").text
    assert 'loraloop_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'loraloop_steps_total{skill="none"} 1.0' in text and "loraloop_ttft_seconds_count 1.0" in text
    assert "loraloop_gap_seconds_count" in text
    assert "loraloop_running 0.0" in text


def test_what_a_query_names_and_no_route_knows_is_refused(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime("Hello."))
    for answer in (
        httpx.post(f"{url}/v1/chat/completions?stream=true", json=ASKED),
        httpx.get(f"{url}/v1/models?a=&b"),
    ):
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "unknown_parameter"
    assert httpx.get(f"{url}/?a=b").status_code == 200, "a link to the page may have one"


def test_too_large_bodies_and_nonsense_are_refused(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime(), ServerSettings(limits=ServerLimits(max_bytes=2000)))
    path = f"{url}/v1/chat/completions"
    assert httpx.post(path, json={"model": "x" * 3000}).status_code == 413

    def pieces() -> Any:
        for _ in range(30):
            yield b"x" * 100

    assert httpx.post(path, content=pieces(), headers={"content-type": "application/json"}).status_code == 413
    assert httpx.post(path, content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert httpx.post(path, content=b'"\xff"', headers={"content-type": "application/json"}).status_code == 400
    refused = httpx.delete(path)
    assert refused.status_code == 405 and "no DELETE /v1/chat/completions here" in refused.json()["error"]["message"]
    deep = b'{"model":"auto","messages":' + b"[" * 900 + b"]" * 900 + b"}"
    assert httpx.post(path, content=deep, headers={"content-type": "application/json"}).status_code == 400


def test_a_method_that_a_path_does_not_know_is_told_those_that_it_knows(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime())
    for path, allowed in (
        ("/v1/chat/completions", "POST"),
        ("/v1/skills", "GET, HEAD, POST"),
        ("/v1/responses/resp_1", "DELETE, GET, HEAD"),
        ("/health", "GET, HEAD"),
        ("/", "GET, HEAD"),
    ):
        refused = httpx.patch(f"{url}{path}")
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed), path
    assert "allow" not in httpx.get(f"{url}/v1/nothing").headers


def test_an_unknown_address_is_told_what_there_is(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime())
    without, unknown = httpx.post(f"{url}/chat/completions", json={}), httpx.post(f"{url}/v1/embeddings", json={})
    assert without.status_code == unknown.status_code == 404
    message = unknown.json()["error"]["message"]
    assert message == "there is no POST /v1/embeddings here; /openapi.json lists what there is"
    assert without.json()["error"]["message"].endswith("; OpenAI's clients take the address with /v1")


def until(url: str, name: str, count: int) -> None:
    """Waits until so many requests run, or wait."""
    end = time.monotonic() + 15
    while httpx.get(f"{url}/v1/load").json()[name] != count:
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def busy(serving: Callable[..., str], **limits: int) -> Iterator[str]:
    """The address of a server whose only turn is taken until the block ends."""
    hold = threading.Event()

    def wait() -> str:
        """Waits."""
        hold.wait(20)
        return "done"

    runtime = ScriptedRuntime(calls(wait={}), "Done.")
    agents = {"slow": HostedAgent("slow", Agent(runtime, [wait]))}
    url = serving(runtime, ServerSettings(limits=ServerLimits(concurrency=1, **limits)), agents)
    first = threading.Thread(target=lambda: httpx.post(f"{url}/v1/agents/slow/runs", json={"input": "x"}, timeout=30))
    first.start()
    until(url, "running", 1)
    try:
        yield url
    finally:
        hold.set()
        first.join()
    until(url, "running", 0)


def test_a_full_queue_says_when_to_come_back(serving: Callable[..., str]) -> None:
    with busy(serving, queue=0) as url:
        refused = httpx.post(f"{url}/v1/chat/completions", json=ASKED)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "queue_full"


NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 100}
DRAW = {"name": "draw", "parameters": {"type": "object", "properties": {"n": NUMBERS}, "required": ["n"]}}
STORY = {"model": "base", "temperature": 1, "seed": 5}
CALLS = {"model": "tools", "tools": [{"type": "function", "function": DRAW}], "tool_choice": "required"}


@pytest.mark.parametrize(("given", "stream"), [(STORY, True), (STORY, False), (CALLS, True), (CALLS, False)])
def test_a_client_that_goes_away_frees_its_turn(
    serving: Callable[..., str], base: Base, given: dict[str, Any], stream: bool
) -> None:
    runtime = Runtime.load(base)
    url = serving(runtime, ServerSettings(limits=ServerLimits(concurrency=1)))
    asked = {"messages": [{"role": "user", "content": "Write a long story about a lighthouse."}], **given}
    body = json.dumps({**asked, "stream": stream, "max_completion_tokens": 2000})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        while runtime.engine.scheduler.stats.forwards < 8:
            time.sleep(0.02)
    for _ in range(500):
        if httpx.get(f"{url}/v1/load").json()["running"] == 0:
            break
        time.sleep(0.02)
    assert runtime.engine.scheduler.stats.forwards < 150, "its run was cancelled"
    written = next(line for line in httpx.get(f"{url}/metrics").text.splitlines() if 'kind="written"' in line)
    assert float(written.split()[-1]) > 0


def test_a_client_that_goes_away_while_it_waits_waits_no_more(serving: Callable[..., str]) -> None:
    with busy(serving) as url:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.request("POST", "/v1/chat/completions", json.dumps(ASKED), {"Content-Type": "application/json"})
            until(url, "waiting", 1)
        until(url, "waiting", 0)
        assert httpx.get(f"{url}/v1/load").json()["running"] == 1


def test_skills_are_changed_with_the_admin_key(serving: Callable[..., str], tmp_path: Path) -> None:
    settings = ServerSettings(keys=frozenset(("long-enough",)), admin_key="admin-enough")
    url = serving(ScriptedRuntime(), settings)
    user, admin = ({"Authorization": f"Bearer {key}-enough"} for key in ("long", "admin"))
    assert {each["name"] for each in httpx.get(f"{url}/v1/skills", headers=user).json()["skills"]} >= {"tools", "code"}
    body = {"action": "warm", "name": "tools"}
    assert httpx.post(f"{url}/v1/skills", json=body, headers=user).status_code == 403
    assert httpx.post(f"{url}/v1/skills", json=body, headers=admin).json()["slot"] > 0

    def change(**body: str) -> httpx.Response:
        return httpx.post(f"{url}/v1/skills", json=body, headers=admin)

    pinned = change(action="pin", name="code").json()
    assert pinned["pinned"] and change(action="pin", name="code").json() == pinned
    refused = change(action="remove", name="code")
    assert refused.status_code == 400 and "unpin it" in refused.text
    assert not change(action="unpin", name="code").json()["pinned"]
    assert change(action="warm", name="code", identity=pinned["identity"]).status_code == 200
    other = change(action="warm", name="code", identity="another")
    assert other.status_code == 400 and pinned["identity"] in other.text
    assert change(action="remove", name="code").json()["removed"]
    assert "code" not in [each["id"] for each in httpx.get(f"{url}/v1/models", headers=user).json()["data"]]
    answer = httpx.post(f"{url}/v1/skills", json={"action": "load", "folder": str(tmp_path)}, headers=admin)
    assert answer.status_code == 400
