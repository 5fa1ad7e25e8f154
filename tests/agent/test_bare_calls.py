"""A runtime without a tools skill, or whose router does not know one: the base itself calls, under the grammar."""

from __future__ import annotations

from typing import Any

import pytest

from loraloop import Agent, Policy
from loraloop.adapters.base import Message
from loraloop.agent.bare import Unrouted
from loraloop.integrations.conversation import tool_of
from loraloop.integrations.reply import Replying, ReplyRequest
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.testing import ScriptedRuntime, calls, code

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class Silent(Unrouted):
    """A router that knows the base alone."""

    skills = ()

    def choose(self, features: Any, state: RouterState) -> Route:
        return Route(NONE, 1.0, abstained=False, runners_up=(), masked=tuple(sorted(state.masked)))


def runtime(*script: Any, **options: Any) -> ScriptedRuntime:
    return ScriptedRuntime(*script, router=Silent(), **options)


@pytest.mark.parametrize("skills", [{}, {"tools": "calls"}, {"mine": "calls"}])
def test_the_base_calls_where_no_skill_was_trained_to(skills: dict[str, str]) -> None:
    name = next(iter(skills), "tools")
    made = runtime(calls(("add", {"a": 1, "b": 2}), skill=name), calls(skill=name), "It is 3.", skills=skills)
    result = Agent(made, [add]).run_sync("Add 1 and 2.")
    assert result.output == "It is 3." and result.steps[0].calls[0].result == 3
    assert [step.outcome for step in result.steps] == ["calls", "no_call", "text"]


def test_without_tools_and_where_they_are_shut_nothing_changes() -> None:
    made = ScriptedRuntime("Hello.", "No.", "Never.", router=Silent(), skills={})
    assert Agent(made).run_sync("Hi.").output == "Hello." and not made.skills
    assert Agent(made, [add]).run_sync("Add.", tool_choice="none").output == "No."
    assert Agent(made, [add], policy=Policy(forbid={"tools"})).run_sync("Add.").output == "Never."


def test_a_router_that_knows_a_skill_for_calls_decides_alone() -> None:
    made = ScriptedRuntime("Hello.", code("print(1)"))
    assert [step.skill for step in Agent(made, [add]).run_sync("Hi.").steps] == ["none"]


def test_a_model_of_another_framework_calls_as_well() -> None:
    made = runtime(calls(add={"a": 1, "b": 2}), skills={})
    request = ReplyRequest(messages=(Message("user", "Add 1 and 2."),), tools=(tool_of("add", "Adds.", ADD),))
    reply = list(Replying(made, request))[-1]
    assert not isinstance(reply, str) and [call.arguments for call in reply.calls] == [{"a": 1, "b": 2}]
