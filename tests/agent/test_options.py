"""Values of options that mean nothing are an InputError that names the option, never a TypeError."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import random_base
from loraloop.agent import Agent, Gate, Guard, Limits, Policy, Runtime, Sampling, Sandbox, Thresholds
from loraloop.agent.agent import Options, ResumeOptions, Settings
from loraloop.testing import ScriptedRouter, ScriptedRuntime
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError
from loraloop.tool_schemas.tools.tool import Tool

WEATHER = Tool("get_weather", "Current weather.", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Limits(max_steps="3"), "max_steps is '3': give a whole number"),  # type: ignore[arg-type]
        (lambda: Limits(step_tokens=1.5), "step_tokens is 1.5"),  # type: ignore[arg-type]
        (lambda: Limits(deadline="soon"), "deadline is 'soon': give a number"),  # type: ignore[arg-type]
        (lambda: Limits(tool_timeout=None), "tool_timeout is None"),  # type: ignore[arg-type]
        (lambda: Limits(keep_free=True), "keep_free is True"),
        (lambda: Limits(passages="all"), "passages is 'all'"),  # type: ignore[arg-type]
        (lambda: Limits(priority="high"), "priority is 'high': give a whole number"),  # type: ignore[arg-type]
        (lambda: Policy(repeat_calls="no"), "repeat_calls is 'no': give True or False"),  # type: ignore[arg-type]
        (lambda: Policy(max_calls="2"), "max_calls is '2'"),  # type: ignore[arg-type]
        (lambda: Policy(repairs=None), "repairs is None"),  # type: ignore[arg-type]
        (lambda: Policy(skills="tools"), "skills is 'tools': give a list"),  # type: ignore[arg-type]
        (lambda: Policy(forbid=3), "forbid is 3"),  # type: ignore[arg-type]
        (lambda: Policy(forbid=[WEATHER]), "forbid has <Tool get_weather>: give names"),  # type: ignore[list-item]
        (lambda: Policy(needs_approval=[WEATHER]), "needs_approval has <Tool get_weather>: give names"),  # type: ignore[list-item]
        (lambda: Policy(decide="tools"), "decide is 'tools': give a function of a step's facts"),  # type: ignore[arg-type]
        (lambda: Policy(approve=True), "approve is True: give a function"),  # type: ignore[arg-type]
        (lambda: Policy(thresholds=0.5), "thresholds is 0.5"),  # type: ignore[arg-type]
        (lambda: Thresholds(no_call="often"), "no_call is 'often': give a probability"),  # type: ignore[arg-type]
        (lambda: Gate(screen="high"), "screen is 'high': give a probability"),  # type: ignore[arg-type]
        (lambda: Guard(planned_from="x"), "planned_from is 'x'"),  # type: ignore[arg-type]
        (lambda: Sampling(temperature="hot"), "temperature is 'hot'"),  # type: ignore[arg-type]
        (lambda: Sampling(temperature=float("nan")), "temperature is nan"),
        (lambda: Sampling(seed="a"), "seed is 'a'"),  # type: ignore[arg-type]
        (lambda: Sampling(stop="END"), "stop is 'END': give a list of texts"),
        (lambda: Sampling(stop=["END", ""]), "none of them empty"),
        (lambda: Sampling(stop=None), "stop is None"),  # type: ignore[arg-type]
        (lambda: Sampling(stop=[3]), r"stop is \[3\]"),  # type: ignore[list-item]
        (lambda: Sandbox(memory_mb="64"), "must be numbers"),  # type: ignore[arg-type]
        (lambda: ScriptedRuntime().pin("Be brief."), "messages is 'Be brief.': give a list"),  # type: ignore[arg-type]
        (
            lambda: ScriptedRuntime().pin([{"role": "system", "content": "Be brief."}]),
            "messages has {'role'.*: give Message",
        ),
        (lambda: Agent(ScriptedRuntime()).run_batch("Hello."), "prompts is 'Hello.': give a list"),
        (lambda: Agent(ScriptedRuntime()).run_batch(["Hello."], concurrency="2"), "concurrency is '2'"),  # type: ignore[arg-type]
    ],
)
def test_settings(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"slots": "8"}, "slots is '8': give a whole number"),
        ({"skills": 5}, "skills is 5: give a list"),
        ({"router": 5}, "router is 5: give a Router"),
    ],
)
def test_a_runtimes_settings(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Runtime.load("no-such-base", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limits": {"max_steps": 3}}, r"limits is .*: give Limits\(…\)"),
        ({"policy": "auto"}, r"policy is 'auto': give Policy\(…\)"),
        ({"sampling": 0.5}, "sampling is 0.5"),
        ({"guard": True}, r"guard is True: give Guard\(…\)"),
        ({"retriever": "docs"}, r"retriever is 'docs': give an object with retrieve\(question, k\)"),
        ({"deps_type": {"stock": 3}}, "deps_type is .*: give a class"),
        ({"tools": print}, "tools is .*: give a list"),
        ({"tools": None}, "tools is None: give a list"),
        ({"tools": SimpleNamespace(tools=())}, r"tools is a SimpleNamespace: give the list in its tools"),
        ({"tools": ["tools.json"]}, r"'tools.json' is not a tool: .* or load_tools\('FILE'\)"),
        ({"tools": [[WEATHER]]}, "^a list is not a tool: give a Tool"),
        ({"tools": WEATHER}, "^tools is <Tool get_weather>: give a list"),
        ({"hooks": print}, "hooks is .*: give a list"),
        ({"instructions": ["Be brief."]}, "instructions is .*: give a text"),
        ({"runtime": "smollm2-135m"}, r"runtime is 'smollm2-135m': give a Runtime, such as Runtime\.load\(\)"),
    ],
)
def test_an_agents_settings(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Agent(**{"runtime": ScriptedRuntime(), **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"messages": [{"role": "user", "content": "Hi."}]}, "messages has"),
        ({"messages": 3}, "messages is 3: give a list"),
        ({"session": 3}, "session is 3: give a Session, or its id"),
        ({"limits": Limits()}, r"limits=… belongs to the agent: give it to Agent\(…\)"),
        ({"tools": []}, r"tools=… belongs to the agent"),
        ({"policy": {"skills": ["tools"]}}, "policy is"),
        ({"prompt": 3}, "the prompt is 3: give a text"),
        ({"skill": 3}, "skills has 3: give names"),
        ({"skill": ["tools"]}, "skills has .*: give names"),
        ({"passages": "The mill was built in 1712."}, "passages is 'The mill .*': give a list"),
    ],
)
def test_a_runs_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Agent(ScriptedRuntime()).run_sync(**{"prompt": "Go.", **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"context": -1}, "context is -1: it must be at least 1"),
        ({"context": 0}, "context is 0"),
        ({"context": "700"}, "context is '700': give a whole number"),
        ({"context": 1_000_000}, "context is 1000000: .* has 4096 positions: give at most that many"),
        ({"queue": 0}, "queue is 0"),
    ],
)
def test_a_runtimes_options(options: dict[str, Any], says: str) -> None:
    base = random_base(seed=0)
    with pytest.raises(InputError, match=says):
        Runtime(base, Bank(base), ScriptedRouter(), **options)


def test_a_runtime_is_loaded_with_slots() -> None:
    with pytest.raises(InputError, match="slots is 0: it must be at least 1"):
        Runtime.load(slots=0)


def test_an_option_of_a_run_that_does_not_exist() -> None:
    agent = Agent(ScriptedRuntime())
    with pytest.raises(UnknownNameError, match="no option of a run is called 'message'; did you mean 'messages'"):
        agent.run_sync("Go.", message=())  # type: ignore[call-overload]
    with pytest.raises(UnknownNameError, match="no option of a run is called 'promt'; did you mean 'prompt'"):
        agent.run_batch([{"promt": "Go."}])


def test_an_option_of_an_agent_that_does_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="no option of an agent is called 'limit'; did you mean 'limits'"):
        Agent(ScriptedRuntime(), limit=Limits())  # type: ignore[call-overload]


def test_a_runtime_is_not_for_other_processes() -> None:
    agent = Agent(ScriptedRuntime())
    with pytest.raises(TypeError, match="cannot be pickled or copied: load it in each process"):
        pickle.dumps(agent)
    with pytest.raises(TypeError, match="cannot be pickled or copied: load it in each process"):
        copy.deepcopy(agent)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (Agent, Settings),
        *((method, Options) for method in (Agent.run_sync, Agent.run, Agent.stream, Agent.stream_text, Agent.iter)),
        *((method, ResumeOptions) for method in (Agent.resume_sync, Agent.resume, Agent.resume_stream)),
    ],
)
def test_help_lists_each_option(function: Callable[..., Any], kind: Any) -> None:
    listed = inspect.signature(function).parameters
    assert set(kind.__annotations__) < set(listed) and "output_type" in listed
    assert not any(each.kind is each.VAR_KEYWORD for each in listed.values())
    assert all(f"{name}:" in pydoc.render_doc(function, renderer=pydoc.plaintext) for name in kind.__annotations__)


@pytest.mark.parametrize(
    "form",
    [
        {"name": "look", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        {"type": "function", "function": {"name": "look", "parameters": {"properties": {"n": {"type": "integer"}}}}},
        {"type": "function", "name": "look", "parameters": {"properties": {"n": {"type": "integer"}}}},
        {"name": "look", "title": "Look", "inputSchema": {"properties": {"n": {"type": "integer"}}}, "annotations": {}},
        {"name": "look", "input_schema": {"properties": {"n": {"type": "integer"}}}, "cache_control": {}},
    ],
)
def test_a_tool_may_have_the_form_of_any_of_the_known_apis(form: dict[str, Any]) -> None:
    (tool,) = Agent(ScriptedRuntime(), [form]).tools
    assert tool.name == "look" and tool.parameters["properties"] == {"n": {"type": "integer"}}
    with pytest.raises(SchemaError, match="runs at the maker of a model"):
        Agent(ScriptedRuntime(), [{"type": "web_search"}])
