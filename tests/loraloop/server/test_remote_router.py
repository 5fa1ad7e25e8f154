"""Routing by a server's `/v1/decisions`: a loraloop server's own router, or the model of another server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Timer
from time import monotonic
from typing import Any

import pytest
from openai.types.decision_create_params import DecisionCreateParams
from pydantic import TypeAdapter

from loraloop import Agent, Limits, Runtime
from loraloop.adapters.base import Base, Message
from loraloop.agent.engine.remote.decisions import OUTCOMES, ROUTER, ServerRouter
from loraloop.agent.engine.remote.server import RemoteServer
from loraloop.agent.engine.step import transcript
from loraloop.router import Router
from loraloop.router.binary import BinaryModel
from loraloop.router.decision import RouterState
from loraloop.tool_schemas.errors import BaseModelError
from loraloop.tool_schemas.http.client import Retries
from loraloop.tool_schemas.tools.render import render_tools
from loraloop.tool_schemas.tools.tool import Tool
from tests.conftest import Peer

CALL = '[{"name":"weather","arguments":{"city":"Paris"}}]'
RESULT = '{"name":"weather","result":{"city":"Paris","sky":"sunny"}}'
NO_CODE = frozenset({"code"})
SHARES = {"tools": 0.5, "code": 0.2, "retrieval": 0.2, "none": 0.1}


def weather(city: str) -> dict[str, str]:
    """Current weather of a city."""
    return {"city": city, "sky": "sunny"}


def decided(shares: dict[str, float] = SHARES) -> Callable[[Any], None]:
    """An answer in OpenAI's form."""
    listed = [{"value": name, "probability": share} for name, share in shares.items()]
    body = {"model": "model", "answers": [{"type": "choice", "name": None, "probabilities": listed}]}
    return lambda handler: handler.reply(200, json.dumps(body))


def talk(base: Base, header: str = "") -> list[Message]:
    tools = render_tools([Tool.from_function(weather)], header or base.prompting.tools_header)
    return [
        Message("system", f"Be exact.\n\n{tools}"),
        Message("system", "Dates: tomorrow = 2027-03-19"),
        Message("user", "What is the weather in Paris?"),
        Message("assistant", CALL),
        Message("tool", RESULT),
        Message("assistant", "It is sunny."),
        Message("user", "Write a Python function that adds two numbers."),
    ]


@pytest.mark.parametrize("end", [3, 5, 7])
def test_a_loraloop_server_routes_as_its_router_does_there(serving: Callable[..., str], base: Base, end: int) -> None:
    router = Router.load()
    choice = router.choice
    calls = BinaryModel(choice.parts, choice.scaler, choice.weight[1], choice.bias[1], 0.5, 0.1)
    runtime, messages = Runtime.load(base, router=replace(router, call_model=calls)), talk(base)[:end]
    trunk = transcript(runtime.engine, messages, known=0)
    trunk.flush()
    own = runtime.router.features(trunk.features(), messages)
    remote = ServerRouter(RemoteServer(serving(runtime) + "/v1"), ROUTER)
    found = remote.features({}, messages)
    assert remote.screen(found).probability == pytest.approx(runtime.router.screen(own).probability, abs=1e-3)
    assert remote.screen(found).threshold == runtime.router.screen(own).threshold
    for state in (
        RouterState(tools=True, passages=True),
        RouterState(tools=True),
        RouterState(masked=frozenset({"code"})),
    ):
        here, there = runtime.router.choose(own, state), remote.choose(found, state)
        assert (there.skill, there.abstained, there.masked) == (here.skill, here.abstained, here.masked)
        assert there.call == (here.call and pytest.approx(here.call, abs=1e-3)) and (here.call is None) != state.tools
        assert there.threshold == here.threshold
        assert dict(there.probabilities) == pytest.approx(dict(here.probabilities), abs=1e-3)


