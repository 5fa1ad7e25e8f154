"""The embedded base as a router's eyes: what it reads is what the router reads on that base's own trunk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from loraloop.adapters.base import Base, Message, Row
from loraloop.adapters.base.prompting import READING
from loraloop.router.card import shipped_routers
from loraloop.router.decision import RouterState
from loraloop.router.features import RouterFeatures
from loraloop.router.proxy import ProxyRouter, _signatures, reworded
from loraloop.router.router import Router
from loraloop.tool_schemas.errors import SkillError
from loraloop.tool_schemas.tools.render import DEFINITIONS, render_tools
from loraloop.tool_schemas.tools.tool import Tool

TALK = [
    Message("system", "You are helpful."),
    Message("user", "What is the weather in Oslo?"),
    Message("assistant", "It rains."),
    Message("user", "Write a Python function that adds two numbers."),
]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.load("smollm2-135m")


@pytest.fixture
def eyes(base: Base, router: Router) -> ProxyRouter:
    return ProxyRouter(base, router)


def recomputed(base: Base, router: Router, messages: list[Message]) -> RouterFeatures:
    ids = base.chat.render(messages)
    last = len(base.chat.message(messages[-1].role, messages[-1].content))
    kept = base.forward([Row(ids, base.new_cache())], keep=router.layers).kept
    return router.features({layer: states[-last:] for layer, states in kept.items()})


def close(one: RouterFeatures, other: RouterFeatures) -> bool:
    return all(
        torch.allclose(a, b, rtol=2e-2, atol=2e-2 * float(b.abs().max()))
        for a, b in ((one.choice, other.choice), (one.screen, other.screen))
    )


def test_a_growing_transcript_is_read_on(eyes: ProxyRouter, base: Base, router: Router) -> None:
    for end in (2, 4):
        found, wanted = eyes.features({}, TALK[:end]), recomputed(base, router, TALK[:end])
        assert close(found, wanted)
        state = RouterState(tools=True)
        assert eyes.choose(found, state).skill == router.choose(wanted, state).skill
        assert eyes.screen(found).positive == router.screen(wanted).positive
    assert eyes.layers == () and eyes.skills == router.skills
    assert eyes.kept == len(base.chat.render(TALK))


def test_what_was_read_is_not_computed_again(eyes: ProxyRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    forward = Base.forward

    def counted(self: Base, rows: list[Row], **how: object) -> object:
        fed.append(sum(len(row.tokens) for row in rows))
        return forward(self, rows, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Base, "forward", counted)
    first = eyes.features({}, TALK[:2])
    whole = sum(fed)
    fed.clear()
    assert eyes.features({}, TALK[:2]) is first and not fed
    other = [*TALK[:1], Message("user", "Tell me a joke.")]
    eyes.features({}, other)  # another transcript that begins alike
    assert sum(fed) < whole
    fed.clear()
    eyes.features({}, TALK)
    assert sum(fed) == len(eyes.base.chat.render(TALK)) - whole


def test_the_window_and_the_store_are_bounded(base: Base, router: Router) -> None:
    eyes = ProxyRouter(base, router, window=120, kept=200)
    talk = [TALK[0]]
    for number in range(12):
        talk.append(Message("user", f"Number {number}: " + "tell me more about the sea. " * (40 if number == 7 else 1)))
        assert torch.isfinite(eyes.features({}, talk).choice).all()
        assert eyes.kept <= 200
    ids, last = eyes._ids(talk)
    assert len(ids) <= 120 and ids[-last:] == base.chat.message("user", talk[-1].content)
    assert ids[:8] == base.chat.message("system", "You are helpful.")[:8]


def test_wording_is_the_serving_bases(base: Base, router: Router) -> None:
    eyes = ProxyRouter(base, router, wording={"# Tools": "Tools:"})
    theirs = [Message("system", "# Tools\n[]"), TALK[1]]
    ours = [Message("system", "Tools:\n[]"), TALK[1]]
    assert torch.equal(eyes.features({}, theirs).choice, ProxyRouter(base, router).features({}, ours).choice)


def test_eyes_beside_another_base_read_its_tools_in_the_words_that_the_router_knows(base: Base) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [Tool(name="get_weather", description="Current weather of a city.", parameters=city)]
    theirs, ours = (
        [Message("system", render_tools(tools, header=prompting.tools_header)), TALK[1]]
        for prompting in (READING, base.prompting)
    )
    eyes = ProxyRouter.beside(READING)
    as_json = render_tools(tools, DEFINITIONS)  # for a base that writes calls in its own format
    beside = ProxyRouter.beside(replace(READING, tools_header=DEFINITIONS))
    assert reworded(f"Hi.\n\n{as_json}", beside._wording) == (f"Hi.\n\n{ours[0].content}")
    assert reworded("no tools", eyes._wording) == "no tools" == _signatures("no tools", "x")
    assert torch.equal(eyes.features({}, theirs).choice, ProxyRouter(base, eyes.router).features({}, ours).choice)
    assert ProxyRouter.beside(READING).base is eyes.base
    assert eyes.choose(eyes.features({}, theirs), RouterState(tools=True)).skill == "tools"


def test_each_base_has_the_router_of_its_name() -> None:
    for name in shipped_routers():
        assert Router.shipped(name).card["base"] == name
    assert {"smollm2-135m", "qwen2.5-coder-1.5b"} <= shipped_routers().keys()
    assert Router.shipped("a base of one's own").card["base"] == "smollm2-135m"


def test_a_router_of_another_base_is_refused(base: Base, router: Router) -> None:
    foreign = Router(
        router.choice, router.screen_model, router.memory, {**router.card, "fingerprints": {"architecture": "x"}}
    )
    with pytest.raises(SkillError, match="reads the states of"):
        ProxyRouter(base, foreign)
    with pytest.raises(ValueError, match="no message to route"):
        ProxyRouter(base, router).features({}, [])
