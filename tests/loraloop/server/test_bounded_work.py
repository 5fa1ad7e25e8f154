"""Requests that cost a few bytes each and much work: the server goes on answering the others while it refuses them."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from loraloop import Agent
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.server.agents import AnyBody, ApproveBody
from loraloop.server.decisions import DecisionRequest
from loraloop.server.models import SkillBody
from loraloop.server.responses import ResponseRequest
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.wire import ChatRequest
from loraloop.testing import ScriptedRuntime

SILENCE = 2.5
"""Seconds in which every other request has to be answered. Bodies without bounds made it more than ten."""
HI = {"role": "user", "content": "Hi"}
WRONG_PARTS: list[dict[str, Any]] = [{"a": 1}] * 9_000
MANY_KEYS = {f"k{number}": 1 for number in range(40_000)}
FORMS: dict[str, Any] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/responses": ResponseRequest,
    "/v1/decisions": DecisionRequest,
    "/v1/skills": SkillBody,
    "/v1/agents/one/runs": AnyBody,
    "/v1/agents/one/runs?protocol=ag-ui": AnyBody,
    "/v1/agents/one/runs/x/approve": ApproveBody,
}
DECISION = {"model": "auto", "input": "x"}
PREDICATE = {"type": "predicate", "instructions": "x"}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("/v1/decisions", {**DECISION, "questions": [{"instructions": WRONG_PARTS}]}),
    ("/v1/decisions", {**DECISION, "questions": [{"type": "choice", "instructions": WRONG_PARTS}]}),
    ("/v1/decisions", {**DECISION, "questions": WRONG_PARTS * 5}),
    ("/v1/decisions", {"model": "auto", "input": WRONG_PARTS, "questions": []}),
    ("/v1/decisions", {"model": "auto", "input": [{"content": WRONG_PARTS}] * 3, "questions": []}),
    ("/v1/responses", {"model": "auto", "input": [{"role": "user", "content": WRONG_PARTS}]}),
    ("/v1/responses", {"model": "auto", "input": [{"output": WRONG_PARTS}]}),
    ("/v1/responses", {"model": "auto", "input": WRONG_PARTS}),
    ("/v1/responses", {"model": "auto", "input": "x", "metadata": MANY_KEYS}),
    ("/v1/chat/completions", {"model": "auto", "messages": WRONG_PARTS}),
    ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": WRONG_PARTS}]}),
    ("/v1/chat/completions", {"model": "auto", "messages": [HI], "tools": WRONG_PARTS}),
    ("/v1/chat/completions", {"model": "auto", "messages": [HI], "stop": [1] * 40_000}),
    ("/v1/chat/completions", {"model": "auto", "messages": [HI], **MANY_KEYS}),
    ("/v1/chat/completions", {"model": "auto", "messages": [{**HI, **MANY_KEYS}]}),
    ("/v1/agents/one/runs", {"input": "x", "messages": WRONG_PARTS}),
    ("/v1/agents/one/runs", {"input": "x", "messages": [MANY_KEYS]}),
    ("/v1/agents/one/runs", {"input": "x", **MANY_KEYS}),
    ("/v1/agents/one/runs?protocol=ag-ui", {"threadId": "t", "runId": "r", "messages": WRONG_PARTS}),
    (
        "/v1/agents/one/runs?protocol=ag-ui",
        {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": [{"text": 1}] * 40_000}]},
    ),
    ("/v1/agents/one/runs/x/approve", {"decisions": MANY_KEYS}),
    ("/v1/skills", {"action": "warm", **MANY_KEYS}),
]


@pytest.mark.parametrize(("path", "body"), WRONG)
def test_errors_of_a_body_are_few(path: str, body: dict[str, Any]) -> None:
    """However much of a body is wrong: a list of everything takes gigabytes and seconds."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(FORMS[path]).validate_python(body)
    assert 0 < caught.value.error_count() < 100


@pytest.fixture(scope="module")
def url(module_serving: Callable[..., str]) -> str:
    runtime = ScriptedRuntime(*["ok"] * 100)
    return module_serving(runtime, None, {"one": HostedAgent("one", Agent(runtime))})


def silence(url: str, path: str, body: Any) -> tuple[httpx.Response, float]:
    """What a request is answered, and the longest time that another one had to wait meanwhile."""
    content, longest, asked = json.dumps(body), 0.0, 0
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url, timeout=120) as other:
        going = pool.submit(
            httpx.post, url + path, content=content, headers={"Content-Type": "application/json"}, timeout=120
        )
        while not going.done() or not asked:
            start = time.monotonic()
            assert other.get("/health").text == "ok"
            longest, asked = max(longest, time.monotonic() - start), asked + 1
            time.sleep(0.005)
    return going.result(), longest


