"""Requests made from the server's own OpenAPI document, against the embedded base: documented answers, never a 500.

`LORALOOP_EXAMPLES` is the number of requests of each route; `make test-hostile` sends many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from loraloop import Agent, Limits, tool
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.server import agents, chat, decisions, models, responses
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerLimits, ServerSettings

EXAMPLES = int(os.environ.get("LORALOOP_EXAMPLES", "10"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
KEY = {"Authorization": "Bearer admin-enough"}
ROUTES: list[tuple[str, str]] = [
    *(("GET", path) for path in ("/health", "/ready", "/metrics")),
    *(
        (next(iter(route.methods)), route.path)
        for module in (agents, chat, decisions, models, responses)
        for route in module.routes.routes
    ),
]
ASKING = ["/v1/chat/completions", "/v1/responses", "/v1/decisions", "/v1/agents/{name}/runs"]
WITH_BODY = [*ASKING, "/v1/skills", "/v1/agents/{name}/runs/{run_id}/approve"]
HI: dict[str, Any] = {"role": "user", "content": "Hi"}


@tool
def look(word: str) -> str:
    """Looks a word up."""
    return word


@pytest.fixture(scope="module")
def url(module_serving: Callable[..., str], base: Base) -> Iterator[str]:
    """A server that gives every request few tokens; whatever was asked, it answers at the end."""
    runtime = Runtime.load(base)
    limits = ServerLimits(max_tokens=8, seconds=50, max_bytes=50_000_000)
    agent = Agent(runtime, [look], limits=Limits(max_steps=2, step_tokens=8, run_tokens=8))
    kept = ServerSettings(keys=frozenset(("long-enough",)), admin_key="admin-enough", limits=limits)
    url = module_serving(runtime, kept, {"one": HostedAgent("one", agent)})
    yield url
    asked = {"model": "base", "messages": [HI], "max_completion_tokens": 4}
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, headers=KEY, timeout=60).status_code == 200


@pytest.fixture(scope="module")
def api(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json", headers=KEY)


def sensible(body: dict[str, Any]) -> None:
    """Gives a body what it needs to be more than well formed: a model that exists, and something that was said."""
    if "model" in body:
        body["model"] = ("base", "auto", "tools")[len(body["model"]) % 3]
    if "messages" in body:
        body["messages"] = [*(each for each in body["messages"] if each.get("role") in ("user", "system")), HI]
    if isinstance(body.get("input"), str) or not {"messages", "input"} & set(body):
        body["input"] = f"Hi {body.get('input', '')}"
    if isinstance(body.get("input"), list):
        body["input"] = [HI]
    body.pop("resume", None)


def send(api: Any, method: str, path: str, mode: GenerationMode) -> set[int]:
    """Sends requests to a route, and checks their answers; the statuses of these."""
    statuses: set[int] = set()
    sent = iter(range(10**6))

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def test(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and path in ASKING and next(sent) % 3:
            sensible(case.body)
        where = case.meta.components.get(ParameterLocation.PATH)
        ill_named = where is not None and where.mode is GenerationMode.NEGATIVE
        if isinstance((case.path_parameters or {}).get("name"), str) and not ill_named:
            case.path_parameters["name"] = "one"
        answer = case.call(headers=KEY, timeout=60)
        late = answer.status_code == 504  # on a busy machine; it is documented
        case.validate_response(answer, checks=[each for each in CHECKS if not (late and each is not_a_server_error)])
        statuses.add(answer.status_code)

    test()
    return statuses


@pytest.fixture(autouse=True)
def idle_after(url: str) -> Iterator[None]:
    """Whatever was asked: afterwards no turn is lost."""
    yield
    load = httpx.get(f"{url}/v1/load", headers=KEY).json()
    assert load["running"] == load["waiting"] == 0


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_is_documented_and_none_is_a_500(api: Any, method: str, path: str) -> None:
    statuses = send(api, method, path, GenerationMode.POSITIVE)
    assert path not in ASKING or 200 in statuses, "some of it was sensible"


@pytest.mark.parametrize("path", WITH_BODY)
def test_what_is_not_well_formed_is_refused(api: Any, path: str) -> None:
    statuses = send(api, "POST", path, GenerationMode.NEGATIVE)
    assert statuses and statuses <= {400, 404, 405}
