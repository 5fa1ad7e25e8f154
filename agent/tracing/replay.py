"""Running a trace again: the same request on a runtime or an agent, its tools giving what they gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from loraloop.agent.agent import Agent
from loraloop.agent.dates.resolve import stated_today
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.hooks import as_hooks
from loraloop.agent.job import NO_JOURNAL, Job, Journal
from loraloop.agent.loop.run import Run
from loraloop.agent.messages import as_tools, without_system
from loraloop.agent.tools.python_tool import python_tool
from loraloop.agent.tracing.diff import Differences, diff
from loraloop.agent.tracing.replay_settings import approving, guard_of, made, output_of, policy_of
from loraloop.agent.tracing.tracer import Tracer, is_function
from loraloop.agent.values.calls import PYTHON, CallRecord, call_key
from loraloop.agent.values.limits import Limits
from loraloop.tool_schemas.errors import InputError, ToolError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.tracing.trace import ToolUsed, Trace

Given = Sequence[Tool | Callable[..., Any] | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Replayed(Differences):
    """The differences of a replayed trace, and the new run's trace.

    Attributes:
        setup: What ran, and under which settings.
        behaviour: What the run did: steps, calls and the end.
        notes: What could not be compared, or was not run again as it was.
        trace: The trace of the new run.
    """

    trace: Trace | None = None


def replay(
    trace: Trace, on: Runtime | Agent[Any, Any], *, tools: Given | None = None, live: bool = False, deps: Any = None
) -> Replayed:
    """Runs a trace's request again and compares step by step.

    Args:
        trace: The trace, with its contents.
        on: A runtime, for the settings of the trace, or an agent, for its own: instructions, tools, policy, limits. Its
            hooks are not told.
        tools: Tools that replace those of the trace or the agent. Where there is no function, the recorded result is
            given.
        live: Whether tools run. If not, each call gives what it gave: an error again as an error, and a call that the
            trace has not, or not once more, an error that says so. A call that waits runs only if exactly this call
            was approved in the trace, or the policy of the agent approves it; else the run ends there.
        deps: For live tools with a `Context`.

    Raises:
        InputError: The trace has no contents, or begins after a pause.
        UnknownNameError: It forces a skill that the runtime does not have, calls a tool that should run and cannot, or
            has a setting that is not known here.
    """
    if trace.content == "none":
        raise InputError("the trace has no contents, so it cannot be replayed: make one with content=True")
    if trace.resumed:
        raise InputError("the trace begins where a paused run was resumed: replay the trace of an unbroken run")
    recorded = _Recorded(trace)
    job = _of_agent(trace, on, deps) if isinstance(on, Agent) else _of_trace(trace, deps)
    job = replace(job, policy=approving(trace, job.policy, live))
    offered = job.tools if tools is None else as_tools(tools)
    if live:
        _check_live(trace, offered)
    tracer = Tracer(keep=1)
    job = replace(job, tools=offered)
    runtime = on.runtime if isinstance(on, Agent) else on
    for choice in job.policy.skills:
        runtime.check(choice)
    try:
        Run(runtime, job, journal=NO_JOURNAL if live else recorded, hooks=as_hooks([tracer])).finish()
    except Exception:
        if not trace.error:
            raise
    new = _as_decided(trace, tracer.last)
    found = diff(trace, new)
    notes = (*found.notes, *_notes(trace, recorded))
    return Replayed(setup=found.setup, behaviour=found.behaviour, notes=notes, trace=new)


def _check_live(trace: Trace, tools: Sequence[Tool]) -> None:
    able = [tool.name for tool in tools if tool.executable and tool.function is not _no_function]
    for call in (call for step in trace.steps for call in step.calls):
        if call.name not in (*able, PYTHON):
            raise unknown("tool that can run", call.name, able)


class _Recorded(Journal):
    """The records of a trace's calls, which stand in for these calls."""

    def __init__(self, trace: Trace) -> None:
        self._left: dict[str, list[CallRecord]] = {}
        self.missing: list[Call] = []
        for step in trace.steps:
            for record in step.calls:
                if not record.repeated:
                    self._left.setdefault(call_key(Call(record.name, record.arguments)), []).append(record)

    def begun(self, index: int, number: int, call: Call, tool: Tool) -> CallRecord:
        found = self._left.get(call_key(call))
        if found:
            return replace(found.pop(0), left_out=0)
        self.missing.append(call)
        error = f"this call is not in the trace: {call.name}({dumps(call.arguments)})"
        return CallRecord(call.name, call.arguments, error=error, source=tool.source)


