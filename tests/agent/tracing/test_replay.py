"""Comparing traces, and running one again: on a runtime, on an agent, with recorded tools and with live ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest

from loraloop.agent import Agent, Approve, Deny, Guard, Limits, Policy, Runtime, Sampling, Sandbox, SandboxResult
from loraloop.agent.tracing.diff import ABSENT, diff
from loraloop.agent.tracing.replay import replay
from loraloop.agent.tracing.replay_settings import output_of
from loraloop.agent.tracing.trace import Trace
from loraloop.agent.tracing.tracer import Tracer
from loraloop.testing import ScriptedRuntime, calls, code
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, ToolRetry, UnknownNameError
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark, Regex

OSLO = (calls(weather={"city": "Oslo"}), "It is sunny.")
ran: list[str] = []


def weather(city: str) -> str:
    """The weather in a city."""
    ran.append(city)
    return f"sunny in {city}"


def traced(steps: Sequence[Any] = OSLO, tools: Sequence[Any] = (weather,), **options: Any) -> tuple[Trace, Agent[Any]]:
    """The trace of a run, as a file would give it, and the agent, whose runtime is to write the same again."""
    tracer = Tracer()
    runtime = ScriptedRuntime(*steps)
    agent: Agent[Any] = Agent(runtime, tools, hooks=[tracer], **options)
    agent.run_sync("How is Oslo?")
    runtime.say(*steps)
    ran.clear()
    return Trace.from_json(tracer.last.to_json()), agent


def places(found: Any) -> list[tuple[str, str]]:
    return [(each.place, each.field) for each in found.behaviour]


def test_a_run_of_the_same_is_the_same_and_runs_no_tool() -> None:
    trace, agent = traced(instructions="Be brief.", policy=Policy(max_calls=1), limits=Limits(max_steps=4))
    found = replay(trace, agent.runtime)
    assert not found and not found.notes and ran == []
    assert (
        found.trace is not None
        and not diff(trace, found.trace)
        and found.trace.steps[0].calls[0].result == "sunny in Oslo"
    )
    agent.runtime.say(*OSLO)
    assert not replay(trace, agent) and ran == []


def test_a_trace_of_0_2_names_a_threshold_that_is_gone() -> None:
    trace, agent = traced(policy=Policy(max_calls=1))
    thresholds = {**trace.settings.policy["thresholds"], "mix": None}
    settings = replace(trace.settings, policy={**trace.settings.policy, "thresholds": thresholds})
    assert replay(replace(trace, settings=settings), agent.runtime).trace is not None


def test_what_differs_is_said_step_by_step() -> None:
    trace, agent = traced()
    runtime = ScriptedRuntime(calls(weather={"city": "Rome"}), calls(), "I do not know.")
    found = replay(trace, runtime)
    assert found and found.first is not None and found.first.place == "step 1" and found.first.field == "text"
    assert ("step 1, call 1", "arguments") in places(found) and ("step 2", "skill") in places(found)
    added = next(each for each in found.behaviour if each.place == "step 3")
    assert (added.before, added.after) == (ABSENT, "none: text")
    assert places(found)[-1] == ("end", "output")
    assert found.notes == ('called, and not in the trace: weather({"city":"Rome"})',)
    assert agent is not None


def test_an_agent_that_was_changed_is_compared_under_its_own_settings() -> None:
    trace, agent = traced()
    changed: Agent[Any] = Agent(agent.runtime, [weather], "Be brief.", limits=Limits(max_steps=1))
    found = replay(trace, changed)
    assert [each.field for each in found.setup] == ["limits.max_steps", "messages"]
    assert places(found)[0] == ("step 2", "step") and ("end", "stop_reason") in places(found)


def test_live_tools_run() -> None:
    trace, agent = traced()
    assert not replay(trace, agent.runtime, tools=[weather], live=True) and ran == ["Oslo"]

    def weather_now(city: str) -> str:
        """The weather in a city."""
        return "rain"

    agent.runtime.say(*OSLO)
    found = replay(trace, agent.runtime, tools=[Tool.from_function(weather_now, name="weather")], live=True)
    assert places(found) == [("step 1, call 1", "result")] and found.behaviour[0].after == "rain"
    with pytest.raises(UnknownNameError, match="no tool that can run is called 'weather'"):
        replay(trace, agent.runtime, live=True)


def test_errors_retries_and_repeats_come_again() -> None:
    tries: list[int] = []

    def reserve(table: Literal[1, 2]) -> str:
        """Reserve a table."""
        tries.append(table)
        if len(tries) == 1:
            raise ToolRetry("busy: again")
        if table == 2:
            raise ValueError("no such table")
        return "done"

    one, two = calls(reserve={"table": 1}), calls(reserve={"table": 2})
    steps = (one, one, two, calls(reserve={"table": 1}), "Reserved.")
    trace, agent = traced(steps, [reserve])
    assert [call.retry for step in trace.steps for call in step.calls][:2] == [True, False]
    found = replay(trace, agent.runtime)
    assert not found and not found.notes and len(tries) == 3


def test_a_call_that_was_late_is_late_again() -> None:
    over = threading.Event()

    def slow() -> str:
        """Takes its time."""
        over.wait(60)
        return "done"

    trace, agent = traced((calls(slow={}), "I do not know."), [Tool.from_function(slow, timeout=0.05)])
    over.set()
    found = replay(trace, agent.runtime)
    assert not found and found.trace is not None and found.trace.end is not None and trace.end is not None
    assert found.trace.end.receipts == trace.end.receipts and trace.end.receipts[0].status == "unknown"


def test_programs_are_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def run(self: Sandbox, program: str) -> SandboxResult:
        runs.append(program)
        return SandboxResult("3\n", "", 0, False, False, "bubblewrap", 1.0)

    monkeypatch.setattr(Sandbox, "run", run)
    trace, agent = traced((code("print(1 + 2)"), "It is 3."), (), python=True)
    assert not replay(trace, agent.runtime) and len(runs) == 1


def test_the_policys_function_and_the_callers_choices_are_made_again() -> None:
    tracer = Tracer()
    runtime = ScriptedRuntime("first")
    decided: Agent[Any] = Agent(runtime, hooks=[tracer], policy=Policy(decide=lambda facts: "none"))
    decided.run_sync("go")
    runtime.say("first")
    trace = tracer.last
    assert [step.decided_by for step in trace.steps] == ["policy"] and not replay(trace, runtime)
    runtime.say("third")
    with Agent(runtime, hooks=[tracer]).iter("go") as pending:
        for each in pending:
            each.use("none")
    runtime.say("third")
    found = replay(tracer.last, runtime)
    assert not found and "caller of iter" in found.notes[0]


def test_an_answers_form_is_kept() -> None:
    bounded = JsonSchema({"type": "string"}, None, "check")
    forms = [Literal["yes", "no"], list[int], bounded, Regex("a+"), Lark('start: "b"')]
    for form, output in zip(forms, ("yes", "[1,2]", '"c"', "aa", "b"), strict=True):
        trace, agent = traced((output,), (), output_type=form)
        found = replay(trace, agent.runtime)
        assert not found and found.trace is not None and found.trace.settings.output == trace.settings.output


@pytest.mark.parametrize("form", [{}, {"kind": "Painting"}, {"kind": ["Regex"]}, {"kind": "Regex", "pattern": 3}])
def test_a_form_that_no_version_writes_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="output type of an unknown kind"):
        output_of(form)


def test_sampling_is_drawn_again(make_runtime: Any) -> None:
    tracer = Tracer()
    runtime: Runtime = make_runtime()
    agent: Agent[Any] = Agent(
        runtime, hooks=[tracer], sampling=Sampling(temperature=1.5), limits=Limits(step_tokens=12, max_steps=1)
    )
    texts = {agent.run_sync("go").steps[0].text for _ in range(3)}
    assert len(texts) > 1
    for trace in tracer.traces:
        assert not replay(trace, runtime)
        assert not replay(trace, agent).behaviour


def test_a_skill_that_is_not_there_or_no_contents_are_refused() -> None:
    trace, agent = traced(policy=Policy(skills=("tools",)))
    policy = {**trace.settings.policy, "skills": ["toools"]}
    with pytest.raises(UnknownNameError, match="'tools'"):
        replay(replace(trace, settings=replace(trace.settings, policy=policy)), agent.runtime)
    policy = {**trace.settings.policy, "later": 1}
    with pytest.raises(UnknownNameError, match="no field of Policy is called 'later'"):
        replay(replace(trace, settings=replace(trace.settings, policy=policy)), agent.runtime)
    with pytest.raises(InputError, match="has no contents"):
        replay(trace.without_contents(), agent.runtime)
    with pytest.raises(InputError, match="no contents"):
        diff(trace, trace.without_contents())
    assert "not compared" in diff(trace.without_contents(), trace.without_contents()).notes[0]


def test_a_difference_of_each_kind_is_found() -> None:
    trace, _ = traced()
    assert trace.end is not None

    def step(**fields: Any) -> Trace:
        return replace(trace, steps=(replace(trace.steps[0], **fields), *trace.steps[1:]))

    def routed(**fields: Any) -> Trace:
        return step(route=replace(trace.steps[0].route, **fields))

    def call(**fields: Any) -> Trace:
        return step(calls=(replace(trace.steps[0].calls[0], **fields),))

    changed = {
        ("step 1", "skill"): step(skill="code"), ("step 1", "route.probability"): routed(probability=0.5),
        ("step 1", "route.masked"): routed(masked=()),
        ("step 1, call 1", "call"): step(calls=()),
        ("step 1, call 1", "error"): call(error="no"), ("step 1, call 1", "result"): call(result=1),
        ("end", "stop_reason"): replace(trace, end=replace(trace.end, stop_reason="deadline")),
        ("end", "citations"): replace(trace, end=replace(trace.end, citations=("1",))),
        ("end", "error"): replace(trace, end=None, error="ended"),
    }  # fmt: skip
    for where, other in changed.items():
        assert places(diff(trace, other)) == [where]
    near = routed(probability=trace.steps[0].probability + 1e-4)
    assert not diff(trace, near) and diff(trace, near, tolerance=0.0)
    runtime = replace(trace.runtime, base=replace(trace.runtime.base, form="int8"), versions={})
    setup = replace(trace, runtime=runtime, tools=(), prompt="hm", started="")
    assert [each.field for each in diff(trace, setup).setup] == ["base.form", "tools.weather", "prompt"]
    assert not diff(trace, step(ms={"decode": 1.0}))


@pytest.mark.parametrize("decision", [Approve(), Approve({"city": "Rome"}), Deny("not today"), None])
def test_what_was_said_of_calls_is_said_again(decision: Approve | Deny | None) -> None:
    policy = Policy(needs_approval="weather", approve=lambda call, context: decision)
    guard = Guard(input=None, tools=None, after_untrusted="read_only", allow=lambda facts: None)
    trace, _ = traced(policy=policy, guard=guard)
    assert trace.end is not None and (trace.end.stop_reason == "approval") == (decision is None)
    again = replay(trace, ScriptedRuntime(*OSLO))
    assert not again and any("allow" in note for note in again.notes), again


def test_where_tools_run_only_what_was_approved_runs_again() -> None:
    guarded = Tool.from_function(weather, requires_approval=True)
    policy = Policy(approve=lambda call, context: Approve())
    trace, agent = traced(tools=[guarded], policy=policy)
    found = replay(trace, agent.runtime, tools=[guarded], live=True)
    assert not found.behaviour and ran == ["Oslo"]

    rome = (calls(weather={"city": "Rome"}), "It is sunny.")
    runtime = ScriptedRuntime(*rome)
    found = replay(trace, runtime, tools=[guarded], live=True)
    assert found.trace is not None and found.trace.end is not None
    assert found.trace.end.stop_reason == "approval" and ran == ["Oslo"]
    assert replay(trace, Agent(ScriptedRuntime(*rome), [guarded], policy=policy), live=True) and ran == ["Oslo", "Rome"]
    asks = Agent(ScriptedRuntime(*OSLO), [weather], policy=Policy(needs_approval="weather"))
    plain, _ = traced()
    found = replay(plain, asks, live=True)
    assert found.trace is not None and found.trace.end is not None
    assert found.trace.end.stop_reason == "approval" and ran == []


def test_a_run_that_went_on_has_no_beginning_to_run_again() -> None:
    tracer, runtime = Tracer(keep=1), ScriptedRuntime(*OSLO)
    agent: Agent[Any] = Agent(runtime, [weather], policy=Policy(needs_approval="weather"), hooks=[tracer])
    pending = agent.run_sync("How is Oslo?").pending
    assert pending is not None
    agent.resume_sync(pending, {"call_0_0": Approve()})
    trace = tracer.last
    assert [step.outcome for step in trace.steps] == ["calls", "text"]
    with pytest.raises(InputError, match="a paused run"):
        replay(trace, runtime)
