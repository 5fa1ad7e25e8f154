"""Requests that nobody should send: whatever comes, no answer is a 5xx, and the server goes on answering."""

from __future__ import annotations

import copy
import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest

from loraloop import Agent
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.testing import ScriptedRuntime

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
FUNCTION: dict[str, Any] = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "auto",
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "stream": False,
        "seed": 1,
        "temperature": 5e-324,
        "stop": ["a"],
        "max_completion_tokens": 4,
    },
    "/v1/responses": {
        "model": "auto",
        "input": [USER, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
        "tools": [{"type": "function", **FUNCTION}],
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "max_output_tokens": 4,
    },
    "/v1/decisions": {
        "model": "auto",
        "input": [USER],
        "questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": "b"}]}],
    },
    "/v1/agents/one/runs": {"input": "x", "messages": [USER], "skill": "none"},
    "/v1/agents/one/runs/x/approve": {"decisions": {"c": {"approve": True, "arguments": {}}}},
    "/v1/skills": {"action": "warm", "name": "tools"},
}
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e308, "", "auto", "\x00", "\ud800", "<|im_end|>", "x" * 3000, [], {}, [[]], [None],
    {"$ref": "#"}, {"type": "object", "properties": {"a": {"$ref": "#/x"}}}, {"pattern": "(a+)+$", "type": "string"},
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inside for place in places(each, (*at, key)))]


def changed(body: dict[str, Any], rng: random.Random) -> Any:
    """A body with one to three places changed, removed or added."""
    made: Any = copy.deepcopy(body)
    for _ in range(rng.randint(1, 3)):
        *way, last = rng.choice(places(made)[1:] or [("extra",)])
        inner = made
        for key in way:
            inner = inner[key]
        if rng.random() < 0.2 and isinstance(inner, dict):
            inner.pop(last, None)
        elif rng.random() < 0.2 and isinstance(inner, dict):
            inner[rng.choice(("extra", "", "\u202e", "__class__"))] = rng.choice(ODD)
        else:
            inner[last] = copy.deepcopy(rng.choice(ODD))
    return made


@pytest.fixture
def url(serving: Callable[..., str]) -> str:
    runtime = ScriptedRuntime(*["ok"] * 5000)
    limits = ServerLimits(max_tokens=8, seconds=5)
    return serving(runtime, ServerSettings(limits=limits), {"one": HostedAgent("one", Agent(runtime))})


@pytest.mark.parametrize("path", BODIES)
def test_changed_bodies_never_break_it(url: str, path: str) -> None:
    rng = random.Random(path)
    with httpx.Client(timeout=30) as client:
        for _ in range(25):
            body = json.dumps(changed(BODIES[path], rng))
            answer = client.post(url + path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500, f"{body}\n{answer.text}"
        assert client.get(f"{url}/health").text == "ok"
        assert client.get(f"{url}/v1/load").json()["running"] == 0, "no turn is lost"


HALF = "\ud800"
CHOICE = {"type": "function", "function": {"name": HALF}}
SAID = {"threadId": "t", "runId": "r"}


DEEP = "[" * 600 + "]" * 600
LEVELS: dict[str, Any] = {"type": "object", "x-deep": json.loads("[" * 280 + "]" * 280)}


def said_call(arguments: str) -> dict[str, Any]:
    made = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def test_a_result_that_is_nested_deeply_is_a_text(url: str) -> None:
    messages = [USER, said_call("{}"), {"role": "tool", "tool_call_id": "c", "content": DEEP}]
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "base", "messages": messages}, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/agents/one/runs?protocol=ag-ui", {**SAID, "messages": [{"role": "user", "content": [{"text": 5}]}]}),
        ("/v1/agents/one/runs?protocol=ag-ui", {**SAID, "messages": [{"role": "user", "content": HALF}]}),
        ("/v1/agents/one/runs?protocol=ag-ui", {**SAID, "messages": [{"role": "user", "content": [{"text": HALF}]}]}),
        ("/v1/chat/completions", {**BODIES["/v1/chat/completions"], "tool_choice": CHOICE}),
        ("/v1/chat/completions", {**BODIES["/v1/chat/completions"], HALF: 1}),
        ("/v1/chat/completions", {"model": "one", "messages": [{"role": "system", "content": "x"}]}),
        ("/v1/chat/completions", {"model": "auto", "messages": [USER, said_call(arguments=f'{{"a":{DEEP}}}'), USER]}),
        (
            "/v1/decisions",
            {
                **BODIES["/v1/decisions"],
                "input": [{"role": "user", "content": [{"type": "input_json", "data": LEVELS}]}],
            },
        ),
        (
            "/v1/responses",
            {"model": "auto", "input": "x", "tools": [{"type": "function", **FUNCTION, "parameters": LEVELS}]},
        ),
    ],
)
def test_bodies_that_once_broke_it(url: str, path: str, body: dict[str, Any]) -> None:
    answer = httpx.post(url + path, content=json.dumps(body), headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 400, answer.text


def test_many_slow_schemas_hold_up_nobody_else(serving: Callable[..., str]) -> None:
    """They are read in a thread, for no longer than a request may run."""
    url = serving(ScriptedRuntime(), ServerSettings(limits=ServerLimits(seconds=1.0)))
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(8):
        deep = {"anyOf": [deep, {"allOf": [deep]}]}
    functions = [
        {**FUNCTION, "name": f"f{n}", "parameters": {**FUNCTION["parameters"], "$defs": {f"d{n}": deep}}}
        for n in range(100)
    ]
    body = {**BODIES["/v1/chat/completions"], "tools": [{"type": "function", "function": each} for each in functions]}
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=body, timeout=120)
        while not going.done():
            assert httpx.get(f"{url}/health", timeout=5).text == "ok"
            time.sleep(0.02)
    assert going.result().status_code == 504 and "in time" in going.result().text


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", (400, 421)),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", (400,)),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{}", (413,)),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
            (400, 431),
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400, 0)),
        (b"GET /../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", (404,)),
        (b"GET /app.js/../../settings.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", (404,)),
    ],
)
def test_nonsense_on_the_wire_is_survived(url: str, raw: bytes, statuses: tuple[int, ...]) -> None:
    """It is refused with a status that says why; 0 stands for a connection that is closed without a word."""
    with socket.create_connection(("127.0.0.1", urlparse(url).port or 0), timeout=5) as wire:
        wire.sendall(raw)
        wire.shutdown(socket.SHUT_WR)
        response = b""
        try:
            while piece := wire.recv(65536):
                response += piece
        except (TimeoutError, ConnectionError):
            pass
    assert int((response.split(b" ", 2) + [b"0"] * 2)[1]) in statuses, response[:200]
    assert httpx.get(f"{url}/health").text == "ok"
