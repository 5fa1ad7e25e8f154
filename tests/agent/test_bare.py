"""A base without trained skills: contracts hold, and its weights are untouched."""

from __future__ import annotations

import json

import pytest

from loraloop import Agent, Policy, tool
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.skill.blank import blank_skill
from loraloop.agent.bare import bare_runtime
from loraloop.tool_schemas.errors import SkillError


@tool
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def test_the_base_calls_tools_where_the_policy_says_so(base: Base) -> None:
    runtime = bare_runtime(base)
    agent = Agent(runtime, tools=[double], policy=Policy(skills=("tools", "none")))
    result = agent.run_sync("Double the number 21 with the tool.")
    assert [step.skill for step in result.steps] == ["tools", "none"]
    for call in result.steps[0].calls:
        assert call.name == "double" and isinstance(call.arguments["number"], int)
    assert result.steps[0].outcome in ("calls", "no_call")
    assert json.loads(result.to_json())["steps"][1]["skill"] == "none"


def test_without_a_policy_the_base_answers(base: Base) -> None:
    result = Agent(bare_runtime(base)).run_sync("Say hello.")
    assert [step.skill for step in result.steps] == ["none"] and result.output


def test_a_blank_skill_changes_nothing() -> None:
    base = random_base(3, architecture="qwen2", qkv_bias=True)
    skill = blank_skill(base, "calls", "calls")
    assert all(not tensor.any() for name, tensor in skill.tensors.items() if name.endswith("lora_B"))
    assert skill.card.invocation == base.chat.generation_prompt and skill.card.contract == "calls"
    with pytest.raises(SkillError, match="contract"):
        blank_skill(base, "x", "poems")
