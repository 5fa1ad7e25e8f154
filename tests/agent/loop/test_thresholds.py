"""Calling nothing and finding no answer: how likely it is stands in the trace; card or policy has a threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.skill.card import Threshold
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.values.policy import Thresholds
from loraloop.router.decision import Route
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.tool import Tool

LIMITS = Limits(step_tokens=160, max_steps=1)
ACT = Tool("act", "Acts.", {"type": "object", "properties": {}, "additionalProperties": False}, lambda: "done")


def first(runtime: Runtime, **policy: Any) -> Any:
    guard = Guard(input=None, tools=None)
    agent = Agent(runtime, [ACT], guard=guard, policy=Policy(max_calls=1, **policy), limits=LIMITS)
    return agent.run_sync("Act, please.").steps[0]


def test_the_policy_decides_and_the_trace_says_how_likely_it_was(make_runtime: Callable[..., Runtime]) -> None:
    runtime = make_runtime(*["tools"] * 6)
    free = first(runtime)
    assert free.weighed.opening == "no_call" and 0 < free.weighed.probability < 1 and free.weighed.threshold is None
    for threshold, outcome in ((0.0, "no_call"), (free.weighed.probability, "no_call"), (1.0, "calls")):
        step = first(runtime, thresholds=Thresholds(no_call=threshold))
        assert (step.outcome, step.weighed.threshold) == (outcome, threshold)
        assert step.weighed.probability == pytest.approx(free.weighed.probability)
    asked = first(runtime, thresholds=Thresholds(no_call=0.0), min_calls=1)  # a call has to be: nothing is weighed
    assert asked.outcome == "calls" and asked.weighed is None
    with pytest.raises(InputError, match="no_call"):
        Thresholds(no_call=2)


def test_the_card_decides_where_the_policy_does_not(small: Base, make_skill: Callable[..., Skill]) -> None:
    made = make_skill(small, "tools", "calls")
    for value, outcome in ((0.0, "no_call"), (1.0, "calls")):
        bank = Bank(small, slots=2)
        bank.add(Skill(made.card.model_copy(update={"threshold": Threshold(value=value)}), made.tensors))
        runtime = Runtime(small, bank, ScriptedRouter(["tools"], ()))
        assert runtime.threshold("tools") == value and first(runtime).outcome == outcome


class CallRouter(ScriptedRouter):
    """Says how probable it is that the user's message needs a call."""

    call = 0.0

    def choose(self, features: Any, state: Any) -> Route:
        return replace(super().choose(features, state), call=None if state.after == "tool" else self.call)


def test_the_router_decides_where_neither_does(small: Base, make_skill: Callable[..., Skill]) -> None:
    made, router = make_skill(small, "tools", "calls"), CallRouter(["tools"] * 9)
    bank = Bank(small, slots=2)
    bank.add(made)
    runtime = Runtime(small, bank, router)
    probability = first(runtime).weighed.probability
    assert 0 < probability < 1
    for call, outcome in ((0.0, "no_call"), (probability, "no_call"), ((1 + probability) / 2, "calls"), (1.0, "calls")):
        router.call = call
        step = first(runtime)
        assert (step.outcome, step.weighed.threshold) == (outcome, call)
        assert step.weighed.probability == pytest.approx(probability)
    assert first(runtime, thresholds=Thresholds(no_call=0.0)).outcome == "no_call"
    bank.remove("tools")
    bank.add(Skill(made.card.model_copy(update={"threshold": Threshold(value=0.0)}), made.tensors))
    assert first(runtime).weighed.threshold == 0.0


def test_so_it_is_with_finding_no_answer(make_runtime: Callable[..., Runtime]) -> None:
    def asked(runtime: Runtime, **policy: Any) -> Any:
        agent = Agent(runtime, guard=Guard(input=None), policy=Policy(**policy), limits=LIMITS)
        return agent.run_sync("Who?", passages=["Ada wrote it."]).steps[0]

    runtime = make_runtime(*["retrieval"] * 4)
    free = asked(runtime)
    assert free.weighed.opening == "no_answer" and 0 < free.weighed.probability < 1 and free.weighed.threshold is None
    for threshold, outcome in ((0.0, "not_answerable"), (free.weighed.probability, "not_answerable"), (1.0, "answer")):
        step = asked(runtime, thresholds=Thresholds(no_answer=threshold))
        assert (step.outcome, step.weighed.threshold) == (outcome, threshold)
        assert step.weighed.probability == pytest.approx(free.weighed.probability)
    function: Any = runtime.skills.retrieval
    answer = function("Who?", ["Ada wrote it."], threshold=0.0)
    assert not answer.answerable and answer.no_answer_from == 0.0 and 0 < answer.no_answer < 1
    with pytest.raises(InputError, match="no_answer"):
        Thresholds(no_answer=-1)
