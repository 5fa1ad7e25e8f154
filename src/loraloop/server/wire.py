"""What clients send, checked: unknown fields are errors; and a request of ours made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from loraloop.agent.guard.guard import default_guard
from loraloop.agent.values.output_type import FREE, OutputType
from loraloop.agent.values.policy import Policy
from loraloop.agent.values.tool_choice import choice_of
from loraloop.integrations.conversation import ConversationBuilder, tool_of
from loraloop.integrations.reply import MAX_TOKENS, ReplyRequest, sampling_of
from loraloop.server.errors import ApiError
from loraloop.tool_schemas.errors import unknown
from loraloop.tool_schemas.grammar.effort import check_going_on
from loraloop.tool_schemas.jsontext import levels, loads_or
from loraloop.tool_schemas.schema.validation import DEEPEST_VALUE
from loraloop.tool_schemas.tools.calls import Call

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime
    from loraloop.server.settings import ServerLimits
    from loraloop.tool_schemas.tools.tool import Tool

T = TypeVar("T")
AUTO, BASE = "auto", "base"
TEXT = 100_000_000
"""Characters of a text; far more than a body has. With a bound, half of a surrogate pair is an error too."""
MOST_ITEMS = 10_000
"""Items of a list in a body."""
MOST_KEYS = 1_000
"""Keys of an object of a body whose values are checked one by one."""


def few(value: Any) -> Any:
    """The value, unless it is an object with too many keys, each of which could be an error of its own.

    Raises:
        PydanticCustomError: It is.
    """
    if isinstance(value, dict) and len(value) > MOST_KEYS:
        facts = {"most": MOST_KEYS, "found": len(value)}
        raise PydanticCustomError("too_many_keys", "an object may have {most} keys here, not {found}", facts)
    return value


# The first error of a list ends its check: a body of wrong items would otherwise make an error of each of them for each
# form that an item may have, which takes thousands of times the body's bytes.
Items = Annotated[list[T], Field(max_length=MOST_ITEMS, fail_fast=True)]
Pairs = Annotated[dict[str, T], Field(max_length=MOST_KEYS), BeforeValidator(few)]


class Strict(BaseModel):
    """A part of a request; a field that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", str_max_length=TEXT)
    few = model_validator(mode="before")(few)


class TextPart(Strict):
    """A piece of text in a message."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalPart(Strict):
    """A refusal in an earlier message."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """What was said."""
        return self.refusal


def text_of(content: str | list[Any] | None) -> str:
    """The text of a message: that of its parts with nothing between them, as OpenAI's servers read them."""
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


class ConversationItem(Strict):
    """What items of a conversation have, whatever they are."""

    id: str | None = None
    status: str | None = None
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class FunctionCall(Strict):
    """The function of a call, its arguments as JSON text; openai-python has them parsed beside that."""

    name: str
    arguments: str
    parsed_arguments: Any = Field(default=None, exclude=True)


class ToolCallItem(Strict):
    """A call that the assistant made; one that a client took from a stream has its place there."""

    id: str
    index: int | None = Field(default=None, exclude=True)
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Strict):
    """A message of a conversation. What a client dumps of an answer has the last fields too, which say nothing more."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Items[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Items[ToolCallItem] | None = None
    tool_call_id: str | None = None
    parsed: Any = Field(default=None, exclude=True)
    annotations: None = None
    audio: None = None
    function_call: None = None

    @property
    def text(self) -> str:
        """The text of the message."""
        return text_of(self.content) or (self.refusal or "")


class FunctionDefinition(Strict):
    """A function that may be called."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(Strict):
    """A tool that may be called."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedSchema(Strict):
    """The schema of a structured output."""

    name: str = "output"
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """The form of a text."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StreamOptions(Strict):
    """What a stream tells besides its text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ModelRequest(Strict):
    """What both forms of a request to a model may say."""

    model: str
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Pairs[str] | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """How tokens are drawn, as far as the request says it."""
        return self.model_dump(include={"temperature", "top_p", "seed"}, exclude_none=True)


class ChatRequest(ModelRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: Items[ChatMessage] = Field(min_length=1)
    tools: Items[ToolDefinition] | None = Field(default=None, max_length=512)
    response_format: ResponseFormat | None = None
    stream_options: StreamOptions | None = None
    seed: int | None = None
    stop: str | Items[str] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] | None = 1
    store: Literal[False] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """Options of a reply, whichever form the client's request has."""

    model: str
    tools: Sequence[FunctionDefinition] = ()
    tool_choice: str | dict[str, Any] | None = None
    parallel: bool | None = None
    schema: dict[str, Any] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop: Sequence[str] = ()
    max_tokens: int | None = None


