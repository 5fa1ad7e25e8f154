"""Asking back: where no call was made because something is missing, the base asks for it, by the grammar's leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message
from loraloop.adapters.skill.card import Reranking
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.loop.asking import cue_for, question, spoken
from loraloop.agent.loop.job import Decision
from loraloop.agent.loop.write import Writer, Writing
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.tools.tool import Tool

PARK = Tool(
    "park_car",
    "Parks a car in a zone.",
    {
        "type": "object",
        "properties": {"parking_zone": {"enum": ["A7", "B8"]}, "hours": {"enum": [1, 2]}},
        "required": ["parking_zone", "hours"],
        "additionalProperties": False,
    },
    lambda parking_zone, hours: "parked",
)


def runtime_of(base: Base, skill: Skill, *skills: str) -> Runtime:
    reranking = Reranking(weights={"log_probability": 1.0, "none_log_odds": 1.0}, no_call_from=0.0)
    bank = Bank(base, slots=2)
    bank.add(Skill(skill.card.model_copy(update={"beams": 3, "reranking": reranking}), skill.tensors))
    return Runtime(base, bank, ScriptedRouter(list(skills), ()))


def asked(runtime: Runtime, request: str, tokens: int = 160, **policy: Any) -> Any:
    agent = Agent(
        runtime,
        [PARK],
        guard=Guard(input=None, tools=None),
        policy=Policy(max_calls=1, **policy),
        limits=Limits(step_tokens=tokens, max_steps=2),
    )
    return agent.run_sync(request)


def test_the_base_asks_for_what_nobody_said(small: Base, make_skill: Callable[..., Skill]) -> None:
    runtime = runtime_of(small, make_skill(small, "tools", "calls"), *["tools", "none"] * 3)
    result = asked(runtime, "Park the car in a zone for 2 hours.")
    assert [step.outcome for step in result.steps] == ["no_call", "text"]
    assert "parking_zone" in result.steps[0].missing
    assert "parking zone" in result.output and re.fullmatch(r"[^.?]*[.?]", result.output)
    assert re.match("I need to know|Please tell me|Could you tell me|What is|Which", result.output)
    assert all("Ask me for" not in message.content for message in result.messages)  # told in the branch alone
    free = asked(runtime, "Park the car in a zone for 2 hours.", missing_cue="")
    assert free.steps[0].missing == result.steps[0].missing and free.output != result.output
    function: Any = runtime.skills.tools
    assert function("Park the car in a zone for 2 hours.", [PARK]).missing == result.steps[0].missing


@pytest.mark.parametrize("request_", ["Park the car in zone A7 or B8 for 1 or 2 hours.", "Tell me a joke about cats."])
def test_nothing_is_asked_for_that_was_said_or_that_no_tool_is_about(
    small: Base, make_skill: Callable[..., Skill], request_: str
) -> None:
    runtime = runtime_of(small, make_skill(small, "tools", "calls"), "tools", "none")
    result = asked(runtime, request_)
    assert result.steps[0].outcome == "no_call" and result.steps[0].missing == ()


def test_a_step_without_room_for_a_question_answers_freely(
    small: Base, make_skill: Callable[..., Skill], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloop.agent.loop.write.LEAST_TOKENS", 161)
    runtime = runtime_of(small, make_skill(small, "tools", "calls"), "tools", "none")
    result = asked(runtime, "Park the car in a zone for 2 hours.")
    assert result.steps[0].missing and "parking zone" not in result.output


def test_an_answer_in_a_form_is_no_question(small: Base, make_skill: Callable[..., Skill]) -> None:
    runtime = runtime_of(small, make_skill(small, "tools", "calls"), *["tools", "none"] * 2)
    limits = Limits(step_tokens=160, max_steps=2)
    agent = Agent(runtime, [PARK], guard=Guard(input=None, tools=None), limits=limits, output_type=int)
    policies = [Policy(max_calls=1, missing_cue=cue) for cue in ("Ask me for {missing}.", "")]
    told, untold = (agent.run_sync("Park the car in a zone for 2 hours.", policy=policy) for policy in policies)
    assert told.steps[0].missing and told.steps[1].text == untold.steps[1].text  # nor is it told to ask


def test_where_there_is_a_result_the_base_answers_from_it() -> None:
    writer = object.__new__(Writer)
    writer._job = SimpleNamespace(policy=Policy())  # type: ignore[assignment]
    asked_for = Message("user", "Park the car in a zone for 2 hours.")
    decision = Decision("none", 1.0, False, (), (), "router")
    step = Writing(1, decision, "text", 160, None, [asked_for], missing=("parking_zone",))
    assert writer._asks(step)
    assert not writer._asks(replace(step, messages=[asked_for, Message("tool", '{"result": "parked"}')]))
    assert not writer._asks(replace(step, missing=()))


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{1,8}(_[a-z]{1,6})?", fullmatch=True), min_size=1, max_size=5))
def test_the_form_takes_questions_that_name_all_that_is_asked_for(names: list[str]) -> None:
    form = re.compile(question(names).pattern)
    named = [spoken(name) for name in names[:3]]
    listed = named[0] if len(named) == 1 else ", ".join(f"the {each}" for each in named[:-1]) + f" and the {named[-1]}"
    assert form.fullmatch(f"I need to know the {listed}.") and form.fullmatch(f"What is the {listed}?")
    assert not form.fullmatch("I need to know more.") and not form.fullmatch(f"The {listed}.")
    assert all(f"the {each}" in cue_for("Ask me for {missing}.", names) for each in named)


@pytest.mark.parametrize(("name", "words"), [("startTime", "start time"), ("a_b_c_d_e_f", "a b c d e"), ("URL", "url")])
def test_names_are_said_as_words(name: str, words: str) -> None:
    assert spoken(name) == words