USERS = [{"role": "user", "content": "Hi. " * 90}] * 10_000
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
TURNS: list[dict[str, Any]] = [HI, {"role": "assistant", "content": "Hello."}] * 4_999
LONG: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "base", "messages": USERS}),
    ("/v1/chat/completions", {"model": "base", "messages": [*TURNS, HI]}),
    ("/v1/chat/completions", {"model": "one", "messages": USERS}),
    ("/v1/responses", {"model": "base", "input": USERS}),
    ("/v1/responses", {"model": "base", "input": [HI] * 110_000}),
    ("/v1/responses", {"model": "base", "input": [*[CALL] * 9_998, HI]}),
    ("/v1/responses", {"model": "base", "input": [*[CALL, HI] * 4_999, HI]}),
    ("/v1/decisions", {"model": "base", "input": USERS, "questions": [{"type": "predicate", "instructions": "x"}]}),
    ("/v1/decisions", {"model": "base", "input": TURNS, "questions": [{"type": "predicate", "instructions": "x"}]}),
]


@pytest.mark.parametrize(("path", "body"), LONG)
def test_a_long_conversation_silences_nobody(url: str, path: str, body: dict[str, Any]) -> None:
    answer, longest = silence(url, path, body)
    assert answer.status_code in (200, 400), answer.text[:300]
    assert longest < SILENCE


@pytest.mark.parametrize(("path", "field"), [("/v1/chat/completions", "messages"), ("/v1/responses", "input")])
def test_a_list_has_a_bound(url: str, path: str, field: str) -> None:
    answer = httpx.post(f"{url}{path}", json={"model": "base", field: [HI] * 10_001}, timeout=60)
    assert answer.status_code == 400 and "10000" in answer.text, answer.text[:300]


def slow_tools(count: int) -> list[dict[str, Any]]:
    """Tools whose schemas take long to be made ready."""
    deep: dict[str, Any] = {"type": "string", "pattern": "(?=a)b"}
    for _ in range(6):
        deep = {"anyOf": [deep, {"allOf": [deep]}]}
    schemas = ({"type": "object", "properties": {f"p{number}": deep}} for number in range(count))
    return [{"type": "function", "function": {"name": f"f{n}", "parameters": s}} for n, s in enumerate(schemas)]


