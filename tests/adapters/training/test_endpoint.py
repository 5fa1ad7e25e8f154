"""A teacher at an endpoint: a real HTTP server that fails, waits and counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Message
from loraloop.adapters.training.teacher.endpoint import Endpoint
from loraloop.tool_schemas.errors import InputError, LimitError


class Server(ThreadingHTTPServer):
    """Answers with the last message in capitals; `script` holds statuses to answer with before that."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, dict[str, str]]] = []
        self.seen: list[tuple[float, str, dict[str, Any]]] = []
        self.answer: Any = None


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((time.monotonic(), self.headers.get("authorization", ""), body))
        status, headers = self.server.script.pop(0) if self.server.script else (200, {})
        text = body["messages"][-1]["content"].upper()
        content = self.server.answer or {"choices": [{"message": {"role": "assistant", "content": text}}]}
        data = json.dumps(content if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def endpoint(server: Server, folder: Path, **given: Any) -> Endpoint:
    fields: dict[str, Any] = {"key_variable": "LORALOOP_TEST_KEY", **given}
    return Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "teacher", folder, **fields)


ASKED = [[Message("user", f"say {letter}")] for letter in "abc"]


def test_completions_are_asked_for_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_TEST_KEY", "k")
    seen: list[int] = []
    teacher = endpoint(server, tmp_path, options={"temperature": 0})
    assert teacher.write(ASKED, lambda: seen.append(threading.get_ident())) == ["SAY A", "SAY B", "SAY C"]
    assert seen == [threading.get_ident()] * 3, "in the thread that asks"
    assert {key for _, key, _ in server.seen} == {"Bearer k"}
    assert server.seen[0][2]["model"] == "teacher" and server.seen[0][2]["temperature"] == 0
    again = endpoint(server, tmp_path, options={"temperature": 0})
    assert again.write([*ASKED, [Message("user", "new")]])[-1] == "NEW"
    assert len(server.seen) == 4
    assert "k" not in "".join(json.loads(file.read_text())["completion"] for file in tmp_path.glob("*.json"))


def test_failures_that_may_pass_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.script = [(500, {}), (429, {"retry-after": "0.3"})]
    assert endpoint(server, tmp_path).write(ASKED[:1]) == ["SAY A"]
    times = [when for when, _, _ in server.seen]
    assert len(times) == 3 and times[2] - times[1] >= 0.3


def test_what_came_is_kept_when_the_rest_fails(server: Server, tmp_path: Path) -> None:
    server.script = [(200, {}), (503, {}), (503, {})]
    with pytest.raises(LimitError, match="2 tries"):
        endpoint(server, tmp_path, retries=1, at_once=1).write(ASKED[:2])
    assert endpoint(server, tmp_path).write(ASKED) == ["SAY A", "SAY B", "SAY C"]
    assert len(server.seen) == 5


def test_refusals_and_other_answers_are_errors(server: Server, tmp_path: Path) -> None:
    server.script = [(401, {})]
    with pytest.raises(InputError, match="401"):
        endpoint(server, tmp_path).write(ASKED[:1])
    assert len(server.seen) == 1
    server.answer = {"choices": []}
    with pytest.raises(InputError, match="no text"):
        endpoint(server, tmp_path).write(ASKED[:1])
    with pytest.raises(InputError, match="https"):
        Endpoint("ftp://x", "m", tmp_path)
    with pytest.raises(InputError, match="messages"):
        Endpoint("http://x", "m", tmp_path, options={"messages": []})
    unreachable = Endpoint("http://127.0.0.1:9/v1", "m", tmp_path, retries=1)
    with pytest.raises(LimitError, match="Connection error"):
        unreachable.write(ASKED[:1])


@pytest.mark.parametrize("reason", ["content_filter", "stop"])
def test_a_request_that_the_model_refuses_has_no_completion(server: Server, tmp_path: Path, reason: str) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    server.answer = {"choices": [{"message": message, "finish_reason": reason}]}
    for _ in range(2):
        assert endpoint(server, tmp_path).write(ASKED[:1]) == [""]
    assert len(server.seen) == 1, "nor is it asked again"


def test_the_rate_is_kept(server: Server, tmp_path: Path) -> None:
    began = time.monotonic()
    endpoint(server, tmp_path, per_minute=600).write(ASKED)
    assert time.monotonic() - began >= 0.2
    assert len(server.seen) == 3
