"""The spans of one run: what events say, as attributes by the semantic conventions."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from loraloop.agent.events import (
    Event,
    Refused,
    Routed,
    RunFinished,
    Screened,
    SkillActivated,
    StepFinished,
    ToolCallFinished,
    ToolCallStarted,
)
from loraloop.agent.hooks import Follower, RunFacts
from loraloop.agent.tracing.otel_attributes import (
    PROVIDER,
    event_attributes,
    input_messages,
    of_request,
    of_run,
    of_step,
    of_tool,
    output_messages,
)
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import Step
from loraloop.tool_schemas.jsontext import dumps as as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Tracer

_OWN = (StepFinished, ToolCallFinished, ToolCallStarted, SkillActivated, Screened)


@dataclass(frozen=True, slots=True)
class Instruments:
    """Where spans and metrics go, and what they may hold.

    Attributes:
        tracer: Makes the spans.
        tokens: The metric of tokens that steps read and wrote.
        seconds: The metric of how long runs, steps and calls took.
        content: Whether spans hold messages, arguments, results and the texts of errors.
        agent: The agent's name.
        conversation: Gives the id of the conversation that a run belongs to.
    """

    tracer: Tracer
    tokens: Histogram
    seconds: Histogram
    content: bool
    agent: str
    conversation: Callable[[RunFacts], str] | None

    def record(self, seconds: float, operation: str, model: str, error: str = "") -> None:
        """Notes in the metrics how long something took, and the kind of its error.

        Args:
            seconds: How long it took.
            operation: Name of the operation by the conventions: `invoke_agent`, `chat` or `execute_tool`.
            model: Name of the base.
            error: The kind of its error, such as `timeout`; empty where it succeeded.
        """
        named = {"gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER, "gen_ai.request.model": model}
        self.seconds.record(seconds, {**named, "error.type": error} if error else named)


@dataclass(slots=True)
class OpenCall:
    """A call that has begun and not ended."""

    span: Span
    start: int
    entered: bool = False


class SpansOfRun(Follower):
    """Makes the spans of one run.

    A step's span begins where the one before it ended, since its first work, reading the transcript, is told by no
    event; it ends where its calls begin. Calls may run at the same time.
    """

    def __init__(self, to: Instruments, run: RunFacts) -> None:
        self._to = to
        self._run = run
        self._model = run.runtime.base.name
        self._common = {"gen_ai.provider.name": PROVIDER, "gen_ai.request.model": self._model}
        if to.conversation is not None and (conversation := to.conversation(run)):
            self._common["gen_ai.conversation.id"] = conversation
        self._lock = threading.Lock()
        self._calls: dict[str, OpenCall] = {}  # by their ids
        self._chat: Span | None = None
        self._chat_start = self._chat_end = 0
        self._seen: dict[str, Any] = {}  # attributes of the step that runs
        self._result: RunResult[Any] | None = None
        self._start = time_ns()
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            **self._common,
            "gen_ai.agent.name": to.agent,
            "loraloop.run_id": run.run_id,
            **of_request(run),
        }
        self._span = to.tracer.start_span(
            f"invoke_agent {to.agent}", kind=SpanKind.INTERNAL, attributes=attributes, start_time=self._start
        )
        self._content = to.content and self._span.is_recording()
        if self._content:
            self._span.set_attributes(input_messages(run))
        self._within = set_span_in_context(self._span)
        self._boundary = self._start

    def __call__(self, event: Event) -> None:
        now = time_ns()
        match event:
            case Routed():
                self._step_started(event.step)
            case Screened():
                self._seen["loraloop.screen"] = event.probability
            case SkillActivated():
                self._seen["loraloop.switch_us"] = event.microseconds
            case ToolCallStarted():
                self._chat_end = self._chat_end or now
                self._call_started(event, now)
            case ToolCallFinished():
                self._call_finished(event.call, now)
            case Refused():
                self._span.set_attributes({"loraloop.refused": True, "loraloop.category": event.category})
            case StepFinished():
                self._step_finished(event.step, now)
            case RunFinished():
                self._result = event.result
        if not isinstance(event, _OWN) and (attributes := event_attributes(event)) is not None:
            (self._chat or self._span).add_event(f"loraloop.{event.type}", attributes, timestamp=now)

    def calling(self, call_id: str) -> None:
        """Makes the call's span the current one in the context in which the call runs."""
        with self._lock:
            found = self._calls.get(call_id)
            if found is not None:
                found.entered, found.start = True, time_ns()
        if found is not None:
            contexts.attach(set_span_in_context(found.span))  # nothing else runs in this context

    def over(self, error: BaseException | None) -> None:
        now, kind = time_ns(), ""
        for span in (*(call.span for call in self._calls.values()), *([self._chat] if self._chat is not None else [])):
            if error is not None and not isinstance(error, GeneratorExit):
                _failed(span, type(error).__name__)
            span.end(now)
        if self._result is not None:
            self._span.set_attributes(of_run(self._result))
            if self._content:
                self._span.set_attribute("gen_ai.output.messages", as_json(output_messages(self._result)))
            kind = "invalid" if self._result.stop_reason == "invalid" else ""
        elif isinstance(error, GeneratorExit):
            self._span.set_attribute("loraloop.stop_reason", "given_up")
        elif error is not None:
            kind = type(error).__name__
            if self._content:
                self._span.record_exception(error)
        if kind:
            _failed(self._span, kind, str(error) if error is not None and self._content else "")
        self._span.end(now)
        self._to.record((now - self._start) / 1e9, "invoke_agent", self._model, kind)

    def _step_started(self, step: int) -> None:
        self._chat_start = self._boundary
        self._chat = self._to.tracer.start_span(
            f"chat {self._model}",
            context=self._within,
            kind=SpanKind.INTERNAL,
            attributes={"gen_ai.operation.name": "chat", **self._common, "loraloop.step": step},
            start_time=self._boundary,
        )

    def _call_started(self, event: ToolCallStarted, now: int) -> None:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.id": event.id,
            **of_tool(event.name, self._run.job),
            "loraloop.step": event.step,
        }
        if "gen_ai.conversation.id" in self._common:
            attributes["gen_ai.conversation.id"] = self._common["gen_ai.conversation.id"]
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = as_json(event.arguments)
        span = self._to.tracer.start_span(
            f"execute_tool {event.name}",
            context=self._within,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=now,
        )
        with self._lock:
            self._calls[event.id] = OpenCall(span, now)

    def _call_finished(self, record: CallRecord, now: int) -> None:
        with self._lock:
            found = self._calls.pop(record.id, None)
        if found is None:
            return  # answered by an earlier call of the run, or denied: nothing was executed
        end = min(now, found.start + int(record.ms * 1e6)) if found.entered else now
        kind = ""
        if record.retry:
            found.span.set_attribute("loraloop.tool.retry", True)
        elif record.error is not None:
            kind = "timeout" if record.error.startswith("timed out after") else "tool_error"
            kind = "cancelled" if record.error == "cancelled" else kind
            _failed(found.span, kind, record.error if self._content else "")
        if self._content and record.error is None:
            found.span.set_attribute("gen_ai.tool.call.result", as_json(record.result))
        found.span.end(end)
        self._to.record(max(0, end - found.start) / 1e9, "execute_tool", self._model, kind)

    def _step_finished(self, step: Step, now: int) -> None:
        if self._chat is None:  # the run goes on with a step that had waited for approval
            self._step_started(step.index)
        span, end = self._chat, self._chat_end or now
        assert span is not None
        span.set_attributes({**self._seen, **of_step(step)})
        if self._content and step.text:
            span.set_attribute("gen_ai.output.messages", as_json(output_messages(step)))
        kind = "invalid" if step.outcome == "invalid" else ""
        if kind:
            _failed(span, kind, step.error if self._content else "")
        span.end(end)
        self._to.record((end - self._chat_start) / 1e9, "chat", self._model, kind)
        named = {"gen_ai.operation.name": "chat", **self._common}
        named.pop("gen_ai.conversation.id", None)  # an id in a metric is a series of its own
        self._to.tokens.record(step.tokens.prefilled + step.tokens.reused, {**named, "gen_ai.token.type": "input"})
        self._to.tokens.record(step.tokens.generated, {**named, "gen_ai.token.type": "output"})
        self._boundary = now
        self._chat, self._chat_end, self._seen = None, 0, {}


def _failed(span: Span, kind: str, description: str = "") -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, description or None)