def chat_options(body: ChatRequest) -> ReplyOptions:
    """The options of a chat request."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stop) > 4 or any(not text for text in stop):
        raise ApiError(400, "stop takes one to four texts, none of them empty", "invalid_value", "stop")
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options need stream: true", "invalid_value", "stream_options")
    return ReplyOptions(
        model=body.model,
        tools=tuple(each.function for each in body.tools or ()),
        tool_choice=body.tool_choice,
        parallel=body.parallel_tool_calls,
        schema=schema_of(body.response_format),
        sampling=body.sampling,
        stop=tuple(stop),
        max_tokens=body.max_completion_tokens or body.max_tokens,
    )


def allowed_tools(options: ReplyOptions) -> ReplyOptions:
    """The options with what the choice `allowed_tools` stands for: those of the tools, and its mode as the choice.

    Raises:
        InputError: It lists what is no tool.
        UnknownNameError: It lists a tool that is not offered.
    """
    match options.tool_choice:
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(listed)} | {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(listed)},
        }:
            names, offered = set(map(choice_of, listed)), {tool.name for tool in options.tools}
            for name in names - offered:
                raise unknown("tool", name, offered)
            return replace(options, tool_choice=mode, tools=[tool for tool in options.tools if tool.name in names])
    return options


def schema_of(form: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON Schema that a form of text stands for; None for any text."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "object"}
    if form.json_schema is None:
        raise ApiError(400, "response_format of the type json_schema needs json_schema", "missing", "response_format")
    return form.json_schema.schema_


def conversation_of(messages: Sequence[ChatMessage]) -> ConversationBuilder:
    """A conversation in our form.

    Raises:
        ApiError: 400, where a tool's result answers no call, or arguments are no JSON object.
    """
    talk = ConversationBuilder()
    calls: dict[str, Call] = {}
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        match message.role:
            case "system" | "developer":
                talk.system.append(message.text)
            case "user":
                talk.user(message.text)
            case "assistant":
                made = [(each.id, call_of(each.function, where)) for each in message.tool_calls or ()]
                calls |= dict(made)
                talk.assistant(message.text)
                talk.calls([call for _, call in made])
            case "tool":
                call = calls.get(message.tool_call_id or "")
                if call is None:
                    raise ApiError(400, f"no call has the id {message.tool_call_id!r}", "invalid_value", where)
                talk.result(call, result_of(message.text))
    return talk


def call_of(function: FunctionCall, where: str) -> Call:
    """A call of ours."""
    arguments = loads_or(function.arguments or "{}")
    if not isinstance(arguments, dict) or levels(arguments) > DEEPEST_VALUE:
        message = f"the arguments of {function.name} are no JSON object of at most {DEEPEST_VALUE} levels"
        raise ApiError(400, message, "invalid_value", where)
    return Call(function.name, arguments)


def result_of(text: str) -> Any:
    """A tool's result: JSON as its value, anything else and what is nested too deeply as text."""
    value = loads_or(text, text)
    return value if levels(value) <= DEEPEST_VALUE else text


def reply_request(
    runtime: Runtime, limits: ServerLimits, talk: ConversationBuilder, options: ReplyOptions
) -> ReplyRequest:
    """What the runtime is asked.

    Args:
        runtime: Says which skills there are, and which guard it can keep.
        limits: Bounds of the tokens, the seconds and the conversation.
        talk: The conversation, in our form.
        options: What the client asked for besides.

    Raises:
        ApiError: An option cannot be kept.
        SchemaError: A tool's parameters, or the output's schema, cannot be enforced or checked.
        LimitError: The tools take longer than a request may run.
    """
    tokens = options.max_tokens or min(MAX_TOKENS, limits.max_tokens)
    if tokens > limits.max_tokens:
        raise ApiError(400, f"at most {limits.max_tokens} tokens may be asked for, not {tokens}", "invalid_value")
    options = allowed_tools(options)
    if options.tool_choice not in (None, "auto", "none") and not options.tools:
        raise ApiError(400, "tool_choice needs tools", "invalid_value", "tool_choice")
    policy = policy_of(runtime, options.model)
    check_fits(runtime, options)
    if options.tool_choice is not None:
        policy = replace(policy, tool_choice=options.tool_choice)
    if options.parallel is False:
        policy = replace(policy, max_calls=1)
    return ReplyRequest(
        messages=tuple(talk.messages),
        system="\n\n".join(talk.system),
        tools=tuple(request_tools(options.tools)),
        answered=frozenset(talk.answered),
        retry=talk.retry,
        output=FREE if options.schema is None else OutputType.of(options.schema, on_unsupported="check"),
        policy=policy,
        guard=default_guard(runtime),
        sampling=sampling_of(options.sampling, stop=options.stop),
        max_tokens=tokens,
        timeout=limits.seconds,
        max_prompt=limits.max_prompt,
    )


def check_fits(runtime: Runtime, options: ReplyOptions) -> None:
    """Checks that a skill that is asked for by its name can do what the request asks for.

    Raises:
        ApiError: 400, it has nothing to work on, or cannot keep an option.
    """
    name = options.model
    contract = runtime.contract(name) if name in runtime.skills else ""
    if contract == "answer":
        message = f"{name} answers from documents, of which a request has none: ask a hosted agent that has them"
        raise ApiError(400, message, "invalid_value", "model")
    if contract == "calls" and not options.tools:
        raise ApiError(400, f"{name} writes calls: offer tools, or take {AUTO!r}", "invalid_value", "tools")
    if contract == "code" and options.stop:
        raise ApiError(400, f"{name} takes no stop: what it writes ends with the program", "invalid_value", "stop")


def request_tools(definitions: Sequence[FunctionDefinition]) -> Iterator[Tool]:
    """The tools of a request.

    Raises:
        SchemaError: The parameters of one cannot be enforced or checked.
        LimitError: There was not enough time for all of them, or the client went away.
    """
    for number, each in enumerate(definitions):
        check_going_on(f"{number} of {len(definitions)} tools were read in time: offer fewer, or simpler ones")
        yield tool_of(each.name, each.description or "", each.parameters or {"type": "object"})


def policy_of(runtime: Runtime, model: str) -> Policy:
    """What a model's name decides: `auto` routes, `base` takes no skill, a skill's name takes that skill first.

    Raises:
        ApiError: 404, there is no such model.
    """
    if model == AUTO:
        return Policy()
    if model in (BASE, runtime.base.name):
        return Policy(forbid=frozenset(runtime.skills))
    if model in runtime.skills:
        return Policy(skills=(model,))
    known = ", ".join((AUTO, BASE, *runtime.skills))
    message = f"there is no model {model!r} here; there are {known}, and at /v1/chat/completions the hosted agents"
    raise ApiError(404, message, "model_not_found", "model")
