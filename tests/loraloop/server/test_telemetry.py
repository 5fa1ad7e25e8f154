"""OpenTelemetry: a request's span, and within it those of its run, for replies, streams and hosted agents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from loraloop import Agent, tool
from loraloop.agent.tracing.otel import OpenTelemetry
from loraloop.server.runs import HostedAgent
from loraloop.testing import ScriptedRuntime, calls

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}


@tool
def look(word: str) -> str:
    """Looks a word up."""
    return word


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[ReadableSpan]]]:
    """`spans()`: those of the provider that the process has, which have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    def ended() -> list[ReadableSpan]:
        for _ in range(500):  # a request's span ends a little after its last byte
            if any(span.name.startswith("POST") for span in exporter.get_finished_spans()):
                break
            time.sleep(0.02)
        return list(exporter.get_finished_spans())

    yield ended
    provider.shutdown()


def within(found: list[ReadableSpan], name: str) -> list[str]:
    """The names of the spans around a span, from the nearest outwards."""
    by_id = {span.context.span_id: span for span in found if span.context}
    span = next(each for each in found if each.name.startswith(name))
    around = []
    while span.parent is not None and (outer := by_id.get(span.parent.span_id)) is not None:
        around.append(outer.name)
        span = outer
    return around


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/responses", {"model": "auto", "input": "Hi"})]
)
def test_a_reply_is_a_run_within_its_request(
    serving: Callable[..., str], spans: Callable[[], list[ReadableSpan]], path: str, body: dict[str, Any], stream: bool
) -> None:
    url = serving(ScriptedRuntime("Hello."))
    answer = httpx.post(url + path, json={**body, "stream": stream}, headers={"traceparent": PARENT}, timeout=30)
    assert answer.status_code == 200
    found = spans()
    assert within(found, "chat")[0] == "invoke_agent reply" and within(found, "chat")[-1] == f"POST {path}"
    request = next(span for span in found if span.name == f"POST {path}")
    assert request.attributes is not None and request.attributes["http.response.status_code"] == 200
    assert request.context and f"{request.context.trace_id:032x}" in PARENT, "the client's trace goes on"


def test_the_run_of_a_hosted_agent_has_its_steps_and_calls(
    serving: Callable[..., str], spans: Callable[[], list[ReadableSpan]]
) -> None:
    runtime = ScriptedRuntime(calls(look={"word": "x"}), "Done.")
    agent = Agent(runtime, [look], hooks=[OpenTelemetry(agent="desk")])
    url = serving(runtime, agents={"desk": HostedAgent("desk", agent)})
    assert "RunFinished" in httpx.post(f"{url}/v1/agents/desk/runs", json={"input": "Look."}, timeout=30).text
    found = spans()
    assert within(found, "execute_tool look")[0] == "invoke_agent desk"
    assert within(found, "execute_tool look")[-1] == "POST /v1/agents/{name}/runs"
    assert sum(span.name.startswith("chat") for span in found) == 2


def test_without_a_provider_nothing_is_recorded(serving: Callable[..., str]) -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    url = serving(ScriptedRuntime("Hello."))
    assert httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30).status_code == 200
