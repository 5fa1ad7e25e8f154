"""A message history of pydantic-ai as a conversation that the base and its skills know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai import UserError
from pydantic_ai.messages import (
    CachePoint,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters

from loraloop.integrations.conversation import ConversationBuilder
from loraloop.tool_schemas.jsontext import loads_or
from loraloop.tool_schemas.tools.calls import Call


def conversation_of(messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> ConversationBuilder:
    """The conversation of a request.

    System prompts and instructions are its system message. Thinking is left out.

    Raises:
        UserError: A message holds what is no text, or a part that `prepare_messages` should have translated.
    """
    talk = ConversationBuilder()
    calls: dict[str, Call] = {}
    for message in messages:
        if isinstance(message, ModelRequest):
            for part in message.parts:
                _add_part(talk, part, calls)
        else:
            _add_response(talk, message, calls)
    if parameters.instruction_parts is not None:
        talk.system += [part.content for part in parameters.instruction_parts]
    elif instructions := [
        each.instructions for each in messages if isinstance(each, ModelRequest) and each.instructions
    ]:
        talk.system.append(instructions[-1])
    return talk


def _add_part(talk: ConversationBuilder, part: Any, calls: dict[str, Call]) -> None:
    if isinstance(part, SystemPromptPart):
        talk.system.append(part.content)
    elif isinstance(part, UserPromptPart):
        talk.user(_text(part.content))
    elif isinstance(part, ToolReturnPart):
        call = calls.get(part.tool_call_id, Call(part.tool_name, {}))
        content = part.model_response_str(wrap_if_error=False)
        if part.outcome == "success":
            talk.result(call, content if isinstance(part.content, str) else loads_or(content, content))
        else:
            talk.result(call, error=content, retry=part.outcome == "retried")
    else:
        raise UserError(
            f"a {type(part).__name__} cannot be read by this model: pass the messages through "
            "`model.prepare_messages(messages)` first, as an Agent does"
        )


def _add_response(talk: ConversationBuilder, message: ModelResponse, calls: dict[str, Call]) -> None:
    made = []
    for part in message.parts:
        if isinstance(part, TextPart):
            talk.assistant(part.content)
        elif isinstance(part, ToolCallPart):
            made.append(Call(part.tool_name, part.args_as_dict()))
            calls[part.tool_call_id] = made[-1]
        elif not isinstance(part, ThinkingPart):
            raise UserError(f"a {type(part).__name__} in the history cannot be read by this model: leave it out")
    talk.calls(made)


def _text(content: str | Sequence[UserContent]) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for item in content:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, TextContent):
            texts.append(item.content)
        elif not isinstance(item, CachePoint):
            raise UserError(
                f"the prompt holds a {type(item).__name__}, and this model reads text only: say it in words"
            )
    return "\n\n".join(texts)
