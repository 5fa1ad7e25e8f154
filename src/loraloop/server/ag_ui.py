"""A run's events in the AG-UI protocol (docs.ag-ui.com), as its clients read them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from loraloop.agent.values.step import GateRecord
from loraloop.server.errors import ApiError
from loraloop.server.wire import TEXT, ChatMessage, FunctionCall, Items, ToolCallItem, conversation_of

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime


class Lenient(BaseModel):
    """A part of a request, of which other fields are not read."""

    model_config = ConfigDict(populate_by_name=True, str_max_length=TEXT)


class AgUiPart(Lenient):
    """A part of a message; only text is read."""

    type: str = "text"
    text: str = ""


class AgUiCall(Lenient):
    """A call that the assistant made."""

    id: str
    function: FunctionCall


class AgUiMessage(Lenient):
    """A message of an AG-UI client."""

    role: str
    content: str | Items[AgUiPart] | dict[str, Any] | None = ""
    tool_calls: Items[AgUiCall] | None = Field(default=None, alias="toolCalls")
    tool_call_id: str | None = Field(default=None, alias="toolCallId")

    @property
    def text(self) -> str:
        """The text of the message."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content) if isinstance(self.content, list) else ""

    def as_chat(self) -> ChatMessage:
        """The message as one of OpenAI's."""
        calls = [ToolCallItem(id=each.id, function=each.function) for each in self.tool_calls or ()]
        role: Any = self.role
        return ChatMessage(role=role, content=self.text, tool_calls=calls, tool_call_id=self.tool_call_id)


class AgUiApproval(Lenient):
    """A decision about a call; the arguments take the place of its own, all of them."""

    approved: StrictBool
    arguments: dict[str, Any] | None = Field(default=None, alias="editedArgs")


class AgUiResume(Lenient):
    """An answer to an interrupt; one that is `cancelled` denies the call."""

    interrupt_id: str = Field(alias="interruptId")
    status: Literal["resolved", "cancelled"]
    payload: AgUiApproval | None = None


class AgUiInput(Lenient):
    """What an AG-UI client posts (`RunAgentInput`). Tools of the client and its state are not used."""

    thread_id: str = Field(alias="threadId")
    run_id: str = Field(alias="runId")
    messages: Items[AgUiMessage]
    resume: Items[AgUiResume] | None = None

    def decided(self) -> tuple[str, dict[str, AgUiApproval]]:
        """The run whose calls wait, and what `resume` decides about each.

        Raises:
            ApiError: 400, it answers interrupts of several runs, or decides nothing.
        """
        runs, decisions = set[str](), dict[str, AgUiApproval]()
        for entry in self.resume or ():
            run, _, call = entry.interrupt_id.partition("-")
            if entry.status == "resolved" and entry.payload is None:
                message = "an answer that is resolved needs a payload with approved: true or false"
                raise ApiError(400, message, "missing", "resume")
            runs.add(run)
            decisions[call] = entry.payload if entry.payload and entry.status == "resolved" else _DENIED
        if len(runs) > 1:
            raise ApiError(400, "the interrupts are those of several runs: answer one", "invalid_value", "resume")
        return "".join(runs), decisions

    def split(self) -> tuple[str, list[dict[str, str]]]:
        """The request, and the conversation before it with its calls and their results.

        Raises:
            ApiError: 400, the last message is not the user's, or one has instructions, a part that is no text, or a
                result that answers no call.
        """
        conversation = [each for each in self.messages if each.role in ("user", "assistant", "tool")]
        if any(each.role in ("system", "developer") and each.text.strip() for each in self.messages):
            raise ApiError(400, "this is an agent with its own instructions: leave yours out", "agent", "messages")
        if any(part.type != "text" for each in conversation if isinstance(each.content, list) for part in each.content):
            raise ApiError(400, "only text is read: leave images and files out", "invalid_value", "messages")
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "user" or not last.text.strip():
            raise ApiError(400, "the last message has to be the user's", "invalid_value", "messages")
        talk = conversation_of([each.as_chat() for each in conversation[:-1]])
        return last.text, [{"role": each.role, "content": each.content} for each in talk.messages]


_DENIED = AgUiApproval(approved=False)
_ANSWER = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}},
    "required": ["approved"],
}
"""JSON Schema of the payload that decides about a call."""


async def translated(
    asked: AgUiInput, events: AsyncIterator[Mapping[str, Any]], runtime: Runtime
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a run as AG-UI's. What the protocol has no word for (routes, approval) is `CUSTOM`.

    The text of a step is told as it comes if it is meant for a reader: not that of calls, verdicts or citations.
    """
    here = {"threadId": asked.thread_id, "runId": asked.run_id}
    doing = writing = written = ""
    talks, started, interrupts = True, set(asked.decided()[1]), list[dict[str, Any]]()  # calls that were told before
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
    """A call that waits, which `resume` decides about."""
    made, arguments = _call_id(run, call), json.dumps(call["arguments"], ensure_ascii=False)
    message = f"May {call['name']} run with {arguments}?"
    return {"id": made, "reason": "tool_call", "message": message, "toolCallId": made, "responseSchema": _ANSWER}


def _call(run: str, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A call with its arguments."""
    here = {"toolCallId": _call_id(run, call)}
    yield {"type": "TOOL_CALL_START", "toolCallName": call["name"], **here}
    yield {"type": "TOOL_CALL_ARGS", "delta": json.dumps(call["arguments"], ensure_ascii=False), **here}
    yield {"type": "TOOL_CALL_END", **here}


def _call_id(run: str, call: Mapping[str, Any]) -> str:
    """An id that no other run of the thread has."""
    return f"{run}-{call['id']}"
