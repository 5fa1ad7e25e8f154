"""loraloop as a model of smolagents: local, with calls and structured output that cannot leave their schemas."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

try:
    from smolagents.models import (  # type: ignore[import-untyped]
        ChatMessage,
        ChatMessageStreamDelta,
        ChatMessageToolCall,
        ChatMessageToolCallFunction,
        ChatMessageToolCallStreamDelta,
        MessageRole,
        Model,
    )
    from smolagents.monitoring import TokenUsage  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(f"LoraloopModel needs smolagents ({error}): pip install 'loraloop[smolagents]'") from error

from loraloop.agent.guard.guard import Guard
from loraloop.agent.output_type import FREE, OutputType
from loraloop.agent.policy import Policy
from loraloop.integrations.reply import UNGUARDED, Reply, Replying, ReplyRequest, sampling_of
from loraloop.integrations.smolagents_messages import conversation_of, tools_of
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime

OPTIONS = ("max_tokens", "max_new_tokens", "min_p", "seed", "temperature", "timeout", "tool_choice", "top_p")
_MAX_TOKENS = 1024  # a step of a CodeAgent is a thought and a program
_STEP = "Observation:"  # stands among the stop sequences of an agent's steps


class LoraloopModel(Model):  # type: ignore[misc]
    """A runtime as a model of smolagents.

    With tools (a ToolCallingAgent), the tools skill writes the calls; smolagents requires one each time. A call that
    was answered already is not made again: another tool is called, in the end `final_answer`. Without tools, the router
    chooses who writes the text, or `skill` says. With `response_format` (a CodeAgent with
    `use_structured_outputs_internally=True`) the base writes JSON under that schema.

    Args:
        runtime: Base, skills and router; shared by any number of models and agents.
        skill: Who writes text, instead of the router's choice: `none` is the bare base. A skill that writes code, for a
            CodeAgent, writes its steps alone: each is a program without a thought.
        policy: What is decided instead of by the router.
        guard: What stands between requests and texts from outside, such as `Guard()`; nothing by default.
        **options: Defaults of requests: `max_tokens`, `temperature`, `top_p`, `min_p`, `seed`, `timeout`.

    Raises:
        UnknownNameError: There is no such skill or option.
    """

    def __init__(
        self,
        runtime: Runtime,
        skill: str | None = None,
        policy: Policy | None = None,
        guard: Guard | None = None,
        **options: Any,
    ) -> None:
        _check(options)
        if skill is not None:
            runtime.check(skill)
        super().__init__(flatten_messages_as_text=True, model_id=runtime.base.name, **options)
        self.runtime, self.skill, self.policy, self.guard = runtime, skill, policy or Policy(), guard or UNGUARDED

    def generate(
        self,
        messages: Sequence[ChatMessage | dict[str, Any]],
        stop_sequences: list[str] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """One message: calls, or text.

        Args:
            messages: The conversation; texts only.
            stop_sequences: Strings that end text without a form.
            response_format: `{"type": "json_schema", "json_schema": {"schema": …}}` or `{"type": "json_object"}`.
            tools_to_call_from: Tools, of which one is called at least, unless `tool_choice="auto"`.
            **kwargs: Options of this request.

        Raises:
            InputError: A message is no text, or an option cannot be kept.
            SchemaError: A schema cannot be enforced; with its JSON path.
            ContextLengthError: The messages do not fit the context.
        """
        reply = None
        for piece in self._replying(messages, stop_sequences, response_format, tools_to_call_from, kwargs):
            if isinstance(piece, Reply):
                reply = piece
        assert reply is not None
        calls = [
            ChatMessageToolCall(ChatMessageToolCallFunction(call.arguments, call.name), str(uuid.uuid4()), "function")
            for call in reply.calls
        ]
        return ChatMessage(
            MessageRole.ASSISTANT,
            reply.text or None,
            calls or None,
            raw=reply.run.to_dict(),
            token_usage=TokenUsage(reply.read, reply.written),
        )

    def generate_stream(
        self,
        messages: Sequence[ChatMessage | dict[str, Any]],
        stop_sequences: list[str] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatMessageStreamDelta]:
        """Yields the reply piece by piece; calls come whole, and the count of tokens last."""
        for piece in self._replying(messages, stop_sequences, response_format, tools_to_call_from, kwargs):
            if isinstance(piece, str):
                yield ChatMessageStreamDelta(piece)
                continue
            calls = [
                ChatMessageToolCallStreamDelta(
                    number, str(uuid.uuid4()), "function", ChatMessageToolCallFunction(dumps(call.arguments), call.name)
                )
                for number, call in enumerate(piece.calls)
            ]
            yield ChatMessageStreamDelta(None, calls or None, TokenUsage(piece.read, piece.written))

    def _replying(
        self,
        messages: Sequence[ChatMessage | dict[str, Any]],
        stops: list[str] | None,
        response_format: Mapping[str, Any] | None,
        tools: Sequence[Any] | None,
        options: dict[str, Any],
    ) -> Replying:
        settings = {**self.kwargs, **options}
        _check(settings)
        talk = conversation_of(messages, calls=bool(tools))
        policy = replace(self.policy, tool_choice=settings.get("tool_choice", "required") if tools else "none")
        writer = None if tools else self.skill
        coding = writer is not None and self.runtime.contract(writer) == "code"
        if coding and _STEP not in (stops or ()):
            writer = None  # a plan, or the answer where the steps ran out
        if writer is not None:
            policy = replace(policy, skills=(writer, *policy.skills))
        return Replying(
            self.runtime,
            ReplyRequest(
                messages=tuple(talk.messages),
                system="\n\n".join(talk.system),
                tools=tools_of(tools or ()),
                answered=frozenset(talk.answered),
                retry=talk.retry,
                output=_output(response_format),
                policy=policy,
                guard=self.guard,
                sampling=sampling_of(settings, settings.get("min_p")),
                stops=() if coding and writer is not None else tuple(stops or ()),
                max_tokens=settings.get("max_tokens") or settings.get("max_new_tokens") or _MAX_TOKENS,
                timeout=settings.get("timeout"),
                prompting=replace(self.runtime.base.prompting, after_result=""),  # the agent says what comes after it
            ),
        )


def _check(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS)


def _output(response_format: Mapping[str, Any] | None) -> OutputType[Any]:
    if response_format is None:
        return FREE
    kind = response_format.get("type")
    if kind == "json_object":
        return OutputType.of({"type": "object"})
    schema = (response_format.get("json_schema") or {}).get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise InputError(
            f"response_format is {dict(response_format)!r}: give {{'type': 'json_schema', 'json_schema': "
            "{'schema': …}} or {'type': 'json_object'}"
        )
    return OutputType.of(schema, on_unsupported="check")
