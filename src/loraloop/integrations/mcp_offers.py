"""What our MCP server offers: each skill as a tool of one step, and the whole agent as a tool of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from loraloop.adapters.base.messages import Message
from loraloop.agent.events import Routed, TokenGenerated, ToolCallStarted
from loraloop.agent.skills.schemas import PARAMETERS
from loraloop.agent.values.step import StopReason, plain
from loraloop.tool_schemas.errors import LimitError
from loraloop.tool_schemas.schema.keywords import object_schema
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent import Agent, RunResult, RunStream
    from loraloop.agent.runtime import Runtime


class CallWatch:
    """A call that is being answered in a thread: how far it is, and whether it is still wanted.

    Attributes:
        tokens: Written so far.
        doing: What is happening; empty for nothing special.
        gone: Whether nobody waits for it any more.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.doing = ""
        self.gone = False

    def progress(self, tokens: int) -> None:
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of the server.

    Attributes:
        tool: Name, description and schemas of the offer.
        hints: What MCP's annotations say of it.
        call: Function from validated arguments to the result and a text about it.
    """

    tool: Tool
    hints: dict[str, Any]
    call: Callable[[dict[str, Any], CallWatch], tuple[dict[str, Any], dict[str, Any]]]


_READS_ONLY = {"read_only_hint": True, "idempotent_hint": True, "open_world_hint": False}


def skill_offers(runtime: Runtime, skills: Sequence[str] | None = None, prefix: str = "") -> list[Offer]:
    """Skills as tools; they read and write nothing but their arguments and results.

    Args:
        runtime: Where they run.
        skills: Which ones; all of the runtime's where None. `none` is the bare base.
        prefix: Put before each name.

    Raises:
        UnknownNameError: There is no such skill.
    """
    return [_skill(runtime, name, prefix) for name in (runtime.skills if skills is None else skills)]


def _skill(runtime: Runtime, name: str, prefix: str) -> Offer:
    function = runtime.skills[name]

    def call(arguments: dict[str, Any], watch: CallWatch) -> tuple[dict[str, Any], dict[str, Any]]:
        result = function.from_json(arguments, cancelled=lambda: watch.gone, progress=watch.progress)
        return result.data(), {"skill": name, "tokens": plain(result.tokens), "ms": result.ms}

    return Offer(function.tool(prefix + (name if name != "none" else "base")), _READS_ONLY, call)


_TURN = object_schema({"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}})
_RUN = object_schema(
    {
        "prompt": {"type": "string", "minLength": 1, "description": "What is asked"},
        "passages": PARAMETERS["answer"]["properties"]["passages"],
        "history": {"type": "array", "items": _TURN, "description": "The conversation before, oldest first"},
    },
    "prompt",
)
_CALL = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["name", "arguments"],
}
_STEP = {
    "type": "object",
    "properties": {
        "skill": {"type": "string"},
        "outcome": {"type": "string"},
        "calls": {"type": "array", "items": _CALL},
    },
    "required": ["skill", "outcome", "calls"],
}
_RAN = {
    "type": "object",
    "properties": {
        "output": {"type": "string", "description": "The answer, the code, or the refusal"},
        "stop_reason": {"type": "string", "enum": list(get_args(StopReason))},
        "complete": {"type": "boolean", "description": "Whether it ended by itself rather than at a limit"},
        "citations": {"type": "array", "items": {"type": "string"}, "description": "Ids of the passages cited"},
        "category": {"type": "string", "description": "Why it was refused; else empty"},
        "calls": {"type": "array", "items": _CALL, "description": "Calls of tools that nothing here can run"},
        "steps": {"type": "array", "items": _STEP},
        "receipts": {"type": "array", "items": {"type": "object"}, "description": "What came of each call that ran"},
        "gates": {"type": "array", "items": {"type": "object"}, "description": "Texts that the guard did not let pass"},
    },
    "required": ["output", "stop_reason", "complete", "citations", "category", "calls", "steps", "receipts", "gates"],
}


def agent_offer(agent: Agent[Any, Any], name: str = "run", description: str = "") -> Offer:
    """A whole agent as one tool: a call is a run, with the agent's own tools, instructions and limits.

    Calls of its tools that wait for approval are denied: the protocol's client is a program.
    """
    tools = [tool.name for tool in agent.tools]
    text = "Runs a request on an agent whose every step runs on the skill that fits: it calls tools"
    text += f" ({', '.join(tools)})" if tools else ""
    text += ", writes code, answers from passages with citations, refuses what is unsafe, or answers."

    def read(stream: RunStream[Any], watch: CallWatch) -> RunResult[Any]:
        for event in stream:
            if watch.gone:
                stream.cancel()
            if isinstance(event, TokenGenerated):
                watch.tokens += event.tokens
            elif isinstance(event, Routed):
                watch.doing = f"step {event.step + 1}: {event.skill}"
            elif isinstance(event, ToolCallStarted):
                watch.doing = f"step {event.step + 1}: calls {event.name}"
        return stream.result

    def call(arguments: dict[str, Any], watch: CallWatch) -> tuple[dict[str, Any], dict[str, Any]]:
        history = [Message(each["role"], each["content"]) for each in arguments.get("history", ())]
        result = read(agent.stream(arguments["prompt"], passages=arguments.get("passages"), messages=history), watch)
        while result.pending is not None:
            result = read(agent.resume_stream(result.pending, result.pending.denied()), watch)
        if result.stop_reason == "cancelled":
            raise LimitError("the run was cancelled")
        steps = [
            {"skill": step.skill, "outcome": step.outcome, "calls": [_called(call) for call in step.calls]}
            for step in result.steps
        ]
        data = {
            "output": result.output,
            "stop_reason": result.stop_reason,
            "complete": result.complete,
            "citations": list(result.citations),
            "category": result.category,
            "calls": [_called(call) for call in result.calls],
            "steps": steps,
            "receipts": plain(result.receipts),
            "gates": plain([gate for gate in result.gates if not gate.passed]),
        }
        return data, {"run_id": result.run_id, "ms": result.ms}

    acting = [tool for tool in agent.tools if tool.executable]
    hints = {"read_only_hint": all(tool.effects is False for tool in acting), "open_world_hint": bool(acting)}
    return Offer(Tool(name, description or text, _RUN, lambda: None, returns=_RAN), hints, call)


def _called(call: Any) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments}