def test_a_message_far_from_what_the_router_knows_is_left_to_the_base(serving: Callable[..., str], base: Base) -> None:
    runtime = Runtime.load(base)
    choice = runtime.router.choice
    runtime.router = replace(runtime.router, choice=replace(choice, region=replace(choice.region, limit=0.0)))
    remote = ServerRouter(RemoteServer(serving(runtime) + "/v1"), ROUTER)
    found = remote.features({}, talk(base)[:3])
    assert max(found.shares, key=found.shares.__getitem__) == "tools"
    route = remote.choose(found, RouterState(tools=True))
    assert (route.skill, route.abstained, route.reason) == ("none", True, "far from all training data")


def test_eyes_on_another_base_read_tools_in_the_words_that_its_router_knows(
    serving: Callable[..., str], peer: Any, base: Base, one_base: None
) -> None:
    eyes = serving(Runtime.load(base)) + "/v1"
    runtime = Runtime.connect(peer.url, eyes=eyes, key="secret")
    assert (
        isinstance(runtime.router, ServerRouter) and runtime.base.prompting.tools_header != base.prompting.tools_header
    )
    theirs = talk(base, runtime.base.prompting.tools_header)[:3]
    found = runtime.router.features({}, theirs)
    wanted = ServerRouter(RemoteServer(eyes), ROUTER).features({}, talk(base)[:3])
    assert dict(found.shares) == pytest.approx(dict(wanted.shares), abs=1e-3)


def test_another_server_is_asked_in_the_form_of_openai(peer: Any, one_base: None) -> None:
    runtime = Runtime.connect(peer.url, eyes=peer.url, key="secret")
    peer.answers += [decided(), CALL, decided({**SHARES, "none": 0.9}), "It is sunny."]
    result = Agent(runtime, [weather]).run_sync("What is the weather?")
    asked = [body for body in peer.bodies if "questions" in body]
    for body in asked:
        TypeAdapter(DecisionCreateParams).validate_python(body)
        assert body["model"] == "model"
        (question,) = body["questions"]
        assert {each["value"]: each["description"] for each in question["choices"]} == OUTCOMES
    assert asked[0]["input"].endswith("user: What is the weather?") and "assistant: [{" in asked[1]["input"]
    assert [step.skill for step in result.steps] == ["tools", "none"] and result.output == "It is sunny."
    assert result.steps[0].decision.route.probability == pytest.approx(0.5 / 0.8)  # there are no passages
    assert set(peer.keys) == {"Bearer secret"}


def test_the_key_goes_to_the_server_that_writes_alone(peer: Any, one_base: None) -> None:
    eyes = Peer()
    try:
        runtime = Runtime.connect(peer.url, eyes=eyes.url, key="secret")
        eyes.answers.append(decided({**SHARES, "none": 0.9}))
        assert Agent(runtime).run_sync("Hi.").output == "Fine." and len(eyes.bodies) == 1
        assert set(peer.keys) == {"Bearer secret"} and set(eyes.keys) == {None}
    finally:
        eyes.close()


def test_a_decision_is_asked_for_again_where_its_failure_may_pass(peer: Any) -> None:
    router = ServerRouter(RemoteServer(peer.url, retries=Retries(backoff=0.01)), "model")
    peer.answers += [503, 429, decided()]
    assert router.features({}, [Message("user", "Hi.")]).shares == SHARES and len(peer.bodies) == 3
    peer.answers.append(404)
    with pytest.raises(BaseModelError, match="answered 404"):
        router.features({}, [Message("user", "Hi.")])
    assert len(peer.bodies) == 4
    peer.answers.append(decided({"tools": 1.0}))
    with pytest.raises(BaseModelError, match="name of a base as eyes"):
        router.features({}, [Message("user", "Hi.")])


def test_a_server_that_does_not_decide_is_waited_for_until_the_deadline(peer: Any, one_base: None) -> None:
    runtime, silent = Runtime.connect(peer.url, eyes=peer.url), Event()
    peer.answers.append(lambda handler: silent.wait(5))
    start = monotonic()
    result = Agent(runtime, limits=Limits(deadline=0.3)).run_sync("Hi.")
    assert result.stop_reason == "deadline" and not result.steps and monotonic() - start < 3
    peer.answers.append(lambda handler: silent.wait(5))
    stream = Agent(runtime).stream("Hi.")
    Timer(0.3, stream.cancel).start()
    assert stream.finish().stop_reason == "cancelled" and monotonic() - start < 4
    silent.set()
