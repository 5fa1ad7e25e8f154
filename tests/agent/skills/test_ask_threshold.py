"""From which probability a tools skill asks for arguments rather than calling something, or nothing."""

from __future__ import annotations

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Message
from loraloop.adapters.skill.card import Threshold
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Limits, Policy, Runtime, Thresholds
from loraloop.agent.engine.step import StepOutput, StepRequest
from loraloop.agent.skills.one_step import write_step
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas import Ask, JsonSchema, Tool, calls_schema, parse_step

SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
TOOLS = [Tool(name="show", description="Shows an order.", parameters=SCHEMA)]


def wrote(base, skill: Skill, threshold: float | None) -> str:
    asks = {"asks": True, "ask_threshold": None if threshold is None else Threshold(value=threshold)}
    bank = Bank(base)
    bank.add(Skill(skill.card.model_copy(update=asks), skill.tensors))
    runtime = Runtime(base, bank, ScriptedRouter([], ()))
    term = JsonSchema(calls_schema(TOOLS, ask=True))
    openings = runtime.openings("tools", "calls", None)
    request = StepRequest(choice="tools", grammar=runtime.grammar(term), max_tokens=64, openings=openings)
    *_, last = write_step(runtime, [Message("user", "Show my order.")], request)
    assert isinstance(last, StepOutput)
    return last.text


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_decides_whether_a_step_asks(tiny_base, make_skill, seed):
    skill = make_skill(tiny_base, "tools", "calls", seed)
    asked = parse_step(wrote(tiny_base, skill, 0.0), TOOLS)
    called = parse_step(wrote(tiny_base, skill, 1.0), TOOLS)
    assert asked == Ask(("id",))
    assert not isinstance(called, Ask)
    assert wrote(tiny_base, skill, None) in (wrote(tiny_base, skill, 0.0), wrote(tiny_base, skill, 1.0))


def test_a_policys_threshold_takes_the_place_of_the_cards(tiny_base, make_skill):
    skill, bank = make_skill(tiny_base, "tools", "calls", 0), Bank(tiny_base)
    bank.add(Skill(skill.card.model_copy(update={"asks": True, "ask_threshold": Threshold(value=1.0)}), skill.tensors))
    runtime = Runtime(tiny_base, bank, ScriptedRouter([], ()))

    def asked(ask: float | None) -> bool:
        policy = Policy(skills=("tools",), thresholds=Thresholds(ask_user=ask))
        agent = Agent(runtime, TOOLS, policy=policy, limits=Limits(max_steps=1, step_tokens=64))
        return agent.run_sync("Show my order.").steps[0].outcome == "ask"

    assert [asked(None), asked(0.0), asked(1.0)] == [False, True, False]
