"""What is known of runs, steps and calls, under the names of the semantic conventions for generative AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loraloop.agent.events import Compacted, Routed, RunFinished, RunStarted, TokenGenerated
from loraloop.agent.values.calls import PYTHON
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import Step
from loraloop.tool_schemas.jsontext import dumps as as_json

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.events import Event
    from loraloop.agent.hooks import RunFacts
    from loraloop.agent.job import Job

PROVIDER = "loraloop"

Attributes = dict[str, Any]

_FINISH = {"calls": "tool_call", "tool_call": "tool_call", "repeated": "tool_call", "unsafe": "content_filter"}
_FINISH |= {"truncated": "length", "invalid": "error"}


def of_request(run: RunFacts) -> Attributes:
    """What a run was asked with."""
    job, sampling = run.job, run.job.sampling
    attributes: Attributes = {
        "gen_ai.request.max_tokens": job.limits.run_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.output.type": "json" if type(job.output.term).__name__ == "JsonSchema" else "text",
    }
    if sampling.temperature > 0:
        attributes["gen_ai.request.top_p"] = sampling.top_p
        if run.seed is not None:
            attributes["gen_ai.request.seed"] = run.seed
    return attributes


def of_run(result: RunResult[Any]) -> Attributes:
    """How a run ended."""
    tokens = [step.tokens for step in result.steps]
    return {
        "loraloop.stop_reason": result.stop_reason,
        "loraloop.steps": len(result.steps),
        "loraloop.calls": sum(len(step.calls) for step in result.steps),
        "gen_ai.usage.input_tokens": sum(each.prefilled + each.reused for each in tokens),
        "gen_ai.usage.output_tokens": sum(each.generated for each in tokens),
        "gen_ai.usage.cache_read.input_tokens": sum(each.reused for each in tokens),
        "gen_ai.response.finish_reasons": [finish_of(result.steps[-1])] if result.steps else [],
    }


def of_step(step: Step) -> Attributes:
    """What a step was; its input tokens are all that it read, those from a cache among them."""
    attributes: Attributes = {
        "gen_ai.usage.input_tokens": step.tokens.prefilled + step.tokens.reused,
        "gen_ai.usage.output_tokens": step.tokens.generated,
        "gen_ai.usage.cache_read.input_tokens": step.tokens.reused,
        "gen_ai.response.finish_reasons": [finish_of(step)],
        "loraloop.skill": step.skill,
        "loraloop.probability": step.probability,
        "loraloop.routed": step.routed,
        "loraloop.decided_by": step.decided_by,
        "loraloop.abstained": step.route.abstained,
        "loraloop.outcome": step.outcome,
        "loraloop.kept": step.kept,
        "loraloop.tokens.forced": step.tokens.forced,
    }
    if step.route.runners_up:
        attributes["loraloop.runners_up"] = [f"{name} {probability:.3f}" for name, probability in step.route.runners_up]
    if step.written_by:
        attributes["gen_ai.response.model"] = step.written_by
    if step.weighed is not None:
        attributes[f"loraloop.{step.weighed.opening}"] = step.weighed.probability
    if "first_token" in step.ms:
        attributes["gen_ai.response.time_to_first_chunk"] = step.ms["first_token"] / 1e3
    return attributes | {f"loraloop.ms.{phase}": ms for phase, ms in step.ms.items() if phase != "first_token"}


def of_tool(name: str, job: Job) -> Attributes:
    """Which tool a call is of."""
    tools = (*job.tools, *([job.python] if job.python is not None else []))
    tool = next((each for each in tools if each.name == name), None)
    attributes: Attributes = {"gen_ai.tool.name": name, "gen_ai.tool.type": "function"}
    if tool is not None and tool.description:
        attributes["gen_ai.tool.description"] = tool.description
    if tool is not None and tool.source:
        attributes["loraloop.tool.source"] = tool.source
    return attributes


def finish_of(step: Step) -> str:
    """Why the step's text ended, in the conventions' words."""
    if step.calls and step.calls[0].name != PYTHON:
        return "tool_call"
    return _FINISH.get(step.outcome, "stop")


def input_messages(run: RunFacts) -> Attributes:
    """The messages and the tools of a request, as JSON texts."""
    system = [each for each in run.job.messages if each.instructs]
    rest = [each for each in run.job.messages if not each.instructs]
    attributes = {"gen_ai.input.messages": as_json([_message(each) for each in rest])}
    if system:
        attributes["gen_ai.system_instructions"] = as_json([_text(each.content) for each in system])
    if run.job.tools:
        tools = [
            {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters}
            for t in run.job.tools
        ]
        attributes["gen_ai.tool.definitions"] = as_json(tools)
    return attributes


def output_messages(of: RunResult[Any] | Step) -> list[dict[str, Any]]:
    """What a run or a step left, in the conventions' form."""
    if isinstance(of, RunResult):
        reason = finish_of(of.steps[-1]) if of.steps else "stop"
        return [{"role": "assistant", "parts": [_text(of.output)], "finish_reason": reason}]
    parts: list[dict[str, Any]] = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in of.calls
    ]
    if not parts or of.outcome == "code":
        parts.insert(0, _text(of.text))
    return [{"role": "assistant", "parts": parts, "finish_reason": finish_of(of)}]


def event_attributes(event: Event) -> Attributes | None:
    """What a span event holds of a run's event; None for one that becomes none."""
    if isinstance(event, RunStarted | RunFinished | TokenGenerated | Routed):
        return None
    if isinstance(event, Compacted):
        return {"before": event.compaction.before, "after": event.compaction.after}
    attributes = event.to_dict()
    plain = {name: value for name, value in attributes.items() if isinstance(value, int | float)}
    named = {name: value for name, value in attributes.items() if name in ("skill", "name", "reason", "decided_by")}
    return {**plain, **named}


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": [_text(message.content)]}


def _text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}
