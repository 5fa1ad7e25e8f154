"""A run's events in the AG-UI protocol (docs.ag-ui.com), as its clients read them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from loraloop.agent.values.step import GateRecord
from loraloop.server.errors import ApiError
from loraloop.server.wire import TEXT, Items

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime


class Lenient(BaseModel):
    """A part of a request, of which other fields are not read."""

    model_config = ConfigDict(populate_by_name=True, str_max_length=TEXT)


class AgUiPart(Lenient):
    """A part of a message; only text is read."""

    type: str = "text"
    text: str = ""


class AgUiMessage(Lenient):
    """A message of an AG-UI client."""

    role: str
    content: str | Items[AgUiPart] | dict[str, Any] | None = ""

    @property
    def text(self) -> str:
        """The text of the message."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content) if isinstance(self.content, list) else ""


class AgUiInput(Lenient):
    """What an AG-UI client posts (`RunAgentInput`). Tools of the client and its state are not used."""

    thread_id: str = Field(alias="threadId")
    run_id: str = Field(alias="runId")
    messages: Items[AgUiMessage] = Field(min_length=1)
    resume: Items[dict[str, Any]] | None = None

    def split(self) -> tuple[str, list[dict[str, str]]]:
        """The request, and the conversation before it.

        Raises:
            ApiError: 400, it answers interrupts, the last message is not the user's, or one has instructions, or a part
                that is no text.
        """
        if self.resume:
            advice = "decide about calls that wait by POST /v1/agents/NAME/runs/ID/approve; ID is the result's `run`"
            raise ApiError(400, advice, "unsupported", "resume")
        conversation = [each for each in self.messages if each.role in ("user", "assistant")]
        if any(each.role in ("system", "developer") and each.text.strip() for each in self.messages):
            raise ApiError(400, "this is an agent with its own instructions: leave yours out", "agent", "messages")
        if any(part.type != "text" for each in conversation if isinstance(each.content, list) for part in each.content):
            raise ApiError(400, "only text is read: leave images and files out", "invalid_value", "messages")
        last = self.messages[-1]
        if last.role != "user" or not last.text.strip():
            raise ApiError(400, "the last message has to be the user's", "invalid_value", "messages")
        turns = [{"role": each.role, "content": each.text} for each in conversation if each.text.strip()]
        return last.text, turns[:-1]


async def translated(
    asked: AgUiInput, events: AsyncIterator[Mapping[str, Any]], runtime: Runtime
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a run as AG-UI's. What the protocol has no word for (routes, approval) is `CUSTOM`.

    The text of a step is told as it comes if it is meant for a reader: not that of calls, verdicts or citations.
    """
    here = {"threadId": asked.thread_id, "runId": asked.run_id}
    doing = writing = written = ""
    talks, started, interrupts = True, set[str](), list[dict[str, Any]]()
    async for event in events:
        step, run = f"step {event['step'] + 1}" if isinstance(event.get("step"), int) else "", event.get("run_id", "")
        if event["type"] in ("StepFinished", "RunFinished"):  # the step of a run that waits has no end of its own
            if writing:
                yield {"type": "TEXT_MESSAGE_END", "messageId": writing}
            if doing:
                yield {"type": "STEP_FINISHED", "stepName": doing}
            doing = writing = ""
        match event["type"]:
            case "RunStarted":
                if not event["resumed"]:
                    yield {"type": "RUN_STARTED", **here}
            case "Routed":
                doing, written = f"{step}: {event['skill']}", ""
                talks = runtime.contract(event["skill"]) in ("text", "code")
                yield {"type": "STEP_STARTED", "stepName": doing}
                yield {"type": "CUSTOM", "name": "loraloop.routed", "value": dict(event)}
            case "TokenGenerated" if talks:
                if not writing:
                    writing = f"{event['run_id']}-{event['step']}"
                    yield {"type": "TEXT_MESSAGE_START", "messageId": writing, "role": "assistant"}
                written += event["text"]
                yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": writing, "delta": event["text"]}
            case "ToolCallStarted":
                for each in () if event["id"] in started else _call(run, event):
                    yield each
                started.add(event["id"])
            case "ToolCallFinished":
                done = event["call"]
                for each in () if done["id"] in started else _call(run, done):  # one that was denied, or made before
                    yield each
                content = done["error"] if done["error"] is not None else json.dumps(done["result"], default=str)
                made = _call_id(run, done)
                result = {"messageId": f"{made}-result", "toolCallId": made, "content": content}
                yield {"type": "TOOL_CALL_RESULT", "role": "tool", **result}
            case "ApprovalRequested":
                interrupts = [_interrupt(run, call) for call in event["calls"]]
                for call in event["calls"]:
                    started.add(call["id"])
                    for each in _call(run, call):
                        yield each
                yield {"type": "CUSTOM", "name": "loraloop.approval", "value": dict(event)}
            case "RunFinished":
                for each in _ending(event, here, written, interrupts):
                    yield each
            case "RunFailed":
                yield {"type": "RUN_ERROR", "message": event["error"]["message"], "code": event["error"]["code"]}


def _ending(
    event: Mapping[str, Any], here: Mapping[str, str], written: str, interrupts: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The end of a run: the calls that it leaves to the application, an answer not told yet, and what came of it.

    Args:
        event: `RunFinished`.
        here: The thread and the run, as the client names them.
        written: The last step's text, which was told as it came.
        interrupts: The calls that wait.
    """
    run, ended = event["run_id"], event["result"]
    output, stop = ended["output"], ended["stop_reason"]
    pending = [{**call, "id": f"call_{at}"} for at, call in enumerate(ended["calls"])]
    for call in pending:
        yield from _call(run, call)
    if output and output.strip() != written.strip() and stop not in ("approval", "tool_call"):
        message = {"messageId": f"{run}-output"}
        yield {"type": "TEXT_MESSAGE_START", "role": "assistant", **message}
        yield {"type": "TEXT_MESSAGE_CONTENT", "delta": output, **message}
        yield {"type": "TEXT_MESSAGE_END", **message}
    result = {"stopReason": stop, "run": run, "receipts": ended["receipts"]}
    result["gates"] = [gate for gate in ended["gates"] if not GateRecord(**gate).passed]
    outcome: dict[str, Any] = {"type": "success"}
    if stop == "cancelled":
        outcome = {"type": "cancelled"}
    elif stop == "approval":
        outcome = {"type": "interrupt", "interrupts": interrupts}
    elif pending:
        outcome["pendingToolCallIds"] = [_call_id(run, call) for call in pending]
    yield {"type": "RUN_FINISHED", **here, "result": result, "outcome": outcome}


def _interrupt(run: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """A call that waits; `POST /v1/agents/NAME/runs/ID/approve` decides it under the interrupt's id."""
    message = f"May {call['name']} run with {json.dumps(call['arguments'], ensure_ascii=False)}?"
    return {"id": call["id"], "reason": "tool_call", "message": message, "toolCallId": _call_id(run, call)}


def _call(run: str, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A call with its arguments."""
    here = {"toolCallId": _call_id(run, call)}
    yield {"type": "TOOL_CALL_START", "toolCallName": call["name"], **here}
    yield {"type": "TOOL_CALL_ARGS", "delta": json.dumps(call["arguments"], ensure_ascii=False), **here}
    yield {"type": "TOOL_CALL_END", **here}


def _call_id(run: str, call: Mapping[str, Any]) -> str:
    """An id that no other run of the thread has."""
    return f"{run}-{call['id']}"
