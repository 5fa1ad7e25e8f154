"""OpenTelemetry: the spans of runs, steps and calls, whose children they are, what they hold and what they do not."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, get_current_span

from loraloop.agent import Agent, Approve, Guard, Limits, Policy, Sampling
from loraloop.agent.tracing.otel import CAPTURE, OpenTelemetry
from loraloop.testing import ScriptedRuntime, calls, verdict
from loraloop.tool_schemas.errors import ContextLengthError, InputError, ToolRetry


class Seen:
    """A provider of tracers, and the spans that it was given."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.reader = InMemoryMetricReader()
        self.hook = OpenTelemetry(self.provider, meter_provider=MeterProvider([self.reader]), **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def of(self, parent: ReadableSpan) -> list[str]:
        """Names of the spans under one."""
        within = [s for s in self.spans if s.parent is not None and s.parent.span_id == parent.context.span_id]
        return sorted(span.name for span in within)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


OSLO = (calls(weather={"city": "Oslo"}), "It is sunny.")


def test_a_run_is_a_tree_of_spans_with_the_conventions_names() -> None:
    seen = Seen(agent="shop", conversation=lambda run: f"talk {run.job.deps}")
    agent = Agent(ScriptedRuntime(*OSLO), [weather], hooks=[seen.hook])
    before = time.time_ns()
    result = agent.run_sync("How is Oslo?", deps=7)
    run, tool = seen.one("invoke_agent shop"), seen.one("execute_tool weather")
    assert run.parent is None and seen.of(run) == ["chat scripted", "chat scripted", "execute_tool weather"]
    first, second = seen.named("chat scripted")
    attributes = dict(run.attributes or {})
    assert attributes["gen_ai.operation.name"] == "invoke_agent" and attributes["gen_ai.agent.name"] == "shop"
    assert attributes["gen_ai.provider.name"] == "loraloop" and attributes["gen_ai.request.model"] == "scripted"
    assert attributes["loraloop.run_id"] == result.run_id and attributes["loraloop.stop_reason"] == "answer"
    values = dict(first.attributes or {})
    step = result.steps[0]
    assert values["gen_ai.operation.name"] == "chat" and values["gen_ai.usage.output_tokens"] == step.tokens.generated
    assert values["gen_ai.usage.input_tokens"] == step.tokens.prefilled + step.tokens.reused
    assert values["gen_ai.response.finish_reasons"] == ("tool_call",) and values["loraloop.step"] == 0
    assert (values["loraloop.skill"], values["loraloop.decided_by"], values["loraloop.outcome"]) == (
        "tools",
        "router",
        "calls",
    )
    assert (
        values["loraloop.probability"] == 0.8 and values["loraloop.switch_us"] > 0 and values["loraloop.screen"] == 0.1
    )
    assert dict(second.attributes or {})["gen_ai.usage.cache_read.input_tokens"] == result.steps[1].tokens.reused
    called = dict(tool.attributes or {})
    assert called["gen_ai.tool.name"] == "weather" and called["gen_ai.tool.call.id"] == "call_0_0"
    assert called["gen_ai.tool.description"] == "The weather in a city." and called["gen_ai.tool.type"] == "function"
    for span in seen.spans:
        assert dict(span.attributes or {})["gen_ai.conversation.id"] == "talk 7"
        assert before <= span.start_time <= span.end_time <= time.time_ns()  # type: ignore[operator]
        assert span.status.status_code is StatusCode.UNSET
    assert run.start_time <= first.start_time <= first.end_time <= tool.start_time  # type: ignore[operator]
    assert tool.end_time <= second.start_time <= second.end_time <= run.end_time  # type: ignore[operator]


def test_contents_are_there_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(key: str) -> str:
        """Look up."""
        if key == "bad":
            raise ValueError("secret error")
        return "secret result"

    script = (calls(("lookup", {"key": "secret key"}), ("lookup", {"key": "bad"})), "secret answer")
    for setting, wanted, content in (("", False, False), ("true", False, False), ("", True, True), ("", None, False),
                                  ("span_only", None, True)):  # fmt: skip
        monkeypatch.setenv(CAPTURE, setting)
        seen = Seen(content=wanted)
        Agent(ScriptedRuntime(*script), [lookup], "secret system", hooks=[seen.hook]).run_sync("secret question")
        everything = " ".join(span.to_json() for span in seen.spans)
        assert ("secret" in everything) is content
        if not content:
            continue
        for part in ("system", "question", "key", "result", "error", "answer"):
            assert f"secret {part}" in everything
        run, (step, _) = dict(seen.one("invoke_agent agent").attributes or {}), seen.named("chat scripted")
        assert json.loads(str(run["gen_ai.input.messages"]))[0]["parts"][0]["content"] == "secret question"
        assert json.loads(str(run["gen_ai.tool.definitions"]))[0]["name"] == "lookup"
        (message,) = json.loads(str(dict(step.attributes or {})["gen_ai.output.messages"]))
        tools = {dict(s.attributes or {})["gen_ai.tool.call.id"] for s in seen.named("execute_tool lookup")}
        assert {part["id"] for part in message["parts"]} == tools and len(tools) == 2


def test_a_tools_own_spans_are_under_its_call_however_the_run_is_read() -> None:
    seen = Seen()
    tracer = seen.provider.get_tracer("shop")

    def stock(fruit: str) -> str:
        """How much there is."""
        with tracer.start_as_current_span(f"query {fruit}"):
            return "12"

    async def price(fruit: str) -> str:
        """What it costs."""
        with tracer.start_as_current_span(f"price {fruit}"):
            await asyncio.sleep(0)
            return "2"

    def script(fruit: str) -> Any:
        return calls(stock={"fruit": fruit}, price={"fruit": fruit}), "Twelve, at two."

    runtime = ScriptedRuntime()
    agent = Agent(runtime, [stock, price], hooks=[seen.hook])

    async def read() -> None:
        runtime.say(*script("b"))
        await agent.run("b?")
        runtime.say(*script("c"))
        async for _ in agent.stream("c?"):
            assert not get_current_span().get_span_context().is_valid  # whoever reads is in no span of the run

    runtime.say(*script("a"))
    agent.run_sync("a?")
    asyncio.run(read())
    runtime.say(*script("d"))
    for _ in agent.stream("d?"):
        assert not get_current_span().get_span_context().is_valid
    assert len(seen.named("invoke_agent agent")) == 4
    for each in seen.named("execute_tool stock"):
        assert [name[:5] for name in seen.of(each)] == ["query"]
    for each in seen.named("execute_tool price"):
        assert [name[:5] for name in seen.of(each)] == ["price"]
    for fruit in "abcd":
        assert seen.one(f"query {fruit}").context.trace_id == seen.one(f"price {fruit}").context.trace_id


def test_a_run_within_a_span_and_an_agent_within_a_tool_are_children() -> None:
    seen = Seen(agent="inner")
    outer = OpenTelemetry(seen.provider, agent="outer")
    inner: Agent[Any] = Agent(ScriptedRuntime("sunny"), hooks=[seen.hook])

    def ask(question: str) -> str:
        """Ask another agent."""
        return inner.run_sync(question).output

    agent = Agent(ScriptedRuntime(calls(ask={"question": "Oslo?"}), "It is sunny."), [ask], hooks=[outer])
    with seen.provider.get_tracer("web").start_as_current_span("request"):
        agent.run_sync("How is Oslo?")
    assert seen.of(seen.one("request")) == ["invoke_agent outer"]
    assert seen.of(seen.one("execute_tool ask")) == ["invoke_agent inner"]


def test_runs_at_the_same_time_do_not_mix() -> None:
    seen = Seen()
    tracer = seen.provider.get_tracer("shop")
    gate = threading.Barrier(4)

    def meet(number: int) -> int:
        """Wait for the others."""
        with tracer.start_as_current_span(f"work {number}"):
            gate.wait(20)
        return number

    def run(number: int) -> None:
        runtime = ScriptedRuntime(calls(meet={"number": number}), f"number {number}")
        Agent(runtime, [meet], hooks=[seen.hook]).run_sync(f"go {number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    runs = seen.named("invoke_agent agent")
    assert len({span.context.trace_id for span in runs}) == 4
    for number in range(4):
        work = seen.one(f"work {number}")
        same = [span.name for span in seen.spans if span.context.trace_id == work.context.trace_id]
        assert sorted(same) == ["chat scripted", "chat scripted", "execute_tool meet", "invoke_agent agent", work.name]


def test_calls_that_run_together_are_told_apart() -> None:
    """The follower alone, told of calls as a loop that runs them at the same time would."""
    from contextvars import copy_context

    from loraloop.agent.events import Routed, RunStarted, StepFinished, ToolCallFinished, ToolCallStarted
    from loraloop.agent.hooks import RunFacts
    from loraloop.agent.values.calls import CallRecord
    from loraloop.tool_schemas.tools.calls import Call

    seen = Seen()
    runtime = ScriptedRuntime(*OSLO)
    agent = Agent(runtime, [weather])
    step = agent.run_sync("How is Oslo?").steps[0]
    follower = seen.hook.begin(RunFacts("run", runtime, agent.job("hi"), None))
    tracer = seen.provider.get_tracer("shop")
    follower(RunStarted("run", "hi", (), ("weather",), 3, 0))
    follower(Routed("run", 0, "tools", 0.8, False, (), (), "router"))
    made = [Call("weather", {"city": city}) for city in ("Oslo", "Rome", "Oslo")]
    for number, call in enumerate(made):
        follower(ToolCallStarted("run", 0, call.name, call.arguments, f"call_0_{number}"))

    def work(number: int) -> None:
        follower.calling(f"call_0_{number}")
        tracer.start_span(f"work {number}").end()

    for number in (2, 0, 1):
        copy_context().run(work, number)
    for number in (1, 2, 0):
        error = "no" if number == 1 else None
        record = CallRecord("weather", made[number].arguments, number, error, 1.0, id=f"call_0_{number}")
        follower(ToolCallFinished("run", 0, record))
    follower(StepFinished("run", step))
    follower.over(None)
    tools = {span.context.span_id: span for span in seen.named("execute_tool weather")}
    parents = [seen.one(f"work {number}").parent for number in range(3)]
    assert len({parent.span_id for parent in parents if parent is not None}) == 3
    ids = {s.context.span_id: dict(s.attributes or {})["gen_ai.tool.call.id"] for s in tools.values()}
    assert [ids[parent.span_id] for parent in parents if parent is not None] == ["call_0_0", "call_0_1", "call_0_2"]
    failed = [span for span in tools.values() if span.status.status_code is StatusCode.ERROR]
    assert parents[1] is not None and [span.context.span_id for span in failed] == [parents[1].span_id]


def test_a_step_that_waited_for_approval_has_its_span_when_the_run_goes_on() -> None:
    seen = Seen()
    agent = Agent(ScriptedRuntime(*OSLO), [weather], policy=Policy(needs_approval="weather"), hooks=[seen.hook])
    first = agent.run_sync("How is Oslo?")
    assert first.pending is not None
    stream = agent.resume_stream(first.pending, {call.id: Approve() for call in first.pending.calls})
    assert "HookFailed" not in [event.type for event in stream]
    steps = sorted(dict(span.attributes or {})["loraloop.step"] for span in seen.named("chat scripted"))
    assert steps == [0, 0, 1], "step 0 before it waited and after"
    assert len(seen.named("execute_tool weather")) == 1


def test_errors_set_the_status() -> None:
    tries: list[int] = []

    def fail(how: str) -> str:
        """Fails."""
        if how == "retry" and not tries:
            tries.append(1)
            raise ToolRetry("again")
        if how == "slow":
            time.sleep(1)
        raise ValueError("broken")

    seen = Seen()
    again = calls(fail={"how": "retry"})
    runtime = ScriptedRuntime(again, again, calls(fail={"how": "slow"}), "I cannot.", context=2500)
    agent = Agent(runtime, [fail], limits=Limits(tool_timeout=0.2), hooks=[seen.hook])
    agent.run_sync("go")
    status = [
        (s.status.status_code, dict(s.attributes or {}).get("error.type")) for s in seen.named("execute_tool fail")
    ]
    assert status == [(StatusCode.UNSET, None), (StatusCode.ERROR, "tool_error"), (StatusCode.ERROR, "timeout")]
    assert dict(seen.named("execute_tool fail")[0].attributes or {})["loraloop.tool.retry"] is True
    assert seen.one("invoke_agent agent").status.status_code is StatusCode.UNSET
    with pytest.raises(ContextLengthError):
        agent.run_sync("x" * 3000)
    last = seen.spans[-1]
    assert last.status.status_code is StatusCode.ERROR
    assert dict(last.attributes or {})["error.type"] == "ContextLengthError" and not last.events


def test_refusals_limits_and_runs_that_are_given_up() -> None:
    seen = Seen()
    Agent(ScriptedRuntime(verdict("crime")), hooks=[seen.hook]).run_sync("bad")
    run = dict(seen.one("invoke_agent agent").attributes or {})
    assert run["loraloop.refused"] is True and run["loraloop.category"] == "crime"
    assert run["gen_ai.response.finish_reasons"] == ("content_filter",)
    seen = Seen()
    stream = Agent(ScriptedRuntime(*OSLO), [weather], hooks=[seen.hook]).stream("How?")
    for event in stream:
        if event.type == "ToolCallStarted":
            stream.close()
    spans = {span.name: span for span in seen.spans}
    assert set(spans) == {"invoke_agent agent", "chat scripted", "execute_tool weather"}
    assert dict(spans["invoke_agent agent"].attributes or {})["loraloop.stop_reason"] == "given_up"
    assert all(span.status.status_code is StatusCode.UNSET for span in seen.spans)
    seen = Seen()
    sampled = Agent(
        ScriptedRuntime("a"), hooks=[seen.hook], sampling=Sampling(temperature=0.5, seed=3), guard=Guard(input=None)
    )
    sampled.run_sync("go")
    asked = dict(seen.one("invoke_agent agent").attributes or {})
    assert (asked["gen_ai.request.temperature"], asked["gen_ai.request.seed"]) == (0.5, 3)


def test_metrics_count_tokens_and_seconds() -> None:
    seen = Seen()
    result = Agent(ScriptedRuntime(*OSLO), [weather], hooks=[seen.hook]).run_sync("How is Oslo?")
    data = seen.reader.get_metrics_data()
    assert data is not None
    metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    tokens = {p.attributes["gen_ai.token.type"]: p for p in metrics["gen_ai.client.token.usage"].data.data_points}
    assert tokens["output"].sum == sum(step.tokens.generated for step in result.steps) and tokens["output"].count == 2
    assert tokens["input"].explicit_bounds[:3] == (1, 4, 16)
    took = {
        p.attributes["gen_ai.operation.name"]: p for p in metrics["gen_ai.client.operation.duration"].data.data_points
    }
    assert {name: point.count for name, point in took.items()} == {"chat": 2, "execute_tool": 1, "invoke_agent": 1}
    assert took["invoke_agent"].sum >= took["chat"].sum > 0
    assert not any("conversation" in key for point in tokens.values() for key in point.attributes)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InputError, match=r"pip install 'loraloop\[otel\]'"):
        OpenTelemetry()


def test_a_hook_that_cannot_begin_fails_like_any_other(make_runtime: Callable[..., Any]) -> None:
    def conversation(run: Any) -> str:
        raise KeyError("no session")

    seen = Seen(conversation=conversation)
    agent = Agent(make_runtime(), limits=Limits(step_tokens=4), hooks=[seen.hook])
    failed = [event for event in agent.stream("go") if event.type == "HookFailed"]
    assert [(event.hook, event.event) for event in failed] == [("OpenTelemetry", "RunStarted")]
    assert "no session" in failed[0].error and not seen.spans