def leave(url: str, path: str, body: dict[str, Any], running: int = 1) -> float:
    """Goes away while a request is worked on; the seconds until it is no more."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", urlparse(url).port or 0)) as client:
        client.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        wait_for(url, running)
    start = time.monotonic()
    wait_for(url, 0)
    return time.monotonic() - start


def wait_for(url: str, running: int) -> None:
    end = time.monotonic() + 60
    while httpx.get(f"{url}/v1/load", timeout=30).json()["running"] != running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_leaves_takes_its_slow_schemas_along(url: str) -> None:
    body = {"model": "base", "messages": [HI], "tools": slow_tools(300)}
    assert leave(url, "/v1/chat/completions", body) < 5
    start = time.monotonic()
    assert httpx.post(f"{url}/v1/chat/completions", json={"model": "base", "messages": [HI]}).status_code == 200
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "count"), [("Hello.", 400), ("Some words, and some more. " * 250, 1)], ids=["questions", "input"]
)
def test_a_client_that_leaves_takes_its_decisions_along(
    serving: Callable[..., str], base: Base, text: str, count: int
) -> None:
    runtime = Runtime.load(base)
    url = serving(runtime)
    questions = [{"type": "predicate", "instructions": f"It has {number} words."} for number in range(count)]
    leave(url, "/v1/decisions", {"model": "base", "input": text, "questions": questions})
    time.sleep(0.2)
    before = runtime.engine.scheduler.stats.forwards
    time.sleep(1)
    assert before < 100 and runtime.engine.scheduler.stats.forwards - before <= 1, "nothing more is computed for it"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "base", "messages": [{"role": "user", "content": "word " * 300}]}),
        ("/v1/chat/completions", {"model": "one", "messages": [{"role": "user", "content": "word " * 300}]}),
        ("/v1/responses", {"model": "base", "input": "word " * 300}),
        ("/v1/decisions", {**DECISION, "input": "word " * 300, "questions": [PREDICATE]}),
        ("/v1/agents/one/runs", {"input": "word " * 300}),
    ],
)
def test_prompts_over_the_limit_are_refused_before_they_are_read(
    serving: Callable[..., str], path: str, body: dict[str, Any]
) -> None:
    runtime = ScriptedRuntime(*["ok"] * 10)
    url = serving(
        runtime, ServerSettings(limits=ServerLimits(max_prompt=200)), {"one": HostedAgent("one", Agent(runtime))}
    )
    before = runtime.engine.scheduler.stats.rows
    answer = httpx.post(url + path, json=body, timeout=60)
    assert answer.status_code == 400 and "at most 200 are read" in answer.text, answer.text
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert runtime.engine.scheduler.stats.rows == before, "nothing of it is computed"
    fits = {"model": "base", "messages": [HI]}
    assert httpx.post(f"{url}/v1/chat/completions", json=fits, timeout=60).status_code == 200
    assert runtime.engine.scheduler.stats.rows > before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "base", "messages": [{"role": "user", "content": "word " * 300}]}),
        ("/v1/responses", {"model": "base", "input": "word " * 300}),
        ("/v1/decisions", {**DECISION, "input": "word " * 300, "questions": [PREDICATE]}),
    ],
)
def test_what_cannot_be_read_in_time_is_refused_before_it_is_read(
    serving: Callable[..., str], path: str, body: dict[str, Any]
) -> None:
    """By the pace that was measured, where no limit is given: reading it to the timeout would be for nothing."""
    runtime = ScriptedRuntime(*["ok"] * 10)
    url, scheduler = serving(runtime), runtime.engine.scheduler
    limited = serving(runtime, ServerSettings(limits=ServerLimits(max_prompt=100_000)))
    scheduler._pace.token, before = 0.5, scheduler.stats.rows
    answer = httpx.post(url + path, json=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded", answer.text
    assert "2 tokens a second" in answer.text and "enough for 600" in answer.text, answer.text
    assert scheduler.stats.rows == before, "nothing of it is computed"
    asked = {"model": "base", "messages": [HI]}
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).status_code == 200, "a short one goes"
    scheduler._pace.token = 0.5
    given = httpx.post(limited + path, json=body, timeout=60)
    assert "context_length" not in given.text, "a limit that is given holds instead"


def test_what_a_hosted_agent_would_read_counts_whole(serving: Callable[..., str], tmp_path: Path) -> None:
    """Its instructions, its tools and what its session knows, as the first step would read them."""
    runtime = ScriptedRuntime(*["ok"] * 10)
    texts = {"brief": "", "long": "x " * 300}
    agents = {name: HostedAgent(name, Agent(runtime, instructions=text)) for name, text in texts.items()}
    url = serving(runtime, ServerSettings(limits=ServerLimits(max_prompt=400), folder=tmp_path), agents)

    def contexts(name: str, session: str | None = None) -> list[int]:
        """Tokens of the transcript of each run in turn, until one is refused."""
        found = []
        for _ in range(6):
            asked = {"input": "word " * 20} | ({"session": session} if session else {})
            answer = httpx.post(f"{url}/v1/agents/{name}/runs", json=asked, timeout=60)
            if answer.status_code != 200:
                assert answer.json()["error"]["code"] == "context_length_exceeded", answer.text
                return found
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            found.append(next(event["context"] for event in events if event["type"] == "RunStarted"))
        return found

    assert contexts("long") == [] and len(contexts("brief")) == 6
    turns = contexts("brief", "s")
    assert 2 <= len(turns) < 6 and max(turns) <= 400 < turns[-1] + turns[0], turns
    asked = {"model": "long", "messages": [HI]}
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).status_code == 400


def test_an_input_that_no_context_holds_reaches_no_tokenizer(serving: Callable[..., str]) -> None:
    runtime = ScriptedRuntime("ok")
    base = runtime.base
    text = "x" * (base.config.max_positions * base.tokenizer.longest + 1)
    limits = ServerLimits(max_bytes=2 * len(text))
    url = serving(runtime, ServerSettings(limits=limits), {"one": HostedAgent("one", Agent(runtime))})
    for path, asked in (
        ("/v1/agents/one/runs", {"input": text}),
        ("/v1/chat/completions", {"model": "one", "messages": [{"role": "user", "content": text}]}),
    ):
        answer = httpx.post(f"{url}{path}", json=asked, timeout=60)
        assert answer.status_code == 400 and f"{len(text)} characters" in answer.text, answer.text[:300]


@pytest.mark.parametrize(
    ("path", "model", "field"),
    [
        ("/v1/chat/completions", "base", "messages"),
        ("/v1/chat/completions", "one", "messages"),
        ("/v1/decisions", "base", "input"),
    ],
)
def test_what_no_tokens_could_hold_is_refused_before_it_is_tokenized(
    serving: Callable[..., str], path: str, model: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, encoded = ScriptedRuntime("ok"), list[str]()
    tokenizer, most = runtime.base.tokenizer, 1000
    limits = ServerSettings(limits=ServerLimits(max_prompt=most))
    url = serving(runtime, limits, {"one": HostedAgent("one", Agent(runtime))})
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda text, *more: encoded.append(text) or encode(text, *more))
    message = {"role": "user", "content": "word " * (most * tokenizer.longest // 5 + 1)}
    body = {"model": model, field: [message, {"role": "assistant", "content": "Yes."}, HI]}
    body |= {"questions": [PREDICATE]} if field == "input" else {}
    answer = httpx.post(url + path, json=body, timeout=60)
    assert answer.status_code == 400 and "characters, and at most 1000 tokens" in answer.text, answer.text
    assert not [text for text in encoded if "word word" in text]
    fits = {"model": model, "messages": [HI]}
    assert httpx.post(f"{url}/v1/chat/completions", json=fits, timeout=60).status_code == 200
    assert encoded


@pytest.mark.parametrize(("path", "body"), WRONG)
def test_a_wrong_body_silences_nobody(url: str, path: str, body: dict[str, Any]) -> None:
    answer, longest = silence(url, path, body)
    assert answer.status_code in (400, 404) or (path == "/v1/skills" and answer.status_code == 403), answer.text[:300]
    assert len(answer.text) < 2000 and longest < SILENCE