def _of_trace(trace: Trace, deps: Any) -> Job:
    """The job that a trace says."""
    settings = trace.settings
    limits = made(Limits, settings.limits)
    return Job(
        prompt=trace.prompt,
        messages=trace.messages,
        passages=trace.passages,
        tools=tuple(map(_tool_of, trace.tools)),
        limits=limits,
        policy=policy_of(trace),
        sampling=made(Sampling, settings.sampling),
        python=python_tool(limits.tool_timeout) if settings.python else None,
        output=output_of(settings.output),
        deps=deps,
        guard=guard_of(settings.guard),
        today=stated_today("".join(each.content for each in trace.messages[:1])),
    )


def _tool_of(used: ToolUsed) -> Tool:
    """A tool of a trace, which has a function only to be known as one that has."""
    known = {each.name: getattr(used, each.name) for each in fields(used) if each.name != "executable"}
    return Tool(**known, function=_no_function if used.executable else None)


def _no_function(**arguments: Any) -> Any:
    raise ToolError("a trace does not hold what a tool does: give its function with tools=[…], and live=True")


def _of_agent(trace: Trace, agent: Agent[Any, Any], deps: Any) -> Job:
    """The job of an agent that is asked what the trace was asked."""
    history = trace.messages[:-1] if trace.prompt.strip() else trace.messages
    job = agent.job(trace.prompt, passages=trace.passages, messages=without_system(history), deps=deps)
    seed = trace.settings.sampling.get("seed")
    return replace(job, sampling=replace(job.sampling, seed=seed)) if job.sampling.seed is None else job


def _as_decided(before: Trace, after: Trace) -> Trace:
    """The new trace, saying who decided first what was decided again, and with the old policy's `decide`."""
    was = {step.index: step.decided_by for step in before.steps}
    steps = tuple(
        replace(step, decided_by="caller") if step.decided_by == "policy" and was.get(step.index) == "caller" else step
        for step in after.steps
    )
    old = before.settings.policy
    policy = {
        name: old.get(name) if name == "needs_approval" or is_function(value) or is_function(old.get(name)) else value
        for name, value in after.settings.policy.items()
    }
    guard = dict(after.settings.guard)
    if is_function(before.settings.guard.get("allow")):
        guard["allow"] = before.settings.guard["allow"]
    return replace(after, steps=steps, settings=replace(after.settings, policy=policy, guard=guard))


def _notes(trace: Trace, recorded: _Recorded) -> list[str]:
    notes = [f"called, and not in the trace: {call.name}({dumps(call.arguments)})" for call in recorded.missing]
    if any(step.decided_by == "caller" for step in trace.steps):
        notes.append("the caller of iter took part: its skills were used again, what it told or edited was not")
    if any(step.written_by for step in trace.steps):
        notes.append("a fallback wrote some of its steps: only an agent that has it can have them written again")
    settings = {**trace.settings.policy, **trace.settings.guard}
    lost = [name for name, value in settings.items() if is_function(value) and name not in ("decide", "approve")]
    if lost:
        notes.append(f"functions of policy and guard are not in a trace, and were left out: {', '.join(lost)}")
    if trace.content == "masked":
        notes.append("the texts of the trace were masked: the model read the masks")
    return notes
